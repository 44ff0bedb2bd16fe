"""Ctrl-C and SIGTERM, raised in main at a safe point."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..errors import Terminated

MARK = "mpitasks_calls"
"""A local variable of this name marks a frame of ours that calls main, or a task: what it calls is the user's code."""

_PACKAGE = __name__.partition(".")[0] + "."


class Interrupts:
    """Turns signals into exceptions in main.

    The handler raises at once if main runs code of its own. While main runs code of ours, which may hold a lock or be
    inside MPI, the handler only sets `pending`, and our loops raise at their next turn.
    """

    def __init__(self) -> None:
        self.pending: int | None = None
        """The signal that has come and was not raised yet."""
        self._thread = threading.main_thread()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Within, SIGINT and SIGTERM are handled here; only possible in the process's main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._handle) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def check(self) -> None:
        """Raise what is pending, if this is the main thread.

        Raises:
            KeyboardInterrupt: Ctrl-C.
            Terminated: SIGTERM.
        """
        if self.pending is not None and threading.current_thread() is self._thread:
            number, self.pending = self.pending, None
            self._raise(number)

    def forget(self) -> None:
        """The run is ending already."""
        self.pending = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        running = _whose_code(frame)
        if running != "main":
            self.pending = number
        if running != "ours":  # a task that runs inline is ended, and then main
            self._raise(number)

    def _raise(self, number: int) -> None:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Terminated


def _whose_code(frame: FrameType | None) -> str:
    """Who runs at this frame: "main", "task" (inline), or "ours"."""
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(_PACKAGE):
            whose: str = frame.f_locals.get(MARK, "ours")
            return whose
        frame = frame.f_back
    return "main"
