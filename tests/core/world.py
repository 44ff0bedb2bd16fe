"""A small language for tests of the scheduler: queues, slaves, calls, a clock.

::

    world = world_of(slaves=2)
    world.queue("a", max_slaves=1)
    world.submit("a", n=2)                        # a1, a2
    assert world.decide() == {2: "a1"}            # the slave that joined last is on top
    world.finish(2)
    assert world.decide() == {2: "a2"}

A slave acquires what a provider makes when its window begins, which is at its first outcome if the test says nothing, and
tells of it when the test lets it `report`.

An order that the test did not compare makes it fail, and so does one that comes when the test is over.
`World.run` plays a farm in virtual time instead, and keeps a record of what happened.
"""

from __future__ import annotations

import pickle
from collections import Counter
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from mpitasks.core.calls import ENDED, PLAIN, Call, Kind, Provided, chain_of
from mpitasks.core.prices import Prices
from mpitasks.core.scheduler import Order, Rules, Scheduler, Send
from mpitasks.ids import CallId, Rank

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable


class Unasserted(AssertionError):
    """The scheduler gave an order on which the test said nothing."""


class Orders(dict[int, str]):
    """Rank -> the calls sent there, or "back"; knows whether somebody has compared it."""

    compared = False

    def __eq__(self, other: object) -> bool:
        self.compared = True
        return super().__eq__(other)

    __hash__ = None

    def calls(self) -> list[str]:
        """What was sent, wherever."""
        self.compared = True
        return sorted(calls for calls in self.values() if calls != "back")

    def asked_back(self) -> list[int]:
        """Who was asked for what it has not begun."""
        self.compared = True
        return [rank for rank, calls in self.items() if calls == "back"]


class NamedCall(Call):
    """A call that prints as its name: a1, the first of queue a."""

    __slots__ = ("name",)

    name: str

    def __str__(self) -> str:
        return self.name


class Sent(NamedTuple):
    """One call that left for a slave."""

    at: float
    rank: int
    name: str


def provided(kind: Kind, *args: Hashable, inner: Provided | None = None) -> Provided:
    """A resource that a provider makes."""
    return Provided(kind, args, inner)


def used(held: list[Hashable], resource: Hashable, keep: int) -> list[Hashable]:
    """What a slave holds of `held`, the longest unused first, after it has used this too.

    Of each kind the last few, and what those need.
    """
    now = list(chain_of(resource))
    kept: list[Hashable] = []
    for one in reversed([*(one for one in held if one not in now), *now]):
        kind = one.kind if isinstance(one, Provided) else None
        alike = [other for other in kept if (other.kind if isinstance(other, Provided) else None) is kind]
        if len(alike) < (keep if kind is None else kind.keep) or any(one in list(chain_of(other)) for other in kept):
            kept.append(one)
    needed = {inner for other in kept for inner in chain_of(other)}
    return [one for one in [*(one for one in held if one not in now), *now] if one in kept or one in needed]


class Slave:
    """What is true of a slave, and what it told the master."""

    def __init__(self) -> None:
        self.holds: list[Hashable] = []
        """What its providers hold for it, the longest unused first."""
        self.began = False
        """It has begun its window: it has acquired what that needs."""
        self.runs = False
        """It is in a call, so that it can't give back the first of its window."""
        self.acquired: list[tuple[Provided, float]] = []
        """What it has not yet told of."""
        self.occupies: set[Hashable] = set()
        """What it may hold, for all that the master knows."""
        self.before: tuple[list[Hashable], set[Hashable]] = [], set()
        """What the master knew before it sent the window."""


