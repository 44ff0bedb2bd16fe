"""What each slave does and holds, and which slaves are idle."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator
from itertools import islice
from math import inf

from ..ids import CallId, Rank
from .backlog import Queue
from .calls import ENDED, Call, Provided
from .nesting import Waits


class Slave:
    """One slave: its window and the resources it holds."""

    __slots__ = (
        "alone",
        "asked_back",
        "before",
        "came_from",
        "deep",
        "first",
        "holds",
        "most_submitted",
        "occupies",
        "progress_at",
        "queue",
        "rank",
        "resource",
        "stuck",
        "submitted",
        "taking",
        "took_up_at",
        "waits",
        "window",
    )

    def __init__(self, rank: Rank) -> None:
        self.rank = rank
        self.window: dict[CallId, Call] = {}
        """Calls sent and not yet answered: all of one task and one resource."""
        self.queue: Queue | None = None
        """Whose calls are in the window; None: the slave is idle."""
        self.stuck: dict[CallId, None] = {}
        """The calls that it is still in, though they were given up; it has its place in the queue's limit by them."""
        self.came_from: Queue | None = None
        """Whose calls it ran last."""
        self.resource: Hashable = None
        """What the calls in the window need."""
        self.holds: dict[Hashable, None] = {}
        """Resources it will keep when its window has ended, the longest unused first."""
        self.occupies: dict[Provided, None] = {}
        """Resources with `max_holders` that it holds, or is about to, until it says that it has released them."""
        self.before: tuple[dict[Hashable, None], dict[Provided, None]] | None = None
        """What it held and occupied before it was sent its window; None once it is known to have begun that."""
        self.taking = False
        """It has taken up the resource of its window, and given no outcome since."""
        self.took_up_at = -inf
        """When it last took up a resource that it did not hold."""
        self.first: tuple[Queue, Hashable, float] | None = None
        """The plain id taken up last, in whose call, and its seconds; None once a later one of the same was compared."""
        self.deep: dict[Rank, Slave] = {}
        """Where it stands while calls wait behind another in its window."""
        self.progress_at = 0.0
        """When it last took calls or gave an outcome."""
        self.alone = False
        """Its window is what was sent to it when it had nothing: one call, or many as one."""
        self.asked_back = False
        """It was asked to give back what it has not begun, and has not answered."""
        self.waits: Waits | None = None
        """Calls of it that wait for others, and what goes with them; None while there are none."""
        self.submitted: list[Call] = []
        """Calls that its calls have submitted; some may have ended."""
        self.most_submitted = 64

    def calls(self) -> list[Call]:
        """All calls that it has, those that wait too."""
        if self.waits is None:
            return list(self.window.values())
        return [*self.waits.calls(), *self.window.values(), *self.waits.astray.values()]

    @property
    def load(self) -> int:
        """How many calls are in its window, where some of these stand for many."""
        return sum(call.items for call in self.window.values())

    def window_without(self, gone: Call, instead: Call | None) -> None:
        """A call has left its window; another one is at its place."""
        calls = [instead if call is gone else call for call in self.window.values()]
        self.window.clear()
        self.window.update({call.id: call for call in calls if call is not None})

    @property
    def bottom(self) -> Call | None:
        """The call on top of which all others run that it has; None: none waits there."""
        return next(iter(self.waits.calls()), None) if self.waits is not None else None

    @property
    def is_in_a_call(self) -> bool:
        """Whether it runs a call, or has one that waits."""
        return self.queue is not None or (self.waits is not None and bool(self.waits.frames))

    def was_sent(self, call_id: CallId) -> Call:
        """The call of that number that it has and has not begun."""
        if call_id in self.window or self.waits is None:
            return self.window[call_id]
        return self.waits.astray[call_id]

    def were_sent(self, call_ids: Iterable[CallId]) -> dict[CallId, Call]:
        """The calls of these numbers, but for those that were given up.

        Raises:
            KeyError: It has no such call.
        """
        return {call_id: self.was_sent(call_id) for call_id in call_ids if call_id not in self.stuck}

    def forget(self, call_id: CallId) -> None:
        """It does not have that call any more."""
        if self.window.pop(call_id, None) is None and self.waits is not None:
            del self.waits.astray[call_id]

    def settle_waits(self) -> None:
        """Where nothing waits any more, it is as every other."""
        if self.waits is not None and not self.waits.frames and not self.waits.astray:
            self.waits = None

    def submits(self, call: Call) -> None:
        """A call of it submits another."""
        self.submitted.append(call)
        if len(self.submitted) > self.most_submitted:
            self.unended()

    def unended(self) -> list[Call]:
        """The calls that its calls have submitted, and that have not ended."""
        self.submitted = [call for call in self.submitted if call.state != ENDED]
        self.most_submitted = max(64, 2 * len(self.submitted))  # by doubling, so that each is looked at twice at most
        return self.submitted

    def is_above(self, queue: Queue) -> bool:
        """Whether a call of that queue waits on it: whatever it runs on top, it runs that too."""
        return self.waits is not None and queue in self.waits.levels

    def keeps_shut(self, what: object) -> bool:
        """Whether it runs calls of that queue, or holds that resource."""
        return self.queue is what or (isinstance(what, Queue) and self.is_above(what)) or what in self.occupies


