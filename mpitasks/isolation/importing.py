"""The user's program, imported where it is not the main one.

::

    program() ──► sent ──► import_here: the main script as `__mp_main__`, up to run(); then the modules of other tasks

The name is that of the standard library's multiprocessing, so that `if __name__ == "__main__"` and what other libraries do
about that mean here what they mean there.

A script that imports `mpi4py.MPI` at its top gets a stand-in, which becomes the real one when it is first used. If that
happens while the script is imported, no process may be forked afterwards: `MpiNeeded` says so.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec
from types import CodeType, ModuleType
from typing import Any, NamedTuple, cast

from .. import registry
from ..backports import override
from .aside import RunReached

MPI = "mpi4py.MPI"


class MpiNeeded(BaseException):
    """A script uses MPI while it is imported."""


class Program(NamedTuple):
    """What a process has to know to import the user's program."""

    path: list[str]
    """`sys.path`."""
    arguments: list[str]
    """`sys.argv`."""
    name: str | None
    """Of the main module, if it was started by that: `python -m name`."""
    file: str | None
    """The script; None: there is none, as in an interactive session."""
    modules: list[str]
    """Where other tasks and resources are defined."""


def program() -> Program:
    """The program that runs here."""
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    name = None if spec is None or spec.name == "__main__" else spec.name
    modules = [module for module in registry.modules() if module not in registry.MAIN]
    path = [os.path.abspath(folder) for folder in sys.path]  # noqa: PTH100  "" and zip files too
    return Program(path, sys.argv, name, file and os.path.abspath(file), modules)  # noqa: PTH100  as above


def import_here(program: Program, mpi: MpiLater) -> None:
    """Import it, until it comes to `run()`.

    Raises:
        MpiNeeded: As it says, if `mpi` is not allowed yet.
        Exception: What the script raises.
    """
    sys.path[:], sys.argv[:] = program.path, program.arguments
    if mpi not in sys.meta_path:
        sys.meta_path.insert(0, mpi)
    with suppress(RunReached, SystemExit):  # what a rank knows, it has defined before `run()`
        _import_main(program)
    for name in program.modules:
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001  a module of the user; if its tasks are called here, that fails with their names
            sys.stderr.write(f"mpitasks: {name!r} can't be imported for isolated calls:\n{traceback.format_exc()}")
    if mpi.was_needed and not mpi.is_allowed:  # and the script has caught everything
        raise MpiNeeded


def _import_main(program: Program) -> None:
    module = ModuleType(registry.MAIN_ELSEWHERE)
    if program.name is not None:
        spec = find_spec(program.name)
        loader = cast("Any", spec and spec.loader)
        if spec is None or loader is None:
            msg = f"the main module {program.name!r} is not found in {program.path}"
            raise ImportError(msg)
        module.__spec__, module.__package__, module.__file__ = spec, spec.parent, spec.origin
        code = cast("CodeType", loader.get_code(program.name))
    elif program.file is not None:
        module.__file__ = program.file
        with io.open_code(program.file) as file:
            code = SourceFileLoader(registry.MAIN_ELSEWHERE, program.file).source_to_code(file.read(), program.file)
    else:
        return
    # What was pickled as a thing of `__main__` is found in here.
    sys.modules["__main__"] = sys.modules[registry.MAIN_ELSEWHERE] = module
    exec(code, vars(module))  # noqa: S102  the user's program


class MpiLater(MetaPathFinder, Loader):
    """Finds a stand-in for `mpi4py.MPI`, which starts no MPI until it is used."""

    def __init__(self) -> None:
        self.is_allowed = False
        """Whether MPI may be started here: this process forks no others."""
        self.was_needed = False
        self._is_over = False

    @override
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """As the import system asks."""
        return ModuleSpec(fullname, self) if fullname == MPI and not self._is_over else None

    @override
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The stand-in."""
        return _StandIn(spec.name, self)

    @override
    def exec_module(self, module: ModuleType) -> None:
        """Nothing yet."""

    def load(self, module: ModuleType) -> None:
        """Make the stand-in the real one.

        Raises:
            MpiNeeded: Not here.
        """
        if not self.is_allowed:
            self.was_needed = True
            raise MpiNeeded
        self._is_over = True
        sys.modules.pop(MPI, None)
        real = importlib.import_module(MPI)
        module.__class__ = ModuleType
        vars(module).update(vars(real))


class _StandIn(ModuleType):
    """Looks like a module that has not been used."""

    def __init__(self, name: str, later: MpiLater) -> None:
        super().__init__(name)
        self._later = later

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever is in the module
        if name.startswith("__") and name != "__pyx_capi__":  # the import system asks for some
            raise AttributeError(name)
        self._later.load(self)
        return getattr(self, name)
