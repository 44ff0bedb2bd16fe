"""A call as the master knows it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, cast

from ..backports import override
from ..core.calls import Call
from ..futures import Future
from ..ids import CallId
from ..plans import Plan
from ..transport import wire
from .messages import Target

if TYPE_CHECKING:
    from ..journal.identity import Attempt, Known


class Rare:
    """What few calls have besides; all others share one that says so."""

    __slots__ = (
        "crashes",
        "failed",
        "is_early",
        "is_unwanted",
        "known",
        "places",
        "setup",
        "submitted_by",
        "values",
    )

    def __init__(self) -> None:
        self.setup: int | None = None
        self.places: dict[Future[Any], list[int]] | None = None
        """Where the values of futures go, among the arguments."""
        self.values: Sequence[wire.Payload | None] = ()
        self.failed = 0
        """How often it has failed."""
        self.is_early = False
        """Whether it knows that it should stop: what it returns may be half of it."""
        self.is_unwanted = False
        """Whether it was cancelled, too late: it is told to stop, and does not run again if it fails."""
        self.crashes: tuple[str, ...] = ()
        """Where and how its process ended, each time that it did."""
        self.known: Known | None = None
        """What tells it from others, where its outcome is kept."""
        self.submitted_by: Attempt | None = None
        """None: by main, or its outcome is not kept."""


PLAINLY = Rare()
"""Of the calls that have nothing of it, which are nearly all: a million of them wait, and nobody but its future has to know how
one of them ended. Never written to."""


class FarmCall(Call):
    """A call, with what the scheduler does not know of it."""

    __slots__ = ("future", "payload", "plan", "rare", "target")

    def __init__(self, call_id: CallId, plan: Plan, resource: Hashable, payload: wire.Payload, future: Future[Any]) -> None:
        size = wire.SMALL if len(payload) == 1 and type(payload) is tuple else wire.size_of(payload)
        # What has a limit goes alone: nothing may wait behind a call that perhaps never ends.
        chunk = plan.chunk if plan.timeout is None else 1
        Call.__init__(self, call_id, plan.queue, plan.priority, resource, chunk, size, plan.cost)  # `super` takes 60 ns more
        self.future = future
        self.plan = plan
        self.payload = payload
        """The arguments."""
        self.target: Target = plan.name
        self.rare = PLAINLY

    def own(self) -> Rare:
        """What this call has besides, to be written to."""
        if self.rare is PLAINLY:
            self.rare = Rare()
        return self.rare

    @override
    def needs(self) -> list[Call]:
        futures = (*(self.rare.places or ()), *self.plan.after)
        return [future._call for future in futures if future._call is not None and not future.done()]


def ours(call: Call) -> FarmCall:
    """A call that the scheduler gives back: the master submits no other."""
    return cast("FarmCall", call)
