"""The journal under mpiexec: by which way it is named, and what a second writer hears."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mpi.launcher import Mpiexec

APP = """
import os, sys
import mpitasks
import numpy as np

@mpitasks.task
def square(n, table):
    with open("executed", "a") as file:
        file.write(f"{n}\\n")
    assert "MPITASKS_JOURNAL" not in os.environ
    return n * n * table

def main():
    table = np.ones(50_000)
    print(sum(int(value[0]) for value in square.starmap([(n, table) for n in range(20)]).results()), flush=True)
    if sys.argv[1:] == ["wait"]:
        sys.stdin.read(), __import__("time").sleep(60)

if __name__ == "__main__":
    mpitasks.run(main, journal=os.environ.get("IN_CODE"))
"""


@pytest.mark.parametrize("how", ["argument", "environment", "command"])
def test_a_second_run_executes_nothing(mpiexec: Mpiexec, tmp_path: Path, how: str) -> None:
    """Large values come back as they were; with one rank, where there are no slaves, as well."""
    script = tmp_path / "squares.py"
    script.write_text(APP)
    for ranks in (3, 2, 1):
        if how == "command":
            with mpiexec.start_command(
                [sys.executable, "-m", "mpitasks", "-n", str(ranks), "--journal", "run.jrnl", str(script)]
            ) as app:
                ended = app.wait()
        else:
            ended = mpiexec(ranks, script, env={"IN_CODE" if how == "argument" else "MPITASKS_JOURNAL": "run.jrnl"})
        assert (ended.returncode, ended.stdout) == (0, "2470\n"), ended.stderr
        assert len((tmp_path / "executed").read_text().splitlines()) == 20
        assert ("mpitasks: 20 outcomes of earlier runs in " in ended.stderr) == (ranks < 3)


def test_a_second_writer_ends_in_order(mpiexec: Mpiexec, tmp_path: Path) -> None:
    """With exit code 1 and the reason, and its slaves with it; the first one is not disturbed."""
    script = tmp_path / "squares.py"
    script.write_text(APP)
    with mpiexec.start(2, script, "wait", env={"IN_CODE": "run.jrnl"}) as first:
        first.wait_for("2470")
        ended = mpiexec(3, script, env={"IN_CODE": "run.jrnl"})
        assert (ended.returncode, ended.stdout) == (1, ""), ended.stderr
        assert "has a writer already: process " in ended.stderr
        assert ended.stderr.count("Traceback") == 1, ended.stderr
        assert first.process.poll() is None
