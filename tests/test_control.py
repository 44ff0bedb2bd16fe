"""Rank 0's control socket: who is answered, what, and what is left."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mpitasks import control
from mpitasks.control import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files of the test's own, with a short path."""
    with tempfile.TemporaryDirectory(prefix="c-") as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Rank 0's own."""
    with control.own_folder() as folder:
        yield folder


def fail() -> None:
    """A command that can't."""
    msg = "no"
    raise ValueError(msg)


def say(folder: Path, line: bytes) -> dict[str, Any]:
    """What comes back for that line."""
    with closing(socket.socket(socket.AF_UNIX)) as peer:
        peer.settimeout(10)
        peer.connect(str(folder / control.SOCKET))
        peer.sendall(line)
        answer: dict[str, Any] = json.loads(peer.makefile().readline())
        return answer


def test_a_command_is_carried_out_in_a_thread_of_its_own(folder: Path) -> None:
    """And what it returns comes back, whatever it is."""
    commands = {"where": lambda: threading.current_thread().name, "none": lambda: None, "much": lambda: "x" * 1_000_000}
    with control.serve(folder, commands):
        assert control.ask(folder, "where", 10) == "mpitasks-control"
        assert control.ask(folder, "none", 10) is None
        assert control.ask(folder, "much", 10) == "x" * 1_000_000


def test_the_request_is_a_line_of_json(folder: Path) -> None:
    """As other programs may write it."""
    with control.serve(folder, {"one": lambda: 1}):
        assert say(folder, b'{"command": "one"}\n') == {"answer": 1}
        assert "error" in say(folder, b"nonsense\n")
        assert "error" in say(folder, b"[]\n")
        assert "error" in say(folder, b'{"command": []}\n')
        assert control.ask(folder, "one", 10) == 1


def test_a_peer_that_goes_does_no_harm(folder: Path) -> None:
    """Whether it has said something or nothing."""
    with control.serve(folder, {"one": lambda: 1}):
        for line in (b"", b'{"command": "one"}\n'):
            with closing(socket.socket(socket.AF_UNIX)) as peer:
                peer.connect(str(folder / control.SOCKET))
                peer.sendall(line)
        assert control.ask(folder, "one", 10) == 1


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("fail", "rank 0 could not do 'fail': ValueError: no"),
        ("set", "rank 0 could not do 'set': TypeError: Object of type set is not JSON serializable"),
        ("two", "rank 0 could not do 'two': no command 'two' is known here; known: fail, set"),
    ],
)
def test_what_goes_wrong_is_told(folder: Path, command: str, words: str) -> None:
    """To whoever asks; the run goes on."""
    with control.serve(folder, {"fail": fail, "set": lambda: {1}}), pytest.raises(NoAnswer, match=words):
        control.ask(folder, command, 10)


def test_a_command_that_takes_too_long_is_not_waited_for(folder: Path) -> None:
    """The error says what it means."""
    end = threading.Event()
    with control.serve(folder, {"wait": end.wait}):
        with pytest.raises(NoAnswer, match=r"rank 0 did not answer 'wait' within 0\.01 s: no Python can run there now"):
            control.ask(folder, "wait", 0.01)
        end.set()


def test_a_command_that_takes_long_keeps_no_other_waiting(folder: Path) -> None:
    """A drain must not come after the stacks of slaves that don't answer; nor after a peer that says nothing."""
    entered, end = threading.Event(), threading.Event()

    def wait() -> bool:
        entered.set()
        return end.wait(10)

    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(control.ask(folder, "wait", 10)))
    with control.serve(folder, {"wait": wait, "one": lambda: 1}), closing(socket.socket(socket.AF_UNIX)) as silent:
        silent.connect(str(folder / control.SOCKET))
        asking.start()
        assert entered.wait(10)
        assert control.ask(folder, "one", 3) == 1
        end.set()
        asking.join()
        silent.close()
    assert answers == [True]


def test_another_user_is_not_answered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says who it is."""
    with control.serve(folder, {"one": lambda: 1}):
        monkeypatch.setattr(control, "_is_ours", lambda _: False)
        with pytest.raises(NoAnswer, match=r"ended before it answered 'one', or is not yours"):
            control.ask(folder, "one", 10)


@pytest.mark.parametrize(("user", "ours"), [(os.geteuid(), True), (0, True), (54321, False)])
def test_a_peer_is_known_by_its_uid(monkeypatch: pytest.MonkeyPatch, user: int, ours: bool) -> None:
    """Ours, or root."""
    monkeypatch.setattr(control.struct, "unpack", lambda *_: (1, user, 1))
    one, other = socket.socketpair()
    with one, other:
        assert control._is_ours(one) == ours


def test_a_run_is_found_by_the_pids_that_people_see(place: Path) -> None:
    """Of rank 0, and of the process that made the folder."""
    theirs = place / "mpitasks-17-x"
    theirs.mkdir(mode=0o700)
    with control.serve(theirs, {"one": lambda: 1}, grace=3.0):
        (run,) = control.running()
        assert (run.pid, run.starter, run.folder, run.command) == (os.getpid(), 17, theirs, sys.argv)
        assert control.ask(17, "one", 10) == 1
        assert control.ask(os.getpid(), "one", 10) == 1
        assert json.loads((theirs / control.RUN).read_text())["grace"] == 3.0
        with pytest.raises(NoAnswer, match=rf"no run of yours on this host has the pid 18; runs: {os.getpid()} \("):
            control.ask(18, "one", 10)


def test_nothing_is_left_of_a_run(place: Path) -> None:
    """No thread, no folder; and none runs."""
    with control.own_folder() as folder, control.serve(folder, {}):
        assert (folder.stat().st_mode & 0o777, folder.parent) == (0o700, place)
        assert len(control.running()) == 1
    assert (list(place.iterdir()), control.running()) == ([], [])
    assert [thread.name for thread in threading.enumerate() if thread.name == "mpitasks-control"] == []
    with pytest.raises(NoAnswer, match=r"can't be asked of the run in .*: No such file or directory; it has ended, it seems"):
        control.ask(folder, "one", 10)
    with pytest.raises(NoAnswer, match="has the pid 1; runs: there is none"):
        control.ask(1, "one", 10)


KILLED = """
import os, signal, sys, tempfile
from mpitasks import control
tempfile.tempdir = sys.argv[1]
with control.own_folder() as folder, control.serve(folder, {}):
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_leaves_goes_with_the_next(place: Path) -> None:
    """It counts as running no more, and the next run of anybody's clears up."""
    said = subprocess.run([sys.executable, "-c", KILLED, str(place)], capture_output=True, text=True, check=False)
    left = Path(said.stdout.strip())
    assert (left.exists(), control.running()) == (True, [])
    with control.own_folder() as folder:
        assert list(place.iterdir()) == [folder]


def test_the_folder_may_lie_deep(place: Path) -> None:
    """An address of a socket has hardly more than 100 bytes."""
    deep = place / ("x" * 100) / ("y" * 100)
    deep.mkdir(parents=True)
    with control.serve(deep, {"one": lambda: 1}):
        assert control.ask(deep, "one", 10) == 1
