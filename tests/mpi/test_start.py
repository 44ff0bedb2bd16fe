"""How a run begins: sizes, ways to launch, and ranks that don't agree."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mpi.launcher import Mpiexec

WHERE = """
import os, sys
import mpitasks

@mpitasks.task
def where(n):
    return mpitasks.current().rank, os.getpid()

def main():
    seen = set(where.map(range(200), chunksize=1).results())
    inline = {pid for _, pid in seen} == {os.getpid()}
    print("ranks", sorted({rank for rank, _ in seen}), "inline" if inline else "apart", sys.argv[1:])

if __name__ == "__main__":
    mpitasks.run(main)
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A script that prints which ranks run calls."""
    script = tmp_path / "where.py"
    script.write_text(WHERE)
    return script


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package whose tasks lie in three modules; returns the folder that holds it."""
    files = {
        "farmyard/__init__.py": "",
        "farmyard/tasks/__init__.py": "",
        "farmyard/tasks/birds.py": "from mpitasks import task\n@task\ndef sound(n):\n    return 'cluck' * n\n",
        "farmyard/tasks/cows.py": "from mpitasks import task\n@task\ndef sound(n):\n    return 'moo' * n\n",
        "farmyard/__main__.py": """
import sys
import mpitasks
from .tasks import birds, cows

@mpitasks.task
def sound(n):
    return mpitasks.current().rank > 0 and "woof" * n

def main():
    tasks = [birds.sound, cows.sound, sound]
    print([task.name for task in tasks], [task.delay(2).result() for task in tasks], sys.argv[1:])

if __name__ == "__main__":
    mpitasks.run(main)
""",
    }
    for name, text in files.items():
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "src"


# ---------------------------------------------------------------- sizes, and ways to launch


@pytest.mark.parametrize(("ranks", "printed"), [(2, [1]), (5, [1, 2, 3, 4])])
def test_all_ranks_but_the_first_run_calls(mpiexec: Mpiexec, app: Path, ranks: int, printed: list[int]) -> None:
    """Rank 0 runs main, every other rank is a slave."""
    ended = mpiexec(ranks, app, "an argument")
    assert (ended.returncode, ended.stdout) == (0, f"ranks {printed} apart ['an argument']\n"), ended.stderr


@pytest.mark.parametrize("launcher", ["mpiexec", "plain python"])
def test_one_rank_runs_calls_itself(mpiexec: Mpiexec, app: Path, launcher: str) -> None:
    """Without other ranks, calls run in this process, and one line on stderr tells how to get more."""
    command = [sys.executable, str(app)]
    full = [*mpiexec.command(1), *command] if launcher == "mpiexec" else command
    with mpiexec.start_command(full, env=mpiexec.root_env()) as running:
        ended = running.wait()
    assert (ended.returncode, ended.stdout) == (0, "ranks [1] inline []\n"), ended.stderr
    assert ended.stderr.count("mpitasks: 1 rank, so calls run in this process; for more: mpiexec -n 4 python") == 1


@pytest.mark.parametrize("launcher", ["mpiexec -n 4 python -m", "python -m mpitasks -n 4 -m", "python -m"])
def test_a_package_is_an_app(mpiexec: Mpiexec, package: Path, launcher: str) -> None:
    """Its tasks may be spread over modules, are named by them, alike on every rank, and `__main__` has its real name."""
    commands = {
        "mpiexec -n 4 python -m": [*mpiexec.command(4), sys.executable, "-m"],
        "python -m mpitasks -n 4 -m": [sys.executable, "-m", "mpitasks", "-n", "4", "-m"],
        "python -m": [sys.executable, "-m"],
    }
    command = [*commands[launcher], "farmyard", "--loud"]
    env = {**mpiexec.root_env(), "MPITASKS_SLAVES": "3"} if launcher == "python -m" else mpiexec.root_env()
    with mpiexec.start_command(command, cwd=package, env=env) as running:
        ended = running.wait()
    names = ["farmyard.tasks.birds.sound", "farmyard.tasks.cows.sound", "farmyard.sound"]
    values = ["cluckcluck", "moomoo", "woofwoof"]
    assert (ended.returncode, ended.stdout) == (0, f"{names} {values} ['--loud']\n"), ended.stderr


