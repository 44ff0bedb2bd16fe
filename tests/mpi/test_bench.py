"""`python -m mpitasks bench`, as far as it can be tested: its shape, never its speed."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from mpitasks.bench import FULL, QUICK, Figure, Goal

if TYPE_CHECKING:
    from tests.mpi.app import Ended
    from tests.mpi.launcher import Mpiexec

KEYS = ["section", "what", "value", "unit", "beside", "ratio", "goal", "reached"]


def bench(mpiexec: Mpiexec, *arguments: str) -> Ended:
    """Run it to its end; it starts mpiexec by itself."""
    with mpiexec.start_command([sys.executable, "-m", "mpitasks", "bench", *arguments]) as app:
        return app.wait(timeout=60)


@pytest.mark.mpi
def test_quick_measures_every_section_within_about_ten_seconds(mpiexec: Mpiexec) -> None:
    """Standard output is one JSON document, and every figure in it was measured."""
    ended = bench(mpiexec, "--quick", "--json")
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report["ranks"] == 2
    assert list(dict.fromkeys(line["section"] for line in report["figures"])) == ["trip", "await", "calls", "bulk", "idle"]
    assert [sorted(line) for line in report["figures"]] == [sorted(KEYS)] * 15
    assert all(line["value"] > 0 for line in report["figures"])
    assert ended.seconds < 20  # twice what it promises: the machine may be busy


@pytest.mark.mpi
def test_bare_messages_stand_beside_calls(mpiexec: Mpiexec) -> None:
    """What can be compared has the bare figure of the same processes and the ratio of both."""
    report = json.loads(bench(mpiexec, "--quick", "--json", "trip").stdout)
    (line,) = report["figures"]
    assert (line["what"], line["unit"], line["goal"]) == ("one call there and back", "µs", "<= 2 x")
    assert line["ratio"] == pytest.approx(line["value"] / line["beside"])
    assert line["reached"] is (line["ratio"] <= 2)


@pytest.mark.mpi
def test_the_table_is_aligned_and_holds_only_goals_for_these_ranks(mpiexec: Mpiexec) -> None:
    """Without --json: what ran where, the columns, and one line a figure, whose unit stands under `unit`."""
    ended = bench(mpiexec, "-n", "3", "--quick", "trip", "await")
    assert ended.returncode == 0, ended.stderr
    setting, blank, header, *lines = ended.stdout.splitlines()
    assert (" ranks 3" in setting, blank) == (True, "")
    assert header.split() == ["what", "value", "unit", "beside", "ratio", "goal", "reached"]
    assert [line[header.index("unit") :].split()[0] for line in lines] == ["µs", "µs"]
    assert not any("<=" in line for line in lines)


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["speed"], "no section named 'speed'; known: trip, await, calls, bulk, idle"),
        (["-n", "1"], "'1' is no number of ranks to measure; it must be 2 or more: a master and a slave"),
    ],
)
def test_what_can_not_be_measured_is_refused(mpiexec: Mpiexec, arguments: list[str], message: str) -> None:
    """A wrong argument is refused before any rank is started, and what is right is said."""
    ended = bench(mpiexec, *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert message in ended.stderr


@pytest.mark.parametrize(
    ("goal", "text", "reached"),
    [
        (None, None, None),
        (Goal("<=", 2, "x"), "<= 2 x", False),
        (Goal(">=", 2, "x"), ">= 2 x", True),
        (Goal("<=", 30, "µs"), "<= 30 µs", True),
        (Goal(">=", 100_000, "µs"), ">= 100,000 µs", False),
    ],
)
def test_a_goal_bounds_the_value_or_the_ratio(goal: Goal | None, text: str | None, reached: bool | None) -> None:
    """The unit "x" means the ratio, any other the value; without a goal nothing is reached or missed."""
    figure = Figure("a call", 30.0, "µs", 10.0, goal)
    assert (goal and str(goal), figure.reached) == (text, reached)


def test_a_ratio_that_was_not_measured_reaches_nothing() -> None:
    """Where bare messages can't be sent, a goal about the ratio is missed."""
    assert Figure("a call", 30.0, "µs", None, Goal("<=", 2, "x")).reached is False


def test_quick_is_less_of_everything() -> None:
    """--quick measures the same, and none of it as thoroughly."""
    assert all(less < more for less, more in zip(QUICK, FULL, strict=True))
