"""A farm on two hosts with addresses of their own, over a link that is slow, or cut in the midst of it."""

from __future__ import annotations

import shlex
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.faults.hosts import NAMES, Hosts
from tests.mpi.processes import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mpi.app import App
    from tests.mpi.launcher import Mpiexec

SILENCE = "3"
SOON = 40.0
"""Seconds from the cut to the end, at most, on a busy machine. Without a load it takes 4 to 14: SILENCE, and where mpiexec
waits for ever for what it can't reach, twice the 5 seconds that `python -m mpitasks` gives it."""
APP = """
import os, socket, sys, time
import mpitasks
from mpitasks import Resource, as_completed, current, resource, task

@resource("desk", max_holders=1)
def desk(number):
    yield f"{number} on {socket.gethostname()}"

@task
def where(seconds):
    time.sleep(seconds)
    return socket.gethostname(), current().rank

@task
def invert(data):
    return bytearray(byte ^ 255 for byte in data[:10]) + data[10:]

@task(resource=desk, key="number")
def write(number):
    time.sleep(0.01)
    return desk.get()

@task
def fail():
    raise ValueError(socket.gethostname())

@task
def hold_the_interpreter(numbers):
    return sum(range(numbers))

def look_around():
    futures = [where.delay(0.05) for _ in range(40)]
    places = {future.result() for future in futures}
    assert places == {("left", 1), ("right", 2), ("right", 3)}, places
    print("hosts", *sorted({host for host, _ in places}))

def carry():
    data = bytearray(20_000_000)
    for future in [invert.delay(data) for _ in range(3)]:
        value = future.result()
        assert len(value) == len(data) and value[:11] == b"\\xff" * 10 + b"\\0", value[:11]

def use_desks():
    desks = {}
    for number, future in [(number, write.delay(number)) for number in range(3) for _ in range(10)]:
        desks.setdefault(number, set()).add(future.result())
    assert {number: len(places) for number, places in desks.items()} == {0: 1, 1: 1, 2: 1}, desks

def main(what):
    if what == "work":
        look_around()
        carry()
        use_desks()
        notes = {note.rpartition(" on ")[2] for _ in range(9) for note in fail.delay().exception().__notes__}
        assert notes <= {"left", "right"}, notes
    if what == "hold":
        print("held", hold_the_interpreter.map([int(sys.argv[2])] * 3).results())
    if what == "cut":
        futures = {where.delay(0.05): number for number in range(400)}
        for count, future in enumerate(as_completed(futures)):
            future.result()
            if count == 20:
                print("begun", flush=True)
    print("done")

if __name__ == "__main__":
    mpitasks.run(main, sys.argv[1])
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    """The program; both hosts see the same files."""
    path = tmp_path / "app.py"
    path.write_text(APP)
    return str(path)


# UCX would use shared memory between these hosts: it tells hosts apart by their boot.
OVER_THE_WIRE = {"UCX_TLS": "tcp,self", "MPITASKS_SILENCE": SILENCE}


def start(mpiexec: Mpiexec, hosts: Hosts, *words: str, first: str = "left") -> App:
    """Start `python -m mpitasks WORDS` on `left`, with 2 ranks on each host, rank 0 on the first."""
    told = shlex.join(hosts.words(mpiexec.mpi, 2, first=first))
    command = [sys.executable, "-m", "mpitasks", "-n", "4", "--mpiexec", told, *words]
    return mpiexec.start_command(hosts.on_left(command), env=OVER_THE_WIRE)


@pytest.mark.parametrize("link", ["fast", "slow"])
def test_a_farm_on_two_hosts(mpiexec: Mpiexec, hosts: Hosts, script: str, link: str) -> None:
    """Calls, large arguments and results, and resources; the same over a slow link."""
    if link == "slow" and not hosts.slow():
        pytest.skip("this kernel has no way to make a link slow")
    words = hosts.words(mpiexec.mpi, 2)
    command = hosts.on_left([str(mpiexec.path), *words, "-n", "4", sys.executable, script, "work"])
    with mpiexec.start_command(command, env={**OVER_THE_WIRE, **mpiexec.root_env()}) as app:
        ended = app.wait(timeout=60)
    assert (ended.returncode, ended.stdout.splitlines()) == (0, [f"hosts {' '.join(NAMES)}", "done"]), ended.stderr


def test_mpitasks_starts_a_farm_on_two_hosts(mpiexec: Mpiexec, hosts: Hosts, script: str) -> None:
    """What `--mpiexec` says reaches mpiexec."""
    with start(mpiexec, hosts, script, "work") as app:
        ended = app.wait(timeout=60)
    assert (ended.returncode, ended.stdout.splitlines()) == (0, [f"hosts {' '.join(NAMES)}", "done"]), ended.stderr


def test_calls_that_hold_the_interpreter_are_not_taken_for_lost_hosts(mpiexec: Mpiexec, hosts: Hosts, script: str) -> None:
    """Not even for longer than a host may be silent: the kernels talk, not the slaves."""
    with start(mpiexec, hosts, script, "hold", "300_000_000") as app:  # 5 seconds
        ended = app.wait(timeout=60)
    assert (ended.returncode, ended.stdout.splitlines()[-1:]) == (0, ["done"]), ended.stderr
    assert ended.seconds > float(SILENCE)


def test_a_host_that_is_cut_off_ends_the_job(mpiexec: Mpiexec, hosts: Hosts, script: str) -> None:
    """Soon, with code 1 and the host's name; and on the other side of the cut, too, nothing is left running."""
    with start(mpiexec, hosts, script, "cut") as app:
        app.wait_for("begun")
        hosts.cut()
        ended = app.wait(timeout=SOON)
    assert (ended.returncode, ended.stdout.splitlines()) == (1, ["begun"]), ended.stderr
    assert "host 'right' with slaves 2, 3 does not answer" in ended.stderr


