"""How long a run may last: what people type, and what Slurm says."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

import mpitasks
from mpitasks import cli, walltime

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever has started these tests, they have all the time."""
    monkeypatch.delenv(walltime.SLURM, raising=False)
    monkeypatch.setenv(walltime.VARIABLE, "")
    walltime._by_environment.cache_clear()
    yield
    walltime._by_environment.cache_clear()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("0.5s", 0.5),
        ("55m", 3300),
        ("1h30m", 5400),
        ("2d", 172800),
        ("1:30:00", 5400),
        ("0:00:05", 5),
        ("2-12:00:00", 216000),
        ("100:00:00", 360000),
    ],
)
def test_the_forms(text: str, seconds: float) -> None:
    """A number with a unit, several of them, or a clock's."""
    assert walltime.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "55", "5 m", "-5m", "m", "1:30", "1:60:00", "1h30", "soon", "none", "5M"])
def test_what_is_no_walltime_is_refused(text: str) -> None:
    """A number without unit is minutes for one, seconds for the other."""
    with pytest.raises(ValueError, match=r"is no walltime; it is a number with s, m, h or d, such as 90s, 55m, .*1:30:00"):
        walltime.seconds_of(text)


def test_the_command_line_refuses_it_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is started."""
    with pytest.raises(SystemExit):
        cli.main(["--walltime", "55", "app.py"])
    assert "argument --walltime: '55' is no walltime; it is a number with" in capsys.readouterr().err


def test_run_refuses_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it comes by the variable."""
    monkeypatch.setenv(walltime.VARIABLE, "soon")
    with pytest.raises(ValueError, match="'soon' is no walltime"):
        mpitasks.run(lambda: None, backend="inline")


def left(*, keeps: bool = True, grace: float = 5.0) -> float | None:
    """Seconds until the drain, to the nearest; None: never."""
    limit = walltime.chosen(grace, keeps=keeps)
    return None if limit is None else round(limit.at - time.monotonic())


def test_without_a_word_there_is_no_end() -> None:
    """Nor with an empty one."""
    assert left() is None


def test_it_counts_from_the_first_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program's first run has used up, its second has not; and programs that it starts don't inherit it."""
    monkeypatch.setenv(walltime.VARIABLE, "100s")
    assert left(keeps=False) == 100
    assert walltime.VARIABLE not in os.environ
    now = time.monotonic()
    monkeypatch.setattr(walltime.time, "monotonic", lambda: now + 60)
    assert left(keeps=False) == 40


@pytest.mark.parametrize(
    ("said", "keeps", "expected"),
    [
        (1000.0, True, 1000 - 5 - 30),
        (1000.0, False, None),  # it would end early, and nothing be kept
        (10.0, True, -25),  # the margin has begun: at once
        (-10.0, True, None),  # a shell that has outlived its job
        (None, True, None),
    ],
)
def test_slurms_end_counts_with_a_journal(
    monkeypatch: pytest.MonkeyPatch, said: float | None, keeps: bool, expected: float | None
) -> None:
    """Less the grace, and half a minute."""
    monkeypatch.setenv(walltime.SLURM, "Unknown" if said is None else str(int(time.time() + said + 0.5)))
    found = left(keeps=keeps)
    assert found == expected or (found is not None and expected is not None and abs(found - expected) <= 1)


@pytest.mark.parametrize(("given", "expected"), [("100s", 100), ("1h", 965), ("none", None)])
def test_the_earlier_end_counts(monkeypatch: pytest.MonkeyPatch, given: str, expected: float | None) -> None:
    """Or none at all, if the user says so."""
    monkeypatch.setenv(walltime.VARIABLE, given)
    monkeypatch.setenv(walltime.SLURM, str(int(time.time()) + 1000))
    found = left()
    assert found == expected or (found is not None and expected is not None and abs(found - expected) <= 1)
