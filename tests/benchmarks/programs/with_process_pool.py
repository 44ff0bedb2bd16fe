"""concurrent.futures.ProcessPoolExecutor."""

from concurrent.futures import ProcessPoolExecutor

from common import CHUNK, WORKERS, Library, measure


class ProcessPool(Library):
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
    with ProcessPoolExecutor(WORKERS) as executor:
        measure(ProcessPool(executor))
