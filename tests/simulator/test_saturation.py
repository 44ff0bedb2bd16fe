"""How long calls must be for one master to keep its slaves busy."""

from __future__ import annotations

import pytest

from mpitasks.simulator import Costs, shortest_calls
from mpitasks.simulator.saturation import CLOSE, busy

COSTS = Costs(message=10e-6, call=5e-6)


@pytest.mark.parametrize("slaves", [50, 200])
def test_calls_that_are_long_enough_are_so_by_little(slaves: int) -> None:
    """Calls of that length keep slaves busy, and calls that are a third shorter do not."""
    seconds = shortest_calls(slaves, COSTS)
    assert busy(slaves, seconds, COSTS) >= 0.9
    assert busy(slaves, 0.66 * seconds, COSTS) < 0.9


def test_calls_must_be_about_as_long_as_the_master_needs_for_all_slaves() -> None:
    """With a message each way for every call; ten times the costs make it ten times as long."""
    once = 100 * (2 * 10e-6 + 5e-6)
    longer = Costs(*(10 * cost for cost in COSTS))
    assert shortest_calls(100, longer) == pytest.approx(10 * once, rel=0.3)


@pytest.mark.parametrize("part", [0.0, 1.0, 1.5])
def test_a_part_that_no_calls_reach_is_refused(part: float) -> None:
    """Instead of a search without end."""
    with pytest.raises(ValueError, match="above 0 and below 1"):
        shortest_calls(10, COSTS, part)


def test_without_costs_any_calls_will_do() -> None:
    """As short as the search begins with."""
    assert shortest_calls(10, Costs()) <= 1e-6 * CLOSE
