"""A small language for tests of the scheduler: queues, slaves, calls, a clock.

::

    world = world_of(slaves=2)
    world.queue("a", max_slaves=1)
    world.submit("a", n=2)                        # a1, a2
    assert world.decide() == {2: "a1"}            # the slave that joined last is on top
    world.finish(2)
    assert world.decide() == {2: "a2"}

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

from mpitasks.core.calls import ENDED, PLAIN, Call
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


class World:
    """A scheduler, its slaves and a clock that only the test moves."""

    def __init__(self, slaves: int = 0, **rules: Any) -> None:
        self.rules = Rules(**rules)
        self.scheduler = Scheduler(self.rules)
        self.now = 0.0
        self.calls: dict[str, Call] = {}
        self.windows: dict[int, list[str]] = {}
        """What each slave has and has not answered, in order."""
        self.holds: dict[int, list[Hashable]] = {}
        """What each slave keeps, the longest unused first."""
        self.loads: Counter[Hashable] = Counter()
        """How often each resource had to be acquired."""
        self.first: set[str] = set()
        """The calls for which a resource had to be acquired."""
        self.sent: list[Sent] = []
        self.ended: list[str] = []
        self.after: dict[str, list[str]] = {}
        self.failed: set[str] = set()
        """Calls that ended without a value."""
        self._ids = count(1)
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
        self.windows[rank], self.holds[rank] = [], []
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
        after: Iterable[str] = (),
    ) -> list[str]:
        """Submit calls; they are named by their queue and counted: a1, a2."""
        names: list[str] = []
        for _ in range(n):
            self._numbers[queue] += 1
            name = f"{queue}{self._numbers[queue]}"
            call = NamedCall(CallId(next(self._ids)), queue, priority, resource, chunk, size)
            call.name = name
            self.scheduler.submitted(call, [self.calls[other] for other in after])
            self.calls[name], self.after[name] = call, list(after)
            names.append(name)
        return names

    def finish(self, *ranks: int, seconds: float = 1.0, ok: bool = True) -> list[str]:
        """Each of those slaves gives the outcome of the oldest call in its window. Returns what ended because of it.

        Calls are long if nothing else is said, so that windows hold one call.
        """
        because: list[str] = []
        for rank in ranks:
            call = self.calls[self.windows[rank].pop(0)]
            assert self.scheduler.calls_finished(Rank(rank), [(call.id, seconds)], self.now) == [call]
            self._begun[rank] = self.now
            self.ended.append(str(call))
            if ok:
                self.scheduler.call_succeeded(call)
            else:
                because += self._ended_with(call)
        return because

    def cancel(self, name: str) -> list[str] | None:
        """Cancel a call. Returns what ended because of it; None if it was too late."""
        call = self.calls[name]
        if not self.scheduler.cancelled(call):
            return None
        self.ended.append(name)
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
        kept = max(0, len(window) - n) if n is not None else 1
        back = window[kept:]
        del window[kept:]
        self.scheduler.given_back(Rank(rank), [self.calls[name].id for name in back], self.now)
        return back

    def lose(self, rank: int) -> list[str]:
        """A slave is gone. Returns the calls it had."""
        del self.windows[rank], self.holds[rank]
        return [str(call) for call in self.scheduler.slave_lost(Rank(rank))]

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
        resource = call.resource
        if resource is PLAIN:
            return
        held = self.holds[rank]
        if resource in held:
            held.remove(resource)
        else:
            self.loads[resource] += 1
            self.first.add(str(call))
        held.append(resource)
        del held[: -self.rules.keep]

    # ---------------------------------------------------------------- looking

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
        `acquiring` seconds more. `refill` is called before each decision, to submit more.
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
                    heappush(due, (self._begun[rank] + last(window[0]), rank, window[0]))
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
