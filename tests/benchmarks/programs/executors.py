"""Executors that speak the interface of concurrent.futures."""

from common import CHUNK, Library


class AnyExecutor(Library):
    """Its calls are futures, and `map` takes the length of its chunks."""

    def __init__(self, pool):
        self.pool = pool

    def submit(self, fn, items):
        return [future.result() for future in self.queue(fn, items)]

    def map(self, fn, items):
        for _ in self.pool.map(fn, items, chunksize=CHUNK):
            pass

    def queue(self, fn, items):
        return [self.pool.submit(fn, item) for item in items]
