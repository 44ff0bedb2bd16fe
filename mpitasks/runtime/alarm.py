"""Ends what takes too long, by an exception, where that works.

::

    within(limit, work) ──► timer ──► SIGALRM ──► the user's code runs   ──► TimeUp raised there ──► TaskTimeout
                              ▲                   an event loop waits    ──► its task is cancelled ──► TaskTimeout
                              └── a little later  code of ours runs
    a call that waits ──► its time is up ──► what runs on top of it, for it, is ended first, in the same ways
    the listener thread ──► `overdue`: none of that has helped, or there was no timer

Only a process's main thread gets signals. Elsewhere there is no timer, and `overdue` is all.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from math import inf
from time import perf_counter
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..errors import TaskTimeout
from ..ids import CallId
from ..retries import CUT_SHORT, Failure, names_of
from .interrupts import whose_code

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

AGAIN = 0.5
"""Seconds between two alarms: a bare `except:` may swallow the first, and what cleans up after it should not be hurried."""
SOON = 0.01
"""Seconds until the next alarm, where the last one met code of ours."""
PATIENCE = 1.0
"""Seconds beyond the limit, after which a call counts as one that can't be interrupted."""

TIMED_OUT: Failure = (names_of(TaskTimeout("")), None)
ENDED_FOR_ANOTHER: Failure = ((*TIMED_OUT[0], CUT_SHORT), None)
"""The time of a call was up that waited for this one."""
"""How such a call failed."""


class TimeUp(BaseException):
    """Raised in a task whose time is up; no `Exception`, so that a task which catches all of those lets it through."""


class Limit(NamedTuple):
    """What may take so long."""

    call_id: CallId
    task: str
    attempt: int
    seconds: float
    what: str
    """In words."""


class Watched:
    """What runs under a limit now."""

    def __init__(self, limit: Limit, thread: int, until: float, due: float) -> None:
        self.limit = limit
        self.thread = thread
        self.until = until
        """When its time is up, on the clock of `perf_counter`."""
        self.due = due
        """When it counts as one that can't be interrupted."""
        self.stack: str | None = None
        """Where it was when an alarm ended it, or tried to."""


