"""What has been decided, and why, in counts and words."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Hashable
from typing import NamedTuple

from ..ids import CallId, Rank
from .calls import PLAIN

PLAIN_CALL = "plain"
STICKY = "sticky"
NEW = "new"
DUPLICATED = "duplicated"
OVERDUE = "overdue"
OWED = "owed"
NESTED = "nested"

REASONS = {
    PLAIN_CALL: "needs no resource",
    STICKY: "the slave holds the resource",
    NEW: "nobody held the resource",
    DUPLICATED: "others hold the resource, but acquiring it once more ends its calls sooner",
    OVERDUE: "others hold the resource, but the call has waited long enough",
    OWED: "all slaves that may hold the resource hold it, so they run nothing else",
    NESTED: "the slave waits in a call from which they descend",
}
"""Why a window went where it went."""

LATEST = 256
MOST_RESOURCES = 10_000


class Decision(NamedTuple):
    """One window, and why it went to that slave."""

    time: float
    """Seconds on the clock of the scheduler."""
    rank: Rank
    queue: str
    resource: Hashable
    """What the calls need; `PLAIN` for nothing."""
    first: CallId
    calls: int
    reason: str
    """One of `REASONS`."""
    lent_from: str
    """The queue whose calls the slave ran before, if it was another."""


class OfQueue:
    """What a queue did."""

    __slots__ = ("calls", "ended", "failed", "lent_from", "retried", "seconds", "windows")

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        """Calls sent, by reason."""
        self.windows = self.ended = self.failed = self.retried = 0
        self.seconds = 0.0
        """Slave seconds in its calls."""
        self.lent_from: Counter[str] = Counter()
        """Slaves that came from another queue, by that queue."""


class OfSlave:
    """What a slave did."""

    __slots__ = ("acquiring", "acquisitions", "calls", "moves", "seconds")

    def __init__(self) -> None:
        self.calls = 0
        self.seconds = 0.0
        """In calls."""
        self.acquisitions = 0
        self.acquiring = 0.0
        """Seconds in providers."""
        self.moves = 0
        """How often it came from one queue to another."""


class OfResource:
    """What became of a resource."""

    __slots__ = ("acquiring", "acquisitions", "calls")

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        """Calls sent, by reason."""
        self.acquisitions = 0
        """By providers; of a plain id, how often a slave took it up."""
        self.acquiring = 0.0
        """Seconds in providers."""


class Tally:
    """Everything that was counted."""

    def __init__(self) -> None:
        self.queues: dict[str, OfQueue] = {}
        self.slaves: dict[Rank, OfSlave] = {}
        self.resources: OrderedDict[Hashable, OfResource] = OrderedDict()
        """Those used last: a sweep over a million files must not fill the memory."""
        self.latest: deque[Decision] = deque(maxlen=LATEST)

    def resource(self, resource: Hashable) -> OfResource:
        """The counts of that resource, made if there are none."""
        found = self.resources.get(resource)
        if found is None:
            found = self.resources[resource] = OfResource()
            if len(self.resources) > MOST_RESOURCES:
                self.resources.popitem(last=False)
        else:
            self.resources.move_to_end(resource)
        return found

    def ended(self, name: str, rank: Rank, ended: int, begun: int, seconds: float) -> None:
        """A slave gave so many outcomes of a queue; of those that it had begun, it spent so long in calls."""
        queue, slave = self.queues[name], self.slaves[rank]
        queue.ended += ended
        queue.seconds += seconds
        slave.calls += begun
        slave.seconds += seconds

    def decided(self, decision: Decision) -> None:
        """A window leaves."""
        _, rank, name, resource, _, calls, reason, lent_from = decision
        queue = self.queues[name]
        queue.calls[reason] += calls
        queue.windows += 1
        if lent_from:
            queue.lent_from[lent_from] += 1
            self.slaves[rank].moves += 1
        if resource is not PLAIN:
            self.resource(resource).calls[reason] += calls
        self.latest.append(decision)
