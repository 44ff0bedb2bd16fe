"""Kinds of work with limits: 2 slaves at most may fetch, 1 may store, and all others crunch.

mpiexec -n 9 python example5.py
"""

import time
from enum import IntEnum
from typing import NamedTuple

from mpi4py import MPI

from mpitasks.classic import Master, MultiWorkQueue, Slave

RANK, SIZE = MPI.COMM_WORLD.Get_rank(), MPI.COMM_WORLD.Get_size()

Kind = IntEnum("Kind", "FETCH CRUNCH STORE")
LIMITS = {Kind.FETCH: 2, Kind.CRUNCH: None, Kind.STORE: 1}


class Answer(NamedTuple):
    """Who did it, and when, by the clock that all ranks of one host share."""

    number: int
    rank: int
    began: float
    ended: float


class Versatile(Slave):
    """Does any kind of work."""

    def do_work(self, work: tuple[Kind, int]) -> tuple[Kind, Answer]:
        kind, number = work
        began = time.monotonic()
        time.sleep(0.05)
        return kind, Answer(number, RANK, began, time.monotonic())


class KindMaster(Master):
    """Knows which kind of work it sends, so that the queue need not."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind

    def run(self, slave: int, data: int) -> None:
        super().run(slave, (self.kind, data))

    def get_data(self, completed_slave: int) -> Answer:
        answer: Answer
        kind, answer = super().get_data(completed_slave)
        assert kind == self.kind
        return answer


def supervise(slaves: range) -> None:
    masters = {kind: KindMaster(kind) for kind in Kind}
    queue = MultiWorkQueue(slaves, [(kind, masters[kind], limit) for kind, limit in LIMITS.items()])
    for number in range(12):
        for kind in Kind:
            queue.add_work(kind, number)

    while not queue.done():
        queue.do_work()
        for kind in Kind:
            for number, rank, began, ended in queue.get_completed_work(kind):
                print(f"{kind.name} {number} by rank {rank}, from {began:.6f} to {ended:.6f}")
        time.sleep(0.005)
    for master in masters.values():
        master.terminate_slaves()


if __name__ == "__main__":
    MPI.COMM_WORLD.Barrier()  # the communicator is yours; here, so that no slave is late
    if RANK == 0:
        supervise(slaves=range(1, SIZE))
    else:
        Versatile().run()
