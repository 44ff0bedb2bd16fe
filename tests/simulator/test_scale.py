"""What a decision costs in a large farm. Counted are lines of the core, since times depend on the machine."""

from __future__ import annotations

import pytest

from mpitasks import core
from mpitasks.core.windows import Windows
from mpitasks.simulator import simulate
from mpitasks.simulator.builtin import scale
from mpitasks.simulator.farm import Farm
from tests.lines import lines_of

STEPS = 100


def lines_a_call(calls: int, slaves: int) -> float:
    """Lines of the core to finish, assign and submit a call, while so many wait in 100 queues for 1,000 resources."""
    workload = scale(calls)
    farm = Farm(workload.plan(), workload.queues, slaves)
    for _ in range(3 * slaves):
        farm.step()
    before = farm.counts.ended

    def live() -> None:
        for _ in range(STEPS):
            farm.step()

    return lines_of(core, live) / (farm.counts.ended - before)


def test_waiting_calls_do_not_make_a_decision_longer() -> None:
    """A hundred times the calls that wait: at most 1.3 times the lines."""
    few, many = (lines_a_call(calls, 50) for calls in (1_000, 100_000))
    assert many <= 1.3 * few


def test_a_slave_that_goes_on_is_cheap() -> None:
    """Where others hold what waits and each slave goes on with its own: 139 lines, and 359 where each is idle first."""
    assert lines_a_call(20_000, 1_000) <= 160


@pytest.mark.parametrize("slaves", [7, 60])
def test_a_slave_that_goes_on_is_given_what_an_idle_one_would_be(slaves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The short way and the long one lead to the same schedule, to the last call."""
    workload = scale(2_000, queues=6, resources=30)
    short = simulate(workload, slaves, record=True).spans
    monkeypatch.setattr(Windows, "_its_next", lambda *_: None)
    assert simulate(workload, slaves, record=True).spans == short


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_million_calls_on_ten_thousand_slaves() -> None:
    """They all end, close to the bound."""
    report = simulate(scale(), 10_000)
    assert report.calls == 1_000_000
    assert report.ratio <= 1.1


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_million_waiting_calls_cost_no_more_lines() -> None:
    """Than a thousand."""
    few, many = (lines_a_call(calls, 50) for calls in (1_000, 1_000_000))
    assert many <= 1.3 * few
