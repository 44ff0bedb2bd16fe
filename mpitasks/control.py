"""Rank 0's control socket: named commands, asked from other processes.

::

    python -m mpitasks stacks ──► ask(folder or pid, "stacks") ──► socket in a folder of the user's ──► threads of rank 0
                                                          answer ◄── one line of JSON ◄── serve(folder, {"stacks": f})

The folder is the one that `python -m mpitasks` has made, or one of rank 0's own, under the usual place for temporary files;
its name says whose: `mpitasks-PID-…`. Besides the socket it holds a file that says which run this is, and since the kernel
takes connections for a process that is busy, a run is found here even while rank 0 answers nobody.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from .errors import MpiTasksError
from .surroundings import host

SOCKET, RUN = "control", "rank0"
"""Files in the folder: the socket; what the run says of itself."""
TALK_AT_MOST = 5.0
"""Seconds that a peer gets for its line, and a command that runs at the end of the run gets to end."""
LONGEST = 64
"""Bytes of a path that every kernel takes as the address of a socket; Linux takes 107."""

Commands = Mapping[str, Callable[[], Any]]
"""Functions by name. Each runs in a thread of its own, and what it returns must fit into JSON."""


class NoAnswer(MpiTasksError):
    """Rank 0 of a run was asked for something, and there is no such run, or it did not answer."""


class Run(NamedTuple):
    """A run of this user on this host."""

    pid: int
    """Of rank 0."""
    starter: int
    """Pid of `python -m mpitasks`; under a bare mpiexec, that of rank 0 again."""
    folder: Path
    command: list[str]
    """`sys.argv` of rank 0."""
    since: float
    """When it began, in seconds of `time.time`."""


# ---------------------------------------------------------------- on rank 0


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder for a run that nobody has given one; gone after it, and so are those of runs that were killed."""
    _clear_up()
    with tempfile.TemporaryDirectory(prefix=prefix(), ignore_cleanup_errors=True) as name:  # its mode is 0700
        yield Path(name)


def _clear_up() -> None:
    """Remove what runs have left that were killed, and those who had started them too."""
    for folder, _ in _described():
        if not is_alive(folder) and not _exists(_starter(folder)):
            shutil.rmtree(folder, ignore_errors=True)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def prefix() -> str:
    """How the name of a folder begins that this process makes."""
    return f"mpitasks-{os.getpid()}-"


