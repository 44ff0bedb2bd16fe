"""How calls come to wait in their queues, and leave them."""

from __future__ import annotations

from collections.abc import Sequence

from ..ids import CallId
from .backlog import Backlog, Queue
from .board import Board
from .busy import Busy
from .calls import PLAIN, WAITING, Call
from .holding import Holding
from .slaves import Slave


class Waiting:
    """The way into backlogs, and out of them."""

    def __init__(self, board: Board, holding: Holding, busy: Busy) -> None:
        self._board = board
        self._holding = holding
        self._busy = busy
        self._nesting = board.nesting
        self._queues = board.queues
        self._demand = board.demand
        self._ranking = board.ranking
        self._rules = board.rules
        self._untimed = holding.untimed
        self._latest: Backlog | None = None
        """Where the last call came to wait that is like most: it needs nothing, and has no cost."""

    def pull(self, queue: Queue, calls: list[Call]) -> None:
        """Calls leave their backlogs out of turn."""
        for call in calls:
            backlog = queue.levels[call.priority].backlogs[call.resource]
            was_next = bool(backlog.calls) and backlog.calls[0] is call
            backlog.pull([call])
            if was_next or not backlog.count or call.cost:
                self.settle(backlog)

    def take_from(self, slave: Slave, call_ids: Sequence[CallId]) -> None:
        """A slave has not begun these calls, and won't: they wait again."""
        calls = slave.were_sent(call_ids)
        for call_id in call_ids:
            slave.stuck.pop(call_id, None)
        for call_id, call in calls.items():
            slave.forget(call_id)
            call.attempt -= 1
        self.requeue(list(calls.values()))

    def follows(self, call: Call) -> bool:
        """Put a call behind another that is just like the last one, as most are which are submitted in a row. Whether it is."""
        latest = self._latest  # all of this in one place: a tenth of a short call's time
        if latest is None or not latest.count or call.resource is not PLAIN or call.is_many or call.cost:
            return False
        level = latest.level
        queue = level.queue
        if call.queue != queue.name or call.priority != level.priority:
            return False
        call.state = WAITING
        latest.calls.append(call)
        latest.count += 1
        level.count += 1
        queue.waiting += 1
        return True

    def enqueue(self, call: Call) -> None:
        """A call may run: it waits in its queue."""
        call.state = WAITING
        if call.is_many:
            self._board.has_many = True
        if call.nest is not None:
            self._nesting.offer(call, call.nest)
        backlog = self._backlog_of(call)
        if backlog.resource is PLAIN:
            self._latest = backlog
        if backlog.add(call):
            if backlog.count > call.items:  # a costly call overtakes, but all have waited since before
                self._holding.offer_head(backlog)
            else:
                self._new_head(backlog)

    def requeue(self, calls: list[Call]) -> None:
        """Calls of one window wait again, at the place of their age."""
        together: dict[Backlog, list[Call]] = {}
        for call in calls:
            call.state = WAITING
            if call.nest is not None:
                self._nesting.offer(call, call.nest)
            together.setdefault(self._backlog_of(call), []).append(call)
        for backlog, some in together.items():
            head = backlog.head()
            backlog.put_back(some)
            if backlog.head() is not head:
                self._new_head(backlog)

    def _backlog_of(self, call: Call) -> Backlog:
        """Where that call waits; its queue has demand from now on."""
        queue, resource = self._queues[call.queue], call.resource
        if not queue.waiting:
            if self._busy.ended is not None:
                self._busy.free_ended()
            self._demand[queue.name] = queue
            if not queue.running:
                queue.served = max(queue.served, self._board.virtual)
        level = queue.levels.get(call.priority) or queue.level(call.priority)
        return level.plain if resource is PLAIN else level.backlogs.get(resource) or level.backlog(resource)

    def settle(self, backlog: Backlog) -> None:
        """Calls left this backlog: forget it if it is empty, else its next call is the oldest."""
        if backlog.count:
            self._new_head(backlog)
            return
        backlog.clear()
        level, queue = backlog.level, backlog.level.queue
        if backlog.resource is not PLAIN:
            del level.backlogs[backlog.resource]
            self._holding.unwanted(backlog)
        if level.count:
            if level.has_costs:  # the next call may be older than those that went before it
                self._ranking.improved(queue, level.priority)
        elif len(queue.order) > self._rules.most_levels:
            queue.drop_level(level)
        if not queue.waiting:
            del self._demand[queue.name]

    def _new_head(self, backlog: Backlog) -> None:
        """Another call is the oldest of this backlog."""
        backlog.since = self._board.now
        self._untimed.append(backlog)
        backlog.overdue = False
        if backlog.resource is PLAIN:
            self._ranking.improved(backlog.level.queue, backlog.level.priority)
        else:
            self._holding.offer_head(backlog)
