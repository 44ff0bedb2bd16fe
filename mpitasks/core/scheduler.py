"""Decides which slave runs which call.

::

    submitted ──► [blocked] ──► waiting, by task, priority, resource ──┐
                                                                       ├── decide(now) ──► Send(rank, calls)
    slave_joined, calls_finished ─► idle slaves, last ended on top ────┘              └──► TakeBack(rank)

    Scheduler ──► Choosing ──► Windows ──► Turns ──► Holding ──► Board: queues, slaves, time
        ├───────► Trials, Above ──┘  └───► Waiting ──► Busy ──┘

Precedence of a decision: limits; priority across all queues; the fair share picks the queue; stickiness picks the call
in it and the slave for it; age. Every method is named for what happened; `decide` says what to do now. Whatever changes
the state of the scheduler begins here; times come in as arguments, in seconds of one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

from ..ids import CallId, Rank
from .above import Above
from .backlog import Queue
from .board import Board
from .busy import Busy
from .calls import BLOCKED, ENDED, WAITING, Call, Provided
from .choosing import Choosing
from .holding import Holding
from .left import Left
from .many import Many
from .nesting import Nest, Stuck
from .orders import Ended, Looks, Lost, Order, QueueLook, Rules, Send, TakeBack
from .prices import Prices
from .slaves import Slave
from .tally import OfQueue, OfSlave
from .trials import Trials
from .turns import Turns
from .waiting import Waiting
from .why import State
from .windows import Windows

__all__ = ["Ended", "Looks", "Lost", "Order", "QueueLook", "Rules", "Scheduler", "Send", "TakeBack"]


class Scheduler:
    """The state of all queues and slaves, and the rules that move calls to slaves."""

    unfinished = 0
    """Calls submitted and not ended."""

    def __init__(self, rules: Rules | None = None, prices: Prices | None = None) -> None:
        board = self._board = Board(rules or Rules(), prices or Prices())
        holding = self._holding = Holding(board)
        busy = self._busy = Busy(board, holding)
        waiting = self._waiting = Waiting(board, holding, busy)
        turns = Turns(board, holding)
        windows = self._windows = Windows(board, holding, busy, waiting, turns)
        choosing = self._choosing = Choosing(board, holding, turns, windows)
        above = self._above = Above(board, holding, busy, waiting, windows)
        self._left = Left(board, busy)
        self._trials = Trials(board, busy, waiting, choosing, above)
        self._queues = board.queues
        self.prices = board.prices
        """What acquisitions cost."""
        self.tally = board.tally
        """What was decided, and why."""
        self._slaves = board.slaves
        self._idle = board.idle
        self._wanted = holding.wanted
        self._suspects = board.suspects
        self._stuck = board.stuck
        self._nesting = board.nesting
        self._rules = board.rules
        self._holders = holding.holders
        self._occupied = holding.occupied
        self._demand = board.demand
        self._untimed = holding.untimed

    # ---------------------------------------------------------------- what happened

    def queue_defined(self, name: str, *, max_slaves: int | None = None, weight: float = 1.0) -> None:
        """There is a task of that name; a second definition changes nothing."""
        if name not in self._queues:
            queue = self._queues[name] = Queue(name, max_slaves, weight, len(self._queues))
            queue.mean = self.prices.calls.get(name)
            self.tally.queues[name] = OfQueue()

    def seldom_driven(self, gap: float) -> None:
        """So many seconds pass between two decisions just now: windows last for longer, or slaves would idle meanwhile."""
        self._windows.cover(gap)

    def keep_apart(self, seconds: float) -> None:
        """From now on, no slave has two calls of so many seconds in its hands, which would both have to run again."""
        self._windows.keep_apart(seconds)

    def slave_joined(self, rank: Rank) -> None:
        """A slave is ready, and holds nothing.

        Raises:
            ValueError: It is here already; nothing was changed.
        """
        if rank in self._slaves:
            msg = f"slave {rank} joined, but it is here already: a rank joins again only after slave_lost({rank})"
            raise ValueError(msg)
        self._busy.free_ended()
        self._slaves[rank] = slave = Slave(rank)
        self.tally.slaves.setdefault(rank, OfSlave())
        self._idle.add(slave)

    def submitted(self, call: Call, after: Iterable[Call] = ()) -> bool:
        """A call is to be run, once those in `after` have ended well.

        Returns:
            Whether a slave has nothing to do, so that a decision may send it at once.

        Raises:
            KeyError: There is no such queue; nothing was changed.
            TypeError: What the call needs can't be hashed; nothing was changed.
        """
        if call.nest is None and not after and self._waiting.follows(call):
            self.unfinished += 1
            return self._idle.count > 0 or self._busy.ended is not None
        self._queues[call.queue], self._wanted.get(call.resource)  # raise here, before anything has changed
        if call.nest is not None:
            call.nest.joins = None  # another one ran for it, and was cancelled
        for other in after:
            if other.state != ENDED:
                other.dependents = other.dependents or []
                other.dependents.append(call)
                call.blockers += 1
        self.unfinished += call.items
        if not call.blockers:
            self._waiting.enqueue(call)
        return self.has_idle

    def postponed(self, call: Call) -> None:
        """A call that has ended is to run again, once it is `resumed`."""
        call.state = BLOCKED
        self.unfinished += 1

    def resumed(self, call: Call) -> None:
        """A postponed call may run, if it was not cancelled meanwhile."""
        if call.state == BLOCKED:
            self._waiting.enqueue(call)

    def refused(self, call: Call) -> None:
        """A call can't be run, because of one that has failed before it was submitted."""
        call.state = ENDED

    def calls_finished(self, rank: Rank, finished: Iterable[tuple[CallId, float | None]], now: float) -> list[Call]:
        """A slave gave the outcomes of these calls, each with the seconds it took; None: it was never begun.

        Returns:
            The calls, but for one that was given up before.

        Raises:
            KeyError: That slave has no such call; nothing was changed.
        """
        slave = self._slaves[rank]
        window, queue, took = slave.window, slave.queue, dict(finished)
        if slave.stuck:
            calls = self._left.finished(slave, took, now)
            self.unfinished -= len(calls)
            return calls
        if len(took) == 1:  # as most calls of milliseconds and more: a comprehension costs more than the rest
            calls = [window.pop(*took)]
            calls[0].state = ENDED
        else:
            calls = [window[call_id] for call_id in took]
            for call in calls:
                del window[call.id]
                call.state = ENDED
        self.unfinished -= len(calls)
        if not self.unfinished:
            self._board.has_many = False  # calls that come now are not asked for how many they stand
        if self._suspects.on_trial:
            for call in calls:
                self._suspects.acquitted(call)
        if queue is not None:
            self._busy.learn(slave, queue, took.values())
        self._busy.progress(slave, now)
        if window:
            self._busy.progressed[rank] = slave
        elif queue is not None:
            self._busy.has_ended(slave, queue)
        return calls

    def given_up(self, rank: Rank, call_id: CallId, attempt: int, now: float) -> list[Call]:
        """A call has ended, for all but its slave, which is still in it: it can't be interrupted.

        So has what waits below it there, since that can't go on before. If the call waits itself, what runs on top is what
        can't be interrupted, descends from it, and ends with it. The slave counts for limits as before, and gets nothing new
        until it has given the outcomes of all these after all.

        Returns:
            The calls, the top one first; none: that attempt has ended before, and nothing was changed.

        Raises:
            ValueError: The slave is in another call that was given up; nothing was changed.
        """
        slave, call = self._slaves.get(rank), self.call_on(rank, call_id)
        if slave is None or call is None or call.attempt != attempt:
            return []
        if slave.stuck:
            msg = f"slave {rank} can't be in call {call_id}: it is in call {next(iter(slave.stuck))}, which was given up"
            raise ValueError(msg)
        ended = self._left.give_up(slave, call, now)
        self.unfinished -= len(ended)
        return ended

    def call_succeeded(self, call: Call) -> None:
        """What waited for this call may go on."""
        for dependent in call.dependents or ():
            dependent.blockers -= 1
            if not dependent.blockers and dependent.state == BLOCKED:
                self._waiting.enqueue(dependent)
        call.dependents = None

    def call_failed(self, call: Call) -> list[Ended]:
        """What waited for this call ends too, and what waited for that."""
        ended: list[Ended] = []
        failed = [call]
        while failed:
            because = failed.pop()
            for dependent in because.dependents or ():
                if dependent.state == BLOCKED:
                    dependent.state = ENDED
                    self.unfinished -= 1
                    ended.append(Ended(dependent, because))
                    failed.append(dependent)
            because.dependents = None
        return ended

    def cancelled(self, call: Call) -> bool:
        """The user gave up a call. Whether that was in time: before it was sent."""
        if call.state == WAITING:
            backlog = self._queues[call.queue].levels[call.priority].backlogs[call.resource]
            was_next = backlog.head() is call
            call.state = ENDED
            backlog.counted(-call.items)
            if was_next or not backlog.count:
                self._waiting.settle(backlog)
        elif call.state != BLOCKED:
            return False
        call.state = ENDED
        self.unfinished -= call.items
        self._suspects.acquitted(call)
        return True

    def one_cancelled(self, many: Many, call_id: CallId) -> None:
        """The user gave up one of many calls that wait."""
        backlog = self._queues[many.queue].levels[many.priority].backlogs[many.resource]
        was_next = backlog.head() is many
        many.drop(call_id)
        backlog.counted(-1)
        self.unfinished -= 1
        if was_next or not backlog.count:
            self._waiting.settle(backlog)

    def many_ended(self, rank: Rank, call_id: CallId, done: int, left: int, seconds: float, now: float) -> Many:  # noqa: PLR0913, PLR0917  a line of a report
        """Of many calls that it was sent together, a slave has ended the first, and has not begun others, and won't.

        Args:
            rank: Of the slave.
            call_id: Of the first.
            done: How many have ended.
            left: 1 if it is still in the next, which is a call of its own from now on; else 0.
            seconds: That those took which have ended.
            now: The time.

        Returns:
            The calls, as they were sent.

        Raises:
            KeyError: That slave has no such calls; nothing was changed.
        """
        slave = self._slaves[rank]
        many = slave.window[call_id]
        assert isinstance(many, Many)  # noqa: S101  what is told like this was sent like this
        self._busy.free_ended()
        running, unbegun = many.after(done, left)
        slave.window_without(many, running)
        many.state = ENDED
        self.unfinished -= done
        if not self.unfinished:
            self._board.has_many = False
        if done and slave.queue is not None:
            self._busy.learn_many(slave, slave.queue, done, seconds)
        if unbegun is not None:
            self._waiting.requeue([unbegun])
        self._busy.progress(slave, now)
        if slave.window and running is None:
            self._busy.progressed[rank] = slave
        elif not slave.window and slave.queue is not None:
            self._busy.has_ended(slave, slave.queue)
        return many

    def given_back(self, rank: Rank, call_ids: Sequence[CallId], now: float) -> None:
        """A slave confirms that it has not begun these calls, and won't.

        Raises:
            KeyError: That slave has no such call; nothing was changed.
        """
        slave = self._slaves[rank]
        slave.were_sent(call_ids)  # raise here, before anything has changed
        self._busy.free_ended()
        self._waiting.take_from(slave, call_ids)
        slave.settle_waits()
        slave.asked_back = False
        self._busy.progress(slave, now)
        if not slave.window and slave.queue is not None and not slave.stuck:
            self._stuck.pop(rank, None)
            self._busy.freed(slave)

    def slave_lost(self, rank: Rank) -> Lost:
        """A slave is dead. Its calls run again, one after the other, each alone with its slave: one of them may be why.

        A death alone is a strike against that call. One with as many as the rules allow does not run again, nor does one
        with any that could take the last slave.

        Raises:
            KeyError: There is no such slave; nothing was changed.
        """
        slave = self._slaves[rank]
        self._busy.free_ended()
        calls, bottom = slave.calls(), slave.bottom
        self._gone(slave)
        calls = [one for call in calls for one in call.singles()]
        for call in calls:
            call.state = BLOCKED
        # What waits has not killed it, but what it has submitted may have: they all stand for the lowest.
        alone = [bottom] if bottom is not None else calls if len(calls) == 1 else []
        if alone or self._rules.strikes == 1:
            for call in alone or calls:
                self._suspects.strikes[call.id] = self._suspects.strikes.get(call.id, 0) + 1
        self._suspects.add(calls)
        self._trials.recall_suspects()
        return Lost(calls, self._given_up())

    def _gone(self, slave: Slave) -> None:
        """A slave has no calls any more, and holds nothing."""
        del self._slaves[slave.rank]
        self._stuck.pop(slave.rank, None)
        if not slave.is_in_a_call:
            self._idle.remove(slave)
        if slave.queue is not None:
            self._busy.left_by(slave, slave.queue)
            self._busy.shallow(slave)
            self._busy.progressed.pop(slave.rank, None)
        if slave.waits is not None:
            self._busy.unwind(slave, slave.waits)
        for resource in list(slave.holds):
            self._holding.drop(slave, resource)
        for provided in list(slave.occupies):
            self._holding.vacate(slave, provided)

    # ---------------------------------------------------------------- what happened to calls that submit calls

    def nested(self, call: Call, parent: Call | None, rank: Rank) -> None:
        """A call on that slave is about to submit another: tell this before it is `submitted`.

        Args:
            call: What it submits.
            parent: Who does; None: a thread of one that has ended.
            rank: Of the slave.
        """
        if parent is not None and parent.nest is None:
            parent.nest = Nest(None)
        call.nest = Nest(None if parent is None else parent.nest)
        slave = self._slaves.get(rank)
        if slave is not None:
            slave.submits(call)

    def joined(self, call: Call, other: Call) -> None:
        """A call is to end by the outcome of another one; it runs no longer, or never will."""
        call.nest = call.nest or Nest(None)
        call.nest.joins = other

    def join_ended(self, call: Call) -> bool:
        """What a postponed call was to end with has ended. Whether that call still waited for it."""
        if call.nest is not None:
            call.nest.joins = None
        if call.state != BLOCKED:
            return False
        call.state = ENDED
        self.unfinished -= 1
        return True

    def call_waits(self, rank: Rank, call_id: CallId, number: int, given_back: Sequence[CallId], now: float) -> None:
        """A call waits for what it has submitted; its slave has not begun what came behind it, and won't.

        Args:
            rank: Of the slave.
            call_id: What waits.
            number: Of the wait, of which the slave counts its own.
            given_back: What the slave has had behind it. What it was sent since, it will give back.
            now: The time.

        Raises:
            KeyError: That slave has no such calls; nothing was changed.
        """
        slave = self._slaves[rank]
        call, _ = slave.window[call_id], slave.were_sent(given_back)
        self._above.begins(slave, call, number, given_back, now)

    def call_goes_on(self, rank: Rank, given_back: Sequence[CallId], now: float) -> None:
        """The call that waits on top there goes on; what its slave had to run meanwhile and has not begun, it won't.

        Raises:
            KeyError: Nothing waits there, or it has no such calls; nothing was changed.
        """
        slave = self._slaves[rank]
        slave.were_sent(given_back)
        if slave.waits is None or not slave.waits.frames:
            raise KeyError(rank)
        self._above.ends(slave, slave.waits, given_back, now)

    def still_waits(self, rank: Rank, number: int) -> Stuck | None:
        """A slave has waited for a while, and nothing but other calls can end that; nothing is on its way there.

        Returns:
            The call that must be told, if this wait can never end.
        """
        return self._above.lasts(self._slaves[rank], number)

    def answered(self, rank: Rank) -> None:
        """Something is on its way to that slave which may end a wait."""
        self._above.unproven(rank)

    def resources_held(
        self, rank: Rank, held: Iterable[Provided], acquired: Iterable[tuple[Provided, float]], now: float
    ) -> None:
        """A slave says what its providers hold for it now, in the order of use, and what they acquired, in how many seconds.

        If it gave outcomes with that, tell those first: until then it is thought to acquire what its window needs.

        Raises:
            KeyError: There is no such slave; nothing was changed.
        """
        slave = self._slaves[rank]
        self._busy.free_ended()
        self._board.now = now
        counts, holds = self.tally.slaves[rank], list(held)
        for provided, seconds in acquired:
            self.prices.learn("", provided, seconds)
            counts.acquisitions += 1
            counts.acquiring += seconds
            count = self.tally.resource(provided)
            count.acquisitions += 1
            count.acquiring += seconds
            is_for_window = slave.window and provided == slave.resource and provided in holds
            # What it held before that, it may have acquired for an earlier window.
            if is_for_window and slave.before is not None and provided not in slave.before[0]:
                slave.before = None  # it has begun; until its first outcome, that is still part of what its window takes
        self._holding.reconcile(slave, holds)

    # ---------------------------------------------------------------- what is there

    @property
    def has_idle(self) -> bool:
        """Whether a slave has nothing to do."""
        return self._idle.count > 0 or self._busy.ended is not None

    def learned(self) -> Prices:
        """What was learned so far, for the scheduler of a later run."""
        self.prices.calls.update({name: queue.mean for name, queue in self._queues.items() if queue.mean is not None})
        return self.prices

    def call_on(self, rank: Rank, call_id: CallId) -> Call | None:
        """The call of that number which that slave has begun, if it has."""
        slave = self._slaves.get(rank)
        if slave is None or call_id in slave.window or slave.waits is None:
            return None if slave is None else slave.window.get(call_id)
        waiting = reversed(slave.waits.calls())  # the top one, but for threads of those below
        return next((call for call in waiting if call.id == call_id), None)

    def is_given_up(self, rank: Rank, call_id: CallId) -> bool:
        """Whether that slave is left in that call."""
        slave = self._slaves.get(rank)
        if slave is None or not slave.stuck:
            return False
        buried = [] if slave.waits is None else slave.waits.frames[: slave.waits.buried]
        return call_id in slave.stuck or any(frame.call.id == call_id for frame in buried)

    def looks(self) -> Looks:
        """What queues, slaves and resources look like now."""
        self._busy.free_ended()
        queues = {
            name: QueueLook(queue.max_slaves, queue.waiting, queue.running, queue.mean) for name, queue in self._queues.items()
        }
        holds = {rank: tuple(slave.holds) for rank, slave in self._slaves.items()}
        return Looks(queues, holds, {resource: len(holders) for resource, holders in self._holders.items()})

    def state(self, now: float) -> State:
        """What `why` reads."""
        self._busy.free_ended()
        state = self.unfinished, self._queues, self._slaves, self._holders, self._occupied, self.tally, self._holding.patience
        return State(now, *state)

    def waiting(self) -> list[Call]:
        """The calls that could be sent, of all tasks, and those that wait for their trial."""
        levels = (level for queue in self._demand.values() for level in queue.busy_levels())
        backlogs = (backlog for level in levels for backlog in level.backlogs.values())
        return [call for backlog in backlogs for call in backlog.waiting()] + list(self._suspects.withheld())

    def left_in_calls(self) -> list[tuple[Rank, CallId]]:
        """The slaves that are still in calls which were given up, and those that they are in now."""
        return [(slave.rank, call_id) for slave in self._stuck.values() for call_id in slave.stuck]

    def sent(self) -> list[tuple[Rank, Call]]:
        """The calls that slaves have, and which slave."""
        return [(slave.rank, call) for slave in self._slaves.values() for call in slave.calls()]

    # ---------------------------------------------------------------- what to do now

    def decide(self, now: float) -> list[Order]:  # noqa: C901  one question after the other
        """Hand waiting calls to slaves. Call it after every batch of events, and at `deadline()`."""
        self._board.now = now
        for backlog in self._untimed:
            backlog.since = now
        orders: list[Order] = []
        if self._suspects.groups:
            self._trials.try_suspects()
        if self._holding.alarms and self._holding.alarms[0][0] <= now:
            self._holding.ring()
        if self._busy.ended is not None:
            self._windows.go_on(self._busy.ended, orders)
        if self._idle.count and self._demand:
            self._choosing.assign_all(orders)
            if self._demand and self._idle.count:
                self._choosing.review(orders)
        if self._busy.progressed:
            orders.extend(self._windows.refills())
        if self._nesting.looking:
            orders.extend(self._above.fill_waits())
        if (self._suspects.groups or self._suspects.on_trial) and not orders:
            self._trials.try_in_need(orders)
        if 0 < self._idle.count < len(self._slaves):
            orders.extend(self._busy.take_backs())
        elif self._busy.any_deep and now >= self._busy.look_at:
            orders.extend(self._busy.take_apart())
        if self._untimed:
            self._holding.start_waits()
        return orders

    def deadline(self) -> float:
        """When to decide again if nothing happens until then; infinity if never."""
        if self._busy.ended is not None:
            self._busy.free_ended()
        due = self._holding.alarms[0][0] if self._holding.alarms else inf
        if self._demand and self._idle.count:
            due = min(due, self._choosing.review_at)
        if 0 < self._idle.count < len(self._slaves):
            for late_at, _ in self._busy.late_ones():
                due = min(due, late_at)
        elif self._busy.any_deep:
            due = min(due, self._busy.look_at)
        return due

    def _given_up(self) -> list[Call]:
        """End the suspects that have too many strikes, those on trial too if they were not sent."""
        most = 1 if len(self._slaves) <= 1 else self._rules.strikes
        struck = {call_id for call_id, strikes in self._suspects.strikes.items() if strikes >= most}
        ended = [call for call in self.waiting() if call.id in struck] if struck else []
        for call in ended:
            self.cancelled(call)
        return ended
