"""How mpi-master-slave would share out the same calls, simulated beside.

Its `WorkQueue` in the words of its code, for each ready slave in turn: the next call for the resource that the slave had
last; else the next call without resource, which makes it forget what it had; else of a resource that no slave had last;
else of any that waits. One call at a time, and a look at all slaves every 0.3 s, as in its examples. Where it takes "any"
out of a set, whose order is an accident, here the one that was submitted first is taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import NamedTuple

from ..core.calls import PLAIN
from .workload import Plan, Planned

POLL = 0.3


class SeedsRun(NamedTuple):
    """What the seed's rule makes of a workload."""

    makespan: float
    loads: int


def seeds_run(plan: Plan, slaves: int, *, poll: float = POLL) -> SeedsRun:
    """Run the calls by the seed's rule. They are all there from the beginning, in one queue."""
    waiting: dict[Hashable, deque[Planned]] = {}
    for call in plan.calls:
        waiting.setdefault(call.resource, deque()).append(call)
    had: dict[int, Hashable] = {}
    free_at = dict.fromkeys(range(1, slaves + 1), 0.0)
    loads, turn = 0, 0
    while waiting:
        now = turn * poll
        for rank in [rank for rank, at in free_at.items() if at <= now]:
            if not waiting:
                break
            resource = _chosen(waiting, had, rank)
            call = waiting[resource].popleft()
            if not waiting[resource]:
                del waiting[resource]
            is_new = resource is not PLAIN and had.get(rank, PLAIN) != resource
            had[rank] = resource
            loads += is_new
            free_at[rank] = now + call.seconds + (plan.acquiring[resource] if is_new else 0.0)
        turn = _next_turn(turn, free_at, poll)
    return SeedsRun(max(free_at.values()), loads)


def _next_turn(turn: int, free_at: dict[int, float], poll: float) -> int:
    """The next look at which a slave is ready."""
    turn += 1
    return max(turn, -int(-min(free_at.values()) // poll))


def _chosen(waiting: dict[Hashable, deque[Planned]], had: dict[int, Hashable], rank: int) -> Hashable:
    """What that slave does next."""
    last = had.get(rank, PLAIN)
    if last is not PLAIN and last in waiting:
        return last
    if PLAIN in waiting:
        return PLAIN
    used = set(had.values())
    return next((resource for resource in waiting if resource not in used), next(iter(waiting)))
