"""Runs a workload and says how well it went."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache
from time import perf_counter

from ..core.prices import Prices
from ..core.scheduler import Rules
from .bounds import Bound, bound_of
from .farm import FREE, Costs, Counts, Farm
from .report import Report
from .seeds_rule import seeds_run
from .workload import Plan, Workload


def simulate(  # noqa: PLR0913  what a run depends on
    workload: Workload,
    slaves: int,
    *,
    prices: Prices | None = None,
    run: int = 1,
    rules: Rules | None = None,
    costs: Costs = FREE,
    record: bool = False,
    clock: Callable[[], float] = perf_counter,
) -> Report:
    """Run a workload on virtual slaves, in virtual time, by the scheduler that real runs have.

    Args:
        workload: What is to run.
        slaves: How many virtual slaves there are.
        prices: What an earlier run learned, `Report.prices`; it is not changed.
        run: Number of this run, for the report.
        rules: The scheduler's numbers, to try others.
        costs: What the master needs for a message and for a call; by default nothing.
        record: Keep what each slave did, for a picture.
        clock: Measures the core's own time.

    Returns:
        The figures, beside what no schedule can beat. The same input gives the same ones, but for the core's own time.
    """
    plan, bound = _prepared(workload, slaves)
    farm = Farm(plan, workload.queues, slaves, prices=deepcopy(prices), rules=rules, costs=costs, record=record, clock=clock)
    counts = farm.run()
    return _reported(workload, farm, counts, bound, run)


def _reported(workload: Workload, farm: Farm, counts: Counts, bound: Bound, run: int) -> Report:
    slaves = farm.slaves
    whole = slaves * counts.makespan
    return Report(
        workload=workload.name,
        slaves=slaves,
        rule="core",
        run=run,
        calls=counts.ended,
        makespan=counts.makespan,
        bound=bound.makespan,
        loads=counts.loads.total(),
        least_loads=bound.loads,
        utilisation=(counts.in_calls + counts.acquiring) / whole if whole else 1.0,
        possible_utilisation=bound.busy / (slaves * bound.makespan) if bound.makespan else 1.0,
        longest_wait=counts.longest_wait,
        moves=sum(slave.moves for slave in farm.scheduler.tally.slaves.values()),
        decisions=counts.decisions,
        core_seconds=counts.core_seconds,
        prices=farm.scheduler.learned(),
        spans=tuple(counts.spans),
    )


def simulate_seed(workload: Workload, slaves: int) -> Report | None:
    """The same by the rule of mpi-master-slave; None where that has no like: several queues, priorities, later calls."""
    plan, bound = _prepared(workload, slaves)
    if len(workload.queues) > 1 or any(calls.priority or calls.at for calls in workload.calls):
        return None
    if workload.queues[0].max_slaves is not None:
        return None
    found = seeds_run(plan, slaves)
    return Report(
        workload=workload.name,
        slaves=slaves,
        rule="seed",
        run=1,
        calls=len(plan.calls),
        makespan=found.makespan,
        bound=bound.makespan,
        loads=found.loads,
        least_loads=bound.loads,
    )


@lru_cache(maxsize=1)
def _prepared(workload: Workload, slaves: int) -> tuple[Plan, Bound]:
    """The calls, and the bound: the same for each run, and a second of work for a million calls."""
    plan = workload.plan()
    return plan, bound_of(plan, workload.queues, slaves)
