"""What no schedule can beat: least makespan, fewest acquisitions.

The bound on the makespan is the largest of these, over all calls and over each queue, which has `max_slaves` slaves at
most; and, for calls that come later, over those from that moment on, after that moment:

work
    All slave seconds, those to acquire each resource often enough too, divided by the slaves. Often enough: in T seconds a
    slave that acquires a resource for a seconds works on its calls for T - a at most, so a resource with W seconds of calls is
    acquired ceil(W / (T - a)) times or more. The bound is the smallest T in which everything has room; more time
    never needs more acquisitions, so it is found by halving.
longest
    Of the k·m + 1 longest calls, some slave of m runs k + 1: it takes (k + 1) times the shortest of them.
holders
    A resource that h slaves hold at most works for h seconds a second, once it is acquired.

For few resources and slaves, `assignments` has the true best.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise
from math import inf
from typing import NamedTuple

from ..core.calls import PLAIN, Provided
from .assignments import best_assignment
from .demands import EPSILON, Demand
from .workload import Plan, Planned, QueueOf

MOST_MOMENTS = 50
"""Moments of submission that are looked at."""


class Bound(NamedTuple):
    """What no schedule can beat."""

    makespan: float
    loads: int
    """Acquisitions, without which no schedule ends so soon."""
    busy: float
    """Slave seconds that every schedule takes that ends so soon."""
    exact: bool
    """Some schedule does reach it, but for the order of calls."""


def bound_of(plan: Plan, queues: Iterable[QueueOf], slaves: int) -> Bound:
    """The bound for this workload on so many slaves."""
    makespan = max(at + _from_then(plan, calls, queues, slaves) for at, calls in _moments(plan.calls))
    demands = demands_of(plan.calls, plan.acquiring)
    found = best_assignment(demands, slaves) if _is_simple(plan, queues) else None
    if found is not None:
        makespan = max(makespan, found.makespan)
    loads = found.loads if found is not None else [demand.loads(makespan) or 1 for demand in demands]
    busy = sum(call.seconds for call in plan.calls) + sum(
        number * demand.price for number, demand in zip(loads, demands, strict=True)
    )
    return Bound(makespan, sum(loads), busy, found is not None)


def _is_simple(plan: Plan, queues: Iterable[QueueOf]) -> bool:
    """Nothing but the resources ties the calls."""
    at_once = not plan.calls[-1].at
    bound = any(queue.max_slaves is not None for queue in queues)
    return at_once and not bound and all(call.resource is not PLAIN for call in plan.calls)


def _moments(calls: Sequence[Planned]) -> Iterable[tuple[float, Sequence[Planned]]]:
    """Moments of submission, each with the calls from then on."""
    begins = [0, *(number for number, (one, other) in enumerate(pairwise(calls), 1) if one.at < other.at)]
    step = -(-len(begins) // MOST_MOMENTS)
    return [(calls[begin].at, calls[begin:]) for begin in begins[::step]]


def _from_then(plan: Plan, calls: Sequence[Planned], queues: Iterable[QueueOf], slaves: int) -> float:
    """Seconds that these calls take at least. What slaves held before, or for another queue, they need not acquire."""
    nothing = dict.fromkeys(plan.acquiring, 0.0)
    acquiring = plan.acquiring if len(calls) == len(plan.calls) else nothing
    of_one = nothing | {one: acquiring[one] for one in _of_one_queue(calls)}
    by_queue: defaultdict[str, list[Planned]] = defaultdict(list)
    for call in calls:
        by_queue[call.queue].append(call)
    limits = {queue.name: queue.max_slaves for queue in queues}
    parts = [_of_calls(some, of_one, min(slaves, limits[name] or slaves)) for name, some in by_queue.items() if limits[name]]
    return max(_of_calls(calls, acquiring, slaves), *parts, 0.0)


def _of_one_queue(calls: Iterable[Planned]) -> list[Hashable]:
    """The resources that the calls of a single queue need."""
    queues: defaultdict[Hashable, set[str]] = defaultdict(set)
    for call in calls:
        if call.resource is not PLAIN:
            queues[call.resource].add(call.queue)
    return [resource for resource, names in queues.items() if len(names) == 1]


def _of_calls(calls: Sequence[Planned], acquiring: dict[Hashable, float], slaves: int) -> float:
    demands = demands_of(calls, acquiring)
    longest = sorted((call.seconds for call in calls), reverse=True)
    counted = max((number // slaves + 1) * longest[number] for number in range(0, len(longest), slaves))
    with_price = max(call.seconds + acquiring.get(call.resource, 0.0) for call in calls)
    held = max((demand.price + demand.work / demand.most for demand in demands), default=0.0)
    plain = sum(call.seconds for call in calls if call.resource is PLAIN)
    return max(counted, with_price, held, _of_work(plain, demands, slaves))


def demands_of(calls: Sequence[Planned], acquiring: dict[Hashable, float]) -> list[Demand]:
    """What each resource needs, in the order of their first calls."""
    work: defaultdict[Hashable, float] = defaultdict(float)
    counts: Counter[Hashable] = Counter()
    each: dict[Hashable, float | None] = {}
    for call in calls:
        if call.resource is not PLAIN:
            work[call.resource] += call.seconds
            counts[call.resource] += 1
            each[call.resource] = call.seconds if each.get(call.resource, call.seconds) == call.seconds else None
    return [Demand(work[one], acquiring[one], _most(one), counts[one], each[one]) for one in work]


def _most(resource: Hashable) -> float:
    most = resource.kind.max_holders if isinstance(resource, Provided) else None
    return inf if most is None else most


def _of_work(plain: float, demands: Sequence[Demand], slaves: int) -> float:
    """The smallest time in which all work has room."""
    total = plain + sum(demand.work for demand in demands)
    low = total / slaves
    high = total + sum(demand.price for demand in demands)
    if not demands or _has_room(total, demands, slaves, low):
        return low
    while high - low > EPSILON * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _has_room(total, demands, slaves, middle) else (middle, high)
    return high


def _has_room(total: float, demands: Sequence[Demand], slaves: int, seconds: float) -> bool:
    """Whether so many slaves can do all that in that time, as far as work and acquisitions go."""
    cheapest = min(demand.price for demand in demands)
    count = 0
    for demand in demands:
        loads = demand.loads(seconds)
        if loads is None:
            return False
        total += loads * demand.price
        count += loads
    fit = count <= slaves * int(seconds / cheapest + EPSILON) if cheapest else True
    return fit and total <= slaves * seconds * (1 + EPSILON)
