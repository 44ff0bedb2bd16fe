"""The virtual slaves: they do what the real ones do."""

from __future__ import annotations

from itertools import pairwise

import pytest

from mpitasks.core.calls import PLAIN
from mpitasks.core.prices import Prices
from mpitasks.core.scheduler import Rules
from mpitasks.simulator import BUILTIN, CallsOf, QueueOf, ResourceOf, Workload, as_json, simulate
from mpitasks.simulator.farm import Costs, Farm, StuckError
from mpitasks.simulator.workload import Plan, Planned


def workload_of(*calls: CallsOf, acquire: float = 0.0, provider: bool = False, keep: int = 1) -> Workload:
    """Calls of the task a, for the resource r."""
    return Workload("test", (QueueOf("a"),), calls, (ResourceOf("r", acquire, provider, keep=keep),))


def test_a_slave_runs_one_call_at_a_time() -> None:
    """In windows too."""
    report = simulate(workload_of(CallsOf("a", 2_000, (0.0, 0.004))), 3, record=True)
    for rank in (1, 2, 3):
        spans = [span for span in report.spans if span.rank == rank]
        assert all(one.end <= other.begin + 1e-9 for one, other in pairwise(spans))
    assert len(report.spans) == 2_000


def test_what_has_a_hint_goes_first_if_it_is_the_longest() -> None:
    """The core is told the cost of each call."""
    report = simulate(workload_of(CallsOf("a", 20, (1.0, 3.0), cost="seconds")), 1, record=True)
    seconds = [span.end - span.begin for span in report.spans]
    assert seconds == pytest.approx(sorted(seconds, reverse=True))


@pytest.mark.parametrize("provider", [False, True])
def test_a_resource_is_acquired_before_its_first_call(*, provider: bool) -> None:
    """And kept for the next ones."""
    report = simulate(workload_of(CallsOf("a", 3, 1.0, "r"), acquire=5.0, provider=provider), 1, record=True)
    assert [(span.begin, span.acquired, span.end) for span in report.spans] == [(0, 5, 6), (6, 6, 7), (7, 7, 8)]
    assert report.loads == 1


def test_a_slave_keeps_as_many_as_its_provider_says() -> None:
    """With one kept, two resources in turn are acquired again; with two, they are not."""
    turns = [CallsOf("a", 2, 1.0, "r", 2, at=20.0 * number) for number in range(4)]
    loads = [simulate(workload_of(*turns, acquire=1.0, provider=True, keep=keep), 1).loads for keep in (1, 2)]
    assert loads == [5, 2]


def test_what_is_behind_a_long_call_is_taken_back() -> None:
    """A window with a long call at its head is given back, and other slaves run the rest."""
    short = [Planned(0.0, "a", 0.001, PLAIN, 0)] * 50
    plan = Plan([*short, short[0]._replace(seconds=9.0), *short], {})
    counts = Farm(plan, (QueueOf("a"),), 2, record=True).run()
    assert counts.ended == 101
    last = sorted(span.end for span in counts.spans)
    assert last[-2] < 0.2
    assert last[-1] == pytest.approx(9.0, abs=0.1)


def test_the_same_input_gives_the_same_output() -> None:
    """But for the core's own time."""
    one, other = (as_json([simulate(BUILTIN["bursts"](), 16)], with_time=False) for _ in range(2))
    assert one == other


def test_prices_are_plain_data() -> None:
    """They can be written and read, and a run that knows them does not change them."""
    learned = simulate(BUILTIN["hot"](), 20).prices
    assert learned is not None
    data = learned.plain()
    assert data["calls"] == {"query": 1.0}
    assert data["kinds"] == [["", "database", 5.0]]
    assert Prices.from_plain(data).plain() == data
    simulate(BUILTIN["example3"](), 3, prices=learned)
    assert learned.plain() == data


def test_a_scheduler_that_forgets_a_call_is_found_out() -> None:
    """It does not look as if all were done."""
    farm = Farm(workload_of(CallsOf("a", 3)).plan(), (QueueOf("a"),), 1)
    farm.scheduler.decide = lambda _now: []  # type: ignore[method-assign]
    with pytest.raises(StuckError, match="at 0 s the scheduler waits for nothing, with 3 calls left"):
        farm.run()


def test_other_rules_can_be_tried() -> None:
    """Such as other windows."""
    workload = workload_of(CallsOf("a", 4_000, 0.001))
    usual, single = (simulate(workload, 2, rules=Rules(most_calls=most)).decisions for most in (512, 1))
    assert usual is not None
    assert single is not None
    assert usual < single


def test_a_master_that_needs_time_lets_slaves_wait() -> None:
    """Of 100 slaves with calls of 10 ms it keeps busy as many as it can feed; a faster one all of them."""
    workload = workload_of(CallsOf("a", 5_000, 0.01))
    slow, fast = (simulate(workload, 100, costs=Costs(message=0.0, call=seconds)) for seconds in (1e-3, 1e-6))
    assert slow.makespan == pytest.approx(5_000 * 1e-3, rel=0.02)
    assert fast.utilisation is not None
    assert fast.utilisation > 0.95


def test_a_slave_with_a_window_does_not_wait_for_the_master() -> None:
    """What it has, it runs: only between two windows it waits, however long a message takes."""
    workload = workload_of(CallsOf("a", 400, 0.002))
    report = simulate(workload, 1, costs=Costs(message=1e-3))
    assert report.utilisation is not None
    assert report.utilisation > 0.75
    assert simulate(workload, 1).utilisation == pytest.approx(1.0)
