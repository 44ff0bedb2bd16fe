"""Says why nothing happens: after a long silence, or on demand.

::

    nothing has ended for `stall` seconds, and calls wait ──┐
    SIGUSR2 to rank 0                                      ──┼──► one message on stderr
    python -m mpitasks stacks ──► control socket           ──┴──► the same, there

A thread of its own looks at a few numbers every few seconds; the loops of the farm know nothing of it.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from ..core.why import Doing, Explanation, lasting
from .places import catches
from .stall import STALL

if TYPE_CHECKING:
    from .master import Master

LATE = 3
"""A call is late once it takes so many times what calls of its task usually take."""
BELL = getattr(signal, "SIGUSR2", None)
LOOKS, SHORTEST, LONGEST = 8, 0.05, 5.0
"""Looks in a time of `stall`, and the seconds between two."""


class Watchdog:
    """Watches one farm.

    Args:
        master: Of the farm.
        stall: Seconds.
        say: Shows a text that ends with a line break.
        clock: Tells seconds.
    """

    def __init__(
        self,
        master: Master,
        *,
        stall: float,
        say: Callable[[str], object] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._master = master
        self._stall = stall
        self._say = say or _to_stderr
        self._clock = clock
        self._seen: tuple[int, ...] = ()
        self._since = clock()
        """When anything happened last."""
        self._due = stall
        """Seconds without anything after which to speak next."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within, a thread looks from time to time, and SIGUSR2 makes it speak if the program has no use for that signal."""
        read, write = os.pipe()
        os.set_blocking(write, False)
        ended = threading.Event()
        thread = threading.Thread(target=self._run, args=(read, ended), name="mpitasks-watchdog", daemon=True)
        thread.start()
        try:
            with _ringing(write):
                yield
        finally:
            ended.set()
            with suppress(BlockingIOError):  # full: it is awake
                os.write(write, b".")
            thread.join()
            os.close(read)
            os.close(write)

    def _run(self, bell: int, ended: threading.Event) -> None:
        tick = None if self._stall == inf else min(LONGEST, max(SHORTEST, self._stall / LOOKS))
        while True:
            rung, _, _ = select.select([bell], [], [], tick)
            if ended.is_set():
                return
            if rung:
                from .situation import on_demand  # noqa: PLC0415  5 ms, and most runs are well

                self._swallow(bell)
                self._say(on_demand(self._master) + "\n")
            else:
                self.look()

    @staticmethod
    def _swallow(bell: int) -> None:
        """What the handler of the signal writes comes in several pieces: wait for the last of them."""
        from .stacks import QUIET  # noqa: PLC0415  as above

        while select.select([bell], [], [], QUIET)[0]:
            os.read(bell, 1 << 16)

    # ---------------------------------------------------------------- what to say

    def look(self) -> None:
        """Say what is to be said, if anything."""
        seen, now = self._master.progress(), self._clock()
        if seen != self._seen:
            if self._due > self._stall:
                self._say(f"mpitasks: it goes on, after {lasting(now - self._since)}\n")
            self._seen, self._since, self._due = seen, now, self._stall
        elif now - self._since >= self._due:
            explanation = self._master.explain()
            if self._is_stall(explanation):
                self._tell(explanation, now - self._since)

    def _is_stall(self, explanation: Explanation) -> bool:
        """Calls wait, and not for others that just take their usual time."""
        busy = [one for one in explanation.slaves if one.queue]
        waits = explanation.waits or explanation.others or any(len(one.calls) > 1 for one in busy)
        return bool(waits) and (not busy or any(map(self._is_late, busy)))

    def _is_late(self, doing: Doing) -> bool:
        return doing.seconds >= max(self._stall, LATE * (doing.usual or 0.0))

    def _tell(self, explanation: Explanation, silence: float) -> None:
        from .situation import describe, what_waits  # noqa: PLC0415  as above

        if self._due == self._stall:
            how = f"run(stall=...) or {STALL} sets this time, if calls are meant to take so long"
            said = f"mpitasks: nothing has ended for {lasting(silence)}, and calls wait ({how})\n{describe(self._master)}"
        else:
            how = f"`python -m mpitasks stacks {os.getpid()}` here shows where everybody is"
            said = f"mpitasks: still nothing has ended, for {lasting(silence)} ({how})\n  " + what_waits(explanation).replace(
                "\n", "\n  "
            )
        self._due = 2 * max(self._due, silence)
        self._say(said + "\n")


def _to_stderr(text: str) -> None:
    """In one piece, so that the lines of others don't come between."""
    with suppress(AttributeError, OSError, ValueError):  # None, a broken pipe or a full disk, closed
        sys.stderr.write(text)
        sys.stderr.flush()


@contextmanager
def _ringing(bell: int) -> Iterator[None]:
    """Within, SIGUSR2 writes something into this descriptor.

    Not by a handler of Python's, which runs only once main's thread is back from C code.
    """
    if BELL is None or signal.getsignal(BELL) is not signal.SIG_DFL or catches(os.getpid(), BELL):
        yield  # it has a meaning already
        return
    faulthandler.register(BELL, file=bell, all_threads=False)
    try:
        yield
    finally:
        if signal.getsignal(BELL) is signal.SIG_DFL:  # else main has given it a meaning, which stays
            faulthandler.unregister(BELL)
