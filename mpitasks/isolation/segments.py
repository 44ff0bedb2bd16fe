"""What MPI leaves in /dev/shm where its process is killed.

MPI that a task starts in a child makes a segment for the other ranks of the host. There are none, so the name can go at once,
and the memory goes with the process.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

from ..backports import override
from ..shm import forget_names
from .importing import MPI

_NAMES = ("mpich_shm_", "sm_segment.", "vader_segment.")


def unlink_when_mpi_starts() -> None:
    """From now on, what `import mpi4py.MPI` makes in /dev/shm loses its name."""
    sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds what others find, and adds to it."""

    def __init__(self) -> None:
        self._asks_others = False

    @override
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != MPI or self._asks_others:
            return None
        self._asks_others = True
        try:
            spec = find_spec(fullname)
        finally:
            self._asks_others = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Then(spec.loader)
        return spec


class _Then(Loader):
    """Loads as another does; importing mpi4py.MPI starts MPI, unless somebody has forbidden it."""

    def __init__(self, inner: Loader) -> None:
        self._inner = inner

    @override
    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._inner.create_module(spec)

    @override
    def exec_module(self, module: ModuleType) -> None:
        self._inner.exec_module(module)
        forget_names(*_NAMES)
