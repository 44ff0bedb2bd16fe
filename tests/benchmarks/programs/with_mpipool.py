"""mpipool: an executor with a thread for each call under way."""

from common import Library, NotOffered, measure

from mpipool import MPIExecutor


class Mpipool(Library):
    def __init__(self, pool):
        self.pool = pool

    def submit(self, fn, items):
        return [future.result() for future in self.queue(fn, items)]

    def map(self, fn, items):
        raise NotOffered("has no chunks")

    def queue(self, fn, items):
        return [self.pool.submit(fn, item) for item in items]


if __name__ == "__main__":
    with MPIExecutor() as executor:
        executor.workers_exit()
        measure(Mpipool(executor))
