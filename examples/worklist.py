"""A list of work: each call goes to whichever slave is free, and results are used as they come.

mpiexec -n 4 python worklist.py  |  python -m mpitasks -n 4 worklist.py  |  python worklist.py
"""

import mpitasks
from mpitasks import task


@task
def square(number: int) -> tuple[int, int]:
    return number, number**2


def main() -> None:
    futures = square.map(range(10))
    futures_later = [square.delay(number) for number in (12, 11)]  # more can be added at any time

    found: dict[int, int] = {}
    for future in mpitasks.as_completed([*futures, *futures_later]):  # in whichever order they end
        number, squared = future.result()
        found[number] = squared
    for number in sorted(found):
        print(f"{number} squared is {found[number]}")


if __name__ == "__main__":
    mpitasks.run(main)
