"""mpi4py.futures, under `mpiexec python -m mpi4py.futures`."""

from common import CHUNK, Library, measure

from mpi4py.futures import MPIPoolExecutor


class Mpi4pyFutures(Library):
    def __init__(self, pool):
        self.pool = pool

    def submit(self, fn, items):
        return [future.result() for future in self.queue(fn, items)]

    def map(self, fn, items):
        for _ in self.pool.map(fn, items, chunksize=CHUNK):
            pass

    def queue(self, fn, items):
        return [self.pool.submit(fn, item) for item in items]


if __name__ == "__main__":
    with MPIPoolExecutor() as executor:
        measure(Mpi4pyFutures(executor))
