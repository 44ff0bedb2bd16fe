"""A list of work: each piece goes to whichever slave is ready.

mpiexec -n 4 python example1.py
"""

import time

from mpi4py import MPI

from mpitasks.classic import Master, Slave, WorkQueue

RANK, SIZE = MPI.COMM_WORLD.Get_rank(), MPI.COMM_WORLD.Get_size()


class Squarer(Slave):
    """What every rank but 0 does."""

    def do_work(self, number: int) -> tuple[int, int, int]:
        print(f"  rank {RANK} squares {number}")
        return number, number**2, RANK


def supervise(slaves: range) -> None:
    master = Master(slaves)
    queue = WorkQueue(master)
    for number in range(10):
        queue.add_work(number)  # more can be added at any time

    while not queue.done():
        queue.do_work()  # gives work to all slaves that are ready
        for number, square, rank in queue.get_completed_work():
            print(f"{number} squared is {square}, says rank {rank}")
        time.sleep(0.03)
    master.terminate_slaves()


def main() -> None:
    print(f"rank {RANK} of {SIZE} begins")
    if RANK == 0:
        supervise(slaves=range(1, SIZE))
    else:
        Squarer().run()
    print(f"rank {RANK} has ended")


if __name__ == "__main__":
    main()
