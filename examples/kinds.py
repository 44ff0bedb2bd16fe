"""Several kinds of work: one task each, and any slave runs any of them.

mpiexec -n 4 python kinds.py  |  python -m mpitasks -n 4 kinds.py  |  python kinds.py
"""

from typing import Any

import mpitasks
from mpitasks import Future, task


@task
def add(numbers: list[int]) -> int:
    return sum(numbers)


@task
def join(first: int, second: int) -> str:
    return f"{first}-{second}"


@task
def repeat(text: str, times: int) -> tuple[str, int]:
    return text * times, len(text) * times


def some_work(number: int, kind: object) -> Future[Any]:
    if kind is add:
        return add.delay([number, number])
    return join.delay(number, number + 1) if kind is join else repeat.delay("ab", number)


def main() -> None:
    kinds = (add, join, repeat)
    futures = [some_work(number, kinds[number * 7 % 10 % 3]) for number in range(30)]

    sums = [future.result() for future in futures if future.task_name == add.name]
    joined = [future.result() for future in futures if future.task_name == join.name]
    letters = [future.result()[1] for future in futures if future.task_name == repeat.name]
    print(f"add: {len(sums)} sums, in all {sum(sums)}")
    print(f"join: {len(joined)} pairs, first {joined[0]}, last {joined[-1]}")
    print(f"repeat: {len(letters)} texts, in all {sum(letters)} letters")


if __name__ == "__main__":
    mpitasks.run(main)
