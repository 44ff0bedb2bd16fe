"""mpitasks."""

from common import FUNCTIONS, Library, measure

import mpitasks

TASKS = {fn: mpitasks.task(fn.__name__)(fn) for fn in FUNCTIONS}


class Mpitasks(Library):
    def submit(self, fn, items):
        delay = TASKS[fn].delay
        return [future.result() for future in [delay(item) for item in items]]

    def map(self, fn, items):
        TASKS[fn].map(items).results()

    def one_by_one(self, fn, items):
        TASKS[fn].map(items, chunksize=1).results()

    def one(self, fn, item):
        return TASKS[fn].delay(item).result()

    def queue(self, fn, items):
        delay = TASKS[fn].delay
        return [delay(item) for item in items]


def main():
    measure(Mpitasks())


if __name__ == "__main__":
    mpitasks.run(main)
