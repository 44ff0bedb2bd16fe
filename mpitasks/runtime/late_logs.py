"""A slave's logging, set up once somebody imports it.

It takes 4 ms to import, and many tasks log nothing.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

from .messages import Record

if TYPE_CHECKING:
    from importlib.abc import Loader  # which brings pathlib and others along
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_LOGGING = "logging"


@contextmanager
def forwarding(rank: int, records: deque[Record]) -> Iterator[None]:
    """Within, what this process logs says that it is of that rank, and is collected instead of written to the terminal."""
    with ExitStack() as stack:

        def set_up() -> None:
            from . import logs  # noqa: PLC0415  it imports logging

            stack.enter_context(logs.records_with_rank(rank))
            stack.enter_context(logs.forwarding(records))

        if _LOGGING in sys.modules:
            set_up()
        else:
            finder = _Finder(set_up)
            sys.meta_path.insert(0, finder)
            stack.callback(finder.forget)
        yield


class _Finder:
    """Finds what others find, and has something done when logging was imported."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then
        self._is_over = False

    def forget(self) -> None:
        """Do nothing more."""
        self._is_over = True
        # A new list: an import that goes through the old one right now would miss the finder behind this one.
        sys.meta_path = [finder for finder in sys.meta_path if finder is not self]

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """As the import system asks."""
        if name != _LOGGING or self._is_over:
            return None
        self._is_over = True
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = cast("Loader", _Loader(spec.loader, self._then))
        return spec


class _Loader:
    """Loads as another does, and then does something."""

    def __init__(self, inner: Loader, then: Callable[[], None]) -> None:
        self._inner = inner
        self._then = then
        self.create_module = inner.create_module

    def exec_module(self, module: ModuleType) -> None:
        """As the import system asks."""
        self._inner.exec_module(module)
        self._then()

    def __getattr__(self, name: str) -> object:
        """What others want to know of the loader, such as the source for a traceback."""
        return getattr(self._inner, name)
