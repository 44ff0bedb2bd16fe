"""Ends a run when its time is over.

::

    the time is over, or somebody else asks ──► drain ──► + grace: insist ──► + grace + slack: give up
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from .interrupts import Interrupts

SLACK = 5.0
"""Seconds beyond twice the grace that main and the slaves get: `python -m mpitasks` waits as long after a SIGTERM."""
LOOK = 0.5
"""Seconds between two looks whether somebody has asked: a signal handler can wake no thread without a lock."""


class Clock:
    """Ends a run in three steps.

    Args:
        interrupts: Raise what is to be raised in main.
        grace: Seconds for running calls.
        give_up: Called if main does not end, such as in C code that looks for no signal.
    """

    def __init__(self, interrupts: Interrupts, grace: float, give_up: Callable[[], object]) -> None:
        self._interrupts = interrupts
        self._grace = grace
        self._give_up = give_up
        self._over = threading.Event()

    @contextmanager
    def running(self, at: float | None, why: str) -> Iterator[None]:
        """Within, the clock runs in a thread of its own.

        Args:
            at: When to drain, by `time.monotonic`; None: when somebody else says so.
            why: In a few words.
        """
        thread = threading.Thread(target=self._run, args=(at, why), name="mpitasks-clock", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _run(self, at: float | None, why: str) -> None:
        while not self._interrupts.draining:
            left = LOOK if at is None else min(LOOK, at - monotonic())
            if left <= 0:
                self._interrupts.drain(why)
            elif self._over.wait(left):
                return
        if self._over.wait(self._grace):
            return
        self._interrupts.insist()
        if not self._over.wait(self._grace + SLACK):
            self._give_up()