class Alarm:
    """Runs work under limits, one at a time."""

    def __init__(self) -> None:
        self.watched: Watched | None = None
        """What runs now; other threads may look."""
        self.raised: TaskTimeout | None = None
        """What was raised last."""
        self._below: list[Watched] = []
        """Of the calls that wait while others run on top, the lowest first: those whose time is up before that of all below."""
        self._task: asyncio.Task[Any] | None = None
        """The task of an event loop that runs here, if it was told to us."""
        self._checked = -inf
        """When what waits here last looked for itself whether its time is up."""
        self.is_elsewhere = False
        """Whether what runs on top does so in another process, which is ended in time, whatever it does."""
        self._end: Callable[[], object] | None = None

    def within(self, limit: Limit, work: Callable[[], T]) -> T:
        """Run this, and end it if it takes too long.

        Raises:
            TaskTimeout: It took longer, whatever it made of the exception by which it was ended.
            BaseException: What the work raises.
        """
        from . import stacks  # noqa: F401, PLC0415  most calls have no limit; before the alarm, which is not to import it

        signals = threading.current_thread() is threading.main_thread()
        until = perf_counter() + limit.seconds
        watched = self.watched = Watched(limit, threading.get_ident(), until, until + (PATIENCE if signals else 0.0))
        timer = _Timer(self._ring, limit.seconds) if signals else None
        error: BaseException | None = None
        try:
            value = work()
        except BaseException as raised:
            if watched.stack is None:
                raise
            error = raised
        else:
            if watched.stack is None:
                return value
        finally:
            self.watched = self._task = None
            if timer is not None:
                timer.stop()
        self.raised = timed_out(limit, "was ended", watched.stack)
        raise self.raised from error

    def as_task(self, coroutine: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """The same coroutine; if it runs under a limit, what it waits for is cancelled when time is up."""
        return coroutine if self.watched is None and not self._below else self._known(coroutine)

    async def _known(self, coroutine: Coroutine[Any, Any, T]) -> T:
        import asyncio  # noqa: PLC0415  a coroutine is awaited

        mpitasks_calls = "task"  # noqa: F841  what follows is the user's code: see interrupts.MARK
        if self.watched is not None:
            self.watched.thread = threading.get_ident()
        self._task = asyncio.current_task()
        return await coroutine

    @contextmanager
    def on_top(self) -> Iterator[None]:
        """Within, other calls run on top of the one that runs, which waits for them: its time passes all the same."""
        watched, task, self._checked = self.watched, self._task, -inf
        counts = watched is not None and (not self._below or watched.until < self._below[-1].until)
        if watched is not None and counts:
            self._below.append(watched)
        self.watched = self._task = None
        try:
            yield
        finally:
            self.watched, self._task, self._checked = watched, task, perf_counter()
            if counts:
                self._below.pop()

    def check(self) -> None:
        """For our code in which a task waits, and which an alarm does not interrupt.

        Raises:
            TimeUp: The time of what runs here is up, or of what waits below it.
        """
        now = self._checked = perf_counter()
        watched = self._late_below(now) or self.watched
        if watched is not None and watched.thread == threading.get_ident() and now >= watched.until:
            if watched.stack is None:
                watched.stack = _stack_of(watched.thread)
            raise TimeUp

    def next_below(self) -> Watched | None:
        """The call that waits below whose time is up first; None: none has a limit."""
        return self._below[-1] if self._below else None

    def ended_for(self) -> Watched | None:
        """The call that waits below, for which what runs here was ended, or was to be; None: there is none."""
        return next((one for one in self._below if one.stack is not None), None)

    def overdue(self) -> Watched | None:
        """What has not ended although its time is up, and the alarm could not end it."""
        now = perf_counter()
        if self.is_elsewhere or now <= self._checked + PATIENCE:  # it is about to end by itself
            return None
        watched = [*self._below, *([] if self.watched is None else [self.watched])]
        return next((one for one in watched if now > one.due), None)

    def interrupt(self, end: Callable[[], object]) -> None:
        """Have this run in the midst of what can't be ended, if it is the main thread's, runs code of the user, and lets it.

        Args:
            end: What never returns.
        """
        watched, main = self.watched or next(iter(self._below), None), threading.main_thread().ident
        if watched is None or watched.thread != main or signal.getsignal(signal.SIGALRM) != self._ring:
            return
        self._end = end
        signal.pthread_kill(watched.thread, signal.SIGALRM)

    def _late_below(self, now: float) -> Watched | None:
        """The lowest call that waits and whose time is up: all that runs on top of it, runs for it."""
        if not self._below or now < self._below[-1].until:
            return None
        return next(one for one in self._below if now >= one.until)

    def _ring(self, _: int, frame: FrameType | None) -> None:
        """SIGALRM has come."""
        now = perf_counter()
        watched = self._late_below(now) or self.watched
        if self._below and (watched is None or now < watched.until):  # it came a little early: timers are put back by guess
            signal.setitimer(signal.ITIMER_REAL, SOON, AGAIN)
            return
        if watched is None or frame is None:  # a task has kept our handler, and put it back too late
            return
        whose = whose_code(frame)
        if whose in ("ours", "child"):
            signal.setitimer(signal.ITIMER_REAL, SOON, AGAIN)
            return
        if self._end is not None:
            self._end()
        if watched.stack is None:
            watched.stack = _stack_of(watched.thread)
        if whose == "task" or self._runs_here(watched):
            raise TimeUp
        self._cancel()

    def _runs_here(self, watched: Watched) -> bool:
        """Whether a task of the event loop runs in this thread now, and not the loop itself."""
        if self._task is None or watched.thread != threading.get_ident():
            return False
        import asyncio  # noqa: PLC0415  it is there, since a task of its is

        return asyncio.current_task(self._task.get_loop()) is not None

    def _cancel(self) -> None:
        """End what an event loop waits for. From outside, as far as the loop is concerned: it must wake up."""
        if self._task is not None and not self._task.done():
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)


def timed_out(limit: Limit, fate: str, stack: str) -> TaskTimeout:
    """What such a call fails with."""
    place = _innermost(stack)
    text = f"{limit.what} {fate} after timeout={limit.seconds:g} s{f', in {place}' if place else ''}"
    return TaskTimeout(text, limit.seconds, stack)


def ended_with_its_waiter(limit: Limit, stack: str) -> TaskTimeout:
    """The error of what ran for a call whose time was up."""
    return timed_out(limit, "was ended, and with it what ran for it,", stack)


def _innermost(stack: str) -> str:
    """The last line of a stack that says where."""
    places = [line.strip() for line in stack.splitlines() if line.startswith("  File ")]
    return places[-1].removeprefix("File ") if places else ""


def _stack_of(thread: int) -> str:
    from . import stacks  # noqa: PLC0415  `within` has imported it

    return stacks.of_thread(thread)


class _Timer:
    """The process's timer, until it is stopped; then there is what was there before."""

    def __init__(self, ring: Callable[[int, FrameType | None], None], seconds: float) -> None:
        self._ring = ring
        self._began = perf_counter()
        self._before = signal.signal(signal.SIGALRM, ring)
        left = signal.getitimer(signal.ITIMER_REAL)[0]
        if left and self._before == ring:  # of a call that waits below: its time may be up first
            seconds = min(seconds, left)
        self._left, self._interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)

    def stop(self) -> None:
        """No more alarms of ours."""
        if signal.getsignal(signal.SIGALRM) != self._ring:  # the task has put its own there, and the timer is its own too
            return
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        # None: a handler of C code, which Python can't put back.
        signal.signal(signal.SIGALRM, signal.SIG_DFL if self._before is None else self._before)
        if self._left:
            left = self._left - (perf_counter() - self._began)
            signal.setitimer(signal.ITIMER_REAL, max(left, 1e-6), self._interval)
