"""What DESIGN.md promises of every order, said by brute force over a plain record of what happened.

::

    World ── before each decision ──► Book ── each order in turn ──► PROMISES, one function each
                                       ▲ └──────── carried out ◄─────────────┘

The book looks at every call and every slave each time, so it needs none of the scheduler's indexes, and can be read
beside the design. Two of its times are bounds and not exact, because the scheduler may know better: `quiet`, since when a
backlog has seen no change, and `calm`, since when calls wait there and none was sent.

A resource is *exhausted* while as many slaves as may hold it do, or will by their windows, as far as the master can know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from mpitasks.core.calls import PLAIN, Call, Provided, chain_of
from mpitasks.core.scheduler import Order, Send

from .world import used

if TYPE_CHECKING:
    from collections.abc import Hashable

    from .world import World


class Key(NamedTuple):
    """Which calls are alike: a backlog."""

    queue: str
    priority: int
    resource: Hashable


def backlogs_of(world: World) -> dict[Key, list[str]]:
    """The calls that wait for a slave: submitted, not sent, not ended, and not waiting for another call."""
    gone = {name for window in world.windows.values() for name in window} | set(world.ended) | set(world.withheld())
    ended_well = set(world.ended) - world.failed
    found: dict[Key, list[str]] = {}
    for name, call in world.calls.items():
        if name not in gone and ended_well.issuperset(world.after[name]):
            found.setdefault(_key(call), []).append(name)
    return found


def _key(call: Call) -> Key:
    return Key(call.queue, call.priority, call.resource)


class Ledger:
    """What calls and acquisitions cost, learned from what the slaves say, by the words of the design."""

    def __init__(self) -> None:
        self.means: dict[str, float] = {}
        self.prices: dict[Hashable, float] = {}
        """By `(queue, plain id)` and by provided resource, and by queue or kind for those that are not there."""
        self.first: dict[int, tuple[str, Hashable, float]] = {}
        self.taking: dict[int, bool] = {}

    def sent(self, rank: int, resource: Hashable, held: list[Hashable]) -> None:
        """An idle slave gets a window."""
        self.taking[rank] = resource is not PLAIN and resource not in held

    def ended(self, rank: int, call: Call, seconds: float) -> None:
        """A call took so long."""
        was_taking, self.taking[rank] = self.taking[rank], False
        if was_taking and not isinstance(call.resource, Provided):
            self.first[rank] = call.queue, call.resource, seconds
            return
        if rank in self.first and self.first[rank][:2] == (call.queue, call.resource):
            price = max(0.0, self.first.pop(rank)[2] - seconds)
            _average(self.prices, (call.queue, call.resource), price, 0.3)
            _average(self.prices, call.queue, price, 0.3)
        _average(self.means, call.queue, seconds, 0.2)

    def acquired(self, resource: Provided, seconds: float) -> None:
        """A provider took so long."""
        _average(self.prices, resource, seconds, 0.3)
        _average(self.prices, resource.kind, seconds, 0.3)

    def price(self, key: Key) -> float | None:
        """Seconds to acquire what such a call needs, as far as known."""
        found = [self._price(key.queue, one) for one in chain_of(key.resource)]
        return None if not found or found[-1] is None else sum(one or 0.0 for one in found)

    def _price(self, queue: str, resource: Hashable) -> float | None:
        key, alike = (resource, resource.kind) if isinstance(resource, Provided) else ((queue, resource), queue)
        return self.prices.get(key, self.prices.get(alike))


def _average(averages: dict[Any, float], key: object, seconds: float, weight: float) -> None:
    averages[key] = averages.get(key, seconds) * (1 - weight) + weight * seconds


class Book:
    """Everything that a promise may look at."""

    def __init__(self, world: World, limits: dict[str, int | None], weights: dict[str, float]) -> None:
        self.world = world
        self.limits = limits
        self.weights = weights
        self.backlogs: dict[Key, list[str]] = {}
        self.quiet: dict[Key, float] = {}
        self.calm: dict[Key, float] = {}
        self.progress: dict[int, float] = {}
        self.asked: set[int] = set()
        self.windows: dict[int, list[str]] = {}
        self.holds: dict[int, list[Hashable]] = {}
        self.occupies: dict[int, set[Hashable]] = {}
        self.ledger = Ledger()
        self.took_up: dict[int, float] = {}
        """When a slave last took up what it did not hold."""
        self.withheld: set[str] = set()
        """Suspects that waited for their trial when the decision began."""
        self._changed: set[Key] = set()

    # ---------------------------------------------------------------- keeping it

    def happened(self, *, came_back: bool = False) -> None:
        """Take in what an event has changed."""
        before, self.backlogs = self.backlogs, backlogs_of(self.world)
        for key, names in self.backlogs.items():
            old = before.get(key, [])
            new = set(names) - set(old)
            if not old or not set(old) <= set(names) or (came_back and new):
                self._changed.add(key)
            if not old:
                self.calm[key] = self.world.now

    def begin(self) -> None:
        """A decision begins: what changed before it counts from now."""
        for key in self._changed:
            self.quiet[key] = self.world.now
        self._changed.clear()
        self.withheld = set(self.world.withheld())
        self.windows = {rank: list(window) for rank, window in self.world.windows.items()}
        self.holds = {rank: list(held) for rank, held in self.world.holds.items()}
        self.occupies = {rank: set(slave.occupies) for rank, slave in self.world.slaves.items()}

    def let_go(self, order: Order) -> None:
        """Where no slave runs anything and nothing can be sent, one suspect more is tried: all may wait for that."""
        if isinstance(order, Send) and not any(self.windows.values()) and self.runnable() == []:
            tried = self.withheld.intersection(map(str, order.calls))
            if tried:
                self.backlogs.setdefault(self.key_of(order), []).extend(tried)
                self.quiet[self.key_of(order)] = self.calm[self.key_of(order)] = self.now

    def carry_out(self, order: Order) -> None:
        """The order becomes part of the record."""
        rank = int(order.rank)
        if not isinstance(order, Send):
            self.asked.add(rank)
            return
        key = self.key_of(order)
        if not self.windows[rank]:
            self.ledger.sent(rank, key.resource, self.holds[rank])
            self.occupies[rank] |= set(chain_of(key.resource))
            if key.resource is not PLAIN:
                if key.resource not in self.holds[rank]:
                    self.took_up[rank] = self.now
                self.holds[rank] = used(self.holds[rank], key.resource, self.world.rules.keep)
        names = [str(call) for call in order.calls]
        self.windows[rank] += names
        self.progress[rank] = self.quiet[key] = self.calm[key] = self.now
        left = [name for name in self.backlogs.pop(key) if name not in names]
        if left:
            self.backlogs[key] = left

    # ---------------------------------------------------------------- looking

    @property
    def now(self) -> float:
        """The time."""
        return self.world.now

    def key_of(self, send: Send) -> Key:
        """Where the first call of a window comes from."""
        return _key(send.calls[0])

    def queue_at(self, rank: int) -> str | None:
        """What that slave runs."""
        window = self.windows[rank]
        return self.world.calls[window[0]].queue if window else None

    def running(self, queue: str) -> int:
        """Slaves that run that task."""
        return sum(self.queue_at(rank) == queue for rank in self.windows)

    def is_full(self, queue: str) -> bool:
        """Whether no further slave may run that task."""
        limit = self.limits[queue]
        return limit is not None and self.running(queue) >= limit

    def idle(self) -> list[int]:
        """Slaves without a call."""
        return [rank for rank, window in self.windows.items() if not window]

    def holders(self, resource: Hashable) -> list[int]:
        """Slaves that hold it."""
        return [rank for rank, held in self.holds.items() if resource in held]

    def exhausted(self, resource: Hashable) -> list[Hashable]:
        """What no further slave may hold, of this and all that it needs."""
        limited = [one for one in chain_of(resource) if isinstance(one, Provided) and one.kind.max_holders is not None]
        return [
            one
            for one in limited
            if sum(one in occupied for occupied in self.occupies.values()) >= (one.kind.max_holders or 0)  # type: ignore[attr-defined]
        ]

    def is_fresh(self, key: Key) -> bool:
        """Any slave may take it: it needs nothing, or what nobody holds, or it has waited for a holder long enough."""
        return self.is_loose(key) and not self.exhausted(key.resource)

    def is_loose(self, key: Key) -> bool:
        """The same, but for `max_holders`."""
        overdue = self.quiet.get(key, self.now) + self.world.rules.patience <= self.now
        return key.resource is PLAIN or overdue or not self.holders(key.resource)

    def may_be_fresh(self, key: Key) -> bool:
        """The same, where `quiet` may be too late."""
        waited = self.waited(key) >= self.world.rules.patience * (1 - 1e-9)
        return self.is_fresh(key) or (waited and not self.exhausted(key.resource))

    def waited(self, key: Key) -> float:
        """For how long the next call has been that, at most; a costly one that overtakes another counts as that."""
        return self.now - self.calm[key]

    def may_run(self, rank: int, key: Key) -> bool:
        """That slave, once idle, may take it, by what it holds and all others hold."""
        held = self.holds[rank]
        return key.resource in held or (self.is_loose(key) and set(held).issuperset(self.exhausted(key.resource)))

    def is_ready(self, key: Key) -> bool:
        """An idle slave holds what it needs, or that of it of which nobody further may."""
        if key.resource is PLAIN or not (self.holders(key.resource) or self.exhausted(key.resource)):
            return False
        held = any(rank in self.idle() for rank in self.holders(key.resource))
        return held or (not self.is_fresh(key) and any(self.may_run(rank, key) for rank in self.idle()))

    def is_owed(self, key: Key) -> bool:
        """Those that hold what it needs run nothing else while it waits."""
        return bool(self.exhausted(key.resource))

    def runnable(self) -> list[Key]:
        """Backlogs that some idle slave may take from."""
        return [key for key in self.backlogs if not self.is_full(key.queue) and (self.is_fresh(key) or self.is_ready(key))]

    def in_order(self, key: Key) -> list[str]:
        """Its calls, the most costly first, then by age."""
        calls = self.world.calls
        return sorted(self.backlogs[key], key=lambda name: (-calls[name].cost, calls[name].id))

    def oldest(self, key: Key) -> int:
        """The age of its next call."""
        return self.world.calls[self.in_order(key)[0]].id

    def turn(self, key: Key) -> tuple[float, int]:
        """When it is the turn of its next call: the most costly first, then the oldest."""
        call = self.world.calls[self.in_order(key)[0]]
        return -call.cost, call.id

    def has_age(self, key: Key) -> bool:
        """Its calls wait in the order of their ids. Those that had to wait for others come in when these end."""
        return not any(self.world.after[name] for name in self.backlogs[key])


# -------------------------------------------------------------------- of a window


def limit(book: Book, order: Send) -> None:
    """At no moment do more than `max_slaves` slaves run a task."""
    queue = book.key_of(order).queue
    assert book.queue_at(order.rank) == queue or not book.is_full(queue)


def once(book: Book, order: Send) -> None:
    """No call is sent that does not wait: a sent one waits again only when it is given back, or its slave is lost."""
    waiting = {name for names in book.backlogs.values() for name in names}
    assert [str(call) for call in order.calls if str(call) not in waiting] == []


def nothing_for_who_is_left_in_a_call(book: Book, order: Send) -> None:
    """A slave that is still in a call which was given up gets nothing before that has ended there too."""
    assert order.rank not in book.world.stuck


def one_task_and_one_resource(book: Book, order: Send) -> None:
    """All calls that a slave has at a time are of one task and need one resource."""
    calls = [book.world.calls[name] for name in book.windows[order.rank]] + order.calls
    assert len({(call.queue, call.resource) for call in calls}) == 1


def oldest_of_their_kind(book: Book, order: Send) -> None:
    """A window is filled with the most costly calls, and of equal ones with those that have waited longest."""
    names = book.in_order(book.key_of(order))
    if book.has_age(book.key_of(order)):
        assert [str(call) for call in order.calls] == names[: len(order.calls)]


def a_suspect_is_alone(book: Book, order: Send) -> None:
    """A call that was with a slave when that died is sent alone, and nothing is sent after it until it has ended."""
    window = [*book.windows[order.rank], *map(str, order.calls)]
    assert len(window) == 1 or book.world.suspected.keys().isdisjoint(window)


def suspects_never_take_all_slaves(book: Book, order: Send) -> None:
    """One slave at least has none of them, if there are several; and of one window one is tried at a time."""
    windows = {**book.windows, int(order.rank): [*book.windows[order.rank], *map(str, order.calls)]}
    tried = [name for window in windows.values() for name in window if name in book.world.suspected]
    if str(order.calls[0]) in book.world.suspected:
        assert len(tried) <= max(1, len(windows) - 1)
        assert len({book.world.together[name] for name in tried}) == len(tried)


def no_more_holders_than_may(book: Book, order: Send) -> None:
    """At no moment do more than `max_holders` slaves hold a resource, or have calls on the way that will acquire it."""
    wrong = [one for one in book.exhausted(book.key_of(order).resource) if one not in book.occupies[order.rank]]
    assert wrong == []


def holders_of_an_exhausted_resource_do_nothing_else(book: Book, order: Send) -> None:
    """While a call waits that a holder of an exhausted resource may run for that, it gets no other."""
    chosen, held = book.key_of(order), book.holds[order.rank]
    exhausted = [one for one in held if one in book.exhausted(one)]
    if any(one in chain_of(chosen.resource) for one in exhausted):
        return
    waiting = [key for key in book.backlogs if not book.is_full(key.queue) and book.may_run(order.rank, key)]
    assert [key for key in waiting if any(one in chain_of(key.resource) for one in exhausted)] == []


# -------------------------------------------------------------------- of a slave that was idle


def nobody_takes_what_others_hold_without_need(book: Book, order: Send) -> None:
    """A call waits for a holder of its resource, for `patience`, unless acquiring it again ends it and its like sooner."""
    key = book.key_of(order)
    holders = book.holders(key.resource)
    if key.resource is PLAIN or order.rank in holders or not holders:
        return
    if book.waited(key) < book.world.rules.patience * (1 - 1e-9):
        price = book.ledger.price(key)
        assert price is not None
        work = sum(_ahead(book, rank) for rank in holders) + len(book.backlogs[key]) * book.ledger.means[key.queue]
        assert max(price, book.world.rules.least_price) < work / len(holders) + 1e-9
        assert book.runnable() == []


def _ahead(book: Book, rank: int) -> float:
    """Seconds until a slave has done its window; of one that is late, twice what it is late by."""
    queue, ledger = book.queue_at(rank), book.ledger
    if queue is None:
        return 0.0
    window = book.windows[rank]
    price = (ledger.price(_key(book.world.calls[window[0]])) or 0.0) if ledger.taking[rank] else 0.0
    if ledger.taking[rank] and book.took_up.get(rank) == book.now:  # in this decision, perhaps: several are weighed together
        price = max(price, book.world.rules.least_price)
    return abs(book.progress[rank] + price + len(window) * ledger.means.get(queue, 0.0) - book.now)


def highest_priority_first(book: Book, order: Send) -> None:
    """Of all calls that an idle slave may run, in all queues below their limits, the highest priority goes first."""
    chosen = book.key_of(order)
    exhausted = book.exhausted(chosen.resource)
    rivals = [key for key in book.runnable() if key.priority > chosen.priority]
    # Holders of an exhausted resource run calls for that whatever else there is.
    assert [key for key in rivals if not exhausted or book.exhausted(key.resource) == exhausted] == []


def smallest_share_first(book: Book, order: Send) -> None:
    """Among equal priorities the slave goes to a queue with the fewest slaves for its weight."""
    chosen = book.key_of(order)
    if book.is_owed(chosen):
        return
    rivals = {key.queue for key in book.runnable() if key.priority == chosen.priority}
    shares = {queue: book.running(queue) / book.weights[queue] for queue in {chosen.queue, *rivals}}
    assert shares[chosen.queue] == min(shares.values())


def sticky_first(book: Book, order: Send) -> None:
    """A call whose resource an idle slave holds goes to such a slave, and before all others of its queue and priority.

    Except that an older one than the next of these, which has waited for `patience`, goes before it.
    """
    chosen = book.key_of(order)
    ready = [key for key in book.runnable() if key[:2] == chosen[:2] and book.is_ready(key)]
    if ready and order.rank not in book.holders(chosen.resource) and not book.is_owed(chosen):
        if all(book.has_age(key) for key in [chosen, *ready]):
            assert book.oldest(chosen) < book.oldest(min(ready, key=book.turn))
        waited = book.waited(chosen) > book.world.rules.patience * (1 - 1e-9)
        assert (chosen not in ready, waited) == (True, True)


def behind_what_slaves_hold_for_patience_only(book: Book, order: Send) -> None:
    """The oldest call that any slave may take waits behind younger ones, for what slaves hold, for `patience`.

    If it needs a resource, for as long from when the slave took up its own. If idle slaves hold that too, stickiness tells it
    apart from the others no more: the most costly goes first, as everywhere.
    """
    chosen = book.key_of(order)
    peers = [key for key in book.runnable() if key[:2] == chosen[:2]]
    if book.is_owed(chosen) or not all(book.has_age(key) for key in [chosen, *peers]):
        return
    first = min((key for key in [chosen, *peers] if book.may_be_fresh(key)), key=book.turn, default=chosen)
    if book.oldest(first) >= book.oldest(chosen) or (book.is_ready(first) and book.turn(first) > book.turn(chosen)):
        return
    taken_up = book.took_up.get(int(order.rank), 0.0) if first.resource is not PLAIN else 0.0
    assert first == chosen or book.now - max(book.quiet[first], taken_up) <= book.world.rules.patience


def oldest_first(book: Book, order: Send) -> None:
    """Among calls of a queue that stickiness does not tell apart, the most costly goes first, and then the oldest."""
    chosen = book.key_of(order)
    held = order.rank in book.holders(chosen.resource)
    alike = book.is_ready if held else book.is_fresh
    peers = [key for key in book.runnable() if key[:2] == chosen[:2] and alike(key)]
    if not book.is_owed(chosen) and all(book.has_age(key) for key in [chosen, *peers]):
        assert book.turn(chosen) == min(book.turn(key) for key in [chosen, *peers])


# -------------------------------------------------------------------- of a slave that goes on


def no_refill_before_it_has_answered(book: Book, order: Send) -> None:
    """A slave that was asked for what it has not begun gets no more before it has answered."""
    assert order.rank not in book.asked


def no_refill_before_what_it_holds(book: Book, order: Send) -> None:
    """A slave that runs calls without resource gets no more of them while there are equal ones for what it holds."""
    own, held = book.key_of(order), book.holds[order.rank]
    alike = [key for key in book.backlogs if key[:2] == own[:2] and key.resource in held]
    assert own.resource is not PLAIN or alike == []


def no_refill_before_a_higher_priority(book: Book, order: Send) -> None:
    """A busy slave is given no more while it could, idle, take a call of higher priority."""
    own = book.key_of(order)
    rivals = [key for key in _rivals(book, order) if key.priority > own.priority]
    exhausted = book.exhausted(own.resource)
    assert [key for key in rivals if not exhausted or book.exhausted(key.resource) == exhausted] == []


def no_refill_before_a_smaller_share(book: Book, order: Send) -> None:
    """A busy slave is given no more while another queue, of equal priority, would have a better claim to it, idle."""
    own = book.key_of(order)
    if book.is_owed(own):
        return
    left = (book.running(own.queue) - 1) / book.weights[own.queue]
    rivals = [key for key in _rivals(book, order) if key.queue != own.queue and key.priority == own.priority]
    assert [key for key in rivals if book.running(key.queue) / book.weights[key.queue] < left] == []


def _rivals(book: Book, order: Send) -> list[Key]:
    """Backlogs that the slave could take from, were it idle."""
    queue, held = book.key_of(order).queue, book.holds[order.rank]
    allowed = [key for key in book.backlogs if key.queue == queue or not book.is_full(key.queue)]
    return [key for key in allowed if book.is_fresh(key) or key.resource in held or book.may_run(order.rank, key)]


# -------------------------------------------------------------------- of a take-back


def asks_only_where_it_helps(book: Book, order: Order) -> None:
    """A slave is asked for calls it has not begun: once, when it is late, and while an idle slave may run them or any soon."""
    window, rules = book.windows[order.rank], book.world.rules
    call = book.world.calls[window[0]]
    resource = call.resource
    soon = resource is PLAIN or any(rank in book.idle() for rank in book.holders(resource))
    due = book.progress[order.rank] + (rules.late if soon else rules.patience)
    some = bool(book.idle()) or (resource is PLAIN and not call.chunk and len(book.windows) > 1)
    assert [len(window) > 1, some, book.is_full(call.queue), order.rank in book.asked, due <= book.now] == [
        True,
        True,
        False,
        False,
        True,
    ]


OF_A_WINDOW = [
    limit,
    once,
    nothing_for_who_is_left_in_a_call,
    one_task_and_one_resource,
    a_suspect_is_alone,
    suspects_never_take_all_slaves,
    oldest_of_their_kind,
    no_more_holders_than_may,
    holders_of_an_exhausted_resource_do_nothing_else,
]
OF_AN_IDLE_SLAVE = [
    nobody_takes_what_others_hold_without_need,
    highest_priority_first,
    smallest_share_first,
    sticky_first,
    behind_what_slaves_hold_for_patience_only,
    oldest_first,
]
OF_A_BUSY_SLAVE = [
    no_refill_before_it_has_answered,
    no_refill_before_what_it_holds,
    no_refill_before_a_higher_priority,
    no_refill_before_a_smaller_share,
]


def judge(book: Book, order: Order) -> None:
    """Hold an order against every promise that speaks of it."""
    if not isinstance(order, Send):
        asks_only_where_it_helps(book, order)
        return
    for promise in OF_A_WINDOW + (OF_A_BUSY_SLAVE if book.windows[order.rank] else OF_AN_IDLE_SLAVE):
        promise(book, order)
