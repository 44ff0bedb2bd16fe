"""The master or its launcher is killed; the same command again goes on where that was."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mpi.app import App
    from tests.mpi.launcher import Mpiexec

CALLS, SLAVES, SHORT = 40, 2, 3
"""The last: moments that are tried in the ordinary form; 20 as a soak."""
APP = f"""
import os, sys, time
import mpitasks
from mpitasks import task

def note(file, text):
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, (text + "\\n").encode())
    os.close(fd)

@task
def work(number):
    note("executed", str(number))
    time.sleep(0.02)
    return number * number

def main():
    print("begun", flush=True)
    futures = {{work.delay(number): number for number in range({CALLS})}}
    for future in mpitasks.as_completed(futures):
        note("acknowledged", f"{{futures[future]}} {{future.result()}}")
    print("sum", sum(future.result() for future in futures), flush=True)

if __name__ == "__main__":
    mpitasks.run(main, journal="run.jrnl")
"""


def lines(path: Path) -> list[str]:
    """What was noted so far."""
    return path.read_text().splitlines() if path.exists() else []


def kill(app: App, whom: str, folder: Path, dice: random.Random) -> None:
    """Kill it at a moment by dice: before the first outcome, after some, or after the last."""
    app.wait_for("begun")
    wanted = dice.randrange(CALLS)
    before = set(lines(folder / "acknowledged"))
    while len(set(lines(folder / "acknowledged")) - before) < wanted and app.process.poll() is None:
        os.sched_yield()
    with suppress(ProcessLookupError):  # its end was faster
        os.kill(app.ranks()[0] if whom == "master" else app.process.pid, signal.SIGKILL)
    app.wait()


def moments() -> list[object]:
    """A few; all as a soak."""
    return [pytest.param(seed, marks=[pytest.mark.soak] if seed >= SHORT else []) for seed in range(20)]


@pytest.mark.parametrize("whom", ["master", "mpiexec"])
@pytest.mark.parametrize("seed", moments())
def test_what_was_acknowledged_is_never_lost(mpiexec: Mpiexec, tmp_path: Path, whom: str, seed: int) -> None:
    """SIGKILL at a random moment, then the same again: no acknowledged call runs twice, all end, and hardly one in vain."""
    script = tmp_path / "app.py"
    script.write_text(APP)
    with mpiexec.start(SLAVES + 1, script) as app:
        kill(app, whom, tmp_path, random.Random(seed))  # noqa: S311  no secret
    acknowledged, executed = lines(tmp_path / "acknowledged"), lines(tmp_path / "executed")
    ended = mpiexec(SLAVES + 1, script)
    assert ended.returncode == 0, ended.stderr
    assert f"sum {sum(number * number for number in range(CALLS))}" in ended.stdout
    again = lines(tmp_path / "executed")[len(executed) :]
    assert set(again).isdisjoint(line.split()[0] for line in acknowledged)
    assert len(executed) + len(again) <= CALLS + SLAVES
    assert {*executed, *again} == set(map(str, range(CALLS)))


FULL = f"""
import resource, sys
import mpitasks
from mpitasks import task

@task
def work(number):
    return bytes([number]) * 1000

def main(limit):
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    for number in range({CALLS}):
        future = work.delay(number)
        done = future.done()
        assert future.result() == bytes([number]) * 1000
        print(number, done, flush=True)

if __name__ == "__main__":
    mpitasks.run(main, sys.argv[1:] == ["limit"], journal="run.jrnl")
"""


def test_a_full_disk_ends_the_run_with_nothing_lost(mpiexec: Mpiexec, tmp_path: Path) -> None:
    """The error says what to do; what main has seen is there when it runs again."""
    script = tmp_path / "app.py"
    script.write_text(FULL)
    ended = mpiexec(SLAVES + 1, script, "limit")
    assert ended.returncode == 1, ended.stderr
    assert "can't be written: File too large. All that calls have returned so far is in it; mend that" in ended.stderr
    seen = [line.split()[0] for line in ended.stdout.splitlines()]
    assert 10 < len(seen) < CALLS
    ended = mpiexec(SLAVES + 1, script)
    assert ended.returncode == 0, ended.stderr
    assert [line.split()[0] for line in ended.stdout.splitlines() if line.endswith("True")] == seen
