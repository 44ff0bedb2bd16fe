"""Which slaves hold what, and which calls wait for that.

::

    calls in backlogs ──wanted, needed──► resource ◄──holds, occupies── slaves
                                             │
          taken up, dropped, released ───────┴──► backlogs are offered anew; alarms end waits for holders
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from heapq import heapify, heappop, heappush

from ..ids import CallId, Rank
from .backlog import Backlog, Level, Queue
from .board import Board
from .calls import PLAIN, Provided, chain_of, surplus
from .slaves import Slave


class Holding:
    """Holders of resources, and who waits for them."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._idle = board.idle
        self._prices = board.prices
        self._slaves = board.slaves
        self._rules = board.rules
        self._ranking = board.ranking
        self._tally = board.tally
        self._nesting = board.nesting
        self.holders: dict[Hashable, dict[Rank, Slave]] = {}
        self.wanted: dict[Hashable, dict[Backlog, None]] = {}
        """Where calls wait for this resource."""
        self.needed: dict[Hashable, dict[tuple[Level, Provided | None], int]] = {}
        """Where calls wait for others that need this one: in how many backlogs, by level and gate."""
        self.occupied: dict[Provided, dict[Rank, Slave]] = {}
        """Slaves that hold a resource with `max_holders`, or are about to, until they say that it is released."""
        self.owed: dict[Hashable, None] = {}
        """Resources to look at, since all their permitted holders may hold them and one of those is idle."""
        self.alarms: list[tuple[float, CallId, Backlog]] = []
        """When to look whether a call has waited too long for a holder."""
        self._most_alarms = 64
        self.untimed: list[Backlog] = []
        """Backlogs whose oldest call is new since the last decision: not every event is told the time."""

    def is_loose(self, backlog: Backlog) -> bool:
        """Any slave that its gate lets through may take its next call: nobody holds its resource, or it waited long enough."""
        resource = backlog.resource
        return (resource not in self.holders or backlog.overdue or backlog.extra > 0) and not self.is_exhausted(resource)

    def is_held(self, backlog: Backlog) -> bool:
        """An idle slave holds the resource of this backlog."""
        return self._idle.holder(backlog.resource) is not None

    def is_open(self, gate: Provided) -> bool:
        """Any slave may hold all of this."""
        return not any(map(self.is_exhausted, chain_of(gate)))

    def is_kept(self, gate: Provided) -> bool:
        """An idle slave may hold all of this, but not any."""
        return self._keeper(gate) is not None

    def _keeper(self, gate: Provided) -> Slave | None:
        """The idle slave that holds what of this nobody further may hold."""
        exhausted = [one for one in chain_of(gate) if self.is_exhausted(one)]
        return self._idle.holder(exhausted[-1]) if exhausted else None

    def ready(self, backlog: Backlog) -> Slave | None:
        """The idle slave for the next call of this backlog, by what it holds, where others may not run it."""
        slave = self._idle.holder(backlog.resource)
        return self._keeper(backlog.gate) if slave is None and backlog.gate is not None else slave

    def is_exhausted(self, resource: Hashable) -> bool:
        """As many slaves as may hold this resource do."""
        if not isinstance(resource, Provided) or resource.kind.max_holders is None:
            return False
        return len(self.occupied.get(resource, ())) >= resource.kind.max_holders

    def price(self, queue: Queue, resource: Hashable) -> float | None:
        """Seconds to acquire this, and what it needs; None while it is unknown."""
        price = self._prices.of(queue.name, resource)
        if price is None or not isinstance(resource, Provided) or resource.inner is None:
            return price
        return price + (self.price(queue, resource.inner) or 0.0)

    def room(self, resource: Hashable) -> int:
        """How many slaves more may hold this."""
        room = len(self._slaves)
        for one in chain_of(resource):
            if isinstance(one, Provided) and one.kind.max_holders is not None:
                room = min(room, one.kind.max_holders - len(self.occupied.get(one, ())))
        return room

    def patience(self, backlog: Backlog) -> float:
        """Seconds that a call waits for a holder: longer where another acquisition takes longer."""
        price = self.price(backlog.level.queue, backlog.resource)
        return self._rules.patience if price is None else max(self._rules.patience, price)

    def waiting_for(self, resource: Hashable, queue: Queue) -> list[Level]:
        """The levels with calls that need this, and that a slave could run which leaves this queue."""
        levels = [backlog.level for backlog in self.wanted.get(resource, ())]
        levels += [level for level, gate in self.needed.get(resource, ()) if gate is not None]
        return [level for level in levels if level.queue is queue or not level.queue.is_full]

    def offer_head(self, backlog: Backlog) -> None:
        """Whoever may run the next call of this backlog gets to know of it."""
        if backlog not in self.wanted.get(backlog.resource, ()):
            self._is_wanted_now(backlog)
        if self.is_loose(backlog):
            self.loosen(backlog)
        if self.is_held(backlog):
            self._offer_sticky(backlog)
        for resource in chain_of(backlog.resource):
            if self.is_exhausted(resource):
                self.owed[resource] = None

    def loosen(self, backlog: Backlog) -> None:
        """Any slave that the gate of this backlog lets through may take its next call."""
        backlog.level.offer_fresh(backlog)
        self._ranking.improved(backlog.level.queue, backlog.level.priority)
        for resource in chain_of(backlog.gate) if backlog.gate is not None else ():
            if self.is_exhausted(resource):
                self.owed[resource] = None

    def _is_wanted_now(self, backlog: Backlog) -> None:
        """The first call waits in this backlog."""
        self.wanted.setdefault(backlog.resource, {})[backlog] = None
        place = backlog.level, backlog.gate
        for resource in self.inner(backlog.resource):
            needed = self.needed.setdefault(resource, {})
            needed[place] = needed.get(place, 0) + 1

    def unwanted(self, backlog: Backlog) -> None:
        """The last call has left this backlog."""
        wanted = self.wanted[backlog.resource]
        del wanted[backlog]
        if not wanted:
            del self.wanted[backlog.resource]
        place = backlog.level, backlog.gate
        for resource in self.inner(backlog.resource):
            needed = self.needed[resource]
            needed[place] -= 1
            if needed[place]:
                continue
            del needed[place]
            if backlog.gate is not None and resource == backlog.gate:
                backlog.level.forget_gate(backlog.gate)
            if not needed:
                del self.needed[resource]

    @staticmethod
    def inner(resource: Hashable) -> Iterable[Hashable]:
        """What this resource needs."""
        return chain_of(resource.inner) if isinstance(resource, Provided) and resource.inner is not None else ()

    def start_waits(self) -> None:
        """Whose oldest call is new, and still waits for a holder, waits for `patience` from now."""
        for backlog in self.untimed:
            if backlog.count and backlog.resource is not PLAIN and not self.is_loose(backlog):
                self._set_alarm(backlog)
        self.untimed.clear()

    def _set_alarm(self, backlog: Backlog) -> None:
        """Look again at this backlog when its oldest call has waited long enough. One alarm a backlog."""
        head = backlog.head()
        if head is not None and not backlog.alarm:
            backlog.alarm = True
            heappush(self.alarms, (backlog.since + self.patience(backlog), head.id, backlog))
            if len(self.alarms) > self._most_alarms:
                self._sweep_alarms()

    def _sweep_alarms(self) -> None:
        """Drop the alarms of forgotten backlogs, which would keep them in memory until they ring."""
        self.alarms = [alarm for alarm in self.alarms if alarm[2].count]
        heapify(self.alarms)
        # By doubling, so that each alarm is swept over twice at most.
        self._most_alarms = max(64, 2 * len(self.alarms))

    def ring(self) -> None:
        """Free the calls that have waited long enough for a holder."""
        while self.alarms and self.alarms[0][0] <= self._board.now:
            backlog = heappop(self.alarms)[2]
            backlog.alarm = False
            if not backlog.count or self.is_loose(backlog):
                continue
            if backlog.since + self.patience(backlog) <= self._board.now:  # rounded as the alarm was, or it would ring for ever
                backlog.overdue = True
                self.loosen(backlog)
            else:
                self._set_alarm(backlog)

    def offer_held(self, slave: Slave) -> None:
        """What waited for an idle slave may go there."""
        for resource in slave.holds:
            for backlog in self.wanted.get(resource, ()):
                self._offer_sticky(backlog)
            self._gate_moved(resource)
            if self.is_exhausted(resource):
                self.owed[resource] = None

    def take_up(self, slave: Slave, resource: Hashable) -> None:
        """A slave will hold this, and what it needs; and drops what was unused for longest where that is too much."""
        slave.before = dict(slave.holds), dict(slave.occupies)
        slave.taking = resource not in slave.holds
        if len(slave.holds) == 1 and not slave.taking and getattr(resource, "inner", None) is None:
            return  # it is all there is
        if slave.taking:
            slave.took_up_at = self._board.now
        if slave.taking and not isinstance(resource, Provided):
            self._tally.resource(resource).acquisitions += 1
        for one in chain_of(resource):
            if one in slave.holds:
                del slave.holds[one]
                slave.holds[one] = None
            else:
                self._hold(slave, one)
            self._occupy(slave, one)
        for one in self._surplus(slave, slave.holds):
            self.drop(slave, one)

    def _surplus(self, slave: Slave, held: Iterable[Hashable]) -> list[Hashable]:
        """What a slave drops of what it would hold: never what a call uses that waits there."""
        gone = surplus(held, self._rules.keep)
        return gone if slave.waits is None else [one for one in gone if one not in slave.waits.pinned]

    def undo(self, slave: Slave, before: tuple[dict[Hashable, None], dict[Provided, None]]) -> None:
        """A slave gave back all of its window, of which it began nothing: it holds what it held before."""
        slave.before = None
        if slave.taking and not isinstance(slave.resource, Provided):
            self._tally.resource(slave.resource).acquisitions -= 1
        self._holds_now(slave, before[0])
        self._occupies_now(slave, before[1])

    def _hold(self, slave: Slave, resource: Hashable) -> None:
        """A slave is among the holders of a resource, the one that used it last."""
        holders = self.holders.setdefault(resource, {})
        slave.holds[resource] = None
        holders[slave.rank] = slave
        self._idle.gained(slave, resource)
        if len(holders) == 1:  # until now any slave could take the calls that need it; now they wait for this one
            for backlog in self.wanted.get(resource, ()):
                if backlog.since + self.patience(backlog) > self._board.now:
                    self._set_alarm(backlog)
                elif not backlog.overdue:  # it has waited long enough before: not to be found out with the next decision
                    backlog.overdue = True
                    self.loosen(backlog)

    def drop(self, slave: Slave, resource: Hashable) -> None:
        """A slave holds that resource no longer; if it was the last, any slave may take its calls."""
        del slave.holds[resource]
        self._idle.dropped(slave, resource)
        holders = self.holders[resource]
        del holders[slave.rank]
        if not holders:
            del self.holders[resource]
            self._offer(resource)

    def _occupy(self, slave: Slave, resource: Hashable) -> None:
        """A slave holds a resource, or will, until it says that it is released."""
        if isinstance(resource, Provided) and resource.kind.max_holders is not None and resource not in slave.occupies:
            slave.occupies[resource] = None
            self.occupied.setdefault(resource, {})[slave.rank] = slave
            if self.is_exhausted(resource):  # what any slave could run is now for its holders, of which some may be idle
                self.owed[resource] = None

    def vacate(self, slave: Slave, resource: Provided) -> None:
        """A slave has released a resource with `max_holders`: another may hold it now."""
        del slave.occupies[resource]
        occupied = self.occupied[resource]
        del occupied[slave.rank]
        if not occupied:
            del self.occupied[resource]
        self._offer(resource)
        if self._nesting.shut:
            self._nesting.opened(resource)

    def _offer(self, resource: Hashable) -> None:
        """Further slaves may take the calls that need this."""
        for backlog in self.wanted.get(resource, ()):
            if self.is_loose(backlog):
                self.loosen(backlog)
        self._gate_moved(resource)

    def _gate_moved(self, resource: Hashable) -> None:
        """What needs this besides its own resource may go on."""
        for level, _ in self.needed.get(resource, ()):
            self._ranking.improved(level.queue, level.priority)

    def _offer_sticky(self, backlog: Backlog) -> None:
        """An idle slave holds what this backlog needs."""
        backlog.level.offer_sticky(backlog)
        self._ranking.improved(backlog.level.queue, backlog.level.priority)

    def reconcile(self, slave: Slave, held: list[Provided]) -> None:
        """What a slave says that it holds is true, but for what its window will make it acquire."""
        said: dict[Hashable, None] = dict.fromkeys(held)
        if slave.before is not None:  # it said this before it began its window, or has acquired what that needs
            slave.before = {**_plain_ids(slave.before[0]), **said}, dict.fromkeys(held)
            slave.taking = slave.resource not in slave.before[0]
        window = dict.fromkeys(chain_of(slave.resource)) if slave.window or slave.stuck else {}
        now = {one: None for one in {**_plain_ids(slave.holds), **said} if one not in window} | window
        for one in self._surplus(slave, now) if window else ():
            del now[one]
        self._holds_now(slave, now)
        self._occupies_now(slave, {**said, **window})
        if slave.queue is None:
            self.offer_held(slave)

    def _holds_now(self, slave: Slave, held: dict[Hashable, None]) -> None:
        """A slave holds just this, in this order."""
        for gone in [one for one in slave.holds if one not in held]:
            self.drop(slave, gone)
        for new in [one for one in held if one not in slave.holds]:
            self._hold(slave, new)
        slave.holds = dict(held)

    def _occupies_now(self, slave: Slave, occupied: Iterable[Hashable]) -> None:
        """A slave has, or will have, just these of the resources with `max_holders`."""
        occupied = dict.fromkeys(occupied)
        for gone in [one for one in slave.occupies if one not in occupied]:
            self.vacate(slave, gone)
        for one in occupied:
            self._occupy(slave, one)


def _plain_ids(held: Iterable[Hashable]) -> dict[Hashable, None]:
    return {one: None for one in held if not isinstance(one, Provided)}
