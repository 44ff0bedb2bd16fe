"""Guards and rank 0: who may say that a rank is dead, and what counts as saying it."""

from __future__ import annotations

import json
import queue
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mpitasks import ending
from mpitasks.survival import guard
from mpitasks.survival.watch import Watch, addresses_for
from mpitasks.transport.base import Death

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 20.0


class Watched:
    """A watch, and what it has told."""

    def __init__(self) -> None:
        self.told: queue.Queue[Death] = queue.Queue()
        self.watch = Watch("127.0.0.1", self.told.put)
        self.used = ExitStack()

    def close(self) -> None:
        """As at the end of a process, which closes all connections by itself."""
        self.watch.close()
        self.used.close()
        for key in list(self.watch._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self.watch._selector.close()
        self.watch._wakes.close()

    def next(self) -> Death:
        """The next death."""
        return self.told.get(timeout=PATIENCE)

    def connect(self, rank: int, secret: str | None = None) -> tuple[socket.socket, str]:
        """Connect as the guard of that rank; the answer."""
        connection = self.used.enter_context(socket.create_connection(("127.0.0.1", self.watch.port), PATIENCE))
        lines = self.used.enter_context(connection.makefile("rw"))
        shown = guard.proof(secret or self.watch.secret, lines.readline().strip(), rank)
        lines.write(json.dumps({"rank": rank, "proof": shown}) + "\n")
        lines.flush()
        said = lines.readline()
        lines.close()
        return connection, said


@pytest.fixture
def watched() -> Iterator[Watched]:
    """A watch at work."""
    watched = Watched()
    yield watched
    watched.close()


def test_a_guard_says_how_its_rank_has_ended(watched: Watched) -> None:
    """Once; that the connection ends then is no second death."""
    one, said = watched.connect(1)
    other, _ = watched.connect(2)
    one.sendall(b'{"ended": "signal 9"}\n')
    one.close()
    assert (said, watched.next()) == ("ok\n", Death(1, "signal 9"))
    other.sendall(b'{"ended": "exit code 3"}\n')
    assert watched.next() == Death(2, "exit code 3")
    assert watched.told.empty()
    other.close()


def test_a_guard_that_is_gone_has_taken_its_rank_along(watched: Watched) -> None:
    """No word is a word too."""
    one, _ = watched.connect(1)
    one.close()
    assert watched.next() == Death(1, "its guard is gone, and it with that")


@pytest.mark.parametrize(
    "said", [b"\n", b"[]\n", b'{"rank": 1}\n', b'{"rank": "x", "proof": ""}\n', b"\xff\n", b"GET / HTTP/1.0\r\n"]
)
def test_whoever_is_no_guard_is_not_heard(watched: Watched, said: bytes) -> None:
    """And the watch goes on."""
    with socket.create_connection(("127.0.0.1", watched.watch.port), PATIENCE) as stranger:
        assert len(stranger.recv(33)) == 33
        stranger.sendall(said)
        assert stranger.recv(1) == b""
    guarded, said_to_it = watched.connect(1)
    assert said_to_it == "ok\n"
    guarded.close()
    assert watched.next().rank == 1


def test_without_the_secret_nobody_is_a_guard(watched: Watched) -> None:
    """Nor a second one of the same rank; their ends are nobody's."""
    assert watched.connect(1, "guessed")[1] == ""
    first, _ = watched.connect(1)
    assert watched.connect(1)[1] == ""
    first.sendall(b'{"ended": "signal 11"}\n')
    assert watched.next() == Death(1, "signal 11")
    first.close()


def test_a_guard_can_be_asked_to_end_its_rank(watched: Watched) -> None:
    """Where MPI has failed with it; of ranks that have ended by then nothing is asked."""
    one, _ = watched.connect(1)
    watched.watch.kill(guard_rank := Death(1, "").rank, "MPI has failed with it")
    with one.makefile() as lines:
        assert json.loads(lines.readline()) == {"kill": "MPI has failed with it"}
    one.sendall(b'{"ended": "killed"}\n')
    watched.next()
    watched.watch.kill(guard_rank, "again")
    one.close()


def test_on_one_host_nobody_else_can_connect() -> None:
    """The loopback is enough; with others, it is not."""
    here = socket.gethostname()
    assert addresses_for([here, here]) == ["127.0.0.1"]
    assert "127.0.0.1" not in addresses_for([here, "192.0.2.1"])


def run_guard(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A guard whose rank runs this, in a session of its own."""
    launcher = [sys.executable, "-I", "-S", "-c", "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]) % 256)"]
    command = [*launcher, sys.executable, "-I", "-S", guard.__file__, sys.executable, "-I", "-S", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment)


SAYS = "import os, socket; pipe = socket.socket(fileno=int(os.environ['MPITASKS_GUARD'])); pipe.sendall(b'{}\\n'); {}"
BEGUN, LEAVES = '{"begun": true}', '{"leaving": null}'
KILLED = -signal.SIGKILL % 256


@pytest.mark.parametrize(
    ("said", "end", "code"),
    [
        (LEAVES, "os._exit(3)", 3),
        (BEGUN, "os._exit(3)", 3),  # it is no rank of several, so it is the master
        (LEAVES, "os.kill(os.getpid(), 9)", 137),
        ("", "os._exit(3)", KILLED),
        ("", "os.kill(os.getpid(), 11)", KILLED),
    ],
)
def test_a_guard_ends_as_suits_the_launcher(said: str, end: str, code: int) -> None:
    """In order, with the rank's code; before all is set up, so that the launcher ends the job."""
    program = SAYS.replace("{}", said, 1).replace("{}", end) if said else f"import os; {end}"
    assert run_guard(program).returncode == code


def test_the_code_of_a_rank_that_ends_the_job_is_written_down(tmp_path: Path) -> None:
    """For who has started mpiexec, whose own code says nothing; the first one stays."""
    for end in ("os._exit(3)", "os._exit(4)"):
        run_guard(f"import os; {end}", MPITASKS_CONTROL=str(tmp_path))
    assert ending.read(tmp_path) == ending.End(3, "a rank has died before the run began")


def test_signals_are_the_ranks_business() -> None:
    """The guard outlives them, and hands nothing on: launchers signal the whole process group."""
    code = "import os, signal; [os.kill(os.getppid(), one) for one in (1, 2, 10, 12, 15)]; print('alive', flush=True)"
    ended = run_guard(code)
    assert (ended.returncode, ended.stdout) == (0, "alive\n")


def test_a_rank_that_cant_be_started_says_so() -> None:
    """With the shell's code for that."""
    command = [sys.executable, "-I", "-S", guard.__file__, "/no/such/python"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "mpitasks: /no/such/python can't be started: " in ended.stderr


def test_a_guard_imports_little() -> None:
    """It runs beside each rank: nothing of ours, and no numpy."""
    code = (
        f"import sys; sys.argv[0] = ''; exec(open({guard.__file__!r}).read().replace('__main__', '')); print(len(sys.modules))"
    )
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert int(ended.stdout) < 150


def test_how_a_process_has_ended_in_words() -> None:
    """As the system says it."""
    assert [guard.words_for(status) for status in (9, 11, 3 << 8, 0)] == [
        "signal 9, SIGKILL",
        "signal 11, SIGSEGV",
        "exit code 3",
        "exit code 0",
    ]
