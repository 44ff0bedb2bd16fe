"""multiprocessing.Pool: `apply_async` for single calls, `imap_unordered` for chunks."""

from multiprocessing import Pool

from common import CHUNK, WORKERS, Library, measure


class Multiprocessing(Library):
    def __init__(self, pool):
        self.pool = pool

    def submit(self, fn, items):
        return [result.get() for result in self.queue(fn, items)]

    def map(self, fn, items):
        for _ in self.pool.imap_unordered(fn, items, chunksize=CHUNK):
            pass

    def queue(self, fn, items):
        return [self.pool.apply_async(fn, (item,)) for item in items]


if __name__ == "__main__":
    with Pool(WORKERS) as mine:
        measure(Multiprocessing(mine))
