"""schwimmbad: its MPIPool has `map` alone, which sends single calls."""

import json
import os

from common import MOST, Library, NotOffered, measure, nothing, resident

from schwimmbad import MPIPool


class Schwimmbad(Library):
    def __init__(self, pool):
        self.pool = pool

    def submit(self, fn, items):
        return self.pool.map(fn, items)

    def queue(self, fn, items):
        """All calls wait inside one `map`; they are looked at when the first of them has ended."""
        before = resident()

        def look(_):
            value = [(resident() - before) / MOST, MOST]
            print("@" + json.dumps({"measure": "memory", "value": value}), flush=True)
            os._exit(0)

        self.pool.map(nothing, range(MOST), callback=look)
        raise NotOffered("never came back")


if __name__ == "__main__":
    with MPIPool() as mine:
        measure(Schwimmbad(mine))
