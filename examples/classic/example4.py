"""Several kinds of work: any slave does any of them, so none is idle while another kind waits.

mpiexec -n 4 python example4.py
"""

import time
from enum import IntEnum
from typing import Any

from mpi4py import MPI

from mpitasks.classic import Master, Slave, WorkQueue

RANK, SIZE = MPI.COMM_WORLD.Get_rank(), MPI.COMM_WORLD.Get_size()

Kind = IntEnum("Kind", "ADD JOIN REPEAT")


class Versatile(Slave):
    """Each kind has arguments and results of its own."""

    def do_work(self, work: tuple[Kind, Any]) -> tuple[Kind, int, Any]:
        kind, data = work
        time.sleep(0.01)
        if kind == Kind.ADD:
            return kind, RANK, sum(data)
        if kind == Kind.JOIN:
            first, second = data
            return kind, RANK, f"{first}-{second}"
        text, times = data
        return kind, RANK, (text * times, len(text) * times)


def some_work(number: int, kind: Kind) -> tuple[Kind, Any]:
    if kind == Kind.ADD:
        return kind, [number, number]
    return kind, (number, number + 1) if kind == Kind.JOIN else ("ab", number)


def supervise(slaves: range) -> None:
    master = Master(slaves)
    queue = WorkQueue(master)
    for number in range(30):
        queue.add_work(some_work(number, Kind(1 + number * 7 % 10 % 3)))

    while not queue.done():
        queue.do_work()
        for kind, rank, result in queue.get_completed_work():
            if kind == Kind.REPEAT:
                text, length = result
                print(f"REPEAT by rank {rank}: {length} letters, {text[:4]}...")
            else:
                print(f"{kind.name} by rank {rank}: {result}")
        time.sleep(0.005)
    master.terminate_slaves()


if __name__ == "__main__":
    if RANK == 0:
        supervise(slaves=range(1, SIZE))
    else:
        Versatile().run()
