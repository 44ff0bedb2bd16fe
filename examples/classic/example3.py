"""Work that needs a resource goes to a slave that has it: a catalogue takes long to open, and not to look into.

mpiexec -n 4 python example3.py
"""

import time

from mpi4py import MPI

from mpitasks.classic import Master, Slave, WorkQueue

RANK, SIZE = MPI.COMM_WORLD.Get_rank(), MPI.COMM_WORLD.Get_size()
OPENING = 0.2  # seconds


class Reader(Slave):
    """Keeps the catalogue that it opened last."""

    def __init__(self) -> None:
        super().__init__()
        self.catalogue: int | None = None

    def do_work(self, question: tuple[int, int]) -> tuple[int, int, int, bool]:
        entry, catalogue = question
        opens = self.catalogue != catalogue  # it must look: the queue does its best, and promises nothing
        if opens:
            time.sleep(OPENING)
            self.catalogue = catalogue
        return entry, catalogue, RANK, opens


def supervise(slaves: range) -> None:
    master = Master(slaves)
    queue = WorkQueue(master)
    for entry in range(60):
        catalogue = 1 + entry * 7 % 10 % 3  # in no good order
        queue.add_work((entry, catalogue), resource_id=catalogue)  # any hashable value

    while not queue.done():
        queue.do_work()
        for entry, catalogue, rank, opened in queue.get_completed_work():
            print(f"entry {entry} of catalogue {catalogue} by rank {rank}" + (", newly opened" if opened else ""))
        time.sleep(0.005)
    master.terminate_slaves()


if __name__ == "__main__":
    if RANK == 0:
        supervise(slaves=range(1, SIZE))
    else:
        Reader().run()