def test_a_restart_completes_what_the_cut_has_left(mpiexec: Mpiexec, hosts: Hosts, script: str, tmp_path: Path) -> None:
    """With a journal and `--restarts 1`, when the host is there again: what has returned before doesn't run again."""
    with start(mpiexec, hosts, "--journal", "run.jrnl", "--restarts", "1", script, "cut") as app:
        app.wait_for("begun")
        hosts.cut()
        assert until(lambda: "does not answer" in app.stderr(), SOON), app.stderr()
        hosts.mend()
        ended = app.wait(timeout=SOON)
    assert (ended.returncode, ended.stdout.splitlines()[-1:]) == (0, ["done"]), ended.stderr
    assert "it begins again, restarts left: 0" in ended.stderr
    assert f"outcomes of earlier runs in {tmp_path / 'run.jrnl'}" in ended.stderr


def test_rank_0_on_the_other_host_says_how_the_run_ended(mpiexec: Mpiexec, hosts: Hosts, script: str) -> None:
    """In the folder that both see: else the code would be 70."""
    with start(mpiexec, hosts, script, "hold", "1000", first="right") as app:
        ended = app.wait(timeout=60)
    assert (ended.returncode, ended.stdout.splitlines()[-1:]) == (0, ["done"]), ended.stderr


def test_a_drain_reaches_rank_0_on_the_other_host(mpiexec: Mpiexec, hosts: Hosts, script: str) -> None:
    """By mpiexec, which hands SIGUSR1 to all ranks."""
    with start(mpiexec, hosts, script, "cut", first="right") as app:
        app.wait_for("begun")
        app.process.send_signal(signal.SIGUSR1)
        ended = app.wait(timeout=60)
    assert (ended.returncode, ended.stdout.splitlines()) == (75, ["begun"]), ended.stderr
    assert "SIGUSR1 has come, and rank 0 is on another host: mpiexec gets it" in ended.stderr
    assert "mpitasks: interrupted: SIGUSR1" in ended.stderr
