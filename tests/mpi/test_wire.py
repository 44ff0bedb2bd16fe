"""The transport between real ranks: sizes, order, splitting, and sends that never block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.mpi.launcher import Mpiexec

HEAD = """
import time
from mpi4py import MPI
from mpitasks.transport.mpi import MpiTransport
from mpitasks.transport.wire import Packet

comm = MPI.COMM_WORLD.Dup()

def frame(seed, size):
    return bytes((seed + 7 * n) % 251 for n in range(min(size, 997))) * (size // 997 + 1)

def packet(seed, sizes):
    return Packet(b"header %d" % seed, [memoryview(frame(seed + n, size))[:size] for n, size in enumerate(sizes)])

def same(one, other):
    return one.header == other.header and [bytes(frame) for frame in one.frames] == [bytes(frame) for frame in other.frames]

def receive(transport, count):
    arrivals = []
    while len(arrivals) < count or transport.sending:
        arrival = transport.receive()
        if arrival is not None:
            arrivals.append(arrival)
    return arrivals
"""


def test_frames_above_the_limit_are_split(mpiexec: Mpiexec) -> None:
    """Messages over 2 GiB work by construction: with a limit of 1,000 bytes, packets of any size arrive whole, in order."""
    source = f"""{HEAD}
transport = MpiTransport(comm, limit=1000)
sizes = [[], [0], [1], [999], [1000], [1001], [2000, 0, 3], [100_000], [1_000_000, 1, 12_345], [0, 0], [5000] * 20]
others = [rank for rank in range(comm.size) if rank != comm.rank]
for rank in others:
    for number, frames in enumerate(sizes):
        transport.send(rank, packet(100 * comm.rank + number, frames))
arrivals = receive(transport, len(others) * len(sizes))
for rank in others:
    mine = [arrival.packet for arrival in arrivals if arrival.source == rank]
    assert all(same(one, packet(100 * rank + n, sizes[n])) for n, one in enumerate(mine)), rank
    assert len(mine) == len(sizes)
comm.Barrier()
print("whole")
"""
    ended = mpiexec(3, source)
    assert (ended.returncode, ended.stdout.split()) == (0, ["whole"] * 3), ended.stderr


def test_no_message_is_above_the_limit(mpiexec: Mpiexec) -> None:
    """What MPI itself sees: a header, and pieces of at most the limit."""
    source = f"""{HEAD}
if comm.rank == 0:
    transport = MpiTransport(comm, limit=1000)
    transport.send(1, packet(0, [2500, 10]))
    while transport.sending:
        transport.receive()
else:
    status = MPI.Status()
    sizes = []
    while len(sizes) < 5:
        comm.Probe(0, MPI.ANY_TAG, status)
        sizes.append(status.Get_count(MPI.BYTE))
        comm.Recv([bytearray(sizes[-1]), MPI.BYTE], 0, status.tag)
    print(sizes[1:])
"""
    ended = mpiexec(2, source)
    assert (ended.returncode, ended.stdout) == (0, "[1000, 1000, 500, 10]\n"), ended.stderr


@pytest.mark.parametrize("ranks", [2, 5])
def test_sends_never_block(mpiexec: Mpiexec, ranks: int) -> None:
    """All ranks send to all, packets from 1 B to 64 MB, before any of them receives."""
    source = f"""{HEAD}
transport = MpiTransport(comm)
powers = range(27) if comm.size == 2 else range(24)
others = [rank for rank in range(comm.size) if rank != comm.rank]
packets = {{power: packet(power, [1 << power]) for power in powers}}
began = time.monotonic()
for power in powers:
    for rank in others:
        transport.send(rank, packets[power])
blocked = time.monotonic() - began
comm.Barrier()
arrivals = receive(transport, len(powers) * len(others))
for rank in others:
    mine = [arrival.packet for arrival in arrivals if arrival.source == rank]
    assert all(same(one, packets[power]) for one, power in zip(mine, powers, strict=True)), rank
comm.Barrier()
print("all", blocked < 5)
"""
    ended = mpiexec(ranks, source)
    assert (ended.returncode, ended.stdout) == (0, "all True\n" * ranks), ended.stderr


def test_users_messages_are_the_users(mpiexec: Mpiexec) -> None:
    """On COMM_WORLD, calls may talk to each other while the farm talks to them: nothing of ours is seen there."""
    source = """
from mpi4py.MPI import ANY_SOURCE, ANY_TAG, COMM_WORLD as world, Status
import mpitasks
from mpitasks import task

@task
def swap(n):
    other = 3 - world.rank
    return world.sendrecv((n, world.rank), other, n % 5, source=other, recvtag=ANY_TAG)

def main():
    for round in range(50):
        pair = swap.map([round, round], chunksize=1)
        assert sorted(pair.results()) == [(round, 1), (round, 2)]
    print(world.iprobe(ANY_SOURCE, ANY_TAG))

if __name__ == "__main__":
    mpitasks.run(main)
"""
    ended = mpiexec(3, source)
    assert (ended.returncode, ended.stdout) == (0, "False\n"), ended.stderr


@pytest.mark.parametrize("how", ["blocking", "polling"])
def test_calls_may_write_to_main(mpiexec: Mpiexec, how: str) -> None:
    """Messages with any tag, from calls to a main that receives them itself, arrive and are not taken for ours."""
    source = f"""
import time
from mpi4py.MPI import ANY_SOURCE, ANY_TAG, COMM_WORLD as world, Status
import mpitasks
from mpitasks import task

TAGS = [0, 1, 2, 3, 32767]

@task
def write(tag):
    world.send(f"tag {{tag}}", 0, tag)
    time.sleep(0.01)
    return tag

def main():
    futures = write.map(TAGS * 10)
    got = []
    while len(got) < 50:
        status = Status()
        if {how!r} == "blocking" or world.iprobe(ANY_SOURCE, ANY_TAG):
            got.append((world.recv(None, ANY_SOURCE, ANY_TAG, status), status.tag))
        else:
            time.sleep(0.001)
    assert futures.results() == TAGS * 10
    print(sorted(got) == sorted((f"tag {{tag}}", tag) for tag in TAGS * 10), world.iprobe(ANY_SOURCE, ANY_TAG))

if __name__ == "__main__":
    mpitasks.run(main)
"""
    ended = mpiexec(3, source)
    assert (ended.returncode, ended.stdout) == (0, "True False\n"), ended.stderr
