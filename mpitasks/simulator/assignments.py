"""The best of all assignments of few resources to few slaves.

Which slave acquires what is a set of resources for each slave. All slaves are alike, so a multiset of such sets is an
assignment: 3 resources and 7 slaves have 3,432 of them, and each is looked at. In T seconds a slave that acquires for a
seconds has room for T - a seconds of calls, whole calls where all take the same. By Hall's theorem the calls fit if
every group of resources fits into the slaves that acquire one of the group: that tells the smallest T of an assignment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement
from math import ceil, comb, inf
from typing import NamedTuple

from .demands import EPSILON, Demand

MOST_ASSIGNMENTS = 20_000

Holdings = Counter[tuple[int, ...]]
"""How many slaves acquire which resources, by their places."""


class Assignment(NamedTuple):
    """Who acquires what, and how soon that ends."""

    makespan: float
    loads: list[int]
    """How often each resource is acquired."""


def best_assignment(demands: Sequence[Demand], slaves: int) -> Assignment | None:
    """The one that ends soonest, of those the one that acquires least; None: there are too many to look at all."""
    sets = 2 ** len(demands) if len(demands) < 8 else inf  # noqa: PLR2004  more are too many with any slaves
    if not demands or sets == inf or comb(slaves + int(sets) - 1, slaves) > MOST_ASSIGNMENTS:
        return None
    if any(demand.most < slaves for demand in demands):
        return None
    each = {demand.each for demand in demands}
    grain = each.pop() if len(each) == 1 else None
    found = (_judged(demands, holdings, grain or 0.0) for holdings in _all_holdings(len(demands), slaves))
    return min(found, key=lambda one: (round(one.makespan, 9), sum(one.loads)))


def _all_holdings(resources: int, slaves: int) -> Iterator[Holdings]:
    """Every assignment in which each resource is acquired by one slave or more."""
    groups = _groups(resources)
    for chosen in combinations_with_replacement([(), *groups], slaves):
        if len({place for group in chosen for place in group}) == resources:
            yield Counter(chosen)


def _groups(resources: int) -> list[tuple[int, ...]]:
    return [tuple(place for place in range(resources) if bits >> place & 1) for bits in range(1, 2**resources)]


def _judged(demands: Sequence[Demand], holdings: Holdings, grain: float) -> Assignment:
    """How soon that ends: every group of resources must fit into the slaves that acquire one of the group."""
    slaves = [(group, count, sum(demands[place].price for place in group)) for group, count in holdings.items()]
    makespan = max(price for _, _, price in slaves)
    for group in _groups(len(demands)):
        able = [(count, price) for held, count, price in slaves if not set(group).isdisjoint(held)]
        makespan = max(makespan, _time_for(sum(demands[place].work for place in group), able, grain))
    loads = [sum(count for group, count in holdings.items() if place in group) for place in range(len(demands))]
    return Assignment(makespan, loads)


def _time_for(work: float, able: list[tuple[int, float]], grain: float) -> float:
    """When these slaves, each after its time to acquire, have done so much. Those that are late may do nothing."""
    best = inf
    for latest in sorted({price for _, price in able}):
        some = [(count, price) for count, price in able if price <= latest]
        count = sum(count for count, _ in some)
        best = min(best, max(latest, (work + sum(count * price for count, price in some)) / count))
    if not grain:
        return best
    calls = round(work / grain)
    starts = sorted({price for _, price in able})
    # In whole calls, a slave is done a whole number of calls after it acquired: the next such time that has the room.
    times = sorted(
        {start + max(0, ceil((best - start) / grain - EPSILON) + more) * grain for start in starts for more in (0, 1)}
    )
    return next((time for time in times if _fit(time, able, grain) >= calls), times[-1])


def _fit(time: float, able: list[tuple[int, float]], grain: float) -> int:
    return sum(count * max(0, int((time - price) / grain + EPSILON)) for count, price in able)
