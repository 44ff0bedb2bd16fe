"""What waiting costs: ranks that have nothing to do leave the cores to others, and wake at once."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.mpi.launcher import Mpiexec

SOURCE = """
import time
import mpitasks
from mpitasks import task

@task
def sleep(seconds):
    time.sleep(seconds)

@task
def echo(value):
    return value

def main():
    echo.map(range(1000)).results()
    print("ready", flush=True)
    sleep.delay(6.5).result()
    began = time.monotonic()
    echo.delay(1).result()
    print("woke", time.monotonic() - began < 0.1)

if __name__ == "__main__":
    mpitasks.run(main)
"""


def seconds_used(pid: int) -> float:
    """Processor time of a process so far, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_waiting_costs_little(mpiexec: Mpiexec) -> None:
    """A master that waits for a long call, the slave in it and an idle one use under 10 % of a core each."""
    with mpiexec.start(3, SOURCE) as app:
        app.wait_for("ready")
        time.sleep(2)
        before = {rank: seconds_used(pid) for rank, pid in app.ranks().items()}
        began = time.monotonic()
        time.sleep(3.5)
        parts = {rank: (seconds_used(pid) - before[rank]) / (time.monotonic() - began) for rank, pid in app.ranks().items()}
        ended = app.wait()
    assert {rank for rank, part in parts.items() if part > 0.1} == set(), parts
    assert (sorted(parts), ended.returncode, ended.stdout) == ([0, 1, 2], 0, "ready\nwoke True\n"), ended.stderr
