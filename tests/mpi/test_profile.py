"""`python -m mpitasks --profile`: a file for each rank, their sum, and both however the run ends."""

from __future__ import annotations

import signal
import sys
from pstats import Stats
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mpi.launcher import Mpiexec

CALLS = 60
APP = """
import os, subprocess, sys, time
import mpitasks

@mpitasks.task
def square(n):
    for _ in range(5000):
        pass
    return n * n

@mpitasks.task
def who():
    return mpitasks.current().rank

@mpitasks.task
def heir():
    return os.environ.get("MPITASKS_PROFILE")

@mpitasks.task
def bad():
    raise ValueError("on purpose")

def supervise(how):
    print(sum(square.map(range(60), chunksize=1).results()), flush=True)
    if how == "fail":
        bad.delay().result()
    if how == "sleep":
        time.sleep(1000)
    if how == "inherit":
        print(heir.delay().result(), os.environ.get("MPITASKS_PROFILE"))

def main(how):
    supervise(how)

async def later(how):
    supervise(how)

if __name__ == "__main__":
    mpitasks.run(later if sys.argv[1:] == ["async"] else main, "".join(sys.argv[1:]))
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A script with 60 calls of one task."""
    script = tmp_path / "squares.py"
    script.write_text(APP)
    return script


def counts(path: Path) -> dict[str, int]:
    """How often each function of the app was called, by a profile."""
    stats: dict[tuple[str, int, str], tuple[int, int]] = vars(Stats(str(path)))["stats"]
    return {key[2]: value[1] for key, value in stats.items() if key[0].endswith("squares.py")}


def check(folder: Path, ranks: int) -> None:
    """What every profiled run of the app leaves."""
    everyones = [counts(folder / f"rank-{rank}.prof") for rank in range(ranks)]
    assert sorted(path.name for path in folder.iterdir()) == ["all.prof", *(f"rank-{rank}.prof" for rank in range(ranks))]
    assert everyones[0]["supervise"] == 1
    assert ["square" in counted for counted in everyones] == [ranks == 1, *[True] * (ranks - 1)]
    assert sum(counted.get("square", 0) for counted in everyones) == CALLS
    total = counts(folder / "all.prof")
    assert (total["supervise"], total["square"]) == (1, CALLS)


@pytest.mark.parametrize("how", ["script", "module", "async"])
def test_every_rank_leaves_a_profile_and_the_launcher_their_sum(mpiexec: Mpiexec, app: Path, how: str) -> None:
    """Slaves have the calls, rank 0 has main; stderr says where, and what took longest."""
    program = {"script": [str(app)], "module": ["-m", "squares"], "async": [str(app), "async"]}[how]
    command = [sys.executable, "-m", "mpitasks", "--profile", "-n", "3", *program]
    with mpiexec.start_command(command) as running:
        ended = running.wait()
    assert (ended.returncode, ended.stdout) == (0, "70210\n"), ended.stderr
    check(app.parent / "profile", 3)
    assert "s on 1 rank; calls of slaves " in ended.stderr
    assert "(square)" in ended.stderr
    assert f"python -m pstats {app.parent / 'profile' / 'all.prof'}" in ended.stderr


def test_main_that_raises_leaves_profiles(mpiexec: Mpiexec, app: Path) -> None:
    """And no frame of the profiler in the traceback of a task."""
    with mpiexec.start_command([sys.executable, "-m", "mpitasks", "-n", "3", "--profile=deep/er", str(app), "fail"]) as running:
        ended = running.wait()
    assert ended.returncode == 1
    check(app.parent / "deep" / "er", 3)
    assert counts(app.parent / "deep" / "er" / "all.prof")["bad"] == 1
    remote = ended.stderr[: ended.stderr.index("The above exception")]
    assert ("bad" in remote, "Profile" in remote) == (True, False), ended.stderr


def test_ctrl_c_leaves_profiles(mpiexec: Mpiexec, app: Path) -> None:
    """As any end in order."""
    with mpiexec.start_command([sys.executable, "-m", "mpitasks", "--profile", "-n", "3", str(app), "sleep"]) as running:
        running.wait_for("70210")
        running.process.send_signal(signal.SIGINT)
        ended = running.wait()
    assert ended.returncode == 130, ended.stderr
    check(app.parent / "profile", 3)


@pytest.mark.parametrize("ranks", [1, 3])
def test_under_a_bare_mpiexec_rank_0_adds_up(mpiexec: Mpiexec, app: Path, ranks: int) -> None:
    """`MPITASKS_PROFILE` is enough; programs that a task or main starts don't inherit it."""
    ended = mpiexec(ranks, app, "inherit", env={"MPITASKS_PROFILE": "here"})
    assert (ended.returncode, ended.stdout) == (0, "70210\nNone None\n"), ended.stderr
    check(app.parent / "here", ranks)
    assert ended.stderr.count("python -m pstats") == 1


def test_one_rank_has_main_and_calls_in_one(mpiexec: Mpiexec, app: Path) -> None:
    """Inline, there are no slaves; all is rank 0's."""
    with mpiexec.start_command([sys.executable, "-m", "mpitasks", "--profile", "-n", "1", str(app)]) as running:
        ended = running.wait()
    assert ended.returncode == 0, ended.stderr
    check(app.parent / "profile", 1)


def test_profiles_of_an_earlier_run_are_not_added(mpiexec: Mpiexec, app: Path) -> None:
    """A run on fewer ranks leaves none of those that it does not have; other files stay."""
    for ranks in ("4", "2"):
        with mpiexec.start_command([sys.executable, "-m", "mpitasks", "--profile", "-n", ranks, str(app)]) as running:
            assert running.wait().returncode == 0
    check(app.parent / "profile", 2)


def test_without_the_option_nothing_is_written(mpiexec: Mpiexec, app: Path) -> None:
    """No folder, and no profiler in the process."""
    app.write_text(APP + "    print('cProfile' in sys.modules)\n")
    with mpiexec.start_command([sys.executable, "-m", "mpitasks", "-n", "2", str(app)]) as running:
        ended = running.wait()
    assert (ended.returncode, ended.stdout) == (0, "70210\nFalse\n"), ended.stderr
    assert not (app.parent / "profile").exists()


def test_a_slave_without_calls_leaves_a_profile_that_can_be_read(mpiexec: Mpiexec, app: Path) -> None:
    """An empty one could not be."""
    app.write_text("import mpitasks\ndef main():\n    pass\nif __name__ == '__main__':\n    mpitasks.run(main)\n")
    with mpiexec.start_command([sys.executable, "-m", "mpitasks", "--profile", "-n", "2", str(app)]) as running:
        ended = running.wait()
    assert ended.returncode == 0, ended.stderr
    assert counts(app.parent / "profile" / "rank-1.prof") == {}
    assert counts(app.parent / "profile" / "all.prof") == {"main": 1}


def test_a_folder_that_cannot_be_made_is_told_before_the_start(mpiexec: Mpiexec, app: Path) -> None:
    """Not after an hour of work."""
    with mpiexec.start_command([sys.executable, "-m", "mpitasks", f"--profile={app}", "-n", "2", str(app)]) as running:
        ended = running.wait()
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "no folder for profiles can be made at" in ended.stderr
    assert "; give another: --profile=FOLDER" in ended.stderr
