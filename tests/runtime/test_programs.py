"""Random programs, played on the real master and slaves, end as a serial run would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from mpitasks import registry

from .play import Play, define
from .programs import PROGRAMS, Program
from .stage import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

Run = "Callable[[Program], Play]"


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[Program], Play]:
    """`play(program)`: from its first step to its end, and the verdict."""
    monkeypatch.setattr(registry, "_tasks", {})
    monkeypatch.setattr(registry, "_resources", {})
    tasks, clock = define(), Clock(monkeypatch)

    def run(program: Program) -> Play:
        clock.now = 1000.0
        played = Play(program, tasks, clock)
        played.run()
        return played

    return run


def fuzz(play: Callable[[Program], Play], programs: int, **more: Any) -> None:
    """Play so many."""

    @settings(
        max_examples=programs, deadline=None, derandomize=True, database=None, print_blob=False,
        suppress_health_check=list(HealthCheck), **more,
    )  # fmt: skip
    @given(PROGRAMS)
    def test(program: Program) -> None:
        play(program)

    test()


def test_programs_end_as_a_serial_run_would(play: Callable[[Program], Play]) -> None:
    """Whoever goes on when: outcomes, executions, limits, holders, releases; and it ends."""
    fuzz(play, 100)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_ten_thousand_programs_end_as_a_serial_run_would(play: Callable[[Program], Play]) -> None:
    """The same, for long."""
    fuzz(play, 10_000)
