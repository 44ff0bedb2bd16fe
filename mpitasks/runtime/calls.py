"""A call as the master knows it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, cast

from typing_extensions import override

from ..core.calls import Call
from ..futures import Future
from ..ids import CallId
from ..journal.identity import Attempt, Known
from ..options import Plan
from ..transport import wire
from .messages import Target


class FarmCall(Call):
    """A call, with what the scheduler does not know of it."""

    __slots__ = (
        "crashes",
        "failed",
        "future",
        "is_early",
        "is_unwanted",
        "known",
        "payload",
        "places",
        "plan",
        "setup",
        "submitted_by",
        "target",
        "values",
    )

    def __init__(self, call_id: CallId, plan: Plan, resource: Hashable, payload: wire.Payload, future: Future[Any]) -> None:
        size = len(payload) if isinstance(payload, bytes) else wire.size_of(payload)
        # What has a limit goes alone: nothing may wait behind a call that perhaps never ends.
        chunk = plan.chunk if plan.timeout is None else 1
        super().__init__(call_id, plan.queue, plan.priority, resource, chunk, size, plan.cost)
        self.future = future
        self.plan = plan
        self.payload = payload
        """The arguments."""
        self.target: Target = plan.name
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

    @override
    def needs(self) -> list[Call]:
        futures = (*(self.places or ()), *self.plan.after)
        return [future._call for future in futures if future._call is not None and not future.done()]


def ours(call: Call) -> FarmCall:
    """A call that the scheduler gives back: the master submits no other."""
    return cast("FarmCall", call)
