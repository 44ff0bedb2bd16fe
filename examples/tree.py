"""Tasks that submit tasks: sort by halves, each half by calls of its own, and find a path down a tree without waiting.

mpiexec -n 4 python tree.py  |  python -m mpitasks -n 4 tree.py  |  python tree.py
"""

from heapq import merge

import mpitasks
from mpitasks import Deadlock, task

SMALL = 1_000


@task
def sort(values: list[int]) -> list[int]:
    if len(values) <= SMALL:
        return sorted(values)
    middle = len(values) // 2
    halves = sort.map([values[:middle], values[middle:]])
    return list(merge(*halves.results()))  # while it waits, its slave sorts


@task
def deeper(number: int, steps: int) -> int:
    if number == 1:
        return steps
    following = number // 2 if number % 2 == 0 else 3 * number + 1
    return deeper.delay(following, steps + 1).arg()  # its outcome is mine: nobody waits, the slave is free


@task("factorial", max_slaves=1)  # a slave that waits for its own task counts once
def factorial(number: int) -> int:
    return 1 if number <= 1 else number * factorial.delay(number - 1).result()


def main() -> None:
    values = [value * 7919 % 10_007 for value in range(10_000)]
    print("sorted:", sort.delay(values).result() == sorted(values))
    print("steps from 27 to 1:", deeper.delay(27, 0).result())
    try:
        print("20! =", factorial.delay(20).result())
    except Deadlock as error:
        print("never:", error)


if __name__ == "__main__":
    mpitasks.run(main)
