"""Which slaves run what, and which have ended.

::

    window sent ──► progress ──► has_ended ──► goes on with the same, in the next decision
                        │            └───────► freed: idle, or a call that waits there goes on
                        └─► late, with calls behind: asked for what it has not begun
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

from ..ids import Rank
from .backlog import Queue
from .board import Board
from .calls import PLAIN, Provided
from .holding import Holding
from .nesting import Waits
from .orders import TakeBack
from .slaves import Slave

NEWEST = 0.2
"""Part of the latest call in the mean of a queue: it follows a sweep whose cells grow, and rides over one outlier."""


class Busy:
    """Busy slaves, from their first call until they are idle."""

    def __init__(self, board: Board, holding: Holding) -> None:
        self._board = board
        self._holding = holding
        self._stuck = board.stuck
        self._rules = board.rules
        self._idle = board.idle
        self._nesting = board.nesting
        self._owed = holding.owed
        self._tally = board.tally
        self._prices = board.prices
        self._ranking = board.ranking
        self.deep: dict[Queue, dict[Rank, Slave]] = {}
        self.deep_held: dict[Queue, dict[Rank, Slave]] = {}
        """Slaves with calls that wait behind another, the one without progress for longest first; these: for a resource."""
        self._deep_slaves = 0
        self.look_at = 0.0
        """When to look again for windows that wait behind a long call while no slave is idle."""
        self.progressed: dict[Rank, Slave] = {}
        """Busy slaves that gave an outcome since the last decision."""
        self.ended: Slave | None = None
        """The slave that ended its window last, until the next decision: most go on with the same, and are never idle."""

    def comes_back(self, slave: Slave) -> None:
        """A slave has ended what was given up, but for what waits below that, which goes on now, and ends in its turn."""
        del self._stuck[slave.rank]
        if slave.window:
            self.progressed[slave.rank] = slave
        elif slave.queue is not None:
            self.has_ended(slave, slave.queue)

    def take_backs(self) -> Iterator[TakeBack]:
        """Ask slaves that are stuck in a call for the rest of their windows, which idle slaves could run."""
        for late_at, slave in self.late_ones():
            if late_at <= self._board.now:
                yield self._ask_back(slave)

    def take_apart(self) -> Iterator[TakeBack]:
        """The same while no slave is idle: what shares a window is short as a rule, and others come to it before that one."""
        self.look_at = self._board.now + self._rules.late / 2
        if len(self._board.slaves) > 1:
            for late_at, slave in self.late_ones():
                if late_at <= self._board.now and slave.resource is PLAIN and not next(iter(slave.window.values())).chunk:
                    yield self._ask_back(slave)

    def _ask_back(self, slave: Slave) -> TakeBack:
        """Ask a slave for what it has not begun; once, until it has answered."""
        slave.asked_back = True
        self.shallow(slave)
        return TakeBack(slave.rank)

    @property
    def any_deep(self) -> bool:
        """Whether calls wait behind others in any window."""
        return self._deep_slaves > 0

    def late_ones(self) -> list[tuple[float, Slave]]:
        """Slaves with waiting windows that an idle slave could run, and when to ask them for those."""
        late: list[tuple[float, Slave]] = []
        if not self._deep_slaves:
            return late
        # The first few of each queue stand for all: the others have made progress later.
        for queue, slaves in self.deep.items():
            if slaves and not queue.is_full:
                late += [(slave.progress_at + self._rules.late, slave) for slave in islice(slaves.values(), 8)]
        for queue, slaves in self.deep_held.items():
            if slaves and not queue.is_full:
                late += [(self._late_held(slave), slave) for slave in islice(slaves.values(), 8)]
        return late

    def _late_held(self, slave: Slave) -> float:
        """When to ask a slave for calls that need what it holds: once another holder is idle, or none came for long."""
        found = self._idle.holder(slave.resource) is not None
        return slave.progress_at + (self._rules.late if found else self._rules.patience)

    def left_by(self, slave: Slave, queue: Queue) -> None:
        """A slave runs a task no longer, unless a call of that waits on it."""
        if not slave.is_above(queue):
            self._left(queue)

    def unwind(self, slave: Slave, waits: Waits) -> None:
        """A slave is gone on which calls wait."""
        self._nesting.goes_on(slave)
        while waits.frames:
            is_late, frame = waits.is_buried, waits.pop()
            if not is_late and frame.call.nest is not None:
                frame.call.nest.slave = None
            self.left_by(slave, frame.queue)

    def progress(self, slave: Slave, now: float) -> None:
        """That slave has shown life."""
        slave.progress_at = self._board.now = now
        if self._deep_slaves:
            self.shallow(slave)
        if len(slave.window) > 1 and not slave.asked_back:
            slave.deep[slave.rank] = slave
            self._deep_slaves += 1

    def shallow(self, slave: Slave) -> None:
        """Nothing in the window of that slave waits so that it could be asked back."""
        if slave.deep.pop(slave.rank, None) is not None:
            self._deep_slaves -= 1

    def has_ended(self, slave: Slave, queue: Queue) -> None:
        """A slave has nothing left to do. What that means to others is looked at with the next decision, or before."""
        if self.ended is not None:
            self.free_ended()
        # Among other idle slaves, or where nothing waits, none simply goes on.
        alone = not self._idle.count and queue.waiting and slave.waits is None and not self._nesting.shut
        if not alone or slave.before is not None or slave.occupies or queue.owed:
            self.freed(slave)
        else:
            self.progressed.pop(slave.rank, None)
            self.ended = slave

    def free_ended(self) -> None:
        """The slave that has ended is idle."""
        if self.ended is not None:
            slave, self.ended = self.ended, None
            self.freed(slave)

    def freed(self, slave: Slave) -> None:
        """A slave has nothing left to do."""
        assert slave.queue is not None  # noqa: S101  callers check
        self.left_by(slave, slave.queue) if slave.waits is not None else self._left(slave.queue)
        slave.queue = None
        self.progressed.pop(slave.rank, None)
        if slave.before is not None:
            self._holding.undo(slave, slave.before)
        slave.taking = False
        if slave.waits is not None and slave.waits.is_buried:
            slave.stuck[slave.waits.frames[-1].call.id] = None
            self._stuck[slave.rank] = slave
        elif slave.waits is not None and slave.waits.frames:
            self._nesting.waits(slave)
        else:
            self._is_idle(slave)

    def _left(self, queue: Queue) -> None:
        """A slave more may run that task."""
        queue.running -= 1
        self._improved(queue)
        if queue.owed:
            self._owed.update(queue.owed)
            queue.owed.clear()
        if self._nesting.shut:
            self._nesting.opened(queue)

    def _is_idle(self, slave: Slave) -> None:
        """A slave may take calls; some may have waited for it."""
        self._idle.add(slave)
        if slave.holds:
            self._holding.offer_held(slave)

    def learn(self, slave: Slave, queue: Queue, seconds: Collection[float | None]) -> None:
        """Take in how long calls took, if they began."""
        mean, begun, used = queue.mean, 0, 0.0
        is_first = (slave.taking or slave.first is not None) and slave.resource is not PLAIN
        for each in seconds:  # once a call: no method, and no list
            if each is not None:
                begun += 1
                used += each
                if not is_first or not self._learn_price(slave, queue, each):
                    mean = each if mean is None else mean + NEWEST * (each - mean)
        queue.mean = mean
        queue.served += used / queue.weight
        self._tally.ended(queue.name, slave.rank, len(seconds), begun, used)
        if begun:
            slave.before = None

    def learn_many(self, slave: Slave, queue: Queue, count: int, seconds: float) -> None:
        """Take in how long so many calls took together."""
        each = seconds / count
        queue.mean = each if queue.mean is None else queue.mean + (1 - (1 - NEWEST) ** count) * (each - queue.mean)
        queue.served += seconds / queue.weight
        self._tally.ended(queue.name, slave.rank, count, count, seconds)
        slave.before = None

    def _learn_price(self, slave: Slave, queue: Queue, seconds: float) -> bool:
        """The first call with a plain id tells what it costs to take that up. Whether this was one, which took longer."""
        was_taking, slave.taking = slave.taking, False
        if was_taking and not isinstance(slave.resource, Provided):
            slave.first = queue, slave.resource, seconds
            return True
        if slave.first is not None and slave.first[:2] == (queue, slave.resource):
            self._prices.learn(queue.name, slave.resource, slave.first[2] - seconds)
            slave.first = None
        return False

    def _improved(self, queue: Queue) -> None:
        """A slave less runs calls of this queue: it deserves one the more."""
        if queue.waiting:
            self._ranking.improved(queue, queue.top_priority())
