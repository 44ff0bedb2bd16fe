"""Runs that hang: what the watchdog says, and `python -m mpitasks stacks`, on both MPIs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.mpi import processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.mpi.app import App
    from tests.mpi.launcher import Mpiexec

SLAVES = 3
APP = """
import ctypes, sys, time
import mpitasks
from mpitasks import resource, task

@task(max_slaves=1)
def limited(seconds):
    time.sleep(seconds)

@resource(max_holders=1)
def database(path):
    yield path

@task(resource=database, key="path")
def query(path, seconds):
    wait_for_a_lock(seconds)

def wait_for_a_lock(seconds):
    time.sleep(seconds)

def hold_the_interpreter(seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:  # a signal ends it
        ctypes.PyDLL(None).sleep(int(seconds))

@task
def compute(seconds):
    hold_the_interpreter(seconds)

@task(isolate=True)
def apart(seconds):
    hold_the_interpreter(seconds)

@task
def total(*parts):
    return sum(parts)

def limit():
    return [limited.delay(60) for _ in range(4)]

def holder():
    return [query.delay("a.db", 60) for _ in range(4)]

def blocked():
    return [total.delay(limited.delay(60), 1)]

def in_c():
    return [compute.delay(60) for _ in range(4)]

def isolated():
    return [apart.delay(60) for _ in range(4)]

def main_in_c():
    limited.delay(60)
    time.sleep(0.5)  # so that the slave is in it
    print("in C", flush=True)
    hold_the_interpreter(60)

def quick():
    return [total.delay(number) for number in range(300)] + [limited.delay(0.01) for _ in range(60)]

def main():
    futures = globals()[sys.argv[1]]()
    print("waiting", flush=True)
    return [future.result() for future in futures]

if __name__ == "__main__":
    mpitasks.run(main, stall=float(sys.argv[2]), grace=0.1)
"""

LIMITED = "max_slaves=1 is reached, by slave {} in call 1 of app.limited for "


@contextmanager
def running(mpiexec: Mpiexec, what: str, stall: float = 0.5) -> Iterator[App]:
    """The app, hanging."""
    with mpiexec.start(SLAVES + 1, APP, what, str(stall)) as app:
        yield app


def said(app: App, last: str = "where main is:\n  File") -> str:
    """What it has said, once the end of that is there."""
    assert processes.until(lambda: last in app.stderr(), 20), f"stdout: {app.stdout()}\nstderr: {app.stderr()}"
    return app.stderr()


def lines_of(text: str, head: str) -> list[str]:
    """The lines of that section."""
    _, _, rest = text.partition(f"{head}:\n")
    return [line for line in rest.splitlines() if line]


def test_the_limit_of_a_task_is_held_by_a_stuck_call(mpiexec: Mpiexec) -> None:
    """Which slave holds it, in which line; where main waits; the others are idle."""
    with running(mpiexec, "limit") as app:
        text = said(app)
    assert text.count("mpitasks: nothing has ended for ") == 1
    (waits, *_) = lines_of(text, "what waits")
    assert waits.startswith("  app.limited: 3 calls wait, the next is call 2: " + LIMITED.format(3))
    assert lines_of(text, "where the slaves are")[0].startswith("  slave 3 (process ")
    assert "\n  slaves 1-2: idle\n" in text
    assert ", in limited\n      time.sleep(seconds)\n" in text
    assert ", in main\n    return [future.result() for future in futures]\n" in text


def test_the_only_holder_of_a_resource_is_stuck(mpiexec: Mpiexec) -> None:
    """The resource is named."""
    with running(mpiexec, "holder") as app:
        text = said(app)
    (waits, *_) = lines_of(text, "what waits")
    words = (
        "app.query: 3 calls wait, the next is call 2: max_holders=1 of app.database('a.db') is reached, by slave 3 in call 1 of"
    )
    assert waits.startswith(f"  {words}")
    assert ", in wait_for_a_lock\n" in text


def test_a_call_needs_one_that_never_ends(mpiexec: Mpiexec) -> None:
    """Which, and where that is."""
    with running(mpiexec, "blocked") as app:
        text = said(app)
    (waits, *_) = lines_of(text, "what waits")
    assert waits.startswith("  app.total: call 2 waits: it needs call 1 of app.limited, which slave 3 has been in for ")


def test_all_slaves_are_in_c_code_that_holds_the_interpreter(mpiexec: Mpiexec) -> None:
    """They can't answer; by a signal, their stacks are read all the same."""
    with running(mpiexec, "in_c") as app:
        text = said(app)
    assert lines_of(text, "what waits")[0] == "  app.compute: call 4 waits: all slaves are in calls: 3 in app.compute"
    assert "it does not answer, since C code holds its interpreter; asked by a signal, it tells:\n" in text
    assert ", in hold_the_interpreter\n      ctypes.PyDLL(None).sleep(int(seconds))\n" in text


def test_isolated_calls_tell_where_they_are(mpiexec: Mpiexec) -> None:
    """Their slaves answer for them; it is the child's stack that counts, in C too."""
    with running(mpiexec, "isolated", stall=1.0) as app:
        text = said(app)
    assert ", in apart\n      hold_the_interpreter(seconds)\n" in text
    assert "does not answer" not in text


def test_a_stopped_slave_is_called_so(mpiexec: Mpiexec) -> None:
    """SIGSTOP, as by a debugger; and the report by SIGUSR2 to rank 0."""
    with running(mpiexec, "limit", stall=0) as app:
        app.wait_for("waiting")
        stopped = app.ranks()[3]
        os.kill(stopped, signal.SIGSTOP)
        try:
            os.kill(app.ranks()[0], signal.SIGUSR2)
            text = said(app)
        finally:
            os.kill(stopped, signal.SIGCONT)
    assert text.startswith("mpitasks: at ")
    assert f"process {stopped} is stopped (by SIGSTOP or a debugger): `kill -CONT {stopped}` lets it go on" in text


def ask(app: App) -> subprocess.CompletedProcess[str]:
    """What `python -m mpitasks stacks` prints."""
    command = [sys.executable, "-m", "mpitasks", "stacks", str(app.ranks()[0])]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_the_command_asks_rank_0(mpiexec: Mpiexec) -> None:
    """The same text, there, and nothing in the run's own output."""
    with running(mpiexec, "limit", stall=0) as app:
        app.wait_for("waiting")
        asked = ask(app)
        assert app.stderr() == ""
    assert (asked.returncode, asked.stderr) == (0, "")
    assert "what waits:\n  app.limited: 3 calls wait" in asked.stdout
    assert "where main is:\n  File" in asked.stdout


def test_rank_0_itself_holds_its_interpreter(mpiexec: Mpiexec) -> None:
    """Then all ranks of the host are asked by a signal."""
    patience = (
        "import sys; from mpitasks import whereabouts; whereabouts.PATIENCE = 1.0; sys.exit(whereabouts.main(sys.argv[1:]))"
    )
    with running(mpiexec, "main_in_c", stall=0) as app:
        app.wait_for("in C")
        command = [sys.executable, "-c", patience, str(app.ranks()[0])]
        asked = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert asked.returncode == 0
    assert "did not answer 'stacks' within 1 s" in asked.stderr
    zero, one, two, three = asked.stdout.split("\nrank ")[1:]
    assert ", in hold_the_interpreter\n    ctypes.PyDLL(None).sleep(int(seconds))\n" in zero
    assert ", in limited\n" in three
    assert ", in limited\n" not in one + two


def test_a_run_without_trouble_says_nothing(mpiexec: Mpiexec) -> None:
    """However short the time."""
    ended = mpiexec(SLAVES + 1, APP, "quick", "0.5")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_nothing_is_left_in_the_folder_for_temporary_files(mpiexec: Mpiexec, tmp_path: Path) -> None:
    """Neither the socket's folder, nor a file of stacks."""
    place = tmp_path / "temporary"
    place.mkdir()
    ended = mpiexec(SLAVES + 1, APP, "quick", "5", env={"TMPDIR": str(place)})
    assert ended.returncode == 0
    assert [file.name for file in place.iterdir() if file.name.startswith("mpitasks")] == []
