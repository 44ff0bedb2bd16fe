"""The bounds: right where they can be told by hand, and never above what a schedule reaches."""

from __future__ import annotations

from random import Random

import pytest

from mpitasks.simulator import CallsOf, Pareto, QueueOf, ResourceOf, Workload, simulate
from mpitasks.simulator.assignments import best_assignment
from mpitasks.simulator.bounds import bound_of
from mpitasks.simulator.demands import Demand


def bound(*calls: CallsOf, slaves: int, limits: dict[str, int | None] | None = None, acquire: float = 0.0) -> float:
    """The bound on the makespan of these calls."""
    queues = tuple(QueueOf(name, limit) for name, limit in (limits or {"a": None}).items())
    workload = Workload("test", queues, calls, (ResourceOf("r", acquire),))
    return bound_of(workload.plan(), queues, slaves).makespan


def test_work_is_divided_by_slaves() -> None:
    """Many calls: all slave seconds over all slaves."""
    assert bound(CallsOf("a", 100, 1.0), slaves=4) == pytest.approx(25.0)


def test_calls_are_not_cut() -> None:
    """Seven calls on three slaves: one of them runs three."""
    assert bound(CallsOf("a", 7, 1.0), slaves=3) == pytest.approx(3.0)


def test_a_limit_holds_a_queue_back() -> None:
    """A queue has no more slaves than its limit."""
    limits = {"a": 2, "b": None}
    assert bound(CallsOf("a", 20, 1.0), CallsOf("b", 10, 1.0), slaves=10, limits=limits) == pytest.approx(10.0)


def test_what_comes_late_ends_late() -> None:
    """Calls of a later moment take their time after that."""
    assert bound(CallsOf("a", 1, 1.0), CallsOf("a", 10, 1.0, at=50.0), slaves=5) == pytest.approx(52.0)


def test_a_resource_is_acquired_first() -> None:
    """By every slave that works on its calls."""
    assert bound(CallsOf("a", 1, 1.0, "r"), slaves=5, acquire=10.0) == pytest.approx(11.0)
    assert bound(CallsOf("a", 2000, 1.0, "r"), slaves=20, acquire=5.0) == pytest.approx(105.0)


def test_two_slaves_share_three_resources() -> None:
    """Each acquires two and they share one: sooner than three acquisitions, of which one slave makes two."""
    demands = [Demand(calls / 10, 10.0, 99, calls, 0.1) for calls in (34, 33, 33)]
    found = best_assignment(demands, 2)
    assert found is not None
    assert (found.makespan, sum(found.loads)) == (pytest.approx(25.0), 4)


def test_an_acquisition_more_is_made_only_if_it_ends_sooner() -> None:
    """With slaves enough, those that would bring nothing stay away."""
    demands = [Demand(0.2, 10.0, 99, 2, 0.1), Demand(0.1, 10.0, 99, 1, 0.1)]
    found = best_assignment(demands, 6)
    assert found is not None
    assert (found.makespan, found.loads) == (pytest.approx(10.1), [2, 1])


def drawn(seed: int) -> tuple[Workload, int]:
    """A small workload of any kind, and how many slaves it has."""
    random = Random(seed)  # noqa: S311  tests to be repeated, no secret
    queues = tuple(QueueOf(name, random.choice([None, 1, 2, 5]), random.choice([1.0, 3.0])) for name in "abc")
    resources = tuple(ResourceOf(name, random.uniform(0, 3), random.random() < 0.5) for name in "xy")
    seconds = [0.01, 1.0, (0.1, 2.0), Pareto(0.5, 1.5)]
    calls = tuple(
        CallsOf(
            random.choice("abc"),
            random.randint(1, 40),
            random.choice(seconds),
            random.choice([None, "x", "y"]),
            random.randint(1, 4),
            at=random.choice([0.0, 0.0, 5.0]),
        )
        for _ in range(random.randint(1, 6))
    )
    return Workload("drawn", queues, calls, resources, seed=seed, mixed=True), random.randint(1, 12)


@pytest.mark.parametrize("seed", range(150))
def test_no_schedule_beats_the_bound(seed: int) -> None:
    """Whatever is to run: that is what a bound is."""
    workload, slaves = drawn(seed)
    report = simulate(workload, slaves)
    assert report.makespan >= report.bound * (1 - 1e-9)
    assert report.calls == sum(calls.n for calls in workload.calls)
