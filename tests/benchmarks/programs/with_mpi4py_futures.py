"""mpi4py.futures, under `mpiexec python -m mpi4py.futures`."""

from common import measure
from executors import AnyExecutor

from mpi4py.futures import MPIPoolExecutor

if __name__ == "__main__":
    with MPIPoolExecutor() as executor:
        measure(AnyExecutor(executor))
