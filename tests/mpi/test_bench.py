"""`python -m mpitasks bench`, as far as it can be tested: its shape, never its speed."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from mpitasks.bench.figures import Figure, Goal
from mpitasks.bench.scale import FULL, QUICK
from mpitasks.bench.slaves import Nap
from mpitasks.bench.uneven import SHORT, longest_wait

if TYPE_CHECKING:
    from tests.mpi.app import Ended
    from tests.mpi.launcher import Mpiexec

KEYS = ["section", "what", "value", "values", "unit", "beside", "besides", "ratio", "ratios", "goal", "reached"]
SECTIONS = ["memory", "trip", "await", "calls", "chunks", "stream", "bulk", "constant", "busy", "sleep", "idle", "start"]
"""Those that a master and one slave can measure."""


def bench(mpiexec: Mpiexec, *arguments: str) -> Ended:
    """Run it to its end; it starts mpiexec by itself."""
    with mpiexec.start_command([sys.executable, "-m", "mpitasks", "bench", *arguments]) as app:
        return app.wait(timeout=100)  # five times what --quick promises: the machine may be busy


@pytest.mark.mpi
def test_quick_measures_every_section(mpiexec: Mpiexec) -> None:
    """Standard output is one JSON document, every figure in it was measured, and what was not says why."""
    ended = bench(mpiexec, "--quick", "--json")
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report["ranks"] == 2
    assert list(dict.fromkeys(line["section"] for line in report["figures"])) == SECTIONS
    assert report["left out"] == {"tail": "it needs 3 slaves, and there are 1: -n 4"}
    assert {tuple(line) for line in report["figures"]} == {tuple(KEYS)}
    assert all(line["value"] > 0 for line in report["figures"] if line["what"] != "then the master has grown by")


@pytest.mark.mpi
def test_uneven_calls_are_all_run_once(mpiexec: Mpiexec) -> None:
    """The heavy tail is measured with three slaves, both ways: its makespan is no shorter than can be, bodies are counted."""
    ended = bench(mpiexec, "-n", "4", "--quick", "--json", "tail")
    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout)["figures"]
    assert [figure["what"].rpartition(" by ")[2].partition(",")[0] for figure in figures] == ["delay"] * 3 + ["map"] * 3
    for makespan, wait, bodies in (figures[:3], figures[3:]):
        assert makespan["ratio"] >= 1
        assert wait["unit"] == "ms"
        assert (bodies["value"], bodies["reached"]) == (QUICK.uneven, True)


@pytest.mark.mpi
def test_bare_messages_stand_beside_calls(mpiexec: Mpiexec) -> None:
    """What can be compared has the bare figure of the same processes and the ratio of both."""
    report = json.loads(bench(mpiexec, "--quick", "--json", "trip").stdout)
    (line,) = report["figures"]
    assert (line["what"], line["unit"], line["goal"]) == ("one call there and back", "µs", "<= 1.3 x")
    pairs = list(zip(line["values"], line["besides"], strict=True))
    assert len(pairs) == QUICK.repetitions
    assert line["ratios"] == pytest.approx([ours / bare for ours, bare in pairs])
    assert line["reached"] is (line["ratio"] <= 1.3)


@pytest.mark.mpi
def test_the_table_is_aligned_and_holds_only_goals_for_these_ranks(mpiexec: Mpiexec) -> None:
    """Without --json: what ran where, the columns, and one line a figure, whose unit stands under `unit`."""
    ended = bench(mpiexec, "-n", "3", "--quick", "trip", "await")
    assert ended.returncode == 0, ended.stderr
    setting, blank, header, *lines = ended.stdout.splitlines()
    assert (" ranks 3" in setting, blank) == (True, "")
    assert header.split() == ["what", "value", "spread", "unit", "beside", "ratio", "goal", "reached"]
    assert [line[header.index("unit") :].split()[0] for line in lines] == ["µs", "µs"]
    assert not any("<=" in line for line in lines)


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["speed"],
            f"no section named 'speed'; known: {', '.join([*SECTIONS[:8], 'tail', *SECTIONS[8:]])}",
        ),
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
        (Goal("==", 30, "µs"), "== 30 µs", True),
        (Goal("==", 31, "µs"), "== 31 µs", False),
    ],
)
def test_a_goal_bounds_the_value_or_the_ratio(goal: Goal | None, text: str | None, reached: bool | None) -> None:
    """The unit "x" means the ratio, any other the value; without a goal nothing is reached or missed."""
    figure = Figure("a call", [30.0], "µs", [10.0], goal)
    assert (goal and str(goal), figure.reached) == (text, reached)


def test_a_ratio_that_was_not_measured_reaches_nothing() -> None:
    """Where bare messages can't be sent, a goal about the ratio is missed."""
    assert Figure("a call", [30.0], "µs", goal=Goal("<=", 2, "x")).reached is False


def test_quick_is_less_of_everything() -> None:
    """--quick measures the same, and none of it as thoroughly."""
    assert all(less < more for less, more in zip(QUICK, FULL, strict=True))


def test_the_ratio_is_that_of_a_turn_in_the_middle() -> None:
    """A moment that slows down ours and bare alike does not reach the ratio, as it would that of both medians."""
    figure = Figure("a call", [20.0, 400.0, 600.0], "µs", [10.0, 200.0, 100.0])
    assert (figure.value, figure.beside, figure.ratio) == (400, 100, 2)


@pytest.mark.parametrize(
    ("durations", "began", "wait"),
    [
        ([SHORT] * 3, [0.0, 1.0, 2.0], 0.0),
        ([SHORT] * 3, [0.0, 5.0, 2.0], 3.0),
        ([SHORT, 1.0, SHORT, SHORT], [0.0, 9.0, 0.5, 0.4], pytest.approx(0.1)),
        ([SHORT], [0.0], 0.0),
    ],
)
def test_a_call_waits_while_later_ones_begin(durations: list[float], began: list[float], wait: float) -> None:
    """How long a short call is kept back is seen by the short ones that were submitted later and began before it."""
    assert longest_wait(durations, [Nap(start, start) for start in began]) == wait
