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
    ],
)
def test_what_is_wrong_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str) -> None:
    """In a line, with exit code 1."""
    (tmp_path / "wrong.json").write_text("{}")
    assert main(["simulate", *(each.format(wrong=tmp_path / "wrong.json") for each in arguments)]) == 1
    assert message in capsys.readouterr().err


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
    """After the table, which needs none."""
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["simulate", "hot", "--gantt", str(tmp_path / "hot.png")]) == 1
    out, err = capsys.readouterr()
    assert "makespan" in out
    assert 'pip install "mpitasks[plot]"' in err
