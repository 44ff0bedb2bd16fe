"""`python -m mpitasks simulate`: what it prints, reads and writes."""

from __future__ import annotations

import builtins
import json
from typing import TYPE_CHECKING, Any

import pytest

from mpitasks.cli import main
from mpitasks.simulator import BUILTIN

if TYPE_CHECKING:
    from pathlib import Path


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What the command prints, if it ends well."""
    assert main(["simulate", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_alone_it_lists_what_is_built_in(capsys: pytest.CaptureFixture[str]) -> None:
    """A line each."""
    assert [line.split()[0] for line in printed(capsys).splitlines()] == list(BUILTIN)


def test_it_prints_a_line_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    """The seed's rule first, where it knows such workloads."""
    lines = printed(capsys, "example3", "--slaves", 2, 7, "--no-time").splitlines()[2:]
    assert [line.split()[:2] for line in lines] == [
        ["2", "seed"],
        ["2", "1"],
        ["2", "2"],
        ["7", "seed"],
        ["7", "1"],
        ["7", "2"],
    ]


def test_without_times_it_prints_the_same_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    """Byte by byte; the core's own time alone differs, and stands apart."""
    one, other = (printed(capsys, "bursts", "--json", "--no-time") for _ in range(2))
    assert one == other
    with_time = json.loads(printed(capsys, "bursts", "--json"))
    assert len(with_time.pop("core_seconds_a_call")) == 2
    assert with_time == json.loads(one)


def test_prices_are_kept_in_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What one command has learned, the next one knows in its first run."""
    path = tmp_path / "prices.json"
    found = [
        json.loads(printed(capsys, "example3", "--slaves", 7, "--runs", 1, "--prices", path, "--json"))["runs"][-1]["loads"]
        for _ in range(2)
    ]
    assert found == [3, 6]


def test_a_file_can_be_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """And says so if it is wrong."""
    path = tmp_path / "mine.json"
    path.write_text('{"queues": {"a": {}}, "calls": [{"queue": "a", "n": 10}], "about": "ten calls", "slaves": 5}')
    assert printed(capsys, path).splitlines()[0] == "mine: ten calls"
    path.write_text('{"queues": {"a": {}}, "calls": [{"queue": "b"}]}')
    assert main(["simulate", str(path)]) == 1
    assert capsys.readouterr().err == "mpitasks: no queue is named 'b'; known: 'a'\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["exampel5"], "there is no file 'exampel5', and no such workload is built in; those are: example3, "),
        (["hot", "--prices", "{wrong}"], "holds no prices that a simulation has written"),
        (["hot", "--prices", "{wrong}/a"], "wrong.json/a'; it must be a file in a folder that is there and that you may"),
        (["hot", "--gantt", "missing/hot.png"], "--gantt can't write 'missing/hot.png'; it must be a file in a folder"),
    ],
)
def test_what_is_wrong_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str) -> None:
    """In a line, with exit code 1."""
    (tmp_path / "wrong.json").write_text("{}")
    assert main(["simulate", *(each.format(wrong=tmp_path / "wrong.json") for each in arguments)]) == 1
    out, err = capsys.readouterr()
    assert message in err
    assert not out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simulate", "--slaves", "3"], "which workload? Options need one: a JSON file, or the name of a built-in one"),
        (["simulate", "hot", "--slaves", "\u00b2"], "'\u00b2' is no number of slaves; it must be 1 or more"),
        (["simulate", "hot", "--runs", "0"], "'0' is no number of runs; it must be 1 or more"),
        (["-n", "\u00b2", "app.py"], "'\u00b2' is no number of ranks; it must be 1 or more"),
    ],
)
def test_what_is_typed_wrong_is_said(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    """As argparse does, with exit code 2."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().err


def test_a_kind_of_picture_that_nobody_knows_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Before anything is run."""
    pytest.importorskip("matplotlib")
    assert main(["simulate", "hot", "--gantt", str(tmp_path / "hot.xyz")]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert "no such kind of picture; known: " in err


def test_a_picture_that_fails_takes_no_prices_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are written first."""
    monkeypatch.setattr("mpitasks.simulator.command.check_drawable", lambda path: None)
    monkeypatch.setattr("mpitasks.simulator.command.draw", failing)
    path = tmp_path / "prices.json"
    assert main(["simulate", "hot", "--prices", str(path), "--gantt", str(tmp_path / "hot.png")]) == 1
    assert json.loads(path.read_text())


def failing(*_: object) -> None:
    """A picture that can't be drawn."""
    msg = "the disk is full"
    raise OSError(msg)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_it_draws(capsys: pytest.CaptureFixture[str], tmp_path: Path, suffix: str) -> None:
    """The same picture each time."""
    pytest.importorskip("matplotlib")
    paths = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for path in paths:
        printed(capsys, "example3", "--slaves", 5, "--gantt", path)
    one, other = (path.read_bytes() for path in paths)
    assert one == other
    assert len(one) > 1_000


def test_without_matplotlib_it_says_how_to_have_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is run."""
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["simulate", "hot", "--gantt", str(tmp_path / "hot.png")]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert 'pip install "mpitasks[plot]"' in err


def test_a_master_may_need_time(capsys: pytest.CaptureFixture[str]) -> None:
    """Example 5's calls of 100 s don't mind some microseconds; a second for each message they do."""
    free, cheap, dear = (
        json.loads(printed(capsys, "example5", "--slaves", 8, "--runs", 1, "--json", *costs))["runs"][-1]["makespan"]
        for costs in ((), ("--costs", 8, 4), ("--costs", 1e6, 0))
    )
    assert free == pytest.approx(cheap, rel=1e-3)
    assert dear > 1.05 * free


@pytest.mark.parametrize("wrong", ["-1", "many", "nan"])
def test_costs_that_make_no_sense_are_refused(capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    """With what they should be."""
    with pytest.raises(SystemExit):
        main(["simulate", "example5", "--costs", "1", wrong])
    assert f"microseconds are a number, 0 or more, and not '{wrong}'" in capsys.readouterr().err