@contextmanager
def serve(folder: Path, commands: Commands, **facts: object) -> Iterator[None]:
    """Within, answer these commands.

    Args:
        folder: Nobody else can write to it.
        commands: Run in threads of their own, several at once, and must be safe there.
        facts: What is to be written into the file beside the socket, too.
    """
    with _listening(folder) as listener:
        describe(folder, facts)
        ours, its = socket.socketpair()
        thread = threading.Thread(target=_answer_all, args=(listener, its, commands), name="mpitasks-control", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ours.close()  # the thread sees it, and ends
            thread.join(TALK_AT_MOST)
            its.close()
            (folder / RUN).unlink(missing_ok=True)


@contextmanager
def _listening(folder: Path) -> Iterator[socket.socket]:
    path = folder / SOCKET
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with _address(path) as address:
            listener.bind(address)
        listener.listen()
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def describe(folder: Path, facts: Mapping[str, object]) -> None:
    """Say which run this is, and where."""
    said = {"host": host(), "pid": os.getpid(), "command": sys.argv, "since": time.time(), **facts}
    draft = folder / "draft"
    draft.write_text(json.dumps(said))
    draft.replace(folder / RUN)


def _answer_all(listener: socket.socket, end: socket.socket, commands: Commands) -> None:
    """Answer peers, until the other side of `end` is closed; one that says nothing, or asks for much, delays no other."""
    import selectors  # noqa: PLC0415  only rank 0 needs it

    answering: list[threading.Thread] = []
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(end, selectors.EVENT_READ)
        while all(key.fileobj is not end for key, _ in selector.select()):
            with suppress(OSError, RuntimeError):  # a peer that has gone; no thread more can be started
                peer, _ = listener.accept()
                thread = threading.Thread(target=_answer_one, args=(peer, commands), name="mpitasks-control", daemon=True)
                thread.start()
                answering = [*(one for one in answering if one.is_alive()), thread]
    deadline = time.monotonic() + TALK_AT_MOST
    for thread in answering:
        thread.join(max(0.0, deadline - time.monotonic()))


def _answer_one(peer: socket.socket, commands: Commands) -> None:
    with peer, suppress(OSError):  # it has gone, or says nothing
        peer.settimeout(TALK_AT_MOST)
        if _is_ours(peer):
            peer.sendall(_answer(_line(peer), commands))


def _is_ours(peer: socket.socket) -> bool:
    """Whether it is this user, or root. Where the system does not say, the folder's mode has to do."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return uid in (os.geteuid(), 0)


def _line(peer: socket.socket) -> bytes:
    """What the peer says, up to the end of its first line."""
    with peer.makefile("rb") as file:
        return file.readline()


def _answer(request: bytes, commands: Commands) -> bytes:
    """The line to send back."""
    answer: dict[str, Any]
    try:
        name = json.loads(request)["command"]
        command = commands.get(name)
        if command is None:
            answer = {"error": f"no command {name!r} is known here; known: {', '.join(sorted(commands))}"}
        else:
            answer = {"answer": command()}
        return json.dumps(answer).encode() + b"\n"
    except Exception as error:  # noqa: BLE001  the top of a thread: whoever asks is to hear of it
        return json.dumps({"error": f"{type(error).__name__}: {error}"}).encode() + b"\n"


# ---------------------------------------------------------------- elsewhere


def running() -> list[Run]:
    """The runs of this user on this host, the oldest first."""
    runs = [
        Run(facts["pid"], _starter(folder), folder, facts["command"], facts["since"])
        for folder, facts in _described()
        if is_alive(folder)
    ]
    return sorted(runs, key=lambda run: run.since)


def ask(whom: Path | int, command: str, timeout: float) -> Any:  # noqa: ANN401  whatever the command returns
    """Have rank 0 of a run carry out a command.

    Args:
        whom: The run's folder, or the pid of its rank 0 or of its `python -m mpitasks`.
        command: Its name.
        timeout: Seconds.

    Returns:
        What the command returned.

    Raises:
        NoAnswer: There is no such run, it did not answer in time, or it could not do it.
    """
    folder = _folder_of(whom) if isinstance(whom, int) else whom
    try:
        said = _asked(folder, command, timeout)
    except TimeoutError as error:
        msg = f"rank 0 did not answer {command!r} within {timeout:g} s: no Python can run there now, so it is in C code"
        raise NoAnswer(msg) from error
    except OSError as error:
        msg = f"{command!r} can't be asked of the run in {str(folder)!r}: {error.strerror or error}; it has ended, it seems"
        raise NoAnswer(msg) from error
    if not said:
        msg = f"the run in {str(folder)!r} ended before it answered {command!r}, or is not yours"
        raise NoAnswer(msg)
    answer = json.loads(said)
    if "error" in answer:
        msg = f"rank 0 could not do {command!r}: {answer['error']}"
        raise NoAnswer(msg)
    return answer["answer"]


def _folder_of(pid: int) -> Path:
    """The folder of the run that has this pid.

    Raises:
        NoAnswer: There is none.
    """
    runs = running()
    for run in runs:
        if pid in (run.pid, run.starter):
            return run.folder
    known = "; ".join(f"{run.pid} ({' '.join(run.command)})" for run in runs) or "there is none"
    msg = f"no run of yours on this host has the pid {pid}; runs: {known}. A folder for temporary files of its own hides a run"
    raise NoAnswer(msg)


def _asked(folder: Path, command: str, timeout: float) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer, _address(folder / SOCKET) as address:
        peer.settimeout(timeout)
        peer.connect(address)
        try:
            peer.sendall(json.dumps({"command": command}).encode() + b"\n")
            return _line(peer)
        except (BrokenPipeError, ConnectionResetError):  # it has hung up
            return b""


def _described() -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folders of this user in which a run says what it is. It may be gone."""
    for file in Path(tempfile.gettempdir()).glob(f"mpitasks-[0-9]*-*/{RUN}"):
        with suppress(OSError, ValueError):  # it goes right now, or is another user's
            facts = json.loads(file.read_text())
            if file.parent.stat().st_uid == os.geteuid() and facts["host"] == host():
                yield file.parent, facts


def _starter(folder: Path) -> int:
    """Who has made it, by its name."""
    return int(folder.name.split("-")[1])


def is_alive(folder: Path) -> bool:
    """Whether somebody has the socket open; not whether it answers."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer, _address(folder / SOCKET) as address:
            peer.settimeout(TALK_AT_MOST)
            peer.connect(address)
    except OSError as error:
        return isinstance(error, BlockingIOError | TimeoutError)  # many ask at once
    return True


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """A path that is short enough for a socket."""
    if len(os.fsencode(path)) <= LONGEST:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
