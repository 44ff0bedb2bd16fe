"""Which idle slave gets which call."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from itertools import groupby
from math import inf

from ..ids import CallId
from .backlog import Backlog, Queue
from .board import Board
from .calls import PLAIN, Provided, chain_of
from .holding import Holding
from .orders import Order, Send
from .slaves import Slave
from .spread import Load, spread
from .tally import DUPLICATED, NEW, OVERDUE, OWED, PLAIN_CALL, STICKY
from .turns import Turns
from .windows import Windows


class Choosing:
    """Hands calls to idle slaves, and looks who should acquire what others hold."""

    def __init__(self, board: Board, holding: Holding, turns: Turns, windows: Windows) -> None:
        self._board = board
        self._holding = holding
        self._turns = turns
        self._windows = windows
        self._demand = board.demand
        self._idle = board.idle
        self._owed = holding.owed
        self._wanted = holding.wanted
        self._needed = holding.needed
        self._holders = holding.holders
        self._rules = board.rules
        self._prices = board.prices
        self._slaves = board.slaves
        self.review_at = inf
        """When to look again whether further slaves should acquire what others hold; infinity: nobody waits for that."""
        self._credit = 0
        """Slaves and resources that may be looked at before that time."""

    def assign_all(self, orders: list[Order]) -> None:
        """Give calls to idle slaves, while there are both."""
        while self._demand and self._idle.count:
            order = (self._pay() if self._owed else None) or self._assign()
            if order is None:
                return
            orders.append(order)

    def _assign(self) -> Send | None:
        """Give the most deserving call to the best idle slave."""
        level = self._turns.best_level()
        if level is None:
            return None
        self._board.virtual = level.queue.served
        if len(level.backlogs) == 1:  # most tasks need no resource: spare them the looks
            return self._windows.grant(self._idle.pick(self._wanted, self._needed), level.plain, PLAIN_CALL)
        sticky, fresh = self._turns.sticky(level), self._turns.fresh(level)
        if sticky is not None:
            slave = self._holding.ready(sticky)
            assert slave is not None  # noqa: S101  that is what `sticky` means
            # What has waited long goes first, if no idle slave holds that too: then it is among those that are sticky.
            if fresh is None or self._holding.is_held(fresh) or not self._turns.waited_long(fresh, sticky, slave):
                return self._windows.grant(slave, sticky, STICKY if sticky.resource in slave.holds else self._why_fresh(sticky))
        assert fresh is not None  # noqa: S101  one of both is there: the level is runnable
        return self._windows.grant(self._pick(fresh.resource), fresh, self._why_fresh(fresh))

    def _pick(self, resource: Hashable) -> Slave:
        """The idle slave to acquire this: one that has what it needs, unless its own is wanted; or any."""
        for inner in reversed(list(self._holding.inner(resource))) if isinstance(resource, Provided) else ():
            slave = self._idle.holder(inner)
            if slave is not None and not any(held in self._wanted for held in slave.holds):
                return slave
        return self._idle.pick(self._wanted, self._needed)

    def _why_fresh(self, backlog: Backlog) -> str:
        """Why any slave may take the next call of this backlog."""
        if backlog.resource is PLAIN:
            return PLAIN_CALL
        if backlog.resource not in self._holders:
            return NEW
        return OVERDUE if backlog.overdue else DUPLICATED

    def _pay(self) -> Send | None:
        """Give a call to an idle slave that may run nothing else: nobody further may hold what the call needs."""
        while self._owed:
            resource = next(iter(self._owed))
            due = self._due(resource) if self._holding.is_exhausted(resource) else []
            if due:
                backlog = min(due, key=self._claim)
                slave = self._holding.ready(backlog)
                assert slave is not None  # noqa: S101  that is what `_due` means
                return self._windows.grant(slave, backlog, STICKY if backlog.resource in slave.holds else OWED)
            del self._owed[resource]
        return None

    def _claim(self, backlog: Backlog) -> tuple[int, bool, CallId]:
        """How those that may only go to the same slaves come one after the other: priority, stickiness, age."""
        is_held = self._idle.holder(backlog.resource) is not None
        return -backlog.level.priority, not is_held and self._board.now - backlog.since <= self._rules.patience, backlog.age()

    def _due(self, resource: Hashable) -> list[Backlog]:
        """Where calls wait for this exhausted resource, or for what needs it, that idle slaves which hold it may run."""
        due: list[Backlog] = []
        for backlog in self._for_holders(resource):
            if not backlog.level.queue.is_full:
                due.append(backlog)
            else:
                backlog.level.queue.owed[resource] = None
        return due

    def _for_holders(self, resource: Hashable) -> Iterator[Backlog]:
        """The same, but for limits."""
        holders = self._idle.holders(resource)
        if holders:
            yield from self._wanted.get(resource, ())
        for slave in holders:
            for held in slave.holds:
                if held != resource and resource in chain_of(held):
                    yield from self._wanted.get(held, ())
        for level, gate in self._needed.get(resource, ()):
            found = level.behind(gate, self._holding.is_loose) if gate is not None and self._holding.is_kept(gate) else None
            if found is not None:
                yield found

    def review(self, orders: list[Order]) -> None:
        """Let idle slaves acquire what others hold, where that ends the waiting calls sooner."""
        if not self._prices or not self._holders:
            self.review_at = inf
            return
        things = len(self._slaves) + len(self._wanted)
        self._credit += self._rules.review_share
        pause = max(self._rules.review_after, things * self._rules.review_each)
        self.review_at = min(self.review_at, self._board.now + pause)
        if self._credit < things and self._board.now < self.review_at:
            return
        self._credit, self.review_at = 0, inf
        backlogs = self._spread()
        if backlogs:
            self.assign_all(orders)
        for backlog in backlogs:
            backlog.extra = 0

    def _spread(self) -> list[Backlog]:
        """The backlogs that further slaves may take from now: in each queue up to its share, beyond where none lacks any."""
        by_share = sorted(self._demand.values(), key=lambda one: (-one.top_priority(), one.share))
        for _, peers in groupby(by_share, Queue.top_priority):
            queues = list(peers)
            chosen = self._spread_over(queues, len(self._slaves) / sum(queue.weight for queue in queues))
            # What a queue needs is not known before a call has ended: until then, others leave it its share.
            if not chosen and all(queue.mean is not None or queue.is_full for queue in queues):
                chosen = self._spread_over(queues, inf)
            if chosen:
                return chosen
        return []

    def _spread_over(self, queues: Iterable[Queue], a_share: float) -> list[Backlog]:
        """The backlogs that further slaves may take, so many in a queue for each unit of its weight."""
        spare = self._idle.count
        chosen: list[Backlog] = []
        for queue in queues:
            most = min(a_share * queue.weight, inf if queue.max_slaves is None else queue.max_slaves)
            slaves = int(min(spare, most - queue.running + 1 - 1e-9))
            if queue.mean is None or slaves < 1:
                continue
            priced = self._priced(queue, queue.mean)
            for place in spread([load for _, load in priced], slaves):
                backlog = priced[place][0]
                backlog.extra += 1
                self._holding.loosen(backlog)
                chosen.append(backlog)
        return chosen

    def _priced(self, queue: Queue, mean: float) -> list[tuple[Backlog, Load]]:
        """The backlogs of a queue that wait for holders, where it is known what a further one costs."""
        found: list[tuple[Backlog, Load]] = []
        for level in queue.busy_levels():
            for backlog in level.backlogs.values():
                holders = self._holders.get(backlog.resource)
                price = self._holding.price(queue, backlog.resource) if holders and backlog.count else None
                if holders and price is not None:
                    ahead = sum(self._ahead(slave) for slave in holders.values())
                    room = min(backlog.count, self._holding.room(backlog.resource))
                    price = max(price, self._rules.least_price)
                    found.append((backlog, Load(ahead + backlog.count * mean, len(holders), price, room)))
        return found

    def _ahead(self, slave: Slave) -> float:
        """Seconds until a slave has done its window. What is late by some time is expected to take that much longer."""
        if slave.queue is None:
            return 0.0
        price = self._holding.price(slave.queue, slave.resource) if slave.taking else None
        expected = (price or 0.0) + len(slave.window) * (slave.queue.mean or 0.0)
        return abs(slave.progress_at + expected - self._board.now)
