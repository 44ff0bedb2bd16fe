"""Decides which slave runs which call.

::

    submitted ──► [blocked] ──► waiting, by task, priority, resource ──┐
                                                                       ├── decide(now) ──► Send(rank, calls)
    slave_joined, calls_finished ─► idle slaves, last ended on top ────┘              └──► TakeBack(rank)

Precedence of a decision: limits; priority across all queues; the fair share picks the queue; stickiness picks the call
in it and the slave for it; age. Every method is named for what happened; `decide` says what to do now. All state of the
scheduler changes in this file and nowhere else; times come in as arguments, in seconds of one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush
from itertools import groupby, islice
from math import inf
from typing import NamedTuple

from ..ids import CallId, Rank
from .backlog import Backlog, Level, Queue
from .calls import BLOCKED, ENDED, PLAIN, SENT, WAITING, Call, Provided, chain_of, surplus
from .many import Many
from .nesting import Frame, Nest, Nesting, Proof, Stuck, Waits, top_of
from .prices import Prices
from .ranking import Ranking
from .slaves import IdleSlaves, Slave
from .spread import Load, spread
from .suspects import Suspects
from .tally import DUPLICATED, NESTED, NEW, OVERDUE, OWED, PLAIN_CALL, STICKY, Decision, OfQueue, OfSlave, Tally
from .why import State

GAPS_COVERED, MOST_WORTH = 4.0, 0.2
"""Gaps between two decisions that a window covers, since it is refilled at its half and they vary; seconds that it may last."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers behind the decisions."""

    worth: float = 0.010
    """Seconds of work in a window: enough to hide a round trip of 10-200 µs, little to wait behind."""
    most_calls: int = 512
    most_items: int = 200_000
    """Items of maps in a window: all they cost beside the body is some 0.1 µs each."""
    most_bytes: int = 4 << 20
    """Of arguments in one window; a single call may be larger."""
    turn: float = 0.1
    """Slave seconds by which one queue may be ahead of another before an equal share changes hands."""
    patience: float = 30.0
    """Seconds that a call waits for the busy holder of its resource, or behind what a slave holds."""
    late: float = 0.03
    """Seconds without an outcome after which a window is asked for what it has not begun."""
    keep: int = 1
    """Plain ids that a slave keeps."""
    most_levels: int = 4
    """Priorities of a task that are remembered while nothing waits there."""
    least_price: float = 1e-3
    """Seconds that a further acquisition costs at least: a window has to travel, and short calls measure noise."""
    review_after: float = 0.01
    """Seconds between two looks whether further slaves should acquire what others hold; more with many slaves."""
    review_each: float = 1e-4
    """The same, for each slave and each resource in demand: a look takes about a microsecond for each of them."""
    review_share: int = 16
    """Slaves and resources to be looked at for each decision: where many are made, a look need not wait."""
    strikes: int = 3
    """Slaves that may die of one call; with 1, no call of a dead slave runs again, whether it had begun or not."""


class Send(NamedTuple):
    """Send these calls, all of one task and one resource, to that slave."""

    rank: Rank
    calls: list[Call]
    above: int = 0
    """Number of the wait during which they are to be run, on top of the call that waits; 0: none waits."""


class TakeBack(NamedTuple):
    """Ask that slave to give back the calls of its window that it has not begun."""

    rank: Rank


Order = Send | TakeBack


class Ended(NamedTuple):
    """A call that ended without running, because of another one."""

    call: Call
    because: Call


class Lost(NamedTuple):
    """What a dead slave had."""

    calls: list[Call]
    given_up: list[Call]
    """Calls that have ended, because they have cost too many slaves, or could cost the last: not all were with this slave."""


class QueueLook(NamedTuple):
    """A queue at one moment."""

    max_slaves: int | None
    waiting: int
    running: int
    mean: float | None


class Looks(NamedTuple):
    """The scheduler at one moment."""

    queues: dict[str, QueueLook]
    holds: dict[Rank, tuple[Hashable, ...]]
    holders: dict[Hashable, int]


