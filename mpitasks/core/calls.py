"""One submitted call, as the scheduler sees it."""

from __future__ import annotations

from collections.abc import Hashable
from enum import IntEnum
from typing import Final

from ..ids import CallId


class _Plain:
    """The resource of a call that needs none; a type of its own, so that None stays a value."""

    def __repr__(self) -> str:
        return "PLAIN"


PLAIN: Final[Hashable] = _Plain()


class State(IntEnum):
    """Where a call is.

    ::

        BLOCKED ──► WAITING ──► SENT ──► ENDED
           │           │  ▲──────┘ given back, or the slave was lost
           └───────────┴──────────────► ENDED   cancelled, or a dependency failed
    """

    BLOCKED = 0
    WAITING = 1
    SENT = 2
    ENDED = 3


# Plain ints in the hot path: an IntEnum comparison costs five times an int's.
BLOCKED, WAITING, SENT, ENDED = (int(state) for state in State)


class Call:
    """A call and its place in the scheduler. Who submits calls may add to it in a subclass."""

    __slots__ = (
        "attempt",
        "blockers",
        "chunk",
        "dependents",
        "id",
        "priority",
        "queue",
        "resource",
        "size",
        "state",
    )

    def __init__(  # noqa: PLR0913, PLR0917  one flat record on the hot path, where keywords cost a tenth of the call
        self,
        id: CallId,  # noqa: A002  the field's own name
        queue: str,
        priority: int = 0,
        resource: Hashable = PLAIN,
        chunk: int = 0,
        size: int = 0,
    ) -> None:
        self.id = id
        """Grows with every call, so it is the call's age too."""
        self.queue = queue
        self.priority = priority
        """Higher goes first, across all queues."""
        self.resource = resource
        self.chunk = chunk
        """Calls that travel together, as the user wished; 0: as the scheduler sees fit."""
        self.size = size
        """Bytes of its arguments that travel."""
        self.state: int = BLOCKED
        self.attempt = 0
        """How often it was sent."""
        self.blockers = 0
        """Dependencies that have not ended."""
        self.dependents: list[Call] | None = None
        """Calls that wait for this one; no list until there is one: a list costs 56 bytes a call."""

    def __repr__(self) -> str:
        return f"<Call {self.id} of {self.queue}, {State(self.state).name.lower()}>"
