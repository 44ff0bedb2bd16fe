"""However a run ends, what was acquired is released, once, by the slave that has acquired it.

Every provider writes a line to one file when it has acquired and one when it releases: short lines, in append mode, by
the clock that all processes of one host share.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mpi.app import App, Ended
    from tests.mpi.launcher import Mpiexec

HEAD = """
import os, sys, time
import mpitasks
from mpitasks import current, resource, task

def log(what):
    line = f"{what} {mpi_rank()} {time.monotonic()}\\n".encode()
    file = os.open("resources.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)

def mpi_rank():
    from mpi4py import MPI
    return MPI.COMM_WORLD.Get_rank()

@resource("db")
def db():
    log("+db")
    yield "db"
    log("-db")

@resource("mesh", resource=db)
def mesh(path):
    log(f"+mesh({path})")
    yield path
    log(f"-mesh({path})")

@resource("broken", resource=db)
def broken():
    raise OSError("no disk")
    yield

@task("use", resource=db)
def use(seconds=0.0):
    time.sleep(seconds)
    return db.get()

@task("load", resource=mesh, key="path")
def load(path, seconds=0.0):
    time.sleep(seconds)
    return mesh.get()

@task("need", resource=broken)
def need():
    return broken.get()

@task("fail", resource=mesh, key="path")
def fail(path):
    raise ValueError(path)

@task("meet", resource=mesh, key="rank")
def meet(rank, slaves):
    # Returns when every slave is in such a call, so that each has acquired.
    open(f"here-{rank}", "w").close()
    while not all(os.path.exists(f"here-{n}") for n in range(slaves)):
        time.sleep(0.005)

def all_acquire(slaves):
    mpitasks.wait([meet.delay(n, slaves) for n in range(slaves)])
"""

START = """
if __name__ == "__main__":
    mpitasks.run(main, grace={grace})
"""


class Line(NamedTuple):
    """What a provider wrote."""

    what: str
    rank: int
    time: float


def lines(folder: Path) -> list[Line]:
    """All of them, in the order of time."""
    words = [line.split() for line in (folder / "resources.log").read_text().splitlines()]
    return sorted((Line(what, int(rank), float(time)) for what, rank, time in words), key=lambda line: line.time)


def of_each(folder: Path) -> dict[int, list[str]]:
    """What each rank wrote."""
    found = lines(folder)
    return {rank: [line.what for line in found if line.rank == rank] for rank in sorted({line.rank for line in found})}


def still_held(folder: Path) -> list[tuple[int, str]]:
    """What was acquired and not released, by rank; releases pair with acquisitions as brackets do."""
    held: list[tuple[int, str]] = []
    for what, rank, _ in lines(folder):
        if what[0] == "+":
            held.append((rank, what[1:]))
        else:
            assert [name for of, name in held if of == rank][-1] == what[1:], lines(folder)
            held.remove((rank, what[1:]))
    return held


def every_slave(*, slaves: int) -> dict[int, int]:
    """Each acquires db and a mesh, and releases both."""
    return dict.fromkeys(range(1, slaves + 1), 4)


def counted(folder: Path) -> dict[int, int]:
    """How many lines each rank wrote."""
    return {rank: len(found) for rank, found in of_each(folder).items()}


ENDS = {"returns": ("pass", 0), "raises": ("raise ValueError('no more')", 1), "exits": ("sys.exit(3)", 3)}


@pytest.mark.parametrize("end", ENDS)
def test_all_slaves_release_when_main_ends(mpiexec: Mpiexec, end: str) -> None:
    """When it returns, raises, or calls sys.exit: the outer one first."""
    last, code = ENDS[end]
    source = f"""{HEAD}
def main():
    all_acquire(3)
    {last}
{START.format(grace=5)}"""
    ended = mpiexec(4, source)
    assert ended.returncode == code, ended.stderr
    assert counted(mpiexec.folder) == every_slave(slaves=3)
    assert still_held(mpiexec.folder) == []
    assert {found[2][:5] + found[3] for found in of_each(mpiexec.folder).values()} == {"-mesh-db"}


@pytest.mark.parametrize("where", ["main sleeps", "main waits"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_all_slaves_release_after_a_signal(mpiexec: Mpiexec, number: int, code: int, where: str) -> None:
    """Under `python -m mpitasks`, with the exit code of the signal; a slave in a call has the grace to end it."""
    last = "time.sleep(1000)" if where == "main sleeps" else "[use.delay(0.3).result() for _ in range(1000)]"
    source = f"""{HEAD}
def main():
    all_acquire(3)
    print("ready", flush=True)
    {last}
{START.format(grace=10)}"""
    with start_by_us(mpiexec, source) as app:
        app.wait_for("ready")
        app.process.send_signal(number)
        ended = app.wait(timeout=20)
    assert ended.returncode == code, ended.stderr
    assert counted(mpiexec.folder) == every_slave(slaves=3)
    assert still_held(mpiexec.folder) == []


def start_by_us(mpiexec: Mpiexec, source: str) -> App:
    """Start a program on four ranks by `python -m mpitasks`."""
    script = mpiexec.folder / "script.py"
    script.write_text(source)
    return mpiexec.start_command([sys.executable, "-m", "mpitasks", "-n", "4", str(script)])


def test_a_slave_that_is_stuck_does_not_keep_the_others_from_releasing(mpiexec: Mpiexec) -> None:
    """They release before the job is aborted; what the stuck one holds is all that stays."""
    source = f"""{HEAD}
@task("stuck", resource=mesh, key="rank")
def stuck(rank):
    log("stuck")
    time.sleep(1000)

def main():
    all_acquire(3)
    stuck.delay(0)
    while not any(line.startswith("stuck") for line in open("resources.log")):
        time.sleep(0.01)
    raise ValueError("no more")
{START.format(grace=0.5)}"""
    ended = mpiexec(4, source)
    assert (ended.returncode, "still in a call of 'stuck'; the job is aborted" in ended.stderr) == (1, True), ended
    found = of_each(mpiexec.folder)
    (rank,) = [rank for rank, whats in found.items() if "stuck" in whats]
    assert found.pop(rank) == ["+db", "+mesh(0)", "stuck"]
    assert [[what[:2] for what in whats] for whats in found.values()] == [["+d", "+m", "-m", "-d"]] * 2


def run(mpiexec: Mpiexec, ranks: int, main: str) -> Ended:
    """Run a main that is to end well."""
    ended = mpiexec(ranks, f"{HEAD}\n{main}\n{START.format(grace=5)}")
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended


def test_eviction_releases_before_the_next_is_acquired(mpiexec: Mpiexec) -> None:
    """One mesh at a time; the db that all need stays."""
    run(mpiexec, 2, "def main(): [load.delay(path).result() for path in 'aba']")
    meshes = ["+mesh(a)", "-mesh(a)", "+mesh(b)", "-mesh(b)", "+mesh(a)", "-mesh(a)"]
    assert of_each(mpiexec.folder) == {1: ["+db", *meshes, "-db"]}


def test_idleness_releases_while_main_goes_on(mpiexec: Mpiexec) -> None:
    """Without any call that would make the slave look; main sees it happen, and ends only then."""
    main = """
@resource("idle", idle_timeout=0.05)
def idle():
    log("+idle")
    yield 1
    log("-idle")

@task("touch", resource=idle)
def touch():
    return idle.get()

def main():
    for n in 1, 2:
        touch.delay().result()
        end = time.monotonic() + 20
        while open("resources.log").read().count("-idle") < n:
            assert time.monotonic() < end
            time.sleep(0.01)
    log("end")
"""
    run(mpiexec, 2, main)
    assert of_each(mpiexec.folder) == {0: ["end"], 1: ["+idle", "-idle"] * 2}
    assert lines(mpiexec.folder)[-1].what == "end"


def test_a_call_that_fails_keeps_what_it_has_used(mpiexec: Mpiexec) -> None:
    """The next call goes on with it; the end releases."""
    main = """
def main():
    for _ in range(3):
        assert isinstance(fail.delay("a").exception(), ValueError)
    assert load.delay("a").result() == "a"
"""
    run(mpiexec, 2, main)
    assert of_each(mpiexec.folder) == {1: ["+db", "+mesh(a)", "-mesh(a)", "-db"]}


def test_an_acquisition_that_fails_leaves_only_what_it_needed(mpiexec: Mpiexec) -> None:
    """That is held, used by other calls, and released at the end."""
    main = """
def main():
    for _ in range(2):
        error = need.delay().exception()
        assert (type(error), error.__notes__[0]) == (OSError, "while acquiring resource broken()"), error
        assert use.delay().result() == "db"
"""
    run(mpiexec, 2, main)
    assert of_each(mpiexec.folder) == {1: ["+db", "-db"]}


@pytest.mark.parametrize("keep", [1, 2])
def test_max_holders_holds_across_ranks(mpiexec: Mpiexec, keep: int) -> None:
    """Never two at once of a file that one may hold: from before its acquisition to after its release."""
    main = f"""
@resource("file", max_holders=1, keep={keep})
def file(path):
    log(f"+{{path}}")
    time.sleep(0.002)
    yield path
    time.sleep(0.002)
    log(f"-{{path}}")

@task("read", resource=file, key="path")
def read(path, n):
    time.sleep(0.01)
    return file.get()

@task("other")
def other(n):
    time.sleep(0.001)

def main():
    # Without the limit, all four slaves would acquire all three: that ends the calls sooner.
    paths = ["abc"[n % 3] for n in range(80)]
    reads, others = read.map(paths, range(80)), other.map(range(100))
    assert reads.results() == paths
    others.results()
"""
    run(mpiexec, 5, main)
    held: dict[str, int] = {}
    for what, rank, _ in lines(mpiexec.folder):
        if what[0] == "+":
            assert what[1:] not in held, lines(mpiexec.folder)
            held[what[1:]] = rank
        else:
            assert held.pop(what[1:]) == rank
    assert held == {}


def test_a_failing_release_is_on_the_masters_log(mpiexec: Mpiexec) -> None:
    """With rank and traceback, also at the end of the run; the exit code is main's."""
    main = """
import logging
logging.basicConfig(format="[%(rank)s|%(task)s] %(message)s")

@resource("bad")
def bad(path):
    yield path
    raise OSError("disk full")

@task("touch", resource=bad, key="path")
def touch(path):
    return bad.get()

def main():
    log("begin")
    [touch.delay(path).result() for path in "ab"]
"""
    ended = mpiexec(2, f"{HEAD}\n{main}\n{START.format(grace=5)}")
    said = [line for line in ended.stderr.splitlines() if line.startswith("[")]
    assert said == ["[1|] releasing resource bad('a') failed", "[1|] releasing resource bad('b') failed"], ended.stderr
    assert (ended.returncode, ended.stderr.count("OSError: disk full")) == (0, 2)


def test_slaves_that_lack_a_provider_are_told_at_the_start(mpiexec: Mpiexec) -> None:
    """As with tasks: the names are compared."""
    main = """
if mpi_rank() == 0:
    @resource("only here")
    def only_here():
        yield

def main():
    pass
"""
    ended = mpiexec(3, f"{HEAD}\n{main}\n{START.format(grace=5)}")
    assert ended.returncode == 1
    assert "only here (a resource)" in ended.stderr


def test_statistics_know_all_slaves(mpiexec: Mpiexec) -> None:
    """In main and after the run, in words and numbers."""
    source = f"""{HEAD}
def main():
    all_acquire(3)
    return mpitasks.statistics()

if __name__ == "__main__":
    found = mpitasks.run(main)
    last = mpitasks.statistics()
    assert sorted(found.slaves) == sorted(last.slaves) == [1, 2, 3]
    assert found.queues["meet"].ended == 3 == last.queues["meet"].ended
    assert sum(one.acquisitions for one in last.slaves.values()) == 6
    assert last.resources["db()"].acquisitions == 3
    print(last)
"""
    ended = mpiexec(4, source)
    assert ended.returncode == 0, ended.stderr
    assert "mesh(0)" in ended.stdout
