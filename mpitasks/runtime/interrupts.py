"""Ctrl-C, SIGTERM and the end of the walltime, raised in main.

::

    SIGINT, SIGTERM ─────────────────────► handler, in main's thread ──► raised at once, or at a safe point
    SIGUSR1 ───────────────────────────────▲    │
    walltime, control socket ──► drain() ──┘    └──► `draining`: nothing more is handed out, whatever main does
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from ..errors import Drained, FarmBroken, Terminated

MARK = "mpitasks_calls"
"""A local variable of this name marks a frame of ours that calls the user's code, and says what that is:

"main" or "task"; "child": a task in another process, which knows itself when its time is up; "loop": an event loop, which runs
both the user's code and its own; "caller": the same as what called us.
"""
DRAIN = signal.SIGUSR1
"""Stop handing out, and end: the one signal that the mpiexecs of both MPIs hand on without killing anybody."""
ENDS = (signal.SIGINT, signal.SIGTERM)
_EXCEPTIONS: dict[int, type[BaseException]] = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated, DRAIN: Drained}

_PACKAGE = __name__.partition(".")[0] + "."


class Interrupts:
    """Turns signals into exceptions in main.

    The handler raises at once if main runs code of its own. While main runs code of ours, which may hold a lock or be
    inside MPI, the handler only sets `pending`, and our loops raise at their next turn.

    A drain is raised once where main is, and then stays pending: whoever waits after that waits for nothing.

    Args:
        numbers: The signals to handle.
    """

    def __init__(self, numbers: Sequence[int] = ENDS) -> None:
        self.pending: int | None = None
        """The signal that has come and was not raised yet; or the drain, once there is one."""
        self.draining = ""
        """Why nothing more is handed out; empty: all goes on."""
        self.was_told = False
        """Whether main has got the drain's exception."""
        self.by_signal = True
        """Whether a SIGUSR1 from anywhere means to drain. False where the launcher sends it for reasons of its own: MPICH's
        does to the survivors of a dead rank, under -disable-auto-cleanup. `drain()` works all the same."""
        self._numbers = numbers
        self._takes_drain = self._insists = self._is_over = False
        self._wakes = threading.Lock()
        """Held while the handler of SIGUSR1 must stay: without one, the signal would end the process."""
        self._thread = threading.main_thread()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Within, signals are handled here; only possible in the process's main thread.

        SIGUSR1 only if it would end the process: a program that handles it keeps it.
        """
        self._thread = threading.current_thread()
        if self._thread is not threading.main_thread():
            yield
            return
        numbers = [number for number in self._numbers if number != DRAIN or signal.getsignal(number) == signal.SIG_DFL]
        before = [signal.signal(number, self._handle) for number in numbers]
        self._takes_drain = DRAIN in numbers
        try:
            yield
        finally:
            with self._wakes:
                self._takes_drain = False
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def drain(self, why: str) -> None:
        """Hand out nothing more, and end main, wherever it is. From any thread.

        Args:
            why: In a few words, such as "SIGUSR1".
        """
        self.draining = self.draining or why
        self._wake()

    def insist(self) -> None:
        """The grace is over: end also a call that runs in main's thread."""
        self._insists = True
        self._wake()

    def check(self) -> None:
        """Raise what is pending, if this is main's thread.

        Raises:
            KeyboardInterrupt: Ctrl-C.
            Terminated: SIGTERM.
            Drained: Nothing more is handed out.
            FarmBroken: The same, in another thread.
        """
        if self.pending is None:
            return
        if threading.current_thread() is self._thread:
            self._tell(self.pending)
        self.refuse_to_wait()

    def refuse_to_wait(self) -> None:
        """Raise if main has been told of a drain, and somebody still waits for calls.

        Raises:
            FarmBroken: So it is. Not `Drained`, which would end only a thread, or asyncio's loop in the midst of its end.
        """
        if self.was_told and self.pending == DRAIN:
            msg = f"nothing more is handed out, so this would wait for ever: {self.draining}"
            raise FarmBroken(msg)

    def check_once(self) -> None:
        """As `check`, but the drain only if it is new: asyncio runs its loop again to let tasks end."""
        if not self.was_told or self.pending != DRAIN:
            self.check()

    def insist_on_drain(self) -> None:
        """Main has returned: raise again what it has caught, since the calls that it has not made are missing.

        Raises:
            Drained: So it is.
        """
        if self.was_told:
            raise Drained

    def drain_no_more(self) -> None:
        """Every call has ended: a drain comes too late."""
        self._is_over = True
        if self.pending == DRAIN:
            self.pending = None

    def forget(self) -> None:
        """The run is ending already; signals that come from now on are raised all the same, but no drain."""
        self.pending = None
        self._is_over = True

    def _wake(self) -> None:
        with self._wakes:
            if self._takes_drain:
                signal.pthread_kill(self._thread.ident or 0, DRAIN)
                return
        if self.pending is None and not self._is_over:
            self.pending = DRAIN

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == DRAIN and not self._is_news():
            return
        running = whose_code(frame)
        if running == "main":
            self._tell(number)
        self.pending = number
        if running in ("task", "child") and (number != DRAIN or self._insists):
            raise _EXCEPTIONS[number]  # a task that runs inline is ended, and then main

    def _is_news(self) -> bool:
        """Whether this SIGUSR1 means something that main has not been told."""
        if not self.draining and self.by_signal and not self._is_over:
            self.draining = "SIGUSR1"
        return bool(self.draining) and not (self.was_told or self._is_over) and self.pending in (None, DRAIN)

    def _tell(self, number: int) -> NoReturn:
        self.pending = DRAIN if self.draining and not self._is_over else None
        self.was_told = self.was_told or number == DRAIN
        raise _EXCEPTIONS[number]


def whose_code(frame: FrameType | None) -> str:
    """Who runs at this frame: "main", "task", "child", an event "loop" and what it calls, or "ours"."""
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(_PACKAGE):
            whose: str = frame.f_locals.get(MARK, "ours")
            if whose != "caller":
                return whose
        frame = frame.f_back
    return "main"
