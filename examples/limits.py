"""Several kinds of work, some of them limited: 2 slaves may fetch, any may crunch, 1 may store.

mpiexec -n 4 python limits.py  |  python -m mpitasks -n 4 limits.py  |  python limits.py
"""

import time
from typing import NamedTuple

import mpitasks
from mpitasks import task


class Span(NamedTuple):
    """What a call made, and when it ran, by the clock that all ranks of one host share."""

    value: int
    began: float
    ended: float


def work(value: int, seconds: float) -> Span:
    began = time.monotonic()
    time.sleep(seconds)
    return Span(value, began, time.monotonic())


@task(max_slaves=2)  # such as a web site that bans whoever asks too much
def fetch(number: int) -> Span:
    return work(number * 7 % 5, 0.010)


@task  # no limit: all slaves, where they are not needed elsewhere
def crunch(fetched: Span) -> Span:
    return work(fetched.value**2, 0.005)


@task("store", max_slaves=1)  # such as a file that only one may write to
def store(crunched: Span) -> Span:
    return work(crunched.value, 0.002)


def most_at_once(spans: list[Span]) -> int:
    return max(sum(other.began <= span.began < other.ended for other in spans) for span in spans)


def main() -> None:
    fetched = fetch.map(range(20))
    crunched = [crunch.delay(one.arg()) for one in fetched]  # each begins when its own input is there
    stored = [store.delay(one.arg()) for one in crunched]

    for name, limit, futures in (("fetch", 2, fetched), ("crunch", None, crunched), ("store", 1, stored)):
        spans = [future.result() for future in futures]
        kept = limit is None or most_at_once(spans) <= limit
        print(f"{name}: sum {sum(span.value for span in spans)}, limit {limit}: {'kept' if kept else 'broken'}")


if __name__ == "__main__":
    mpitasks.run(main)
