"""Virtual slaves in virtual time, driven by the true core.

::

    plan ──► submitted ──► decide ──► Send ──► virtual slave ──► outcomes at their time ──► calls_finished
                             ▲                    │ TakeBack: what is not begun, at its next look
                             └────────────────────┘

A message takes no time on its way; if `Costs` say what it costs the master, slaves may wait for the master. A slave behaves as
the real one does: it runs its window in order, sends the outcomes of short calls together, and looks for messages every 50 ms
while one call goes on for long.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable
from heapq import heappop, heappush
from math import floor, inf
from time import perf_counter
from typing import NamedTuple

from ..core.calls import PLAIN, Call, Provided, surplus
from ..core.prices import Prices
from ..core.scheduler import Rules, Scheduler, Send
from ..errors import MpiTasksError
from ..ids import CallId, Rank
from .workload import Plan, QueueOf

TICK = 0.05
"""Seconds between two looks of a slave in a long call."""
MOST_UNSENT, LONGEST_UNSENT = 128, 1e-3
"""Outcomes, and seconds, that a slave gathers into one report."""
MOST_IDLE_TURNS = 10_000
"""Decisions without an order at one moment, after which the core is said to be stuck."""

LOOK, HELD, REPORT = range(3)
"""What happens to a slave; of one moment, in this order."""


class StuckError(MpiTasksError):
    """The core has calls to run, and waits for nothing."""


class Costs(NamedTuple):
    """What the master does for calls, by the clock; while it does, everything else waits for it."""

    message: float = 0.0
    """Seconds for each message, to a slave or from one."""
    call: float = 0.0
    """Seconds for each call besides: to submit, pack and send it, and to take in its outcome."""


FREE = Costs()
"""A master that needs no time."""


class Span(NamedTuple):
    """What a slave did for a while."""

    rank: int
    begin: float
    acquired: float
    """When it had the resource of the call; `begin` if it had it before."""
    end: float
    queue: str
    resource: Hashable


class VirtualCall(Call):
    """A call that knows how long it will take."""

    __slots__ = ("at", "seconds")

    at: float
    seconds: float


class _Slave:
    """One virtual slave."""

    __slots__ = ("batch", "began", "holds", "rank", "window")

    def __init__(self, rank: Rank) -> None:
        self.rank = rank
        self.window: deque[VirtualCall] = deque()
        """Sent, and not begun."""
        self.batch: list[tuple[VirtualCall, float, float]] = []
        """Begun, and reported together: the call, when it ends, and the seconds that it says it took."""
        self.began = 0.0
        """When the last call of the batch began."""
        self.holds: dict[Hashable, None] = {}


class Counts:
    """What is counted while the farm runs."""

    def __init__(self) -> None:
        self.makespan = 0.0
        self.in_calls = 0.0
        """Slave seconds."""
        self.acquiring = 0.0
        """Slave seconds."""
        self.loads: Counter[Hashable] = Counter()
        self.longest_wait = 0.0
        self.ended = 0
        self.decisions = 0
        """How often the core was asked what to do."""
        self.core_seconds = 0.0
        """Of the real clock, in the core."""
        self.spans: list[Span] = []


class Farm:
    """A master's core, virtual slaves, and a clock that jumps from event to event."""

    def __init__(  # noqa: PLR0913  what it consists of
        self,
        plan: Plan,
        queues: tuple[QueueOf, ...],
        slaves: int,
        *,
        prices: Prices | None = None,
        rules: Rules | None = None,
        costs: Costs = FREE,
        record: bool = False,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.scheduler = Scheduler(rules, prices)
        self.slaves = slaves
        self.counts = Counts()
        self._rules = rules or Rules()
        self._plan = plan
        self._next_call = 0
        self._clock = clock
        self._record = record
        self._costs = costs
        self._now = 0.0
        self._idle_turns = 0
        self._events: list[tuple[float, int, int]] = []
        """When, what, and on which slave."""
        for queue in queues:
            self.scheduler.queue_defined(queue.name, max_slaves=queue.max_slaves, weight=queue.weight)
        self._slaves = [_Slave(Rank(rank)) for rank in range(slaves + 1)]
        for slave in self._slaves[1:]:
            self.scheduler.slave_joined(slave.rank)

    def run(self) -> Counts:
        """Run until every call has ended.

        Raises:
            StuckError: The core has calls left and waits for nothing, or decides for ever and orders nothing.
        """
        while self.step():
            pass
        if self.scheduler.unfinished:
            self._stuck("waits for nothing")
        return self.counts

    def step(self) -> bool:
        """Ask for orders, and go on to when something happens next. False: all has been done."""
        self._submit_due()
        at = self._decide()
        if at == inf:
            return False
        self._idle_turns = self._idle_turns + 1 if at <= self._now else 0
        if self._idle_turns > MOST_IDLE_TURNS:
            self._stuck("decides again and again")
        self._now = max(self._now, at)
        happen = (self._look, self._held, self._report)  # by LOOK, HELD, REPORT
        while self._events and self._events[0][0] <= self._now:
            began, what, rank = heappop(self._events)
            happen[what](self._slaves[rank], began)
        return True

    def _stuck(self, why: str) -> None:
        waiting = self.scheduler.waiting()
        msg = (
            f"at {self._now:g} s the scheduler {why}, with {self.scheduler.unfinished} calls left; of those wait {waiting[:3]}"
        )
        raise StuckError(msg)

    def _submit_due(self) -> None:
        """Submit what is to be submitted by now."""
        calls, number = self._plan.calls, self._next_call
        due: list[VirtualCall] = []
        while number < len(calls) and calls[number].at <= self._now:
            at, queue, seconds, resource, priority, cost = calls[number]
            number += 1
            call = VirtualCall(CallId(number), queue, priority, resource, cost=cost)
            call.at, call.seconds = at, seconds
            due.append(call)
        self._next_call = number
        submitted = self.scheduler.submitted
        began = self._clock()
        for call in due:
            submitted(call)
        self.counts.core_seconds += self._clock() - began

    def _decide(self) -> float:
        """Ask for orders and carry them out. When to go on; infinity: all has been done."""
        began = self._clock()
        orders = self.scheduler.decide(self._now)
        due = self.scheduler.deadline()
        self.counts.core_seconds += self._clock() - began
        self.counts.decisions += 1
        for order in orders:
            slave = self._slaves[order.rank]
            self._now += self._costs.message
            if isinstance(order, Send):
                self._now += self._costs.call * len(order.calls)
                slave.window.extend(order.calls)  # type: ignore[arg-type]  # these are the calls that were submitted
                if not slave.batch:
                    self._begin(slave, self._now)
            else:
                self._plan_look(slave)
        if self._next_call < len(self._plan.calls):
            due = min(due, self._plan.calls[self._next_call].at)
        if self._events:
            due = min(due, self._events[0][0])
        return due if self.scheduler.unfinished or self._next_call < len(self._plan.calls) else inf

    # ---------------------------------------------------------------- a slave's life

    def _begin(self, slave: _Slave, at: float) -> None:
        """Begin the next calls of the window, whatever the master does meanwhile: as many as are reported together."""
        window, counts = slave.window, self.counts
        acquiring = self._acquire(slave, window[0].resource, at)
        end = at
        unsent = min(len(window), MOST_UNSENT)
        while unsent and (not slave.batch or end - at <= LONGEST_UNSENT):
            unsent -= 1
            call = window.popleft()
            counts.longest_wait = max(counts.longest_wait, end - call.at)
            slave.began, acquired = end, end + acquiring
            end = acquired + call.seconds
            counts.in_calls += call.seconds
            # A provider is timed by itself; of a plain id, the task acquires it in its first call.
            told = call.seconds if isinstance(call.resource, Provided) else call.seconds + acquiring
            slave.batch.append((call, end, told))
            if self._record:
                counts.spans.append(Span(slave.rank, slave.began, acquired, end, call.queue, call.resource))
            acquiring = 0.0
        heappush(self._events, (end, REPORT, slave.rank))

    def _acquire(self, slave: _Slave, resource: Hashable, at: float) -> float:
        """Seconds until that slave holds this resource; what is too much goes first."""
        if resource is PLAIN:
            return 0.0
        if resource in slave.holds:
            slave.holds[resource] = slave.holds.pop(resource)
            return 0.0
        slave.holds[resource] = None
        dropped = surplus(slave.holds, self._rules.keep)
        for gone in dropped:
            del slave.holds[gone]
        seconds = self._plan.acquiring[resource]
        self.counts.loads[resource] += 1
        self.counts.acquiring += seconds
        if isinstance(resource, Provided):
            if any(isinstance(gone, Provided) and gone.kind.max_holders is not None for gone in dropped):
                self._tell_held(slave, [one for one in slave.holds if one is not resource], [])
            heappush(self._events, (at + seconds, HELD, slave.rank))
        return seconds

    def _tell_held(self, slave: _Slave, held: list[Hashable], acquired: list[tuple[Provided, float]]) -> None:
        """The slave tells what providers hold for it."""
        provided = [one for one in held if isinstance(one, Provided)]
        began = self._clock()
        self.scheduler.resources_held(slave.rank, provided, acquired, self._now)
        self.counts.core_seconds += self._clock() - began

    def _held(self, slave: _Slave, _: float) -> None:
        """A provider has acquired what the slave's call needs."""
        resource = slave.batch[0][0].resource
        assert isinstance(resource, Provided)  # noqa: S101  only those are told
        self._tell_held(slave, list(slave.holds), [(resource, self._plan.acquiring[resource])])

    def _report(self, slave: _Slave, at: float) -> None:
        """The slave sends its outcomes, and goes on."""
        self._send_outcomes(slave)
        if slave.window:
            self._begin(slave, at)

    def _send_outcomes(self, slave: _Slave) -> None:
        """The slave sends the outcomes that it has."""
        done = [one for one in slave.batch if one[1] <= self._now]
        if not done:
            return
        slave.batch = slave.batch[len(done) :]
        finished = [(call.id, told) for call, _, told in done]
        self._now += self._costs.message
        began = self._clock()
        self.scheduler.calls_finished(slave.rank, finished, self._now)
        for call, _, _ in done:
            self.scheduler.call_succeeded(call)
        self.counts.core_seconds += self._clock() - began
        self.counts.ended += len(done)
        self.counts.makespan = max(self.counts.makespan, self._now)

    def _plan_look(self, slave: _Slave) -> None:
        """It is asked for what it has not begun: it looks between two calls, or in the second tick of one."""
        tick = floor(max(self._now, slave.began + TICK) / TICK + 1) * TICK
        ends = slave.batch[-1][1] if slave.batch else self._now
        heappush(self._events, (min(tick, ends), LOOK, slave.rank))

    def _look(self, slave: _Slave, _: float) -> None:
        """The slave gives back what it has not begun, and sends the outcomes that wait."""
        self._send_outcomes(slave)
        back = [call.id for call in slave.window]
        slave.window.clear()
        began = self._clock()
        self.scheduler.given_back(slave.rank, back, self._now)
        self.counts.core_seconds += self._clock() - began
