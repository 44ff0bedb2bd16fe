"""One page of mpitasks: decorate, delay, run.

mpiexec -n 8 python quickstart.py  |  python -m mpitasks -n 8 quickstart.py  |  python quickstart.py
"""

import mpitasks
from mpitasks import task


@task
def simulate(seed: int, steps: int = 1000) -> float:
    return (seed * 2654435761 % 2**32) / 2**32 * steps


@task("stats.mean", max_slaves=2)
def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    one = simulate.delay(42, steps=10)  # Future[float]
    print("one:", one.result(timeout=30))

    many = simulate.map(range(100), chunksize=10)  # Futures[float]
    print("mean:", mean.delay(many.arg()).result())  # futures are arguments

    for future in mpitasks.as_completed(many):
        future.result()

    assert simulate(42, steps=10) == one.result()  # still the plain function


if __name__ == "__main__":
    mpitasks.run(main)
