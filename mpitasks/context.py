"""What a running call may know of itself."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from .errors import NotRunning
from .ids import MASTER, CallId, Rank
from .retries import RetryAsked
from .seconds import is_seconds

if TYPE_CHECKING:
    from .farm import Farm

_NO_CALL = CallId(0)


class Known(Protocol):
    """Values that have come to this process once, by number."""

    def value(self, number: int) -> Any:  # noqa: ANN401  whatever was broadcast
        """The value; the same object each time."""

    def is_large(self, number: int) -> bool:
        """Whether a call that is given it had better hand on its number in its place."""

    def content(self, number: int, identify: Callable[[Any], bytes]) -> bytes:
        """What `identify` makes of the value, asked once."""


def _never(_: CallId) -> bool:
    return False


class Parent:
    """An attempt of a call that has submitted others."""

    returned = False
    """Whether it has, in time: else its failure is told, in place of those of its calls for which it could not ask."""


class Context:
    """The call that is running: what `current()` gives, and the first argument of a task with `bind=True`."""

    __slots__ = (
        *("_as_parent", "_call", "_counts", "_farm", "_given", "_known", "_resources", "_stopping"),
        *("attempt", "rank", "task_name"),
    )

    def __init__(  # noqa: PLR0913, PLR0917  one for each call, where keywords cost
        self,
        task_name: str,
        rank: Rank = MASTER,
        attempt: int = 1,
        stopping: Callable[[CallId], bool] = _never,
        call: CallId = _NO_CALL,
        farm: Callable[[], Farm] | None = None,
        known: Known | None = None,
    ) -> None:
        self.task_name = task_name
        """Name of the task."""
        self.rank: int = rank
        """Rank of the slave that runs the call; 0 for a plain call on the master."""
        self.attempt = attempt
        """1 for the first time the call runs."""
        self._stopping = stopping
        self._call = call
        self._farm = farm
        """Gives what runs the calls that this one submits; None: it can submit none."""
        self._known = known
        """The values here that references stand for."""
        self._given: dict[int, tuple[int, Any]] | None = None
        """Those of them that the call was given, and their numbers, by `id`."""
        self._counts: dict[bytes, int] | None = None
        """How many calls it has submitted of each that are equal, where they are told from each other."""
        self._as_parent: Parent | None = None
        """What the calls know of it that it has submitted; None: there are none."""
        self._resources: dict[str, Any] = {}
        """What the providers yielded that this call needs, by name."""

    def should_stop(self) -> bool:
        """Whether the call's result is no longer wanted: it was cancelled, or the run is being interrupted.

        Ask it in long loops, and return early when it says so. What the call returns after that is not kept in a journal.
        """
        return self._stopping(self._call)

    def retry(self, delay: float | None = None) -> NoReturn:
        """End the call here, and have it run again, if the task's `retries` are not used up; else it fails.

        It fails with the exception that is being handled where this was called, if one is.

        Args:
            delay: Seconds to wait before; by default as the task's `backoff` says.

        Raises:
            RetryAsked: Else always. No `Exception`, so that what catches all exceptions lets it through.
            ValueError: The delay is no pause.
        """
        if delay is not None and not is_seconds(delay):
            msg = f"retry(delay={delay!r}) must be seconds, from 0 to 1e9: the pause before the next run"
            raise ValueError(msg)
        raise RetryAsked(None if delay is None else float(delay))

    def __repr__(self) -> str:
        return f"<Context of {self.task_name!r}, attempt {self.attempt}, on rank {self.rank}>"


class LateContext:
    """Stands for the context of a call, which is made when somebody asks for it."""

    def __init__(self, make: Callable[[], Context]) -> None:
        self.make = make


_current: ContextVar[Context | LateContext | None] = ContextVar("mpitasks_current", default=None)


def current() -> Context:
    """The context of the call that runs here.

    Raises:
        NotRunning: No call runs here: this is main, or a thread that the task started.
    """
    context = _current.get()
    if context is None:
        msg = "current() was called where no call runs: use it inside a task, in the thread that runs the task"
        raise NotRunning(msg)
    if isinstance(context, LateContext):
        context = context.make()
        _current.set(context)  # a thread or callback may take it along, and ask when another call runs
    return context


def inside_a_call() -> bool:
    """Whether a call runs here."""
    return _current.get() is not None


def here(task_name: str) -> Context:
    """The context of a plain call of a bound task: inside a call, what that call knows; else that of the master."""
    if not inside_a_call():
        return Context(task_name)
    outer = current()
    return Context(task_name, Rank(outer.rank), outer.attempt, outer._stopping, outer._call, outer._farm, outer._known)


# Not functions of ours: three calls less for each call.
context_here: Callable[[], Context | LateContext | None] = _current.get
"""What `current` would give, or make it of; None: no call runs here."""
enter: Callable[[Context | LateContext], Token[Context | LateContext | None]] = _current.set
"""From now on, `current()` gives this context here. Give what this returns to `leave`."""
leave: Callable[[Token[Context | LateContext | None]], None] = _current.reset
"""The call has ended."""


def late(fn: Callable[..., Any], *, bind: bool) -> Callable[..., Any]:
    """What a slave calls for a task that it does not know by its name."""
    return partial(_with_context, fn) if bind else fn


def _with_context(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  whatever fn returns
    mpitasks_calls = "caller"  # noqa: F841  what follows is the user's code: see interrupts.MARK
    return fn(current(), *args, **kwargs)
