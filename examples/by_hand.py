"""By hand: main keeps a few calls under way, and decides by what comes back what to do next.

mpiexec -n 4 python by_hand.py  |  python -m mpitasks -n 4 by_hand.py  |  python by_hand.py
"""

from math import isqrt

import mpitasks
from mpitasks import Future, task

AT_A_TIME = 8
LUCKY = 3


@task
def root(number: int) -> int:
    found = isqrt(number)
    if found**2 != number:
        raise ValueError(f"{number} has no whole root")
    return found


def main() -> None:
    numbers = list(range(20))
    running: dict[Future[int], int] = {}
    roots: dict[int, int] = {}
    failures: list[int] = []

    while numbers or running:
        while numbers and len(running) < AT_A_TIME:
            number = numbers.pop(0)
            running[root.delay(number)] = number
        done, _ = mpitasks.wait(running, return_when="FIRST_COMPLETED")
        for future in done:
            number = running.pop(future)
            if future.exception() is not None:
                failures.append(number)
                continue
            roots[number] = future.result()
            if roots[number] == LUCKY:  # a result may be a reason for more
                numbers.append(number**2)

    for number in sorted(roots):
        print(f"root of {number}: {roots[number]}")
    print(f"{len(failures)} numbers have no whole root")


if __name__ == "__main__":
    mpitasks.run(main)
