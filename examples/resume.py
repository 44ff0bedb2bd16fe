"""A job that may be killed at any moment: start it again, and it goes on.

mpiexec -n 4 python resume.py  |  python -m mpitasks -n 4 resume.py  |  python resume.py
"""

import tempfile
import time
from pathlib import Path

import mpitasks
from mpitasks import task

JOURNAL = Path(tempfile.gettempdir()) / "mpitasks-resume.jrnl"


@task
def collatz(start: int) -> int:
    """How many steps it takes to come down to 1."""
    time.sleep(0.02)  # long enough to kill it in the midst: try Ctrl-C, or kill -9
    steps, n = 0, start
    while n != 1:
        steps, n = steps + 1, n // 2 if n % 2 == 0 else 3 * n + 1
    return steps


@task(version=1)  # after a change of the code, another version: then the journal's outcomes of this task are not used
def longest(steps: dict[int, int]) -> int:
    return max(steps, key=lambda start: steps[start])


def main() -> None:
    starts = range(1, 50)
    futures = collatz.map(starts)  # what the journal holds has ended already
    best = longest.delay(dict(zip(starts, futures.arg(), strict=True)))
    print(f"the longest way down is from {best.result()}: {futures[best.result() - 1].result()} steps")


if __name__ == "__main__":
    mpitasks.run(main, journal=JOURNAL)
    JOURNAL.unlink()  # all is done: the next start begins anew
