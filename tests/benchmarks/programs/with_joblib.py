"""joblib, with its own processes (loky)."""

from common import CHUNK, WORKERS, Library, NotOffered, measure

from joblib import Parallel, delayed


class Joblib(Library):
    def __init__(self, single, chunked):
        self.single, self.chunked = single, chunked

    def submit(self, fn, items):
        if WORKERS == 1:
            raise NotOffered("with one worker, it runs calls in the caller's own process")
        return self.single(delayed(fn)(item) for item in items)

    def map(self, fn, items):
        if WORKERS == 1:
            raise NotOffered("with one worker, it runs calls in the caller's own process")
        self.chunked(delayed(fn)(item) for item in items)


if __name__ == "__main__":
    with Parallel(n_jobs=WORKERS, batch_size=1) as one_by_one, Parallel(n_jobs=WORKERS, batch_size=CHUNK) as by_chunks:
        measure(Joblib(one_by_one, by_chunks))