class IdleSlaves:
    """The idle slaves, the one that ended last on top: it still polls fast."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._spare: dict[Rank, Slave] = {}
        """Idle slaves that can take a resource without dropping one."""
        self._holding: dict[Rank, Slave] = {}
        """Idle slaves that hold all they can."""
        self._holders: dict[Hashable, dict[Rank, Slave]] = {}
        self.count = 0
        """How many there are: an attribute, since each decision asks several times."""

    def add(self, slave: Slave) -> None:
        """This slave has ended its last call."""
        self.count += 1
        (self._holding if len(slave.holds) >= self._keep else self._spare)[slave.rank] = slave
        for resource in slave.holds:
            self._holders.setdefault(resource, {})[slave.rank] = slave

    def remove(self, slave: Slave) -> None:
        """This slave is given calls, or is gone."""
        self.count -= 1
        if self._spare.pop(slave.rank, None) is None:
            self._holding.pop(slave.rank, None)
        for resource in slave.holds:
            holders = self._holders.get(resource)
            if holders is not None:
                holders.pop(slave.rank, None)
                if not holders:
                    del self._holders[resource]

    def holder(self, resource: Hashable) -> Slave | None:
        """The idle slave that holds this resource and ended last."""
        holders = self._holders.get(resource)
        return next(reversed(holders.values())) if holders else None

    def holders(self, resource: Hashable) -> list[Slave]:
        """The idle slaves that hold this resource."""
        return list(self._holders.get(resource, {}).values())

    def gained(self, slave: Slave, resource: Hashable) -> None:
        """A slave, perhaps an idle one, holds this too; it stays where it stands."""
        if slave.rank in self._spare or slave.rank in self._holding:
            self._holders.setdefault(resource, {})[slave.rank] = slave

    def dropped(self, slave: Slave, resource: Hashable) -> None:
        """A slave, perhaps an idle one, holds this no longer."""
        holders = self._holders.get(resource)
        if holders is not None and holders.pop(slave.rank, None) is not None and not holders:
            del self._holders[resource]

    def last(self) -> Slave:
        """The slave that ended last."""
        return next(reversed((self._spare or self._holding).values()))

    def pick(self, *wanted: Collection[Hashable]) -> Slave:
        """A slave for a call that nobody holds the resource of: better one that holds nothing `wanted`."""
        last = self.last()
        if not last.holds or not any(wanted):
            return last
        # Eight looks, so that a decision stays O(1) when all slaves hold what is wanted.
        for slave in islice(self._from_last(), 8):
            if not any(resource in some for resource in slave.holds for some in wanted):
                return slave
        return last

    def _from_last(self) -> Iterator[Slave]:
        yield from reversed(self._spare.values())
        yield from reversed(self._holding.values())