class Scheduler:
    """The state of all queues and slaves, and the rules that move calls to slaves."""

    unfinished = 0
    """Calls submitted and not ended."""
    _most_alarms = 64
    _deep_slaves = 0
    _look_at = 0.0
    """When to look again for windows that wait behind a long call while no slave is idle."""
    _has_many = False
    """Whether any calls were submitted that stand for many."""
    _ended: Slave | None = None
    """The slave that ended its window last, until the next decision: most go on with the same, and are never idle."""

    def __init__(self, rules: Rules | None = None, prices: Prices | None = None) -> None:
        self._rules = self._usual = rules or Rules()
        self.prices = prices or Prices()
        """What acquisitions cost."""
        self.tally = Tally()
        """What was decided, and why."""
        self._queues: dict[str, Queue] = {}
        self._slaves: dict[Rank, Slave] = {}
        self._idle = IdleSlaves(self._rules.keep)
        self._demand: dict[str, Queue] = {}
        """Queues in which calls wait."""
        self._ranking = Ranking()
        self._deep: dict[Queue, dict[Rank, Slave]] = {}
        self._deep_held: dict[Queue, dict[Rank, Slave]] = {}
        """Slaves with calls that wait behind another, the one without progress for longest first; these: for a resource."""
        self._progressed: dict[Rank, Slave] = {}
        """Busy slaves that gave an outcome since the last decision."""
        self._holders: dict[Hashable, dict[Rank, Slave]] = {}
        self._wanted: dict[Hashable, dict[Backlog, None]] = {}
        """Where calls wait for this resource."""
        self._needed: dict[Hashable, dict[tuple[Level, Provided | None], int]] = {}
        """Where calls wait for others that need this one: in how many backlogs, by level and gate."""
        self._alarms: list[tuple[float, CallId, Backlog]] = []
        """When to look whether a call has waited too long for a holder."""
        self._untimed: list[Backlog] = []
        """Backlogs whose oldest call is new since the last decision: not every event is told the time."""
        self._occupied: dict[Provided, dict[Rank, Slave]] = {}
        """Slaves that hold a resource with `max_holders`, or are about to, until they say that it is released."""
        self._stuck: dict[Rank, Slave] = {}
        """Slaves that are still in calls which were given up."""
        self._suspects = Suspects()
        self._owed: dict[Hashable, None] = {}
        """Resources to look at, since all their permitted holders may hold them and one of those is idle."""
        self._review_at = inf
        """When to look again whether further slaves should acquire what others hold; infinity: nobody waits for that."""
        self._credit = 0
        """Slaves and resources that may be looked at before that time."""
        self._now, self._virtual, self._nesting = 0.0, 0.0, Nesting()
        """The second: `Queue.served` of the queue chosen last: where a queue with new demand starts."""

    # ---------------------------------------------------------------- what happened

    def queue_defined(self, name: str, *, max_slaves: int | None = None, weight: float = 1.0) -> None:
        """There is a task of that name; a second definition changes nothing."""
        if name not in self._queues:
            queue = self._queues[name] = Queue(name, max_slaves, weight, len(self._queues))
            queue.mean = self.prices.calls.get(name)
            self.tally.queues[name] = OfQueue()

    def seldom_driven(self, gap: float) -> None:
        """So many seconds pass between two decisions just now: windows last for longer, or slaves would idle meanwhile."""
        self._rules = replace(self._usual, worth=max(self._usual.worth, min(GAPS_COVERED * gap, MOST_WORTH)))

    def slave_joined(self, rank: Rank) -> None:
        """A slave is ready, and holds nothing.

        Raises:
            ValueError: It is here already; nothing was changed.
        """
        if rank in self._slaves:
            msg = f"slave {rank} joined, but it is here already: a rank joins again only after slave_lost({rank})"
            raise ValueError(msg)
        self._free_ended()
        self._slaves[rank] = slave = Slave(rank)
        self.tally.slaves.setdefault(rank, OfSlave())
        self._idle.add(slave)

    def submitted(self, call: Call, after: Iterable[Call] = ()) -> None:
        """A call is to be run, once those in `after` have ended well.

        Raises:
            KeyError: There is no such queue; nothing was changed.
            TypeError: What the call needs can't be hashed; nothing was changed.
        """
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
            self._enqueue(call)

    def postponed(self, call: Call) -> None:
        """A call that has ended is to run again, once it is `resumed`."""
        call.state = BLOCKED
        self.unfinished += 1

    def resumed(self, call: Call) -> None:
        """A postponed call may run, if it was not cancelled meanwhile."""
        if call.state == BLOCKED:
            self._enqueue(call)

    def refused(self, call: Call) -> None:
        """A call can't be run, because of one that has failed before it was submitted."""
        call.state = ENDED

    def calls_finished(self, rank: Rank, finished: Sequence[tuple[CallId, float | None]], now: float) -> list[Call]:
        """A slave gave the outcomes of these calls, each with the seconds it took; None: it was never begun.

        Returns:
            The calls, but for one that was given up before.

        Raises:
            KeyError: That slave has no such call; nothing was changed.
        """
        slave = self._slaves[rank]
        window, queue, took = slave.window, slave.queue, dict(finished)
        if slave.stuck:
            return self._finished_beside(slave, took, now)
        if len(took) == 1:  # as most calls of milliseconds and more: a comprehension costs more than the rest
            calls = [window.pop(finished[0][0])]
            calls[0].state = ENDED
        else:
            calls = [window[call_id] for call_id in took]
            for call in calls:
                del window[call.id]
                call.state = ENDED
        self.unfinished -= len(calls)
        if self._suspects.on_trial:
            for call in calls:
                self._suspects.acquitted(call)
        if queue is not None:
            self._learn(slave, queue, took.values())
        self._progress(slave, now)
        if window:
            self._progressed[rank] = slave
        elif queue is not None:
            self._has_ended(slave, queue)
        return calls

    def _finished_beside(self, slave: Slave, took: dict[CallId, float | None], now: float) -> list[Call]:
        """Outcomes of a slave that was left in a call: perhaps that of this call is among them."""
        calls = [slave.window[call_id] for call_id in took if call_id not in slave.stuck]
        for call in calls:
            del slave.window[call.id]
            call.state = ENDED
            self._suspects.acquitted(call)
        self.unfinished -= len(calls)
        if slave.queue is not None:
            self._learn(slave, slave.queue, took.values())
        self._progress(slave, now)
        for call_id in took:
            slave.stuck.pop(call_id, None)
        if not slave.stuck:
            self._comes_back(slave)
        return calls

    def _comes_back(self, slave: Slave) -> None:
        """A slave has ended what was given up, but for what waits below that, which goes on now, and ends in its turn."""
        del self._stuck[slave.rank]
        if slave.window:
            self._progressed[slave.rank] = slave
        elif slave.queue is not None:
            self._has_ended(slave, slave.queue)

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
        tops = [call] if call_id in slave.window else list(reversed(slave.window.values()))
        buried = slave.waits.bury() if slave.waits is not None else []
        for one in tops:
            del slave.window[one.id]
        for one in (ended := tops + buried):
            one.state = ENDED
            self.unfinished -= 1
            self._suspects.acquitted(one)
        slave.stuck, slave.before = {one.id: None for one in tops or buried[:1]}, None
        self._stuck[rank] = slave
        self._nesting.goes_on(slave)
        self._progressed.pop(rank, None)
        self._progress(slave, now)
        return ended

    def call_succeeded(self, call: Call) -> None:
        """What waited for this call may go on."""
        for dependent in call.dependents or ():
            dependent.blockers -= 1
            if not dependent.blockers and dependent.state == BLOCKED:
                self._enqueue(dependent)
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
                self._settle(backlog)
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
            self._settle(backlog)

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
        self._free_ended()
        running, unbegun = many.after(done, left)
        slave.window_without(many, running)
        many.state = ENDED
        self.unfinished -= done
        if done and slave.queue is not None:
            self._learn_many(slave, slave.queue, done, seconds)
        if unbegun is not None:
            self._requeue([unbegun])
        self._progress(slave, now)
        if slave.window and running is None:
            self._progressed[rank] = slave
        elif not slave.window and slave.queue is not None:
            self._has_ended(slave, slave.queue)
        return many

    def given_back(self, rank: Rank, call_ids: Sequence[CallId], now: float) -> None:
        """A slave confirms that it has not begun these calls, and won't.

        Raises:
            KeyError: That slave has no such call; nothing was changed.
        """
        slave = self._slaves[rank]
        slave.were_sent(call_ids)  # raise here, before anything has changed
        self._free_ended()
        self._take_from(slave, call_ids)
        self._settle_waits(slave)
        slave.asked_back = False
        self._progress(slave, now)
        if not slave.window and slave.queue is not None and not slave.stuck:
            self._stuck.pop(rank, None)
            self._freed(slave)

    def slave_lost(self, rank: Rank) -> Lost:
        """A slave is dead. Its calls run again, one after the other, each alone with its slave: one of them may be why.

        A death alone is a strike against that call. One with as many as the rules allow does not run again, nor does one
        with any that could take the last slave.

        Raises:
            KeyError: There is no such slave; nothing was changed.
        """
        slave = self._slaves[rank]
        self._free_ended()
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
        self._recall_suspects()
        return Lost(calls, self._given_up())

    def _gone(self, slave: Slave) -> None:
        """A slave has no calls any more, and holds nothing."""
        del self._slaves[slave.rank]
        self._stuck.pop(slave.rank, None)
        if not slave.is_in_a_call:
            self._idle.remove(slave)
        if slave.queue is not None:
            self._left_by(slave, slave.queue)
            self._shallow(slave)
            self._progressed.pop(slave.rank, None)
        if slave.waits is not None:
            self._unwind(slave, slave.waits)
        for resource in list(slave.holds):
            self._drop(slave, resource)
        for provided in list(slave.occupies):
            self._vacate(slave, provided)

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
        self._free_ended()
        assert slave.queue is not None  # noqa: S101  it has a window
        waits = slave.waits = slave.waits or Waits()
        del slave.window[call_id]
        self._take_from(slave, given_back)
        self._shallow(slave)
        self._progressed.pop(rank, None)
        waits.astray.update(slave.window)
        waits.push(Frame(call, number, slave.queue, slave.resource, slave.taking, slave.first))
        call.nest = call.nest or Nest(None)
        call.nest.slave = slave
        slave.window, slave.queue, slave.resource = {}, None, PLAIN
        slave.before, slave.taking, slave.first, slave.deep = None, False, None, {}
        slave.progress_at = self._now = now
        self._nesting.waits(slave)

    def call_goes_on(self, rank: Rank, given_back: Sequence[CallId], now: float) -> None:
        """The call that waits on top there goes on; what its slave had to run meanwhile and has not begun, it won't.

        Raises:
            KeyError: Nothing waits there, or it has no such calls; nothing was changed.
        """
        slave = self._slaves[rank]
        slave.were_sent(given_back)
        if slave.waits is None or not slave.waits.frames:
            raise KeyError(rank)
        self._free_ended()
        self._take_from(slave, given_back)
        self._shallow(slave)
        slave.waits.astray.update(slave.window)
        self._progressed.pop(rank, None)
        if slave.queue is not None:
            self._left_by(slave, slave.queue)
        is_late = slave.waits.is_buried
        call, _, slave.queue, slave.resource, slave.taking, slave.first = slave.waits.pop()
        slave.window, slave.before = {} if is_late else {call.id: call}, None
        slave.stuck = {call.id: None} if is_late else {}
        if not is_late and call.nest is not None:
            call.nest.slave = None
        self._nesting.goes_on(slave)
        self._progress(slave, now)
        self._settle_waits(slave)

    def still_waits(self, rank: Rank, number: int) -> Stuck | None:
        """A slave has waited for a while, and nothing but other calls can end that; nothing is on its way there.

        Returns:
            The call that must be told, if this wait can never end.
        """
        slave = self._slaves[rank]
        self._free_ended()
        frames = [] if slave.waits is None or slave.stuck or slave.window else slave.waits.frames
        if slave.waits is None or not frames or frames[-1].number != number:
            return None
        slave.waits.proven = True
        proof = Proof(self._slaves, self._nesting, self._shut_by, self._suspects.withheld())
        stuck = proof.of(slave)
        if stuck is not None and proof.withheld:
            for call in proof.withheld:
                self._suspects.try_now(call)
            self._requeue(proof.withheld)
            return None
        if stuck is not None:
            self._unproven(stuck.rank)
        return stuck

    def answered(self, rank: Rank) -> None:
        """Something is on its way to that slave which may end a wait."""
        self._unproven(rank)

    def resources_held(
        self, rank: Rank, held: Iterable[Provided], acquired: Iterable[tuple[Provided, float]], now: float
    ) -> None:
        """A slave says what its providers hold for it now, in the order of use, and what they acquired, in how many seconds.

        If it gave outcomes with that, tell those first: until then it is thought to acquire what its window needs.

        Raises:
            KeyError: There is no such slave; nothing was changed.
        """
        slave = self._slaves[rank]
        self._free_ended()
        self._now = now
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
        self._reconcile(slave, holds)

    # ---------------------------------------------------------------- what is there

    @property
    def has_idle(self) -> bool:
        """Whether a slave has nothing to do."""
        return self._idle.count > 0 or self._ended is not None

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
        self._free_ended()
        queues = {
            name: QueueLook(queue.max_slaves, queue.waiting, queue.running, queue.mean) for name, queue in self._queues.items()
        }
        holds = {rank: tuple(slave.holds) for rank, slave in self._slaves.items()}
        return Looks(queues, holds, {resource: len(holders) for resource, holders in self._holders.items()})

    def state(self, now: float) -> State:
        """What `why` reads."""
        self._free_ended()
        state = self.unfinished, self._queues, self._slaves, self._holders, self._occupied, self.tally, self._patience
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
        self._now = now
        for backlog in self._untimed:
            backlog.since = now
        orders: list[Order] = []
        if self._suspects.groups:
            self._try_suspects()
        if self._alarms and self._alarms[0][0] <= now:
            self._ring()
        if self._ended is not None:
            self._go_on(self._ended, orders)
        if self._idle.count and self._demand:
            self._assign_all(orders)
            if self._demand and self._idle.count:
                self._review(orders)
        if self._progressed:
            orders.extend(self._refills())
        if self._nesting.looking:
            orders.extend(self._fill_waits())
        if (self._suspects.groups or self._suspects.on_trial) and not orders:
            self._try_in_need(orders)
        if 0 < self._idle.count < len(self._slaves):
            orders.extend(self._take_backs())
        elif self._has_many and now >= self._look_at:
            orders.extend(self._take_apart())
        if self._untimed:
            self._start_waits()
        return orders

    def deadline(self) -> float:
        """When to decide again if nothing happens until then; infinity if never."""
        if self._ended is not None:
            self._free_ended()
        due = self._alarms[0][0] if self._alarms else inf
        if self._demand and self._idle.count:
            due = min(due, self._review_at)
        if 0 < self._idle.count < len(self._slaves):
            for late_at, _ in self._late_ones():
                due = min(due, late_at)
        elif self._has_many and self._deep_slaves:
            due = min(due, self._look_at)
        return due

    # ---------------------------------------------------------------- choosing

    def _assign_all(self, orders: list[Order]) -> None:
        """Give calls to idle slaves, while there are both."""
        while self._demand and self._idle.count:
            order = (self._pay() if self._owed else None) or self._assign()
            if order is None:
                return
            orders.append(order)

    def _assign(self) -> Send | None:
        """Give the most deserving call to the best idle slave."""
        level = self._best_level()
        if level is None:
            return None
        self._virtual = level.queue.served
        if len(level.backlogs) == 1:  # most tasks need no resource: spare them the looks
            return self._grant(self._idle.pick(self._wanted, self._needed), level.plain, PLAIN_CALL)
        sticky, fresh = self._sticky(level), self._fresh(level)
        if sticky is not None:
            slave = self._ready(sticky)
            assert slave is not None  # noqa: S101  that is what `sticky` means
            # What has waited long goes first, if no idle slave holds that too: then it is among those that are sticky.
            if fresh is None or self._is_held(fresh) or not self._waited_long(fresh, sticky, slave):
                return self._grant(slave, sticky, STICKY if sticky.resource in slave.holds else self._why_fresh(sticky))
        assert fresh is not None  # noqa: S101  one of both is there: the level is runnable
        return self._grant(self._pick(fresh.resource), fresh, self._why_fresh(fresh))

    def _pick(self, resource: Hashable) -> Slave:
        """The idle slave to acquire this: one that has what it needs, unless its own is wanted; or any."""
        for inner in reversed(list(self._inner(resource))) if isinstance(resource, Provided) else ():
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
            due = self._due(resource) if self._is_exhausted(resource) else []
            if due:
                backlog = min(due, key=self._claim)
                slave = self._ready(backlog)
                assert slave is not None  # noqa: S101  that is what `_due` means
                return self._grant(slave, backlog, STICKY if backlog.resource in slave.holds else OWED)
            del self._owed[resource]
        return None

    def _claim(self, backlog: Backlog) -> tuple[int, bool, CallId]:
        """How those that may only go to the same slaves come one after the other: priority, stickiness, age."""
        is_held = self._idle.holder(backlog.resource) is not None
        return -backlog.level.priority, not is_held and self._now - backlog.since <= self._rules.patience, backlog.age()

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
            found = level.behind(gate, self._is_loose) if gate is not None and self._is_kept(gate) else None
            if found is not None:
                yield found

    def _best_level(self) -> Level | None:
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
        found = (self._sticky(level), self._fresh(level))
        return min(head.id for backlog in found if backlog is not None and (head := backlog.head()) is not None)

    def _runnable(self, queue: Queue) -> Level | None:
        """The highest level of that queue with a call that an idle slave may take."""
        levels = queue.busy_levels() if len(queue.order) > 1 else queue.levels.values()
        for level in levels:
            if level.plain.count or self._sticky(level) or self._fresh(level):
                return level
        return None

    def _fresh(self, level: Level) -> Backlog | None:
        """The backlog of that level with the oldest call that any slave may take."""
        if len(level.backlogs) == 1:  # most tasks need no resource: spare them the look
            return level.plain if level.plain.count else None
        return level.fresh(self._is_loose, self._is_open)

    def _sticky(self, level: Level) -> Backlog | None:
        """The same, for some idle slaves only: by what they hold."""
        return level.sticky(self._is_held, self._is_loose, self._is_kept) if len(level.backlogs) > 1 else None

    def _is_loose(self, backlog: Backlog) -> bool:
        """Any slave that its gate lets through may take its next call: nobody holds its resource, or it waited long enough."""
        resource = backlog.resource
        return (resource not in self._holders or backlog.overdue or backlog.extra > 0) and not self._is_exhausted(resource)

    def _is_held(self, backlog: Backlog) -> bool:
        """An idle slave holds the resource of this backlog."""
        return self._idle.holder(backlog.resource) is not None

    def _is_open(self, gate: Provided) -> bool:
        """Any slave may hold all of this."""
        return not any(map(self._is_exhausted, chain_of(gate)))

    def _is_kept(self, gate: Provided) -> bool:
        """An idle slave may hold all of this, but not any."""
        return self._keeper(gate) is not None

    def _keeper(self, gate: Provided) -> Slave | None:
        """The idle slave that holds what of this nobody further may hold."""
        exhausted = [one for one in chain_of(gate) if self._is_exhausted(one)]
        return self._idle.holder(exhausted[-1]) if exhausted else None

    def _ready(self, backlog: Backlog) -> Slave | None:
        """The idle slave for the next call of this backlog, by what it holds, where others may not run it."""
        slave = self._idle.holder(backlog.resource)
        return self._keeper(backlog.gate) if slave is None and backlog.gate is not None else slave

    def _is_exhausted(self, resource: Hashable) -> bool:
        """As many slaves as may hold this resource do."""
        if not isinstance(resource, Provided) or resource.kind.max_holders is None:
            return False
        return len(self._occupied.get(resource, ())) >= resource.kind.max_holders

    def _waited_long(self, backlog: Backlog, sticky: Backlog, slave: Slave) -> bool:
        """A call behind what this slave holds has waited long enough, and that was held long enough, to go before it."""
        # Else, once much has waited for long, each slave would acquire anew for each call.
        since = backlog.since if backlog.resource is PLAIN else max(backlog.since, slave.took_up_at)
        if self._now - since <= self._rules.patience:
            return False
        mine, its = backlog.head(), sticky.head()
        return mine is not None and its is not None and mine.id < its.id

    # ---------------------------------------------------------------- what others hold

    def _review(self, orders: list[Order]) -> None:
        """Let idle slaves acquire what others hold, where that ends the waiting calls sooner."""
        if not self.prices or not self._holders:
            self._review_at = inf
            return
        things = len(self._slaves) + len(self._wanted)
        self._credit += self._rules.review_share
        pause = max(self._rules.review_after, things * self._rules.review_each)
        self._review_at = min(self._review_at, self._now + pause)
        if self._credit < things and self._now < self._review_at:
            return
        self._credit, self._review_at = 0, inf
        backlogs = self._spread()
        if backlogs:
            self._assign_all(orders)
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
                self._loosen(backlog)
                chosen.append(backlog)
        return chosen

    def _priced(self, queue: Queue, mean: float) -> list[tuple[Backlog, Load]]:
        """The backlogs of a queue that wait for holders, where it is known what a further one costs."""
        found: list[tuple[Backlog, Load]] = []
        for level in queue.busy_levels():
            for backlog in level.backlogs.values():
                holders = self._holders.get(backlog.resource)
                price = self._price(queue, backlog.resource) if holders and backlog.count else None
                if holders and price is not None:
                    ahead = sum(self._ahead(slave) for slave in holders.values())
                    room = min(backlog.count, self._room(backlog.resource))
                    price = max(price, self._rules.least_price)
                    found.append((backlog, Load(ahead + backlog.count * mean, len(holders), price, room)))
        return found

    def _ahead(self, slave: Slave) -> float:
        """Seconds until a slave has done its window. What is late by some time is expected to take that much longer."""
        if slave.queue is None:
            return 0.0
        price = self._price(slave.queue, slave.resource) if slave.taking else None
        expected = (price or 0.0) + len(slave.window) * (slave.queue.mean or 0.0)
        return abs(slave.progress_at + expected - self._now)

    def _price(self, queue: Queue, resource: Hashable) -> float | None:
        """Seconds to acquire this, and what it needs; None while it is unknown."""
        price = self.prices.of(queue.name, resource)
        if price is None or not isinstance(resource, Provided) or resource.inner is None:
            return price
        return price + (self._price(queue, resource.inner) or 0.0)

    def _room(self, resource: Hashable) -> int:
        """How many slaves more may hold this."""
        room = len(self._slaves)
        for one in chain_of(resource):
            if isinstance(one, Provided) and one.kind.max_holders is not None:
                room = min(room, one.kind.max_holders - len(self._occupied.get(one, ())))
        return room

    def _patience(self, backlog: Backlog) -> float:
        """Seconds that a call waits for a holder: longer where another acquisition takes longer."""
        price = self._price(backlog.level.queue, backlog.resource)
        return self._rules.patience if price is None else max(self._rules.patience, price)

    # ---------------------------------------------------------------- windows

    def _window_size(self, queue: Queue, backlog: Backlog) -> int:
        """How many calls a slave should have at a time."""
        head = backlog.head()
        if head is None or not head.chunk:
            return self._usual_size(queue, self._rules.most_items if head is not None and head.is_many else None)
        return head.chunk

    def _usual_size(self, queue: Queue, most: int | None = None) -> int:
        """The same, where the user has no wish."""
        if queue.mean is None or queue.mean >= self._rules.worth:
            return 1
        return max(1, min(most or self._rules.most_calls, int(self._rules.worth / max(queue.mean, 1e-7))))

    def _even(self, queue: Queue) -> int:
        """A slave's part of what waits, so that no window is long when the queue runs out."""
        slaves = len(self._slaves)
        if queue.max_slaves is not None:
            slaves = min(slaves, queue.max_slaves)
        return -(-queue.waiting // max(1, slaves))

    def _grant(self, slave: Slave, backlog: Backlog, reason: str) -> Send:
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
                self._take_up(slave, backlog.resource)
        self._progress(slave, self._now)
        if backlog.extra:
            backlog.extra -= 1
        self._settle(backlog)
        lent_from = came_from.name if came_from is not None and came_from is not queue else ""
        return self._send(slave, calls, reason, lent_from)

    def _take(self, slave: Slave, queue: Queue, backlog: Backlog) -> list[Call]:
        """Put the next calls of that backlog into the window of that slave."""
        window, head = slave.window, backlog.head()
        if self._has_many:
            calls = self._take_with_many(slave, queue, backlog)
        else:
            if head is not None and head.chunk:
                most = head.chunk - len(window)
            else:
                most = self._usual_size(queue) - len(window)
                if most > 1:
                    most = min(most, self._even(queue))
            calls = backlog.take(max(1, most), self._rules.most_bytes)
        if self._suspects.on_trial and (rest := calls[self._apart(calls) :]):
            backlog.put_back(rest)
            del calls[-len(rest) :]
        for call in calls:
            call.state = SENT
            call.attempt += 1
            window[call.id] = call
        return calls

    def _take_with_many(self, slave: Slave, queue: Queue, backlog: Backlog) -> list[Call]:
        """The same, where some stand for many: two times half a window, so that one is under way while one is run."""
        head, size = backlog.head(), self._window_size(queue, backlog)
        if head is not None and head.chunk:
            return backlog.take_with_many(max(1, size - slave.load), size, self._rules.most_bytes)
        most = max(1, min(size - slave.load, self._even(queue)))
        return backlog.take_with_many(most, max(1, size // 2), self._rules.most_bytes)

    def _send(self, slave: Slave, calls: list[Call], reason: str, lent_from: str) -> Send:
        """A window leaves, for that reason."""
        first = calls[0]
        count = sum(call.items for call in calls) if self._has_many else len(calls)
        decision = self._now, slave.rank, first.queue, first.resource, first.id, count, reason, lent_from
        self.tally.decided(tuple.__new__(Decision, decision))  # half the time of `Decision(...)`
        return Send(slave.rank, calls)

    def _go_on(self, slave: Slave, orders: list[Order]) -> None:
        """Give the slave that has ended more of the same, if any decision would; else it is idle."""
        # Where each call travels alone, that is a third of the cost of being idle and chosen again.
        queue = slave.queue
        assert queue is not None  # noqa: S101  it has ended, and nobody has freed it
        backlog = self._its_next(slave, queue) if queue.waiting and not (self._idle.count or self._owed) else None
        if backlog is None:
            self._free_ended()
            return
        self._ended = None
        self._virtual = queue.served
        orders.append(self._fill(slave, queue, backlog))

    def _fill(self, slave: Slave, queue: Queue, backlog: Backlog) -> Send:
        """What `_grant` does, for a slave that ended its window and goes on with the same; without what stays as it was."""
        calls = self._take(slave, queue, backlog)
        if len(calls) > 1 or self._now != slave.progress_at:
            self._progress(slave, self._now)
        if backlog.resource is PLAIN:
            self._settle(backlog)
            return self._send(slave, calls, PLAIN_CALL, "")
        slave.before = dict(slave.holds), {}
        if not backlog.count:
            self._settle(backlog)
        else:  # nobody can run its next call who needs to get to know of it: its holders are busy
            backlog.since, backlog.overdue = self._now, False
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
        fresh = level.fresh(self._is_loose, self._is_open)
        return None if fresh is not None and self._waited_long(fresh, backlog, slave) else backlog

    def _refills(self) -> Iterator[Send]:
        """Top up the windows that ran low, where the slave would go on with the same anyway."""
        progressed, self._progressed = self._progressed, {}
        for slave in progressed.values():
            queue = slave.queue
            if queue is None or slave.asked_back or not queue.waiting or slave.waits is not None:
                continue
            backlog = self._continues(slave, queue)
            if backlog is not None:
                yield self._grant(slave, backlog, PLAIN_CALL if backlog.resource is PLAIN else STICKY)

    def _continues(self, slave: Slave, queue: Queue) -> Backlog | None:
        """The backlog that this slave would be given again, were it idle; None too while its window is more than half full."""
        level = next(queue.busy_levels())
        backlog = level.backlogs.get(slave.resource)
        if (
            backlog is None
            or not backlog.count
            or (slave.load if self._has_many else len(slave.window)) > self._window_size(queue, backlog) // 2
            or (self._suspects.on_trial and self._is_trial(slave, backlog))
        ):
            return None
        exhausted = [held for held in slave.holds if self._is_exhausted(held)]
        if exhausted:
            own = [one for one in chain_of(slave.resource) if one in exhausted]
            rivals = [other for held in own or exhausted for other in self._waiting_for(held, queue)]
            if own:
                return None if any(other.priority > level.priority for other in rivals) else backlog
            if rivals:
                return None
        fresh = self._fresh(level)
        if backlog is level.plain:
            if fresh is not backlog or any(held in level.backlogs for held in slave.holds):
                return None
        elif fresh is not None and self._waited_long(fresh, backlog, slave):
            return None
        return None if any(self._would_win(other, level) for other in self._rivals(slave, queue)) else backlog

    def _waiting_for(self, resource: Hashable, queue: Queue) -> list[Level]:
        """The levels with calls that need this, and that a slave could run which leaves this queue."""
        levels = [backlog.level for backlog in self._wanted.get(resource, ())]
        levels += [level for level, gate in self._needed.get(resource, ()) if gate is not None]
        return [level for level in levels if level.queue is queue or not level.queue.is_full]

    def _rivals(self, slave: Slave, queue: Queue) -> Iterator[Level]:
        """The levels of other queues that could give calls to this slave, were it idle: the best, and what waits for it."""
        if len(self._demand) > 1 and (best := self._ranking.first(self._open_level, self._age, without=queue)) is not None:
            yield best
        # What waits for this slave alone is not runnable yet.
        for resource in slave.holds:
            for level in self._waiting_for(resource, queue):
                if level.queue is not queue:
                    yield level

    def _would_win(self, other: Level, level: Level) -> bool:
        """The other level deserves a slave more that is about to leave this one."""
        if other.priority != level.priority:
            return other.priority > level.priority
        theirs, ours = other.queue, level.queue
        share = (ours.running - 1) / ours.weight
        if theirs.share != share:
            return theirs.share < share
        return ours.served - theirs.served > self._rules.turn

    def _take_backs(self) -> Iterator[TakeBack]:
        """Ask slaves that are stuck in a call for the rest of their windows, which idle slaves could run."""
        for late_at, slave in self._late_ones():
            if late_at <= self._now:
                slave.asked_back = True
                self._shallow(slave)
                yield TakeBack(slave.rank)

    def _take_apart(self) -> Iterator[TakeBack]:
        """The same while no slave is idle: those of a map are short as a rule, and the others come to them before that one."""
        self._look_at = self._now + self._rules.late / 2
        if len(self._slaves) > 1:
            for late_at, slave in self._late_ones():
                if late_at <= self._now and slave.resource is PLAIN and not next(iter(slave.window.values())).chunk:
                    slave.asked_back = True
                    self._shallow(slave)
                    yield TakeBack(slave.rank)

    def _late_ones(self) -> list[tuple[float, Slave]]:
        """Slaves with waiting windows that an idle slave could run, and when to ask them for those."""
        late: list[tuple[float, Slave]] = []
        if not self._deep_slaves:
            return late
        # The first few of each queue stand for all: the others have made progress later.
        for queue, slaves in self._deep.items():
            if slaves and not queue.is_full:
                late += [(slave.progress_at + self._rules.late, slave) for slave in islice(slaves.values(), 8)]
        for queue, slaves in self._deep_held.items():
            if slaves and not queue.is_full:
                late += [(self._late_held(slave), slave) for slave in islice(slaves.values(), 8)]
        return late

    def _late_held(self, slave: Slave) -> float:
        """When to ask a slave for calls that need what it holds: once another holder is idle, or none came for long."""
        found = self._idle.holder(slave.resource) is not None
        return slave.progress_at + (self._rules.late if found else self._rules.patience)

    # ---------------------------------------------------------------- suspects

    def _try_suspects(self) -> None:
        """Let suspects go on, so many at a time that they can't take all slaves; on the last slave, after all else."""
        self._free_ended()
        if len(self._slaves) <= 1 and (self._demand or not self._idle.count):
            return
        while len(self._suspects.on_trial) < max(1, len(self._slaves) - 1) and (call := self._suspects.next()) is not None:
            self._requeue([call])

    def _recall_suspects(self) -> None:
        """With a slave less there are too many that were let go on: those that no slave has yet wait again."""
        for call in self._suspects.recall(max(0, len(self._slaves) - 1)):
            call.state = BLOCKED
            self._pull(self._queues[call.queue], [call])

    def _is_trial(self, slave: Slave, backlog: Backlog) -> bool:
        """A suspect is what that slave has, or what comes next there: nothing may join it."""
        on_trial = self._suspects.on_trial
        return backlog.age() in on_trial or not on_trial.keys().isdisjoint(slave.window)

    def _try_in_need(self, orders: list[Order]) -> None:
        """Nothing runs, so that nothing may ever end: let one suspect more go on, which could be what all slaves wait for.

        Those on trial may have no slave that can run them: a slave with a call that waits runs descendants of that alone.
        """
        still = self._idle.count + len(self._nesting.free) + len(self._stuck)
        if still < len(self._slaves) or any(one.waits is not None and one.waits.astray for one in self._nesting.free.values()):
            return
        slaves = self._slaves.values()
        for call in sorted(self._suspects.withheld(), key=lambda one: -one.priority):
            slave = next((one for one in slaves if self._may_run(one, call)), None)
            if slave is None:
                continue
            self._suspects.try_now(call)
            self._requeue([call])
            if slave.rank in self._nesting.free:
                self._nesting.looking[slave.rank] = call
                orders.extend(self._fill_waits())
            else:
                self._assign_all(orders)
            return

    def _may_run(self, slave: Slave, call: Call) -> bool:
        """Whether a slave without a window could run this."""
        if slave.rank in self._nesting.free:
            fits = call.nest is not None and call.nest.is_within(top_of(slave))
        else:
            fits = slave.queue is None and not slave.stuck
        return fits and self._shut_by(slave, call) is None

    def _apart(self, calls: list[Call]) -> int:
        """How many of the calls taken for a window may be in one: a suspect is alone."""
        on_trial = self._suspects.on_trial
        return next((place for place, call in enumerate(calls) if call.id in on_trial), len(calls)) or 1

    def _given_up(self) -> list[Call]:
        """End the suspects that have too many strikes, those on trial too if they were not sent."""
        most = 1 if len(self._slaves) <= 1 else self._rules.strikes
        struck = {call_id for call_id, strikes in self._suspects.strikes.items() if strikes >= most}
        ended = [call for call in self.waiting() if call.id in struck] if struck else []
        for call in ended:
            self.cancelled(call)
        return ended

    # ---------------------------------------------------------------- on top of calls that wait

    def _fill_waits(self) -> Iterator[Send]:
        """Give slaves whose top call waits something to run meanwhile that descends from it."""
        for rank in list(self._nesting.looking):
            slave = self._slaves[rank]
            found = self._nesting.next_for(slave, self._shut_by)
            if found is not None:
                yield self._grant_above(slave, *found)

    def _shut_by(self, slave: Slave | None, call: Call) -> Hashable:
        """What keeps that slave from running a call, or any slave: its queue is full, or a resource exhausted; else None."""
        queue = self._queues[call.queue]
        if queue.is_full and (slave is None or not slave.is_above(queue)):
            return queue
        if isinstance(call.resource, Provided):
            for one in chain_of(call.resource):
                if self._is_exhausted(one) and (slave is None or one not in slave.occupies):
                    return one
        return None

    def _grant_above(self, slave: Slave, nest: Nest, key: tuple[str, Hashable]) -> Send:
        """Fill the window of a slave with children of that nest, on top of the call that waits there."""
        head, queue = nest.first(key), self._queues[key[0]]
        assert head is not None and slave.waits is not None  # noqa: S101, PT018  callers have found it
        backlog = queue.levels[head.priority].backlogs[head.resource]
        most = self._window_size(queue, backlog)
        calls = nest.take(key, most if head.chunk else max(1, min(most, self._even(queue))))
        if self._suspects.on_trial:
            calls = self._apart_above(nest, calls)
        for call in calls:
            call.state = SENT
            call.attempt += 1
            slave.window[call.id] = call
        self._pull(queue, calls)
        if not slave.is_above(queue):
            queue.running += 1
        slave.queue, slave.resource = queue, head.resource
        slave.deep = (self._deep if head.resource is PLAIN else self._deep_held).setdefault(queue, {})
        if head.resource is not PLAIN:
            self._take_up(slave, head.resource)
        self._nesting.goes_on(slave)
        self._progress(slave, self._now)
        decision = Decision(self._now, slave.rank, queue.name, head.resource, head.id, len(calls), NESTED, "")
        self.tally.decided(decision)
        return Send(slave.rank, calls, slave.waits.frames[-1].number)

    def _apart_above(self, nest: Nest, calls: list[Call]) -> list[Call]:
        """As `_apart`: which of these calls of that nest may be in one window; the others wait on."""
        most = self._apart(calls)
        for call in calls[most:]:
            assert call.nest is not None  # noqa: S101  another one has submitted it
            nest.offer(call, call.nest)
        return calls[:most]

    def _pull(self, queue: Queue, calls: list[Call]) -> None:
        """Calls leave their backlogs out of turn."""
        for call in calls:
            backlog = queue.levels[call.priority].backlogs[call.resource]
            was_next = bool(backlog.calls) and backlog.calls[0] is call
            backlog.pull([call])
            if was_next or not backlog.count or call.cost:
                self._settle(backlog)

    def _take_from(self, slave: Slave, call_ids: Sequence[CallId]) -> None:
        """A slave has not begun these calls, and won't: they wait again."""
        calls = slave.were_sent(call_ids)
        for call_id in call_ids:
            slave.stuck.pop(call_id, None)
        for call_id, call in calls.items():
            slave.forget(call_id)
            call.attempt -= 1
        self._requeue(list(calls.values()))

    @staticmethod
    def _settle_waits(slave: Slave) -> None:
        """Where nothing waits any more, a slave is as every other."""
        if slave.waits is not None and not slave.waits.frames and not slave.waits.astray:
            slave.waits = None

    def _unproven(self, rank: Rank) -> None:
        slave = self._slaves.get(rank)
        if slave is not None and slave.waits is not None:
            slave.waits.proven = False

    def _left_by(self, slave: Slave, queue: Queue) -> None:
        """A slave runs a task no longer, unless a call of that waits on it."""
        if not slave.is_above(queue):
            self._left(queue)

    def _unwind(self, slave: Slave, waits: Waits) -> None:
        """A slave is gone on which calls wait."""
        self._nesting.goes_on(slave)
        while waits.frames:
            is_late, frame = waits.is_buried, waits.pop()
            if not is_late and frame.call.nest is not None:
                frame.call.nest.slave = None
            self._left_by(slave, frame.queue)

    # ---------------------------------------------------------------- bookkeeping

    def _enqueue(self, call: Call) -> None:
        """A call may run: it waits in its queue."""
        call.state = WAITING
        self._has_many = self._has_many or call.is_many
        if call.nest is not None:
            self._nesting.offer(call, call.nest)
        backlog = self._backlog_of(call)
        if backlog.add(call):
            if backlog.count > call.items:  # a costly call overtakes, but all have waited since before
                self._offer_head(backlog)
            else:
                self._new_head(backlog)

    def _requeue(self, calls: list[Call]) -> None:
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
            if self._ended is not None:
                self._free_ended()
            self._demand[queue.name] = queue
            if not queue.running:
                queue.served = max(queue.served, self._virtual)
        level = queue.levels.get(call.priority) or queue.level(call.priority)
        return level.plain if resource is PLAIN else level.backlogs.get(resource) or level.backlog(resource)

    def _settle(self, backlog: Backlog) -> None:
        """Calls left this backlog: forget it if it is empty, else its next call is the oldest."""
        if backlog.count:
            self._new_head(backlog)
            return
        backlog.clear()
        level, queue = backlog.level, backlog.level.queue
        if backlog.resource is not PLAIN:
            del level.backlogs[backlog.resource]
            self._unwanted(backlog)
        if level.count:
            if level.has_costs:  # the next call may be older than those that went before it
                self._ranking.improved(queue, level.priority)
        elif len(queue.order) > self._rules.most_levels:
            queue.drop_level(level)
        if not queue.waiting:
            del self._demand[queue.name]

    def _new_head(self, backlog: Backlog) -> None:
        """Another call is the oldest of this backlog."""
        backlog.since = self._now
        self._untimed.append(backlog)
        backlog.overdue = False
        if backlog.resource is PLAIN:
            self._ranking.improved(backlog.level.queue, backlog.level.priority)
        else:
            self._offer_head(backlog)

    def _offer_head(self, backlog: Backlog) -> None:
        """Whoever may run the next call of this backlog gets to know of it."""
        if backlog not in self._wanted.get(backlog.resource, ()):
            self._is_wanted_now(backlog)
        if self._is_loose(backlog):
            self._loosen(backlog)
        if self._is_held(backlog):
            self._offer_sticky(backlog)
        for resource in chain_of(backlog.resource):
            if self._is_exhausted(resource):
                self._owed[resource] = None

    def _loosen(self, backlog: Backlog) -> None:
        """Any slave that the gate of this backlog lets through may take its next call."""
        backlog.level.offer_fresh(backlog)
        self._ranking.improved(backlog.level.queue, backlog.level.priority)
        for resource in chain_of(backlog.gate) if backlog.gate is not None else ():
            if self._is_exhausted(resource):
                self._owed[resource] = None

    def _is_wanted_now(self, backlog: Backlog) -> None:
        """The first call waits in this backlog."""
        self._wanted.setdefault(backlog.resource, {})[backlog] = None
        place = backlog.level, backlog.gate
        for resource in self._inner(backlog.resource):
            needed = self._needed.setdefault(resource, {})
            needed[place] = needed.get(place, 0) + 1

    def _unwanted(self, backlog: Backlog) -> None:
        """The last call has left this backlog."""
        wanted = self._wanted[backlog.resource]
        del wanted[backlog]
        if not wanted:
            del self._wanted[backlog.resource]
        place = backlog.level, backlog.gate
        for resource in self._inner(backlog.resource):
            needed = self._needed[resource]
            needed[place] -= 1
            if needed[place]:
                continue
            del needed[place]
            if backlog.gate is not None and resource == backlog.gate:
                backlog.level.forget_gate(backlog.gate)
            if not needed:
                del self._needed[resource]

    @staticmethod
    def _inner(resource: Hashable) -> Iterable[Hashable]:
        """What this resource needs."""
        return chain_of(resource.inner) if isinstance(resource, Provided) and resource.inner is not None else ()

    def _start_waits(self) -> None:
        """Whose oldest call is new, and still waits for a holder, waits for `patience` from now."""
        for backlog in self._untimed:
            if backlog.count and backlog.resource is not PLAIN and not self._is_loose(backlog):
                self._set_alarm(backlog)
        self._untimed.clear()

    def _set_alarm(self, backlog: Backlog) -> None:
        """Look again at this backlog when its oldest call has waited long enough. One alarm a backlog."""
        head = backlog.head()
        if head is not None and not backlog.alarm:
            backlog.alarm = True
            heappush(self._alarms, (backlog.since + self._patience(backlog), head.id, backlog))
            if len(self._alarms) > self._most_alarms:
                self._sweep_alarms()

    def _sweep_alarms(self) -> None:
        """Drop the alarms of forgotten backlogs, which would keep them in memory until they ring."""
        self._alarms = [alarm for alarm in self._alarms if alarm[2].count]
        heapify(self._alarms)
        # By doubling, so that each alarm is swept over twice at most.
        self._most_alarms = max(64, 2 * len(self._alarms))

    def _ring(self) -> None:
        """Free the calls that have waited long enough for a holder."""
        while self._alarms and self._alarms[0][0] <= self._now:
            backlog = heappop(self._alarms)[2]
            backlog.alarm = False
            if not backlog.count or self._is_loose(backlog):
                continue
            if backlog.since + self._patience(backlog) <= self._now:  # rounded as the alarm was, or it would ring for ever
                backlog.overdue = True
                self._loosen(backlog)
            else:
                self._set_alarm(backlog)

    def _progress(self, slave: Slave, now: float) -> None:
        """That slave has shown life."""
        slave.progress_at = self._now = now
        if self._deep_slaves:
            self._shallow(slave)
        if len(slave.window) > 1 and not slave.asked_back:
            slave.deep[slave.rank] = slave
            self._deep_slaves += 1

    def _shallow(self, slave: Slave) -> None:
        """Nothing in the window of that slave waits so that it could be asked back."""
        if slave.deep.pop(slave.rank, None) is not None:
            self._deep_slaves -= 1

    def _has_ended(self, slave: Slave, queue: Queue) -> None:
        """A slave has nothing left to do. What that means to others is looked at with the next decision, or before."""
        if self._ended is not None:
            self._free_ended()
        # Among other idle slaves, or where nothing waits, none simply goes on.
        alone = not self._idle.count and queue.waiting and slave.waits is None and not self._nesting.shut
        if not alone or slave.before is not None or slave.occupies or queue.owed:
            self._freed(slave)
        else:
            self._progressed.pop(slave.rank, None)
            self._ended = slave

    def _free_ended(self) -> None:
        """The slave that has ended is idle."""
        if self._ended is not None:
            slave, self._ended = self._ended, None
            self._freed(slave)

    def _freed(self, slave: Slave) -> None:
        """A slave has nothing left to do."""
        assert slave.queue is not None  # noqa: S101  callers check
        self._left_by(slave, slave.queue) if slave.waits is not None else self._left(slave.queue)
        slave.queue = None
        self._progressed.pop(slave.rank, None)
        if slave.before is not None:
            self._undo(slave, slave.before)
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
            self._offer_held(slave)

    def _offer_held(self, slave: Slave) -> None:
        """What waited for an idle slave may go there."""
        for resource in slave.holds:
            for backlog in self._wanted.get(resource, ()):
                self._offer_sticky(backlog)
            self._gate_moved(resource)
            if self._is_exhausted(resource):
                self._owed[resource] = None

    def _learn(self, slave: Slave, queue: Queue, seconds: Collection[float | None]) -> None:
        """Take in how long calls took, if they began."""
        begun = [each for each in seconds if each is not None] if None in seconds else seconds
        used = 0.0
        for each in begun:  # `sum` rounds otherwise in later versions of Python
            used += each
        is_first = (slave.taking or slave.first is not None) and slave.resource is not PLAIN
        queue.learn([each for each in begun if not self._learn_price(slave, queue, each)] if is_first else begun)
        queue.served += used / queue.weight
        self.tally.ended(queue.name, slave.rank, len(seconds), len(begun), used)
        if begun:
            slave.before = None

    def _learn_many(self, slave: Slave, queue: Queue, count: int, seconds: float) -> None:
        """Take in how long so many calls took together."""
        queue.learn_mean(seconds / count, count)
        queue.served += seconds / queue.weight
        self.tally.ended(queue.name, slave.rank, count, count, seconds)
        slave.before = None

    def _learn_price(self, slave: Slave, queue: Queue, seconds: float) -> bool:
        """The first call with a plain id tells what it costs to take that up. Whether this was one, which took longer."""
        was_taking, slave.taking = slave.taking, False
        if was_taking and not isinstance(slave.resource, Provided):
            slave.first = queue, slave.resource, seconds
            return True
        if slave.first is not None and slave.first[:2] == (queue, slave.resource):
            self.prices.learn(queue.name, slave.resource, slave.first[2] - seconds)
            slave.first = None
        return False

    def _take_up(self, slave: Slave, resource: Hashable) -> None:
        """A slave will hold this, and what it needs; and drops what was unused for longest where that is too much."""
        slave.before = dict(slave.holds), dict(slave.occupies)
        slave.taking = resource not in slave.holds
        if len(slave.holds) == 1 and not slave.taking and getattr(resource, "inner", None) is None:
            return  # it is all there is
        if slave.taking:
            slave.took_up_at = self._now
        if slave.taking and not isinstance(resource, Provided):
            self.tally.resource(resource).acquisitions += 1
        for one in chain_of(resource):
            if one in slave.holds:
                del slave.holds[one]
                slave.holds[one] = None
            else:
                self._hold(slave, one)
            self._occupy(slave, one)
        for one in self._surplus(slave, slave.holds):
            self._drop(slave, one)

    def _surplus(self, slave: Slave, held: Iterable[Hashable]) -> list[Hashable]:
        """What a slave drops of what it would hold: never what a call uses that waits there."""
        gone = surplus(held, self._rules.keep)
        return gone if slave.waits is None else [one for one in gone if one not in slave.waits.pinned]

    def _undo(self, slave: Slave, before: tuple[dict[Hashable, None], dict[Provided, None]]) -> None:
        """A slave gave back all of its window, of which it began nothing: it holds what it held before."""
        slave.before = None
        if slave.taking and not isinstance(slave.resource, Provided):
            self.tally.resource(slave.resource).acquisitions -= 1
        self._holds_now(slave, before[0])
        self._occupies_now(slave, before[1])

    def _hold(self, slave: Slave, resource: Hashable) -> None:
        """A slave is among the holders of a resource, the one that used it last."""
        holders = self._holders.setdefault(resource, {})
        slave.holds[resource] = None
        holders[slave.rank] = slave
        self._idle.gained(slave, resource)
        if len(holders) == 1:  # until now any slave could take the calls that need it; now they wait for this one
            for backlog in self._wanted.get(resource, ()):
                if backlog.since + self._patience(backlog) > self._now:
                    self._set_alarm(backlog)
                elif not backlog.overdue:  # it has waited long enough before: not to be found out with the next decision
                    backlog.overdue = True
                    self._loosen(backlog)

    def _drop(self, slave: Slave, resource: Hashable) -> None:
        """A slave holds that resource no longer; if it was the last, any slave may take its calls."""
        del slave.holds[resource]
        self._idle.dropped(slave, resource)
        holders = self._holders[resource]
        del holders[slave.rank]
        if not holders:
            del self._holders[resource]
            self._offer(resource)

    def _occupy(self, slave: Slave, resource: Hashable) -> None:
        """A slave holds a resource, or will, until it says that it is released."""
        if isinstance(resource, Provided) and resource.kind.max_holders is not None and resource not in slave.occupies:
            slave.occupies[resource] = None
            self._occupied.setdefault(resource, {})[slave.rank] = slave
            if self._is_exhausted(resource):  # what any slave could run is now for its holders, of which some may be idle
                self._owed[resource] = None

    def _vacate(self, slave: Slave, resource: Provided) -> None:
        """A slave has released a resource with `max_holders`: another may hold it now."""
        del slave.occupies[resource]
        occupied = self._occupied[resource]
        del occupied[slave.rank]
        if not occupied:
            del self._occupied[resource]
        self._offer(resource)
        if self._nesting.shut:
            self._nesting.opened(resource)

    def _offer(self, resource: Hashable) -> None:
        """Further slaves may take the calls that need this."""
        for backlog in self._wanted.get(resource, ()):
            if self._is_loose(backlog):
                self._loosen(backlog)
        self._gate_moved(resource)

    def _gate_moved(self, resource: Hashable) -> None:
        """What needs this besides its own resource may go on."""
        for level, _ in self._needed.get(resource, ()):
            self._ranking.improved(level.queue, level.priority)

    def _offer_sticky(self, backlog: Backlog) -> None:
        """An idle slave holds what this backlog needs."""
        backlog.level.offer_sticky(backlog)
        self._ranking.improved(backlog.level.queue, backlog.level.priority)

    def _improved(self, queue: Queue) -> None:
        """A slave less runs calls of this queue: it deserves one the more."""
        if queue.waiting:
            self._ranking.improved(queue, queue.top_priority())

    def _reconcile(self, slave: Slave, held: list[Provided]) -> None:
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
            self._offer_held(slave)

    def _holds_now(self, slave: Slave, held: dict[Hashable, None]) -> None:
        """A slave holds just this, in this order."""
        for gone in [one for one in slave.holds if one not in held]:
            self._drop(slave, gone)
        for new in [one for one in held if one not in slave.holds]:
            self._hold(slave, new)
        slave.holds = dict(held)

    def _occupies_now(self, slave: Slave, occupied: Iterable[Hashable]) -> None:
        """A slave has, or will have, just these of the resources with `max_holders`."""
        occupied = dict.fromkeys(occupied)
        for gone in [one for one in slave.occupies if one not in occupied]:
            self._vacate(slave, gone)
        for one in occupied:
            self._occupy(slave, one)


def _plain_ids(held: Iterable[Hashable]) -> dict[Hashable, None]:
    return {one: None for one in held if not isinstance(one, Provided)}
