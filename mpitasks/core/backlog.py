"""The waiting calls of one task, by priority, resource and age.

::

    Queue ── priority 5 ── Level ── PLAIN    ── deque of calls, oldest first
         │                      ├─ "mesh-a" ── deque
         │                      └─ "mesh-b" ── deque
         └─ priority 0 ── Level ── ...

A level answers in O(log resources): which is the oldest call that any idle slave may take (`fresh`), and which is the
oldest whose resource an idle slave already holds (`sticky`). Backlogs whose resource needs one of few holders stand behind
that one, their gate: whether it is open is asked once for all of them, and not of each.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from heapq import heappop, heappush
from itertools import chain
from operator import neg

from ..ids import CallId
from .calls import PLAIN, WAITING, Call, Provided, gate_of


class Backlog:
    """The waiting calls of one level that need the same resource, oldest first."""

    __slots__ = ("_costly", "_pulled", "alarm", "calls", "count", "extra", "gate", "level", "overdue", "resource", "since")

    def __init__(self, level: Level, resource: Hashable) -> None:
        self.level = level
        self.resource = resource
        self.gate = gate_of(resource)
        self.calls: deque[Call] = deque()
        self._costly: list[tuple[float, CallId, Call]] = []
        """Calls with a cost, which go before all others, the highest first; a heap."""
        self._pulled: set[CallId] | None = None
        """Calls that were taken out of their turn: they stay where they stand until they come up, or come back."""
        self.count = 0
        """Calls that still wait; cancelled ones stay in `calls` until they come up."""
        self.since = 0.0
        """When the oldest call became the oldest."""
        self.overdue = False
        """The oldest call has waited for a holder long enough: any slave may take it."""
        self.extra = 0
        """Slaves that may acquire the resource although others hold it, in this decision."""
        self.alarm = False
        """Somebody is due to look whether it is overdue."""

    def __lt__(self, other: Backlog) -> bool:
        # Heaps ask where two entries are about the same call: it came back after its first backlog was forgotten.
        return self.count > other.count

    def add(self, call: Call) -> bool:
        """Take a call in. Whether it is the next one now."""
        level, items = self.level, call.items
        self.count += items  # as `counted` does: once a call, where a method costs as much as all the rest
        level.count += items
        level.queue.waiting += items
        if self._pulled and call.id in self._pulled:
            self._pulled.remove(call.id)
            return self.head() is call
        if call.cost:
            level.has_costs = True
            heappush(self._costly, (-call.cost, call.id, call))
            return self.head() is call
        self.calls.append(call)
        return self.count == call.items

    def head(self) -> Call | None:
        """The next call: the most costly one, else the oldest."""
        while self._costly:
            if self._costly[0][2].state == WAITING:
                return self._costly[0][2]
            self._gone(heappop(self._costly)[2])
        calls = self.calls
        while calls:
            if calls[0].state == WAITING:
                return calls[0]
            self._gone(calls.popleft())
        return None

    def take(self, most: int, most_bytes: int) -> list[Call]:
        """Remove and return the next calls, at least one if one waits, and no more than asked for."""
        calls = self.calls
        if most == 1 and self.count and not self._costly:  # most calls of milliseconds and more travel alone
            call = calls.popleft()
            while call.state != WAITING:
                call = calls.popleft()
            self.count -= 1
            self.level.count -= 1
            self.level.queue.waiting -= 1
            return [call]
        taken: list[Call] = []
        size = 0
        while self._costly and len(taken) < most and size < most_bytes:
            call = heappop(self._costly)[2]
            if call.state == WAITING:
                taken.append(call)
                size += call.size
            elif self._pulled:
                self._gone(call)
        while calls and len(taken) < most and size < most_bytes:
            call = calls.popleft()
            if call.state == WAITING:
                taken.append(call)
                size += call.size
            elif self._pulled:
                self._gone(call)
        self.counted(-len(taken))
        return taken

    def take_with_many(self, most: int, together: int, most_bytes: int) -> list[Call]:
        """As `take`, where some stand for many: at most so many of these `together` in one."""
        taken: list[Call] = []
        count = size = 0
        while count < most and size < most_bytes and (head := self.head()) is not None:
            fit = most if not head.size else max(1, (most_bytes - size) * head.items // head.size)
            call = self._cut(head, min(together, most - count, fit))
            taken.append(call)
            count += call.items
            size += call.size
        self.counted(-count)
        return taken

    def _cut(self, head: Call, most: int) -> Call:
        """Take the next call out, or the first of many."""
        if head.is_many:
            return head.cut(most)  # it ends, and so goes, when nothing is left of it
        if self._costly:
            return heappop(self._costly)[2]
        return self.calls.popleft()

    def pull(self, calls: Iterable[Call]) -> None:
        """These calls go out of their turn; they wait no longer."""
        self._pulled = self._pulled or set()
        for call in calls:
            self.counted(-1)
            self._pulled.add(call.id)

    def _gone(self, call: Call) -> None:
        """A call that waits no longer has come up."""
        if self._pulled:
            self._pulled.discard(call.id)

    def put_back(self, calls: list[Call]) -> None:
        """Take calls in again, each at its place."""
        self.counted(sum(call.items for call in calls))
        if self._pulled:
            came, calls = calls, [call for call in calls if call.id not in self._pulled]
            self._pulled.difference_update(call.id for call in came)
        back = [call for call in calls if not call.cost]
        for call in calls:
            if call.cost:
                heappush(self._costly, (-call.cost, call.id, call))
        newest = max((call.id for call in back), default=CallId(0))
        while self.calls and self.calls[0].id < newest:
            back.append(self.calls.popleft())
        self.calls.extendleft(sorted(back, key=lambda call: -call.id))

    def age(self) -> CallId:
        """The id of the next call."""
        head = self.head()
        assert head is not None  # noqa: S101  callers ask where a call waits
        return head.id

    def waiting(self) -> list[Call]:
        """Its calls, in the order in which they go."""
        costly = [entry[2] for entry in sorted(self._costly)]
        return [call for call in [*costly, *self.calls] if call.state == WAITING]

    def each(self) -> Iterator[Call]:
        """Its calls, in no order, one by one: there may be a million."""
        return (call for call in chain((entry[2] for entry in self._costly), self.calls) if call.state == WAITING)

    def clear(self) -> None:
        """Forget what is left: calls that have ended."""
        self.calls.clear()
        self._costly.clear()
        self._pulled = None

    def counted(self, more: int) -> None:
        """So many calls wait more here than before."""
        self.count += more
        self.level.count += more
        self.level.queue.waiting += more


Turn = tuple[float, CallId]
"""How the next calls of backlogs come one after the other: the higher cost first (its negative), then age."""
Offer = tuple[Turn, "Backlog"]


class Offers:
    """Backlogs by the cost of their next call, and then by its age.

    Entries are checked when they come up, and dropped when they no longer hold: cheaper than keeping them exact.
    """

    __slots__ = ("_offered", "heap")

    def __init__(self) -> None:
        self.heap: list[Offer] = []
        """Empty where there is nothing to look at."""
        self._offered: dict[Backlog, Turn] = {}
        """The call by which a backlog was offered last: a second offer of the same adds nothing to the heap."""

    def add(self, backlog: Backlog) -> None:
        """Offer the oldest call of that backlog."""
        head = backlog.head()
        if head is None:
            return
        turn = (-head.cost, head.id)
        if self._offered.get(backlog) != turn:
            self._offered[backlog] = turn
            heappush(self.heap, (turn, backlog))

    def first(self, holds: Callable[[Backlog], bool]) -> Offer | None:
        """The top entry that is still true; the untrue ones above it go."""
        while self.heap:
            turn, backlog = self.heap[0]
            head = backlog.head()
            if head is not None and head.id == turn[1] and holds(backlog):
                return self.heap[0]
            heappop(self.heap)
            if self._offered.get(backlog) == turn:
                del self._offered[backlog]
        return None


class Level:
    """The waiting calls of one task at one priority."""

    __slots__ = ("_behind", "_fresh", "_sticky", "backlogs", "count", "has_costs", "plain", "priority", "queue")

    def __init__(self, queue: Queue, priority: int) -> None:
        self.queue = queue
        self.priority = priority
        self.count = 0
        self.has_costs = False
        """A call with a cost has waited here: those go before older ones."""
        self.plain = Backlog(self, PLAIN)
        self.backlogs: dict[Hashable, Backlog] = {PLAIN: self.plain}
        self._fresh = Offers()
        self._behind: dict[Provided, Offers] = {}
        """Like `_fresh`, of the backlogs behind a gate."""
        self._sticky = Offers()

    def backlog(self, resource: Hashable) -> Backlog:
        """The backlog of that resource, made if it is not there."""
        found = self.backlogs.get(resource)
        if found is None:
            found = self.backlogs[resource] = Backlog(self, resource)
        return found

    def offer_fresh(self, backlog: Backlog) -> None:
        """The oldest call of that backlog may go to any slave that its gate lets through."""
        (self._fresh if backlog.gate is None else self._behind.setdefault(backlog.gate, Offers())).add(backlog)

    def offer_sticky(self, backlog: Backlog) -> None:
        """An idle slave holds the resource of that backlog."""
        self._sticky.add(backlog)

    def fresh(self, is_loose: Callable[[Backlog], bool], is_open: Callable[[Provided], bool]) -> Backlog | None:
        """The backlog with the oldest call that any slave may take."""
        if not (self._fresh.heap or self._behind):  # others hold all that is wanted
            return self.plain if self.plain.count else None
        found = self._older(self._fresh.first(is_loose), is_loose, is_open)
        head = self.plain.head() if self.plain.count else None
        if head is not None and (found is None or (-head.cost, head.id) < found[0]):
            return self.plain
        return found[1] if found else None

    def sticky(
        self, is_held: Callable[[Backlog], bool], is_loose: Callable[[Backlog], bool], is_kept: Callable[[Provided], bool]
    ) -> Backlog | None:
        """The backlog with the oldest call whose resource an idle slave holds, or whose gate one alone can pass."""
        found = self._older(self._sticky.first(is_held), is_loose, is_kept)
        return found[1] if found else None

    def behind(self, gate: Provided, is_loose: Callable[[Backlog], bool]) -> Backlog | None:
        """The backlog with the oldest call that any slave may take that passes this gate."""
        found = self._behind[gate].first(is_loose) if gate in self._behind else None
        return found[1] if found else None

    def forget_gate(self, gate: Provided) -> None:
        """Nothing waits behind it."""
        self._behind.pop(gate, None)

    def _older(
        self, found: Offer | None, is_loose: Callable[[Backlog], bool], passes: Callable[[Provided], bool]
    ) -> Offer | None:
        """The oldest of this offer and those behind gates that let through."""
        for gate, offers in self._behind.items():
            other = offers.first(is_loose) if passes(gate) else None
            if other is not None and (found is None or other[0] < found[0]):
                found = other
        return found


class Queue:
    """One task's waiting calls, its limit, and what is known of its calls."""

    __slots__ = (
        *(
            "lag",
            "levels",
            "max_slaves",
            "mean",
            "name",
            "number",
            "order",
            "owed",
            "ranked",
            "running",
            "served",
            "waiting",
            "weight",
        ),
    )

    def __init__(self, name: str, max_slaves: int | None, weight: float, number: int) -> None:
        self.name = name
        self.number = number
        """Tells entries of the ranking apart, and decides nothing."""
        self.ranked: Entry | None = None
        """Its best entry in the ranking."""
        self.max_slaves = max_slaves
        self.weight = weight
        self.levels: dict[int, Level] = {}
        self.order: list[int] = []
        """Priorities of `levels`, highest first."""
        self.waiting = 0
        self.running = 0
        """Slaves that run this task: from the first send until the last outcome."""
        self.mean: float | None = None
        """Seconds a call, as a moving average; None until one has ended."""
        self.lag = 0.0
        """Seconds that lately passed besides a call that was sent to an idle slave, as a moving average."""
        self.owed: dict[Hashable, None] = {}
        """Resources whose holders would run its calls, but for its limit."""
        self.served = 0.0
        """Slave seconds received, divided by `weight`."""

    @property
    def is_full(self) -> bool:
        """Whether no further slave may run this task now."""
        return self.max_slaves is not None and self.running >= self.max_slaves

    @property
    def share(self) -> float:
        """Slaves that run this task, in units of its weight."""
        return self.running / self.weight

    def top_priority(self) -> int:
        """The highest priority at which a call waits."""
        if len(self.order) == 1:
            return self.order[0]
        return next(level.priority for level in self.busy_levels())

    def level(self, priority: int) -> Level:
        """The level of that priority, made if it is not there."""
        found = self.levels.get(priority)
        if found is None:
            found = self.levels[priority] = Level(self, priority)
            insort(self.order, priority, key=neg)
        return found

    def drop_level(self, level: Level) -> None:
        """Forget a level in which nothing waits."""
        del self.levels[level.priority]
        self.order.remove(level.priority)

    def busy_levels(self) -> Iterator[Level]:
        """The levels in which calls wait, highest priority first."""
        for priority in self.order:
            level = self.levels[priority]
            if level.count:
                yield level


Entry = tuple[int, float, float, int, int, Queue]
"""Of the ranking: priority downwards, share, service so far, age or 0, number of the queue."""
