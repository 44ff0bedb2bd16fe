"""Whose turn it is: priority, fair share, stickiness, age."""

from __future__ import annotations

from collections.abc import Iterator

from ..ids import CallId
from .backlog import Backlog, Level, Queue
from .board import Board
from .calls import PLAIN
from .holding import Holding
from .slaves import Slave


class Turns:
    """Compares queues, and calls within one, by what idle slaves may take."""

    def __init__(self, board: Board, holding: Holding) -> None:
        self._board = board
        self._holding = holding
        self._demand = board.demand
        self._ranking = board.ranking
        self._idle = board.idle
        self._rules = board.rules

    def best_level(self) -> Level | None:
        """The level whose turn it is, among those with a call that an idle slave may take."""
        if len(self._demand) == 1:  # most programs have one: spare them the ranking
            return self._open_level(next(iter(self._demand.values())))
        best = self._ranking.first(self._open_level, self._age)
        home = self._idle.last().came_from
        if best is None or home is None or home is best.queue:
            return best
        own = self._open_level(home)
        return own if own is not None and self._stays(own, best) else best

    def _stays(self, own: Level, best: Level) -> bool:
        """A slave goes on with the queue that it comes from: that is equal to the best, and not ahead by a turn."""
        mine, its = own.queue, best.queue
        is_equal = own.priority == best.priority and mine.share == its.share
        return is_equal and mine.served - its.served <= self._rules.turn

    def _open_level(self, queue: Queue) -> Level | None:
        """The level of that queue with a call that an idle slave may take now."""
        return None if queue.is_full or not queue.waiting else self._runnable(queue)

    def _age(self, level: Level) -> CallId:
        """The id of the oldest call of that level that an idle slave may take."""
        found = (self.sticky(level), self.fresh(level))
        return min(head.id for backlog in found if backlog is not None and (head := backlog.head()) is not None)

    def _runnable(self, queue: Queue) -> Level | None:
        """The highest level of that queue with a call that an idle slave may take."""
        levels = queue.busy_levels() if len(queue.order) > 1 else queue.levels.values()
        for level in levels:
            if level.plain.count or self.sticky(level) or self.fresh(level):
                return level
        return None

    def fresh(self, level: Level) -> Backlog | None:
        """The backlog of that level with the oldest call that any slave may take."""
        if len(level.backlogs) == 1:  # most tasks need no resource: spare them the look
            return level.plain if level.plain.count else None
        return level.fresh(self._holding.is_loose, self._holding.is_open)

    def sticky(self, level: Level) -> Backlog | None:
        """The same, for some idle slaves only: by what they hold."""
        return (
            level.sticky(self._holding.is_held, self._holding.is_loose, self._holding.is_kept)
            if len(level.backlogs) > 1
            else None
        )

    def waited_long(self, backlog: Backlog, sticky: Backlog, slave: Slave) -> bool:
        """A call behind what this slave holds has waited long enough, and that was held long enough, to go before it."""
        # Else, once much has waited for long, each slave would acquire anew for each call.
        since = backlog.since if backlog.resource is PLAIN else max(backlog.since, slave.took_up_at)
        if self._board.now - since <= self._rules.patience:
            return False
        mine, its = backlog.head(), sticky.head()
        return mine is not None and its is not None and mine.id < its.id

    def rivals(self, slave: Slave, queue: Queue) -> Iterator[Level]:
        """The levels of other queues that could give calls to this slave, were it idle: the best, and what waits for it."""
        if len(self._demand) > 1 and (best := self._ranking.first(self._open_level, self._age, without=queue)) is not None:
            yield best
        # What waits for this slave alone is not runnable yet.
        for resource in slave.holds:
            for level in self._holding.waiting_for(resource, queue):
                if level.queue is not queue:
                    yield level

    def would_win(self, other: Level, level: Level) -> bool:
        """The other level deserves a slave more that is about to leave this one."""
        if other.priority != level.priority:
            return other.priority > level.priority
        theirs, ours = other.queue, level.queue
        share = (ours.running - 1) / ours.weight
        if theirs.share != share:
            return theirs.share < share
        return ours.served - theirs.served > self._rules.turn
