"""Maps on real ranks: many calls in a message, long ones among short ones, a signal in their midst."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mpi.launcher import Mpiexec

HEAD = """
import itertools, os, resource, sys, time
import mpitasks
from mpitasks import task

def note(number):
    fd = os.open("executed", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, f"{number}\\n".encode())
    os.close(fd)

@task
def same(number):
    return number

@task
def text(number):
    return {"text": str(number)}

@task
def uneven(number):
    began = time.time()
    note(number)
    time.sleep(1.0 if number % 500 == 50 else 0.001)
    return number, began, time.time()

@task
def slowly(number):
    note(number)
    if number == 100:
        print("running", flush=True)
    time.sleep(0.002)
    return number
"""
START = """
if __name__ == "__main__":
    mpitasks.run(main)
"""

PROGRAMS = {
    "plain values": """
def main():
    assert same.map(range(200_000)).results() == list(range(200_000))
    assert sum(same.imap(range(200_000), buffersize=20_000)) == sum(range(200_000))
    assert sum(same.imap(range(200_000), buffersize=20_000, ordered=False)) == sum(range(200_000))
    print("right")
""",
    "other values": """
def main():
    assert text.map(range(20_000)).results() == [{"text": str(number)} for number in range(20_000)]
    print("right")
""",
    "an endless iterable, left early": """
def main():
    assert list(itertools.islice(same.imap(itertools.count(), buffersize=5000), 30_000)) == list(range(30_000))
    print("right")
""",
    "memory stays flat": """
def used():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def main():
    values = same.imap(range(1_000_000), buffersize=20_000)
    for _ in itertools.islice(values, 100_000):
        pass
    before = used()
    assert sum(1 for _ in values) == 900_000
    print("right" if used() - before < 20_000 else used() - before)
""",
    "a million that wait": """
def used():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def main():
    blocker = uneven.options(priority=1).delay(50)
    before = used()
    many = same.map(range(10**6, 2 * 10**6))
    each = (used() - before) / 10**6
    assert many.results()[-1] == 2 * 10**6 - 1
    print("right" if each < 600 else each)
""",
}


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("program", PROGRAMS)
def test_maps(mpiexec: Mpiexec, program: str, ranks: int) -> None:
    """Every value at its place, and no more memory than promised."""
    ended = mpiexec(ranks, HEAD + PROGRAMS[program] + START, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "right\n"), ended


def test_short_calls_do_not_wait_behind_a_long_one(mpiexec: Mpiexec, tmp_path: Path) -> None:
    """What is behind it goes elsewhere; no body runs twice."""
    main = """
def main():
    rows = uneven.map(range(2000)).results()
    assert [row[0] for row in rows] == list(range(2000))
    long = [row for row in rows if row[2] - row[1] > 0.9]
    waits = [row[1] - one[1] for one in long for row in rows if one[0] < row[0] <= one[0] + 12]
    print(len(long), max(waits) < 0.5 or waits)
"""
    ended = mpiexec(4, HEAD + main + START, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "4 True\n"), ended
    assert sorted(map(int, (tmp_path / "executed").read_text().split())) == list(range(2000))


def test_a_signal_drains_a_map(mpiexec: Mpiexec, tmp_path: Path) -> None:
    """What was sent and not begun comes back, and is counted; what has begun ends."""
    main = """
def main():
    slowly.map(range(20_000)).results()
"""
    with mpiexec.start(3, HEAD + main + START) as app:
        app.wait_for("running")
        app.process.send_signal(signal.SIGUSR1)
        ended = app.wait(timeout=30)
    begun = (tmp_path / "executed").read_text().split()
    assert len(begun) == len(set(begun))
    assert f"{20_000 - len(begun)} calls are left" in ended.stderr, ended