@pytest.mark.parametrize("how", ["run(slaves=3)", "MPITASKS_SLAVES=3", "python -m mpitasks -n 4"])
def test_a_script_starts_its_own_ranks(mpiexec: Mpiexec, app: Path, how: str) -> None:
    """Each way finds the right mpiexec by itself, passes the arguments on, and gives the job's exit code back."""
    command, env = [sys.executable, str(app)], {}
    if how == "run(slaves=3)":
        app.write_text(WHERE.replace("run(main)", "run(main, slaves=3)"))
    elif how == "MPITASKS_SLAVES=3":
        env = {"MPITASKS_SLAVES": "3"}
    else:
        command = [sys.executable, "-m", "mpitasks", "-n", "4", str(app)]
    app.write_text(f"{app.read_text()}    sys.exit(9)\n")
    with mpiexec.start_command([*command, "a b", "-c"], env=env) as running:
        ended = running.wait()
    assert (ended.returncode, ended.stdout) == (9, "ranks [1, 2, 3] apart ['a b', '-c']\n"), ended.stderr


def test_what_mpiexec_is_given_is_said(mpiexec: Mpiexec, app: Path) -> None:
    """Open MPI as root, or with more ranks than cores, needs more than `-n`; stderr says what is passed and why."""
    ranks = len(os.sched_getaffinity(0)) + 1
    with mpiexec.start_command([sys.executable, "-m", "mpitasks", "-n", str(ranks), str(app)]) as running:
        stderr = running.wait().stderr
    is_open_mpi = mpiexec.mpi == "openmpi"
    assert ("--map-by :OVERSUBSCRIBE, because" in stderr) == is_open_mpi
    assert ("because you are root" in stderr) == (is_open_mpi and os.geteuid() == 0)


@pytest.mark.parametrize("variable", ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE"])
def test_a_world_of_one_under_a_launcher_of_more_is_refused(mpiexec: Mpiexec, app: Path, variable: str) -> None:
    """N serial runs would look like one slow run: mpi4py is of another MPI than the launcher, and the error says so."""
    with mpiexec.start_command([sys.executable, str(app)], env={variable: "4"}) as running:
        ended = running.wait()
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"the launcher has set {variable}=4, but mpi4py uses another MPI than the mpiexec that started" in ended.stderr


# ---------------------------------------------------------------- ranks that don't agree


FAULTY = """
import os, sys
{first}
import mpitasks

rank = os.environ.get("PMIX_RANK") or os.environ.get("PMI_RANK")

@mpitasks.task
def anything():
    pass

if rank == "{rank}":
    {fault}
mpitasks.run(lambda: anything.delay().result())
"""


@pytest.mark.parametrize("first", ["", "from mpi4py import MPI"], ids=["before MPI", "after MPI began"])
@pytest.mark.parametrize("rank", [0, 2])
def test_a_rank_that_fails_before_run_ends_the_job(mpiexec: Mpiexec, rank: int, first: str) -> None:
    """Its traceback is shown and no other rank waits for it, wherever it fails."""
    ended = mpiexec(3, FAULTY.format(first=first, rank=rank, fault="raise OSError('no such file')"), timeout=20)
    assert (ended.returncode != 0, ended.stderr.count("OSError: no such file")) == (True, 1)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_rank_that_leaves_before_run_ends_the_job(mpiexec: Mpiexec, rank: int) -> None:
    """The others would wait for it; the error tells which rank has left."""
    ended = mpiexec(3, FAULTY.format(first="", rank=rank, fault="sys.exit()"), timeout=20)
    assert ended.returncode != 0
    assert f"rank {rank} has left without calling mpitasks.run()" in ended.stderr


def test_ranks_with_different_tasks_are_refused(mpiexec: Mpiexec) -> None:
    """A call of a task that a slave lacks would fail late; the error lists what differs, rank by rank."""
    source = """
        import mpitasks
        from mpi4py.MPI import COMM_WORLD as comm

        if comm.rank != 1:
            @mpitasks.task("sums.add")
            def add(a, b):
                return a + b

        if comm.rank == 2:
            @mpitasks.task("sums.subtract")
            def subtract(a, b):
                return a - b

        mpitasks.run(print)
    """
    ended = mpiexec(4, source)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "  rank 1 lacks the tasks sums.add\n  rank 2 has the tasks sums.subtract, which rank 0 lacks\nEvery" in ended.stderr
