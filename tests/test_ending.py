"""How a run has ended: what rank 0 says, what mpiexec says, and which exit code comes of it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from mpitasks import ending, surroundings
from mpitasks.ending import End
from mpitasks.launch import _Minder

if TYPE_CHECKING:
    from pathlib import Path

COMPLETE = End(0, stands=True)
FORGOTTEN = End(1, stands=True)
RAISED = End(1, "ValueError: no")
DRAINED = End(75, "SIGUSR1", stands=True)
TIME_IS_OVER = End(75, "the walltime is over", stands=True, again=True)
TERMINATED = End(143, "Terminated: 143", again=True)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The control folder."""
    monkeypatch.setattr(surroundings, "control_folder", lambda: str(tmp_path))
    monkeypatch.setattr(ending, "_said", [])
    return tmp_path


def say(end: End | None, *, left: bool) -> None:
    """What rank 0 says at its end."""
    if end is not None:
        ending.tell(end)
    if left:
        ending.tell_left()


@pytest.mark.parametrize(
    ("mpiexec", "end", "left", "code"),
    [
        (0, COMPLETE, True, 0),
        (3, COMPLETE, True, 3),  # sys.exit(3) after run()
        (0, COMPLETE, False, 0),  # os._exit(0) after run()
        (0, FORGOTTEN, True, 1),
        (3, FORGOTTEN, True, 3),
        (1, RAISED, True, 1),
        (0, RAISED, True, 0),  # the script caught it
        (0, RAISED, False, 1),
        (75, DRAINED, True, 75),
        (0, DRAINED, True, 75),  # the script caught it, but whoever requeues must know
        (0, DRAINED, False, 75),
        (1, DRAINED, False, 75),
        (-signal.SIGSEGV, DRAINED, True, 75),  # mpiexec has crashed after an abort
        (-signal.SIGKILL, None, False, 137),
        (0, None, True, 0),  # a script that calls no run()
        (2, None, True, 2),
        (0, None, False, 70),  # after a lost host
        (9, None, False, 9),
        (255, None, False, 255),
    ],
)
def test_the_exit_code(folder: Path, mpiexec: int, end: End | None, left: bool, code: int) -> None:
    """Rank 0's word counts where its process has not come to an end of its own."""
    say(end, left=left)
    assert ending.code_of(mpiexec, folder) == code


def test_what_is_said_last_counts(folder: Path) -> None:
    """And it can be read here and there."""
    ending.tell(RAISED)
    ending.tell(DRAINED)
    assert (ending.said(), ending.read(folder)) == (DRAINED, DRAINED)


@pytest.mark.parametrize("text", ["", "{"])
def test_what_can_not_be_read_was_not_said(folder: Path, text: str) -> None:
    """A disk may be full in the midst of it."""
    (folder / ending.END).write_text(text)
    assert ending.read(folder) is None


def test_without_a_folder_nothing_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody has asked."""
    monkeypatch.setattr(surroundings, "control_folder", lambda: None)
    monkeypatch.setattr(ending, "_said", [])
    ending.tell(COMPLETE)
    assert (ending.said(), list(tmp_path.iterdir())) == (COMPLETE, [])


@pytest.mark.parametrize(
    ("end", "left", "why"),
    [
        (None, False, "the run was cut off (exit code 9)"),
        (None, True, ""),  # sys.exit() before run()
        (COMPLETE, True, ""),
        (RAISED, False, ""),
        (DRAINED, True, ""),  # who sends SIGUSR1 wants the end
        (TIME_IS_OVER, True, "the run was interrupted: the walltime is over"),
        (TERMINATED, True, "the run was interrupted: Terminated: 143"),  # by a launcher that has lost a host
    ],
)
def test_when_to_begin_again(folder: Path, end: End | None, left: bool, why: str) -> None:
    """Where it may come further: never after what main itself has done."""
    say(end, left=left)
    assert _Minder(folder).why_again(9) == why


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
@pytest.mark.parametrize("end", [None, TIME_IS_OVER, TERMINATED])
def test_never_after_a_signal_of_the_users(folder: Path, end: End | None, number: int) -> None:
    """It was meant for all of it."""
    say(end, left=False)
    minder = _Minder(folder)
    minder._note(number, None)
    assert minder.why_again(9) == ""
