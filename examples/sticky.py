"""Sticky resources: calls that need the same mesh go to the slave that has loaded it.

mpiexec -n 4 python sticky.py  |  python -m mpitasks -n 4 sticky.py  |  python sticky.py
"""

import time
from collections import Counter
from functools import cache
from typing import NamedTuple

import mpitasks
from mpitasks import task


class Answer(NamedTuple):
    """What a call found, and whether it had to load the mesh."""

    path: str
    area: float
    has_loaded: bool


@cache  # in each slave, for as long as it lives
def load(path: str) -> list[float]:
    time.sleep(0.1)  # a real mesh takes minutes
    return [len(path) * side / 10 for side in range(1, 11)]


@task(resource="mesh", key="path")  # one resource for each path
def area(path: str, element: int) -> Answer:
    loads = load.cache_info().misses
    side = load(path)[element]
    return Answer(path, side * side, load.cache_info().misses > loads)


def main() -> None:
    paths = ["wing.msh", "fuselage.msh", "tail.msh"]
    calls = [(path, element) for element in range(10) for path in paths]  # in the worst order
    answers = area.starmap(calls).results()

    loads = Counter(answer.path for answer in answers if answer.has_loaded)
    for path in paths:
        total = sum(answer.area for answer in answers if answer.path == path)
        print(f"{path}: area {total:.2f}, loaded {loads[path]}x")


if __name__ == "__main__":
    mpitasks.run(main)