class World:
    """A scheduler, its slaves and a clock that only the test moves."""

    def __init__(self, slaves: int = 0, prices: Prices | None = None, **rules: Any) -> None:
        self.rules = Rules(**rules)
        self.scheduler = Scheduler(self.rules, prices)
        self.slaves: dict[int, Slave] = {}
        self.costs: dict[Hashable, float] = {}
        """Seconds to acquire a provided resource, if that is not nothing."""
        self.now = 0.0
        self.calls: dict[str, Call] = {}
        self.windows: dict[int, list[str]] = {}
        """What each slave has and has not answered, in order."""
        self.holds: dict[int, list[Hashable]] = {}
        """What each slave keeps as far as it has said, and will by its window, the longest unused first."""
        self.loads: Counter[Hashable] = Counter()
        """How often each resource had to be acquired."""
        self.first: set[str] = set()
        """The calls for which a resource had to be acquired."""
        self.sent: list[Sent] = []
        self.ended: list[str] = []
        self.ended_at: list[float] = []
        """When calls gave an outcome."""
        self.after: dict[str, list[str]] = {}
        self.failed: set[str] = set()
        """Calls that ended without a value."""
        self.suspected: dict[str, int] = {}
        """Calls that were with a slave when it died, and gave no outcome since: how many died with each alone."""
        self.together: dict[str, int] = {}
        """Of such calls: those of one window have one number."""
        self._ids = count(1)
        self.stuck: dict[int, str] = {}
        """Calls that were given up, the first in the window of the slave that is still in it."""
        self._numbers: Counter[str] = Counter()
        self._begun: dict[int, float] = {}
        self._last = Orders()
        for _ in range(slaves):
            self.join()

    # ---------------------------------------------------------------- what happens

    def queue(self, *names: str, max_slaves: int | None = None, weight: float = 1.0) -> None:
        """Define tasks."""
        for name in names:
            self.scheduler.queue_defined(name, max_slaves=max_slaves, weight=weight)

    def join(self, rank: int = 0) -> int:
        """A slave joins: with the next number, if none is given."""
        rank = rank or max(self.windows, default=0) + 1
        self.scheduler.slave_joined(Rank(rank))
        self.windows[rank], self.holds[rank], self.slaves[rank] = [], [], Slave()
        return rank

    def submit(  # noqa: PLR0913  the options of a call
        self,
        queue: str,
        n: int = 1,
        *,
        priority: int = 0,
        resource: Hashable = PLAIN,
        chunk: int = 0,
        size: int = 0,
        cost: float = 0.0,
        after: Iterable[str] = (),
    ) -> list[str]:
        """Submit calls; they are named by their queue and counted: a1, a2."""
        names: list[str] = []
        for _ in range(n):
            self._numbers[queue] += 1
            name = f"{queue}{self._numbers[queue]}"
            call = NamedCall(CallId(next(self._ids)), queue, priority, resource, chunk, size, cost)
            call.name = name
            self.scheduler.submitted(call, [self.calls[other] for other in after])
            self.calls[name], self.after[name] = call, list(after)
            names.append(name)
        return names

    def begin(self, rank: int, name: str = "") -> float:
        """A slave begins the first call of its window. Returns the seconds that providers took for that."""
        slave, resource = self.slaves[rank], self.calls[name or self.windows[rank][0]].resource
        slave.runs = True
        if slave.began:
            return 0.0
        slave.began = True
        new = [one for one in chain_of(resource) if isinstance(one, Provided) and one not in slave.holds]
        slave.acquired += [(one, self.costs.get(one, 0.0)) for one in new]
        if isinstance(resource, Provided):
            self.loads.update(new)
            slave.holds = used(slave.holds, resource, keep=0)
        return sum(self.costs.get(one, 0.0) for one in new)

    def report(self, *ranks: int) -> None:
        """Each of those slaves says what it holds and what it acquired."""
        for rank in ranks:
            slave, window = self.slaves[rank], self.windows[rank]
            held, acquired = [one for one in slave.holds if isinstance(one, Provided)], slave.acquired
            slave.acquired = []
            self.scheduler.resources_held(Rank(rank), held, acquired, self.now)
            known = [*_plain_ids(self.holds[rank]), *held]
            resource = self.calls[window[0]].resource if window else PLAIN
            self.holds[rank] = used(known, resource, self.rules.keep) if resource is not PLAIN else known
            slave.occupies = {*held, *chain_of(resource)}
            slave.before = [*_plain_ids(slave.before[0]), *held], set(held)

    def release(self, rank: int, *resources: Hashable) -> None:
        """A slave that runs nothing releases what it holds, all of it if nothing is said, and does not yet tell."""
        slave = self.slaves[rank]
        assert not slave.runs
        slave.holds = [one for one in slave.holds if resources and one not in resources]

    def finish(self, *ranks: int, seconds: float | None = 1.0, ok: bool = True) -> list[str]:
        """Each of those slaves gives the outcome of the oldest call in its window. Returns what ended because of it.

        Calls are long if nothing else is said, so that windows hold one call. None: it was never begun.
        """
        because: list[str] = []
        for rank in ranks:
            if seconds is not None:
                self.begin(rank)
                self.slaves[rank].runs = False
            call = self.calls[self.windows[rank].pop(0)]
            late = self.stuck.pop(rank, None) is not None
            expected = [] if late else [call]
            if not late:
                self.suspected.pop(str(call), None)
            assert self.scheduler.calls_finished(Rank(rank), [(call.id, seconds)], self.now) == expected
            self._begun[rank] = self.now
            self._undo(rank)
            if late:
                continue
            self.ended.append(str(call))
            self.ended_at.append(self.now)
            if ok:
                self.scheduler.call_succeeded(call)
            else:
                because += self._ended_with(call)
        return because

    def give_up(self, rank: int) -> list[str]:
        """The oldest call in the window of that slave ends, and the slave is still in it. Returns what ended because of it."""
        self.begin(rank)
        call = self.calls[self.windows[rank][0]]
        assert self.scheduler.given_up(Rank(rank), call.id, call.attempt, self.now) == [call]
        self.stuck[rank] = str(call)
        self.suspected.pop(str(call), None)
        self.ended.append(str(call))
        self.ended_at.append(self.now)
        return self._ended_with(call)

    def cancel(self, name: str) -> list[str] | None:
        """Cancel a call. Returns what ended because of it; None if it was too late."""
        call = self.calls[name]
        if not self.scheduler.cancelled(call):
            return None
        self.ended.append(name)
        self.suspected.pop(name, None)
        return self._ended_with(call)

    def cancel_all(self) -> None:
        """Cancel what can be: the rest is of no interest to the test."""
        for name in self.unfinished():
            self.cancel(name)

    def _ended_with(self, call: Call) -> list[str]:
        names = [str(ended.call) for ended in self.scheduler.call_failed(call)]
        self.failed.update([str(call), *names])
        self.ended += names
        return names

    def give_back(self, rank: int, n: int | None = None) -> list[str]:
        """A slave gives back the last n calls of its window; without n, all but the one it runs."""
        window = self.windows[rank]
        kept = max(int(self.slaves[rank].runs), len(window) - n) if n is not None else 1
        back = window[kept:]
        del window[kept:]
        self.scheduler.given_back(Rank(rank), [self.calls[name].id for name in back], self.now)
        self._undo(rank)
        return back

    def _undo(self, rank: int) -> None:
        """A slave that has begun nothing of a window, and never will, holds what it held before."""
        slave = self.slaves[rank]
        if not self.windows[rank] and not slave.began:
            self.holds[rank], slave.occupies = slave.before

    def lose(self, rank: int) -> list[str]:
        """A slave is dead. Returns the calls it had; those that are given up end."""
        left = self.stuck.pop(rank, None)
        window = [name for name in self.windows.pop(rank) if name != left]
        del self.holds[rank], self.slaves[rank]
        lost = self.scheduler.slave_lost(Rank(rank))
        alone = len(window) == 1 or self.rules.strikes == 1
        together = max(self.together.values(), default=0) + 1
        for name in window:
            if name not in self.suspected:
                self.together[name] = together
            self.suspected[name] = self.suspected.get(name, 0) + alone
        assert sorted(map(str, lost.given_up)) == sorted(self._condemned())
        for call in lost.given_up:
            del self.suspected[str(call)]
            self.ended.append(str(call))
            self._ended_with(call)
        return [str(call) for call in lost.calls]

    def _condemned(self) -> list[str]:
        """The calls that have cost too many slaves, or could cost the last."""
        most = 1 if len(self.windows) <= 1 else self.rules.strikes
        sent = {name for window in self.windows.values() for name in window}
        return [name for name, strikes in self.suspected.items() if strikes >= most and name not in sent]

    def withheld(self) -> list[str]:
        """The calls that wait for their trial."""
        return [str(call) for call in self.scheduler._suspects.withheld()]

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    def wait_for_deadline(self) -> float:
        """Time passes until the scheduler wants to be asked again. Returns that time."""
        due = self.scheduler.deadline()
        assert due < inf, "there is no deadline"
        self.now = max(self.now, due)
        return due

    # ---------------------------------------------------------------- what the scheduler says

    def decide(self) -> Orders:
        """The orders of this moment, to be compared."""
        self._check_last()
        self._last = Orders()
        for order in self.obey():
            self._last[order.rank] = " ".join(_names(order)) if isinstance(order, Send) else "back"
        return self._last

    def obey(self) -> list[Order]:
        """Ask for orders and carry them out. For tests that look at the record instead of each order."""
        orders = self.scheduler.decide(self.now)
        for order in orders:
            if isinstance(order, Send):
                self._carry_out(order)
        return orders

    def one_by_one(self) -> str:
        """Let each call that is sent end, the oldest window first, until nothing is sent. Returns the calls as sent."""
        before = len(self.sent)
        while True:
            self.obey()
            busy = [rank for rank, window in self.windows.items() if window]
            if not busy:
                return " ".join(sent.name for sent in self.sent[before:])
            self.finish(busy[0])

    def one_by_one_lasting(self, *seconds: float) -> None:
        """The only slave runs so many calls, one after the other, which take so long."""
        for each in seconds:
            self.obey()
            self.finish(1, seconds=each)

    def report_outcomes(self, rank: int, seconds: list[float]) -> None:
        """A slave gives several outcomes in one message."""
        names, self.windows[rank] = self.windows[rank][: len(seconds)], self.windows[rank][len(seconds) :]
        self.begin(rank, names[0])
        self.slaves[rank].runs = False
        ids = [self.calls[name].id for name in names]
        self.scheduler.calls_finished(Rank(rank), list(zip(ids, seconds, strict=True)), self.now)
        self.ended += names

    def check(self) -> None:
        """The test is over: every order was compared, and no more come."""
        self._check_last()
        if left := self.decide():
            msg = f"the test ended, and the scheduler went on with {dict(left)}"
            raise Unasserted(msg)

    def _check_last(self) -> None:
        if self._last and not self._last.compared:
            msg = f"nobody looked at these orders: {dict(self._last)}"
            raise Unasserted(msg)

    def _carry_out(self, send: Send) -> None:
        rank = int(send.rank)
        if not self.windows[rank]:
            self._begun[rank] = self.now
            self._hold(rank, send.calls[0])
        names = _names(send)
        self.windows[rank] += names
        self.sent += [Sent(self.now, rank, name) for name in names]

    def _hold(self, rank: int, call: Call) -> None:
        resource, slave = call.resource, self.slaves[rank]
        slave.began = slave.runs = False
        slave.before = self.holds[rank], slave.occupies
        if resource is PLAIN:
            return
        if resource not in self.holds[rank] and not isinstance(resource, Provided):
            self.loads[resource] += 1
            self.first.add(str(call))
        self.holds[rank] = used(self.holds[rank], resource, self.rules.keep)
        slave.occupies = {*slave.occupies, *chain_of(resource)}

    # ---------------------------------------------------------------- looking

    def may_hold(self, resource: Hashable) -> list[int]:
        """Slaves that hold it in truth, or have been sent calls for which they will acquire it."""
        coming = {
            rank
            for rank, window in self.windows.items()
            if window and not self.slaves[rank].began and resource in chain_of(self.calls[window[0]].resource)
        }
        return [rank for rank, slave in self.slaves.items() if rank in coming or resource in slave.holds]

    def running(self, queue: str) -> int:
        """Slaves that have a call of that task."""
        return sum(bool(window) and self.calls[window[0]].queue == queue for window in self.windows.values())

    def idle(self) -> list[int]:
        """Slaves that have no call."""
        return [rank for rank, window in self.windows.items() if not window]

    def unfinished(self) -> list[str]:
        """Calls that have not ended."""
        return [name for name, call in self.calls.items() if call.state != ENDED]

    def ids(self, rank: int) -> list[CallId]:
        """The calls of a window."""
        return [self.calls[name].id for name in self.windows[rank]]

    def snapshot(self) -> bytes:
        """All that the scheduler knows, and in which order."""
        return pickle.dumps(self.scheduler)

    # ---------------------------------------------------------------- virtual time

    def run(
        self,
        seconds: float,
        lasts: Callable[[str], float],
        refill: Callable[[], None] | None = None,
        *,
        acquiring: float = 0.0,
    ) -> Counter[str]:
        """Play the farm for so long. Returns slave seconds by queue.

        A call lasts as long as `lasts(name)` says, and the first one with a resource that its slave does not hold takes
        `acquiring` seconds more; what a provider makes takes `costs`, and is told of with the outcome. `refill` is called
        before each decision, to submit more.
        """

        def last(name: str) -> float:
            return lasts(name) + (acquiring if name in self.first else 0.0)

        end = self.now + seconds
        used: Counter[str] = Counter()  # of floats
        due: list[tuple[float, int, str]] = []
        planned: dict[int, str] = {}
        while True:
            if refill is not None:
                refill()
            self._obey_all()
            for rank, window in self.windows.items():
                if window and planned.get(rank) != window[0]:
                    planned[rank] = window[0]
                    heappush(due, (self._begun[rank] + self.begin(rank) + last(window[0]), rank, window[0]))
            at = min(due[0][0] if due else inf, self.scheduler.deadline())
            for queue in {self.calls[name].queue for name in planned.values()}:
                used[queue] += self.running(queue) * (min(at, end) - self.now)  # type: ignore[assignment]
            if at > end or at == inf:
                self.now = end
                return used
            self.now = at
            while due and due[0][0] <= at:
                _, rank, name = heappop(due)
                del planned[rank]
                self.finish(rank, seconds=last(name))
                if self.slaves[rank].acquired:
                    self.report(rank)

    def _obey_all(self) -> None:
        """Carry out orders, and answer take-backs at once, until there is nothing more to do."""
        while True:
            backs = [order.rank for order in self.obey() if not isinstance(order, Send)]
            if not backs:
                return
            for rank in backs:
                self.give_back(rank)


def _names(send: Send) -> list[str]:
    return [str(call) for call in send.calls]


def _plain_ids(held: Iterable[Hashable]) -> list[Hashable]:
    return [one for one in held if not isinstance(one, Provided)]
