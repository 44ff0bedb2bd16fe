"""Windows: how many calls a slave gets, and who goes on."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .backlog import Backlog, Queue
from .board import Board
from .busy import Busy
from .calls import PLAIN, SENT, Call, chain_of
from .holding import Holding
from .orders import Order, Send
from .slaves import Slave
from .tally import PLAIN_CALL, STICKY, Decision
from .turns import Turns
from .waiting import Waiting

GAPS_COVERED, MOST_WORTH = 4.0, 0.2
"""Gaps between two decisions that a window covers, since it is refilled at its half and they vary; seconds that it may last."""

MOST_LAG = 0.03
"""The part of a call's time for which a slave may wait for the next one."""


class Windows:
    """Fills windows, and tops them up."""

    def __init__(self, board: Board, holding: Holding, busy: Busy, waiting: Waiting, turns: Turns) -> None:
        self._board = board
        self._holding = holding
        self._busy = busy
        self._waiting = waiting
        self._turns = turns
        self._rules = board.rules
        self._worth = self._rules.worth
        """Seconds of work in a window, now."""
        self._apart = math.inf
        """Seconds from which on a call shares its window with no other."""
        self._slaves = board.slaves
        self._idle = board.idle
        self._deep = busy.deep
        self._deep_held = busy.deep_held
        self._suspects = board.suspects
        self._tally = board.tally
        self._owed = holding.owed
        self._untimed = holding.untimed
        self._demand = board.demand
        self._ranking = board.ranking
        self._wanted = holding.wanted

    def cover(self, gap: float) -> None:
        """So many seconds pass between two decisions just now."""
        self._worth = max(self._rules.worth, min(GAPS_COVERED * gap, MOST_WORTH))

    def keep_apart(self, seconds: float) -> None:
        """Calls that take so long get a window for each of them, whatever the gaps."""
        self._apart = seconds

    def window_size(self, queue: Queue, backlog: Backlog) -> int:
        """How many calls a slave should have at a time."""
        head = backlog.head()
        if head is None or not head.chunk:
            return self._usual_size(queue, self._rules.most_items if head is not None and head.is_many else None)
        return head.chunk

    def _usual_size(self, queue: Queue, most: int | None = None) -> int:
        """The same, where the user has no wish."""
        if queue.mean is None or queue.mean >= self._apart:
            return 1
        size = min(most or self._rules.most_calls, int(self._worth / max(queue.mean, 1e-7)))
        return size if size > 1 else self._ahead(queue, queue.mean)

    def _ahead(self, queue: Queue, mean: float) -> int:
        """How many calls, where one fills a window: more, if a slave would wait for the next one too long beside that.

        It is sent more at the half of a window, so that this has to last for as long as it would wait. As a queue runs out,
        the next call is for whoever ends first.
        """
        if queue.lag <= MOST_LAG * mean or mean >= MOST_WORTH:
            return 1
        return max(1, min(2 * math.ceil(queue.lag / mean), max(2, int(MOST_WORTH / mean)), self.even(queue)))

    def even(self, queue: Queue) -> int:
        """A slave's part of what waits, so that no window is long when the queue runs out."""
        slaves = len(self._slaves)
        if queue.max_slaves is not None:
            slaves = min(slaves, queue.max_slaves)
        return -(-queue.waiting // max(1, slaves))

    def grant(self, slave: Slave, backlog: Backlog, reason: str) -> Send:
        """Fill the window of that slave from that backlog."""
        queue, came_from = backlog.level.queue, slave.came_from
        calls = self._take(slave, queue, backlog)
        if slave.queue is None:
            self._idle.remove(slave)
            queue.running += 1
            slave.queue = slave.came_from = queue
            slave.resource = backlog.resource
            slave.deep = (self._deep if backlog.resource is PLAIN else self._deep_held).setdefault(queue, {})
            if backlog.resource is not PLAIN:
                self._holding.take_up(slave, backlog.resource)
        self._busy.progress(slave, self._board.now)
        if backlog.extra:
            backlog.extra -= 1
        self._waiting.settle(backlog)
        lent_from = came_from.name if came_from is not None and came_from is not queue else ""
        return self._send(slave, calls, reason, lent_from)

    def _take(self, slave: Slave, queue: Queue, backlog: Backlog) -> list[Call]:
        """Put the next calls of that backlog into the window of that slave."""
        window, head = slave.window, backlog.head()
        was_empty = not window
        if self._board.has_many:
            calls = self._take_with_many(slave, queue, backlog)
        else:
            if head is not None and head.chunk:
                most = head.chunk - len(window)
            else:
                most = self._usual_size(queue) - len(window)
                if most > 1:
                    most = min(most, self.even(queue))
            calls = backlog.take(max(1, most), self._rules.most_bytes)
        if self._suspects.on_trial and (rest := calls[self.apart(calls) :]):
            backlog.put_back(rest)
            del calls[-len(rest) :]
        for call in calls:
            call.state = SENT
            call.attempt += 1
            window[call.id] = call
        slave.alone = was_empty and len(calls) == 1
        return calls

    def _take_with_many(self, slave: Slave, queue: Queue, backlog: Backlog) -> list[Call]:
        """The same, where some stand for many: two times half a window, so that one is under way while one is run."""
        head, size = backlog.head(), self.window_size(queue, backlog)
        if head is not None and head.chunk:
            return backlog.take_with_many(max(1, size - slave.load), size, self._rules.most_bytes)
        most = max(1, min(size - slave.load, self.even(queue)))
        return backlog.take_with_many(most, max(1, size // 2), self._rules.most_bytes)

    def _send(self, slave: Slave, calls: list[Call], reason: str, lent_from: str) -> Send:
        """A window leaves, for that reason."""
        first = calls[0]
        count = sum(call.items for call in calls) if self._board.has_many else len(calls)
        decision = self._board.now, slave.rank, first.queue, first.resource, first.id, count, reason, lent_from
        self._tally.decided(tuple.__new__(Decision, decision))  # half the time of `Decision(...)`
        return Send(slave.rank, calls)

    def go_on(self, slave: Slave, orders: list[Order]) -> None:
        """Give the slave that has ended more of the same, if any decision would; else it is idle."""
        # Where each call travels alone, that is a third of the cost of being idle and chosen again.
        queue = slave.queue
        assert queue is not None  # noqa: S101  it has ended, and nobody has freed it
        backlog = self._its_next(slave, queue) if queue.waiting and not (self._idle.count or self._owed) else None
        if backlog is None:
            self._busy.free_ended()
            return
        self._busy.ended = None
        self._board.virtual = queue.served
        orders.append(self._fill(slave, queue, backlog))

    def _fill(self, slave: Slave, queue: Queue, backlog: Backlog) -> Send:
        """What `_grant` does, for a slave that ended its window and goes on with the same; without what stays as it was."""
        calls = self._take(slave, queue, backlog)
        if len(calls) > 1 or self._board.now != slave.progress_at:
            self._busy.progress(slave, self._board.now)
        if backlog.resource is PLAIN:
            self._waiting.settle(backlog)
            return self._send(slave, calls, PLAIN_CALL, "")
        slave.before = dict(slave.holds), {}
        if not backlog.count:
            self._waiting.settle(backlog)
        else:  # nobody can run its next call who needs to get to know of it: its holders are busy
            backlog.since, backlog.overdue = self._board.now, False
            if not backlog.alarm:
                self._untimed.append(backlog)
        return self._send(slave, calls, STICKY, "")

    def _its_next(self, slave: Slave, queue: Queue) -> Backlog | None:
        """The backlog that this slave would get again, were it the only idle one; None too where that is not plain to see."""
        level = queue.levels[queue.order[0]] if len(queue.order) == 1 else next(queue.busy_levels())
        backlog = level.backlogs.get(slave.resource)
        if backlog is None or not backlog.count:
            return None
        if len(self._demand) > 1 and not self._ranking.leads(queue, level.priority, self._rules.turn):
            return None
        if backlog is level.plain:
            return None if len(level.backlogs) > 1 or any(held in self._wanted for held in slave.holds) else backlog
        # What it holds could be wanted elsewhere: by calls that wait for just this slave, and are ranked once it is idle.
        if len(slave.holds) > 1 or backlog.resource not in slave.holds or len(self._wanted[backlog.resource]) > 1:
            return None
        fresh = level.fresh(self._holding.is_loose, self._holding.is_open)
        return None if fresh is not None and self._turns.waited_long(fresh, backlog, slave) else backlog

    def refills(self) -> Iterator[Send]:
        """Top up the windows that ran low, where the slave would go on with the same anyway."""
        progressed, self._busy.progressed = self._busy.progressed, {}
        for slave in progressed.values():
            queue = slave.queue
            if queue is None or slave.asked_back or not queue.waiting or slave.waits is not None:
                continue
            backlog = self._continues(slave, queue)
            if backlog is not None:
                yield self.grant(slave, backlog, PLAIN_CALL if backlog.resource is PLAIN else STICKY)

    def _continues(self, slave: Slave, queue: Queue) -> Backlog | None:
        """The backlog that this slave would be given again, were it idle; None too while its window is more than half full."""
        level = next(queue.busy_levels())
        backlog = level.backlogs.get(slave.resource)
        if (
            backlog is None
            or not backlog.count
            or (slave.load if self._board.has_many else len(slave.window)) > self.window_size(queue, backlog) // 2
            or (self._suspects.on_trial and self._is_trial(slave, backlog))
        ):
            return None
        exhausted = [held for held in slave.holds if self._holding.is_exhausted(held)]
        if exhausted:
            own = [one for one in chain_of(slave.resource) if one in exhausted]
            rivals = [other for held in own or exhausted for other in self._holding.waiting_for(held, queue)]
            if own:
                return None if any(other.priority > level.priority for other in rivals) else backlog
            if rivals:
                return None
        fresh = self._turns.fresh(level)
        if backlog is level.plain:
            if fresh is not backlog or any(held in level.backlogs for held in slave.holds):
                return None
        elif fresh is not None and self._turns.waited_long(fresh, backlog, slave):
            return None
        return None if any(self._turns.would_win(other, level) for other in self._turns.rivals(slave, queue)) else backlog

    def _is_trial(self, slave: Slave, backlog: Backlog) -> bool:
        """A suspect is what that slave has, or what comes next there: nothing may join it."""
        on_trial = self._suspects.on_trial
        return backlog.age() in on_trial or not on_trial.keys().isdisjoint(slave.window)

    def apart(self, calls: list[Call]) -> int:
        """How many of the calls taken for a window may be in one: a suspect is alone."""
        on_trial = self._suspects.on_trial
        return next((place for place, call in enumerate(calls) if call.id in on_trial), len(calls)) or 1
