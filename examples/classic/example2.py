"""The same by hand: the master chooses the slave for each piece of work, and knows whose result it reads.

mpiexec -n 4 python example2.py
"""

import time
from math import isqrt

from mpi4py import MPI

from mpitasks.classic import Master, Slave

RANK, SIZE = MPI.COMM_WORLD.Get_rank(), MPI.COMM_WORLD.Get_size()


class Rooter(Slave):
    """What every rank but 0 does."""

    def do_work(self, number: int) -> tuple[bool, str]:
        print(f"  rank {RANK} looks for a root of {number}")
        root = isqrt(number)
        if root**2 != number:
            return False, "there is none"
        return True, f"it is {root}"


def supervise(slaves: range) -> None:
    master = Master(slaves)
    numbers = list(range(10))
    given: dict[int, int] = {}

    while numbers or not master.done():
        for slave in master.get_ready_slaves():
            if numbers:
                given[slave] = numbers.pop(0)
                master.run(slave, given[slave])
        for slave in master.get_completed_slaves():
            found, message = master.get_data(slave)  # from now on, this slave is ready again
            print(f"rank {slave}, root of {given[slave]}: {message}" + ("" if found else ", sadly"))
        time.sleep(0.03)
    master.terminate_slaves()


def main() -> None:
    print(f"rank {RANK} of {SIZE} begins")
    if RANK == 0:
        supervise(slaves=range(1, SIZE))
    else:
        Rooter().run()
    print(f"rank {RANK} has ended")


if __name__ == "__main__":
    main()
