"""`python -m mpitasks stacks`: which program is meant, and what it answers."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from mpitasks import cli, control, whereabouts
from mpitasks.runtime import places

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Programs that others run here are not seen."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["app.py", "--deep"])


@contextmanager
def program(**facts: object) -> Iterator[None]:
    """A program that can be asked."""
    with control.own_folder() as folder, control.serve(folder, {"stacks": lambda: "all is well"}, **facts):
        yield


@pytest.mark.parametrize("words", [[], [str(os.getpid())]])
def test_the_only_program_needs_no_number(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """What it says, is printed."""
    with program():
        code = cli.main(["stacks", *words])
    assert (code, *capsys.readouterr()) == (0, "all is well\n", "")


def test_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    """Where to ask is told."""
    said = "mpitasks: no program of yours runs with mpitasks on this host; ask on the host of rank 0, with its TMPDIR\n"
    assert (cli.main(["stacks"]), *capsys.readouterr()) == (1, "", said)


def test_of_several_one_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    """They are listed."""
    with program(), program():
        code = cli.main(["stacks"])
        since = time.strftime("%H:%M:%S", time.localtime(control.running()[0].since))
    head, *lines = capsys.readouterr().err.splitlines()
    assert (code, head) == (1, "mpitasks: several programs run here, so say which: python -m mpitasks stacks PID")
    assert lines[0] == f"  {os.getpid()}  since {since}  app.py --deep"
    assert len(lines) == 2


def test_a_wrong_number_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With the ones that are right."""
    with program():
        code = cli.main(["stacks", "1"])
    said = capsys.readouterr().err
    assert code == 1
    assert said.startswith("mpitasks: process 1 is not rank 0 of a program: python -m mpitasks stacks PID\n")
    assert f"  {os.getpid()}  since" in said


def test_ranks_are_asked_by_a_signal_if_rank_0_does_not_answer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those on this host."""
    here = places.answer()
    monkeypatch.setattr(whereabouts.stacks, "dump", lambda place: f"thread 'MainThread' of {place.pid}")
    with program(places=[here, here._replace(pid=7), here._replace(host="elsewhere")]):
        monkeypatch.setattr(control, "ask", no_answer)
        assert cli.main(["stacks"]) == 0
    out, err = capsys.readouterr()
    assert err == "mpitasks: it is busy\n"
    assert out.splitlines() == [
        "mpitasks: the ranks on this host, asked by a signal:",
        f"rank 0 (process {here.pid}):",
        f"thread 'MainThread' of {here.pid}",
        "rank 1 (process 7):",
        "thread 'MainThread' of 7",
    ]


def test_no_answer_and_no_places_is_a_failure(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have ended meanwhile."""
    with program():
        monkeypatch.setattr(control, "ask", no_answer)
        assert cli.main(["stacks"]) == 1
    assert capsys.readouterr().err == "mpitasks: it is busy\n"


def no_answer(*_: object) -> str:
    """As a rank 0 in C code."""
    msg = "it is busy"
    raise control.NoAnswer(msg)
