"""Broadcasts where slaves die, and between hosts: calls end, the value comes again, and nothing is left in memory."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.hosts import Hosts
from tests.mpi.test_broadcast import APP

if TYPE_CHECKING:
    from tests.mpi.app import Ended
    from tests.mpi.launcher import Mpiexec

pytestmark = pytest.mark.usefixtures("nothing_is_left_in_memory")

DYING = """
import itertools, os, signal, sys, time
import numpy as np
import mpitasks
from mpitasks import broadcast, current, task
from mpitasks.runtime import places
from mpitasks.runtime.holding import SlaveHolding

rank = os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK"))
how = sys.argv[1]
if how != "together":
    places.host = lambda: f"host{rank}"

def dies_instead(self, number, to, is_shared):
    os.kill(os.getpid(), signal.SIGKILL)

if how == "before it passes on":
    SlaveHolding._pass_on = dies_instead

@task
def at(table, place, dies=False):
    if dies and current().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.002)
    return int(table[place])

def main(how):
    for n in range(3):
        table = broadcast(np.arange(2_000_000) + n)
        dying = [at.delay(table, place, dies=how != "before it passes on") for place in range(n == 1)]
        futures = at.map(itertools.repeat(table), range(300))
        assert futures.results() == list(range(n, 300 + n))
        assert [future.result() for future in dying] == [n] * len(dying)
    print("all are right")

if __name__ == "__main__":
    mpitasks.run(main, *sys.argv[1:])
"""


def survive(mpiexec: Mpiexec, ranks: int, how: str) -> Ended:
    """Run that with guards."""
    path = mpiexec.folder / "app.py"
    path.write_text(DYING)
    command = [sys.executable, "-m", "mpitasks", "--survive", "-n", str(ranks), str(path), how]
    with mpiexec.start_command(command) as app:
        return app.wait(timeout=60)


@pytest.mark.parametrize("how", ["together", "apart"])
def test_a_slave_dies_that_has_one(mpiexec: Mpiexec, how: str) -> None:
    """Others that have mapped the same memory go on, and so do those that have their own."""
    ended = survive(mpiexec, 4, how)
    assert (ended.returncode, ended.stdout) == (0, "all are right\n"), ended.stderr
    assert "signal 9" in ended.stderr


def test_those_die_that_should_pass_it_on(mpiexec: Mpiexec) -> None:
    """Of 10 slaves on as many hosts, as far as mpitasks can tell; the master ships to those below them, time after time."""
    ended = survive(mpiexec, 11, "before it passes on")
    assert (ended.returncode, ended.stdout) == (0, "all are right\n"), ended.stderr
    assert "signal 9" in ended.stderr


def test_between_hosts_it_travels_once(mpiexec: Mpiexec, hosts: Hosts, tmp_path: Path) -> None:
    """2 slaves on the other host, one transfer; all slaves share memory with those of their host."""
    path = tmp_path / "app.py"
    path.write_text(APP)
    told = shlex.join(hosts.words(mpiexec.mpi, 2))
    words = ["--mpiexec", told, str(path), "together", "16000000", "3"]
    command = hosts.on_left([sys.executable, "-m", "mpitasks", "-n", "4", *words])
    with mpiexec.start_command(command, env={"UCX_TLS": "tcp,self"}) as app:
        ended = app.wait(timeout=60)
    assert ended.returncode == 0, ended.stderr
    transfers, to, *rest = ended.stdout.splitlines()
    assert transfers == "transfers 1 bytes 16000000"
    assert to in ("to 2", "to 3")
    assert rest == ["by slaves False", "maps [1]", "shared"]
