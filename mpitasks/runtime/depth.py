"""Python's stack, while calls run on top of others.

Each call has a stack of its own as its author sees it, and all of them share one of Python's. So each level raises the limit
by what the level below has used: a recursion that never ends still ends by RecursionError, after as many frames as ever.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

OURS = 24
"""Frames on top of those that are counted: C functions between them count too, as `sum` and `functools.partial`."""

LOOK_EVERY = 64
"""Levels between two looks at the C stack."""
FULL = 0.75
"""Of the C stack: what is left is for what the call itself does."""
A_LEVEL = 2560
"""Bytes of C stack a level, where that can't be seen: a plain wait takes 1.4 KB, one inside of `sum` 1.9, measured."""
MUCH = 8192
"""Bytes that no level takes by itself: fewer levels than fit by this are not what fills the stack."""

_changing = threading.Lock()


@contextmanager
def one_level_deeper(frame: FrameType, below: FrameType | None) -> Iterator[None]:
    """Within, there is as much room as there was for the level below.

    Args:
        frame: Where this level begins.
        below: Where the level below began; None: with the thread.
    """
    used = _frames_between(frame, below) + OURS
    _raise_limit(used)
    try:
        yield
    finally:
        _raise_limit(-used)


def _frames_between(frame: FrameType, below: FrameType | None) -> int:
    """How many frames the level below has: it takes a look at each of them, and none at the levels below that."""
    count = 0
    here: FrameType | None = frame
    while here is not None and here is not below:
        count += 1
        here = here.f_back
    return count


def _raise_limit(by: int) -> None:
    with _changing:  # slaves may be threads, and the limit is the process's
        sys.setrecursionlimit(sys.getrecursionlimit() + by)


class CStack:
    """Sees to it that calls on top of each other end by RecursionError, and not by a segmentation fault."""

    def __init__(self) -> None:
        self._most: int | None = None
        """Levels at which the stack was found full: the system tells only how much of it was ever used."""

    def check(self, levels: int) -> None:
        """Another call is about to wait.

        Raises:
            RecursionError: So many wait already that the C stack is nearly full.
        """
        if not levels or levels % LOOK_EVERY:
            return
        size = _stack_size()
        if size is None:
            return
        if self._most is None and levels * MUCH > size and _used(levels) > FULL * size:
            self._most = levels
        if self._most is not None and levels >= self._most:
            msg = (
                f"{levels} calls wait on this slave, each for the next, and its C stack of {size >> 10} KB is nearly full; "
                f"give back the future (return f.delay(...)) instead of waiting for it, or raise the limit: ulimit -s"
            )
            raise RecursionError(msg)


def _stack_size() -> int | None:
    """Bytes of C stack that this thread may use; None: any."""
    import resource  # noqa: PLC0415  only who stacks many calls needs it

    limit = resource.getrlimit(resource.RLIMIT_STACK)[0]
    size = limit if threading.current_thread() is threading.main_thread() else threading.stack_size() or limit
    return None if size == resource.RLIM_INFINITY else size


def _used(levels: int) -> int:
    """Bytes of it that were ever used: of the main thread as the system tells, of others as far as is known."""
    if threading.current_thread() is threading.main_thread():
        from pathlib import Path  # noqa: PLC0415  as above

        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmStk:"):
                return int(line.split()[1]) << 10
    return levels * A_LEVEL
