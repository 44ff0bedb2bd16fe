"""The running farm, as tasks and futures see it.

A session binds the farm that it starts; tasks and futures find it here, and so know nothing of sessions, MPI or threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .context import context_here, current, inside_a_call
from .errors import NotRunning

if TYPE_CHECKING:
    from .futures import Future
    from .many import Batch
    from .observe.counts import Statistics
    from .plans import Plan
    from .transport.wire import Payload, Reference


class Farm(Protocol):
    """What runs calls."""

    slaves: int
    """How many ranks run calls."""

    def submit(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], resource: Hashable) -> Future[Any]:
        """Take a call. Pickles the arguments before it returns."""

    def takes_many(self, plan: Plan) -> bool:
        """Whether many calls of that plan may be taken at once."""

    def submit_many(self, plan: Plan, items: Sequence[Any], *, tuples: bool) -> Batch | None:
        """Take the first of these at once, as many as can go together; None: they can't be taken but one by one."""

    def withdraw(self, future: Future[Any]) -> bool:
        """Cancel a call; False if it is too late, and then tell the call to stop."""

    def fail(self, future: Future[Any], error: BaseException) -> None:
        """End a call with this error, if it has not been sent yet."""

    def wait(self, done: Callable[[], bool], watch: Callable[[], threading.Event], timeout: float | None) -> bool:
        """Wait in the caller's thread, running the farm meanwhile; False if the time ran out."""

    def keep(self, payload: Payload) -> Reference:
        """Keep an encoded value, for slaves that need it, while anybody has the reference."""

    def statistics(self) -> Statistics:
        """What was done so far, and why."""

    def pump(self) -> None:
        """Let a running asyncio loop of this thread run the farm while it waits."""


_bound: list[Farm] = []
_last: list[Callable[[], Statistics]] = []
"""Of the run that ended last."""


def bind(farm: Farm) -> None:
    """This farm is running from now on."""
    _bound.append(farm)


def unbind() -> None:
    """No farm is running from now on."""
    _bound.clear()


def remember(last: Callable[[], Statistics]) -> None:
    """This gives what the farm did that ends now."""
    _last[:] = [last]


def statistics() -> Statistics:
    """What each queue, slave and resource did since the run began, and why; after the run, of all of it.

    Raises:
        NotRunning: Nothing has run in this process.
    """
    if not _bound and not _last:
        msg = "statistics() was called before mpitasks.run(): there is nothing to tell; call it in main, or after the run"
        raise NotRunning(msg)
    return _bound[0].statistics() if _bound else _last[0]()


def is_running() -> bool:
    """Whether a farm is running in this process."""
    return bool(_bound)


def is_late() -> bool:
    """Whether what is made now is on this rank alone: the farm runs already, and the other ranks are past this line."""
    return is_running() or inside_a_call()


def running(name: str, what: str) -> Farm:
    """The running farm; inside a call, what runs the calls that this one submits.

    Args:
        name: Of what the user called, for the error: "simulate".
        what: How the user called it: "delay()".

    Raises:
        NotRunning: There is none, or this is the inside of a call that can submit none.
    """
    if context_here() is not None:
        give = current()._farm
        if give is None:
            msg = (
                f"{name}.{what} was called where calls can't submit calls: in an isolated call, or in a provider; "
                f"return what it needs, and submit that in main() or in a call that is not isolated"
            )
            raise NotRunning(msg)
        return give()
    try:
        return _bound[0]
    except IndexError:
        msg = f"{name}.{what} was called outside mpitasks.run(): move it into main(), and start that with mpitasks.run(main)"
        raise NotRunning(msg) from None
