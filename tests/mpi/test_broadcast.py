"""Broadcasts under mpiexec: how much goes over the wire, by which ways, and that nothing is left in shared memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.mpi.launcher import Mpiexec

pytestmark = pytest.mark.usefixtures("nothing_is_left_in_memory")

APP = """
import os, sys, time
import numpy as np
import mpitasks
from mpitasks import broadcast, current, task
from mpitasks.runtime import places
from mpitasks.transport.mpi import MpiTransport

sent = []  # large messages: to whom, bytes

def counting(self, rank, packet, send=MpiTransport.send):
    size = sum(memoryview(frame).nbytes for frame in packet.frames)
    if size:
        sent.append((int(rank), size))
    send(self, rank, packet)

MpiTransport.send = counting
rank = os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK"))
if sys.argv[1] == "apart":  # as far as mpitasks can tell, each rank is on a host of its own
    places.host = lambda: f"host{rank}"

@task
def at(table, place):
    return int(table[place]), current().rank, table.flags.writeable

@task
def totals(table):
    total = int(table.sum()) % 1000
    time.sleep(0.2)  # so that each slave has one, and all of them have touched all of it
    where = [line for line in open("/proc/self/maps") if "memfd:mpitasks" in line]
    pss = sum(int(line.split()[1]) for line in smaps() if line.startswith("Pss:"))
    return current().rank, sent, total, len(where), pss

def smaps():
    ours = False
    for line in open("/proc/self/smaps"):
        if "-" in line.split()[0]:
            ours = "memfd:mpitasks" in line
        elif ours:
            yield line

def main(how, size, slaves):
    size, slaves = int(size), int(slaves)
    array = np.arange(size // 8)
    expected = int(array.sum()) % 1000
    table = broadcast(array)
    array[:] = -1
    futures = at.map([table] * 1000, range(1000))
    values = [future.result() for future in futures]
    assert [value[0] for value in values] == list(range(1000))
    assert not any(value[2] for value in values)
    told = {}
    while len(told) < slaves:
        for known, there, total, *memory in totals.map([table] * slaves).results():
            told[known] = there, memory
            assert total == expected
    everything = [(0, *one) for one in sent] + [(known, *one) for known, (there, _) in told.items() for one in there]
    print("transfers", len(everything), "bytes", sum(one[2] for one in everything))
    print("to", *sorted(one[1] for one in everything))
    print("by slaves", any(one[0] for one in everything))
    print("maps", sorted({memory[0] for _, memory in told.values()}))
    share = max(memory[1] for _, memory in told.values()) * 1024 / size
    print("own" if share > 0.9 else "shared" if share else "0")

if __name__ == "__main__":
    mpitasks.run(main, *sys.argv[1:])
"""


def shipped(mpiexec: Mpiexec, how: str, size: int, slaves: int) -> list[str]:
    """What a run tells whose calls use a broadcast of that size 1,000 times."""
    ended = mpiexec(slaves + 1, APP, how, str(size), str(slaves), timeout=90)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


@pytest.mark.parametrize("slaves", [3, 9])
def test_on_one_host_64_mb_are_there_once(mpiexec: Mpiexec, slaves: int) -> None:
    """No large message at all: the slaves map the master's memory, and each counts for its share of it."""
    told = shipped(mpiexec, "together", 64_000_000, slaves)
    assert told == ["transfers 0 bytes 0", "to", "by slaves False", "maps [1]", "shared"]


def test_apart_each_of_3_slaves_gets_64_mb_once(mpiexec: Mpiexec) -> None:
    """1,000 calls, one transfer a slave, by the master."""
    told = shipped(mpiexec, "apart", 64_000_000, 3)
    assert told == ["transfers 3 bytes 192000000", "to 1 2 3", "by slaves False", "maps [0]", "0"]


def test_apart_9_slaves_get_it_in_a_tree(mpiexec: Mpiexec) -> None:
    """One transfer a slave still, and slaves do some of them."""
    told = shipped(mpiexec, "apart", 16_000_000, 9)
    assert told == ["transfers 9 bytes 144000000", "to 1 2 3 4 5 6 7 8 9", "by slaves True", "maps [0]", "0"]


def test_a_slave_in_a_call_that_holds_the_interpreter(mpiexec: Mpiexec) -> None:
    """It gets its broadcast later; nobody waits for it."""
    source = """
    import itertools, os, time
    import numpy as np
    import mpitasks
    from mpitasks import broadcast, task

    @task
    def hold(numbers):
        return sum(range(numbers))

    @task
    def at(table, place):
        time.sleep(0.001)
        return int(table[place])

    def main():
        held = hold.delay(60_000_000)
        tables = [broadcast(np.arange(1_000_000) + n) for n in range(5)]
        for n, table in enumerate(tables):
            assert at.map(itertools.repeat(table), range(50)).results() == list(range(n, 50 + n))
        print(held.done(), held.result() > 0)

    if __name__ == "__main__":
        mpitasks.run(main)
    """
    ended = mpiexec(4, source, timeout=60)
    assert (ended.returncode, ended.stdout.split()[-1]) == (0, "True"), ended.stderr
