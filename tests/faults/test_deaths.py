"""Slaves die in every way there is; the others go on, and the run ends by itself with the right code."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mpitasks.survival import guard
from tests.mpi import processes

if TYPE_CHECKING:
    from tests.mpi.app import App, Ended
    from tests.mpi.launcher import Mpiexec

COMMON = """
import os, random, signal, sys, threading, time
import mpitasks
from mpitasks import SlaveLost, current, resource, task

def end_by(how):
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), getattr(signal, how))
    time.sleep(60)

@task
def work(number, how=""):
    '''Square; in the first attempt, end this process instead, if that is wanted.'''
    time.sleep(0.005)
    if how and current().attempt == 1:
        end_by(how)
    return number * number

@task
def poison(how):
    end_by(how)

@task
def pid():
    time.sleep(0.2)  # so that each slave has one
    return current().rank, os.getpid()

def pids(slaves=3):
    found = dict(future.result() for future in [pid.delay() for _ in range(slaves)])
    assert len(found) == slaves, found
    return found

def squares(count=40):
    return [work.delay(number) for number in range(count)]

def check(futures):
    assert [future.result() for future in futures] == [number * number for number in range(len(futures))]
"""

MAINS = {
    "in a call": """
        def main(how):
            first = work.delay(7, how)
            check(squares())
            print(first.result(), first.attempts)
        """,
    "two in calls": """
        def main(how):
            dying = [work.delay(number, how) for number in range(2)]
            check(squares())
            for future in dying:
                error = future.exception()
                assert error is None or "only slave that is left" in str(error), error
            print("two")
        """,
    "idle": """
        def main(how):
            for one in list(pids().values())[:2]:
                os.kill(one, getattr(signal, how))
            time.sleep(0.3)
            check(squares())
            print("idle")
        """,
    "all": """
        def main(how):
            dying = [poison.delay(how) for _ in range(3)]
            others = squares()
            dependent = work.delay(others[-1])
            for future in dying:
                assert type(future.exception()) is SlaveLost
            began = time.monotonic()
            late = work.delay(1)
            assert late.done() and "no slave is left" in str(late.exception()), late.exception()
            assert all(future.done() for future in others)
            [future.exception() for future in others]  # or the exit code is 1
            assert type(dependent.exception()) is mpitasks.DependencyFailed or "no slave" in str(dependent.exception())
            print("all", time.monotonic() - began < 0.1)
        """,
    "in the midst of a map": """
        @task
        def item(number, victim, how):
            if number == victim and current().attempt == 1:
                end_by(how)
            time.sleep(0.0005)
            return number * number

        def main(how):
            known = item.map(range(200), [-1] * 200, [how] * 200).results()  # it is short: many travel as one from now on
            futures = item.map(range(2000), [1000] * 2000, [how] * 2000)
            followed = futures[1001]
            assert futures.results() == [number * number for number in range(2000)]
            attempts = [future.attempts for future in futures]
            assert set(attempts) <= {1, 2, 3} and followed.result() == 1001**2, attempts
            print("map", attempts[1000] > 1, sum(one > 1 for one in attempts) < 200)
        """,
    "while its call waits": """
        @task
        def end(pid, how):
            os.kill(pid, getattr(signal, how))
            time.sleep(0.5)

        @task
        def waits(how):
            many = [work.delay(number) for number in range(20)]
            if current().attempt == 1:
                end.delay(os.getpid(), how).result()
            return [future.result() for future in many]

        def main(how):
            first = waits.delay(how)
            check(squares())
            print(sum(first.result()), first.attempts)
        """,
    "what the last slave waits for": """
        @task
        def leaves(pid, number, how):
            if os.getpid() != pid:
                end_by(how)
            time.sleep(0.3)  # so that the other slave begins some too
            return number

        @task
        def waits(how):
            return sum(leaves.starmap([(os.getpid(), number, how) for number in range(20)], chunksize=5).results())

        def main(how):
            print(waits.delay(how).result())
        """,
    "poison": """
        def main(how):
            future, others = poison.delay(how), squares()
            check(others)
            error = future.exception()
            assert type(error) is SlaveLost and "died, twice" in str(error), error
            print(str(error))
        """,
    "poison, strikes=1": """
        def main(how):
            future, others = poison.delay(how), squares()
            check(others)
            print(str(future.exception()))
        STRIKES = 1
        """,
}
RUN = """
if __name__ == "__main__":
    mpitasks.run(main, *sys.argv[1:], strikes=globals().get("STRIKES", 3))
"""


def script(mpiexec: Mpiexec, main: str) -> str:
    """A program with that main; the path."""
    path = mpiexec.folder / "app.py"
    lines = main.strip("\n").splitlines()
    margin = len(lines[0]) - len(lines[0].lstrip())
    path.write_text(COMMON + "\n".join(line[margin:] for line in lines) + RUN)
    return str(path)


def start(mpiexec: Mpiexec, main: str, *arguments: str, ranks: int = 4) -> App:
    """Start it by `python -m mpitasks --survive`."""
    command = [sys.executable, "-m", "mpitasks", "--survive", "-n", str(ranks), script(mpiexec, main), *arguments]
    return mpiexec.start_command(command, env={"PYTHONPATH": os.pathsep.join(sys.path)})


def survive(mpiexec: Mpiexec, main: str, *arguments: str, ranks: int = 4, timeout: float = 20.0) -> Ended:
    """Run it to its end."""
    with start(mpiexec, main, *arguments, ranks=ranks) as app:
        return app.wait(timeout=timeout)


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSEGV", "SIGABRT", "exit"])
def test_a_slave_that_dies_in_a_call(mpiexec: Mpiexec, how: str) -> None:
    """The call runs elsewhere, all others are right, and one line says what happened."""
    ended = survive(mpiexec, MAINS["in a call"], how)
    assert (ended.returncode, ended.stdout) == (0, "49 2\n"), ended.stderr
    words = "exit code 3" if how == "exit" else f"signal {getattr(signal, how):d}, {how}"
    assert ended.stderr.count(f"({words}); it had call 1 of 'app.work', which runs again; 2 slaves left") == 1


def test_a_stopped_slave_counts_as_dead_in_the_end(mpiexec: Mpiexec) -> None:
    """Its guard waits a while, and then kills it: nobody can answer late."""
    ended = survive(mpiexec, MAINS["in a call"], "SIGSTOP")
    assert (ended.returncode, ended.stdout) == (0, "49 2\n"), ended.stderr
    assert "(killed by its guard: it was stopped for 5 s); it had call 1 of 'app.work', which runs again" in ended.stderr


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSEGV", "exit"])
def test_a_slave_that_dies_in_the_midst_of_a_map(mpiexec: Mpiexec, how: str) -> None:
    """What it was sent as one runs again, one by one, and nothing is lost or told twice."""
    ended = survive(mpiexec, MAINS["in the midst of a map"], how)
    assert (ended.returncode, ended.stdout) == (0, "map True True\n"), ended.stderr


@pytest.mark.parametrize("how", ["SIGKILL", "exit"])
def test_two_slaves_that_die_in_calls(mpiexec: Mpiexec, how: str) -> None:
    """The third does all the rest."""
    ended = survive(mpiexec, MAINS["two in calls"], how)
    assert (ended.returncode, ended.stdout) == (0, "two\n"), ended.stderr


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSEGV"])
def test_a_slave_that_dies_while_its_call_waits(mpiexec: Mpiexec, how: str) -> None:
    """The call runs again elsewhere, and submits its calls again."""
    ended = survive(mpiexec, MAINS["while its call waits"], how)
    assert (ended.returncode, ended.stdout) == (0, "2470 2\n"), ended.stderr


def test_a_slave_that_dies_with_what_the_last_one_waits_for(mpiexec: Mpiexec) -> None:
    """That runs it on top of the call that waits, one after the other; it is never idle."""
    ended = survive(mpiexec, MAINS["what the last slave waits for"], "SIGKILL", ranks=3)
    assert (ended.returncode, ended.stdout) == (0, "190\n"), ended.stderr


def test_two_slaves_that_die_idle(mpiexec: Mpiexec) -> None:
    """The third does all."""
    ended = survive(mpiexec, MAINS["idle"], "SIGKILL")
    assert (ended.returncode, ended.stdout) == (0, "idle\n"), ended.stderr
    assert ended.stderr.count("it had nothing to do") == 2


@pytest.mark.parametrize("how", ["SIGKILL", "exit"])
def test_with_all_slaves_dead_main_goes_on(mpiexec: Mpiexec, how: str) -> None:
    """Every call fails at once, those that come later too."""
    ended = survive(mpiexec, MAINS["all"], how)
    assert (ended.returncode, ended.stdout) == (0, "all True\n"), ended.stderr


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSEGV", "exit"])
def test_a_call_that_kills_every_rank_it_touches(mpiexec: Mpiexec, how: str) -> None:
    """It fails before it takes the last one; the error says where and how."""
    ended = survive(mpiexec, MAINS["poison"], how)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("call 1 of task 'app.poison': the slave that had it died, twice: rank ")
    assert ended.stdout.count("exit code 3" if how == "exit" else how) == 2
    assert ended.stdout.endswith("It does not run again, since it could take the only slave that is left\n")


def test_with_one_strike_no_call_runs_twice(mpiexec: Mpiexec) -> None:
    """For calls whose effects must not be there twice."""
    ended = survive(mpiexec, MAINS["poison, strikes=1"], "SIGKILL")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("With strikes=1, no call of a dead slave runs again\n")
    assert "died, once" in ended.stdout


SENDING = """
    SIZE = 60_000_000

    @task
    def big(after):
        if current().attempt == 1:
            threading.Timer(after, os.kill, [os.getpid(), 9]).start()
        return bytes(SIZE)

    @task
    def size(data):
        return len(data)

    def main(what, after):
        after = float(after)
        if what == "result":
            future, expected = big.delay(after), bytes(SIZE)
        else:
            ranks = pids()
            future, expected = size.delay(bytes(SIZE)), SIZE
            threading.Timer(after, os.kill, [ranks[future.rank], 9]).start()
        check(squares())
        print(future.result() == expected)
    """


@pytest.mark.parametrize("after", ["0.001", "0.01", "0.03"])
@pytest.mark.parametrize("what", ["result", "argument"])
def test_a_slave_that_dies_in_the_middle_of_60_mb(mpiexec: Mpiexec, what: str, after: str) -> None:
    """What has arrived by half is forgotten, what is sent to the dead too; others go on."""
    ended = survive(mpiexec, SENDING, what, after)
    assert (ended.returncode, ended.stdout) == (0, "True\n"), ended.stderr
    assert "a slave has died" in ended.stderr


RESOURCES = """
    @resource("license", max_holders=1)
    def license():
        fd = os.open("held", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"%d\\n" % current().rank)
        os.close(fd)
        yield current().rank

    @task(max_slaves=1, resource=license)
    def limited(number, how=""):
        if how and current().attempt == 1:
            end_by(how)
        time.sleep(0.002)
        return license.get()

    def main(how):
        before = limited.delay(0).result()
        dying = limited.delay(1, how)
        futures = [limited.delay(number) for number in range(20)]
        check(squares())
        holders = {future.result() for future in [dying, *futures]}
        held = list(map(int, open("held").read().split()))
        print(len(holders), holders != {before}, held == [before, *holders])
    """


@pytest.mark.parametrize("how", ["SIGKILL", "exit"])
def test_resources_and_limits_of_the_dead_are_free(mpiexec: Mpiexec, how: str) -> None:
    """What it held another one acquires, once, and its place under the limit is another one's."""
    ended = survive(mpiexec, RESOURCES, how)
    assert (ended.returncode, ended.stdout) == (0, "1 True True\n"), ended.stderr


ENDS = """
    def main(how):
        work.delay(1, "SIGKILL").result()
        if how == "raises":
            raise ValueError("main's own")
        if how == "exits":
            sys.exit(7)
        if how == "waits":
            print("waiting", flush=True)
            time.sleep(60)
        if how == "stuck":
            mpitasks.submit(time.sleep, 60)
            time.sleep(0.3)
            raise ValueError("main's own")
    """
RUN_AND_EXIT = """
if __name__ == "__main__":
    mpitasks.run(main, sys.argv[1], grace=0.5)
    print("after", flush=True)
    if sys.argv[1] == "exits later":
        sys.exit(9)
    if sys.argv[1] == "raises later":
        raise ValueError("later")
"""


def ending(mpiexec: Mpiexec, how: str) -> App:
    """Start a program in which a slave has died before it ends."""
    path = script(mpiexec, ENDS)
    text = (mpiexec.folder / "app.py").read_text().replace(RUN, RUN_AND_EXIT)
    (mpiexec.folder / "app.py").write_text(text)
    command = [sys.executable, "-m", "mpitasks", "--survive", "-n", "4", path, how]
    return mpiexec.start_command(command, env={"PYTHONPATH": os.pathsep.join(sys.path)})


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("returns", 0, "after\n"),
        ("raises", 1, ""),
        ("exits", 7, ""),
        ("exits later", 9, "after\n"),
        ("raises later", 1, "after\n"),
        ("stuck", 1, ""),
    ],
)
def test_the_code_is_that_of_main(mpiexec: Mpiexec, how: str, code: int, said: str) -> None:
    """After a death as without: what follows `run` runs, output is there, and all end by themselves."""
    with ending(mpiexec, how) as app:
        ended = app.wait(timeout=20.0)
    assert (ended.returncode, ended.stdout) == (code, said), ended.stderr


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_signals_end_the_run_after_a_death(mpiexec: Mpiexec, name: str, code: int) -> None:
    """With the codes that they have without."""
    with ending(mpiexec, "waits") as app:
        app.wait_for("waiting")
        app.process.send_signal(getattr(signal, name))
        ended = app.wait(timeout=20.0)
    assert ended.returncode == code, ended.stderr


WAITS = """
    def main():
        futures = [work.delay(number) for number in range(40)]
        print("waiting", flush=True)
        sleeping = mpitasks.submit(time.sleep, 60)
        time.sleep(60)
    """


@pytest.mark.parametrize("whom", ["master", "mpiexec"])
def test_nobody_outlives_the_master_or_mpiexec(mpiexec: Mpiexec, whom: str) -> None:
    """Slaves go too, in a call or not, and the code is not 0."""
    with start(mpiexec, WAITS) as app:
        app.wait_for("waiting")
        os.kill(app.ranks()[0] if whom == "master" else child_of(app.process.pid), signal.SIGKILL)
        ended = app.wait(timeout=20.0)
    assert ended.returncode != 0, ended.stderr


def child_of(pid: int) -> int:
    """The only child of a process."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def test_a_guard_takes_its_rank_along(mpiexec: Mpiexec) -> None:
    """Else nobody would know of the rank's end."""
    main = """
    def main():
        ranks = pids()
        with open(f"/proc/{ranks[2]}/stat") as file:
            guard = int(file.read().rpartition(")")[2].split()[1])
        os.kill(guard, 9)
        time.sleep(0.3)
        try:
            with open(f"/proc/{ranks[2]}/stat") as file:
                print(file.read().rpartition(")")[2].split()[0] == "Z")
        except FileNotFoundError:
            print(True)
        check(squares())
    """
    ended = survive(mpiexec, main)
    if mpiexec.mpi == "mpich":  # its mpiexec ends the job when a direct child of it is killed
        assert ended.returncode != 0
    else:
        assert (ended.returncode, ended.stdout) == (0, "True\n"), ended.stderr
        assert "(its guard is gone, and it with that)" in ended.stderr


@pytest.mark.parametrize(("how", "code"), [("SIGKILL", None), ("exit", 3)])
def test_a_rank_that_dies_before_the_run_ends_the_job(mpiexec: Mpiexec, how: str, code: int | None) -> None:
    """The others would wait for it in MPI's own start."""
    main = f"""
    if os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK")) == "2":
        end_by("{how}")

    def main():
        print("never")
    """
    ended = survive(mpiexec, main)
    assert ended.returncode != 0 if code is None else ended.returncode == code, ended.stderr
    assert "never" not in ended.stdout


def test_without_a_death_nothing_is_different(mpiexec: Mpiexec) -> None:
    """The same output, the same code, and shared memory that no death can leave behind."""
    main = """
    @task
    def segments():
        with open("/proc/self/maps") as maps:
            return {line.split()[5] for line in maps if "mpich_shm" in line and "deleted" not in line}

    def main():
        check(squares())
        print(segments.delay().result())
        sys.exit(5)
    """
    ended = survive(mpiexec, main)
    assert (ended.returncode, ended.stdout) == (5, "set()\n"), ended.stderr
    assert "the run goes on when slaves die; without rank 0 or a whole host it ends" in ended.stderr


def test_open_mpi_by_hand(mpiexec: Mpiexec) -> None:
    """`mpiexec --with-ft ulfm python app.py` is enough for deaths by a signal."""
    if mpiexec.mpi != "openmpi":
        pytest.skip("MPICH can't do without a guard")
    path = script(mpiexec, MAINS["in a call"])
    first, *rest = mpiexec.command(4)
    command = [first, "--with-ft", "ulfm", *rest, sys.executable, path, "SIGKILL"]
    with mpiexec.start_command(command, env={**mpiexec.root_env(), "PYTHONPATH": os.pathsep.join(sys.path)}) as app:
        ended = app.wait(timeout=20.0)
    assert (ended.returncode, ended.stdout) == (0, "49 2\n"), ended.stderr
    assert "(MPI calls it failed); it had call 1 of 'app.work', which runs again; 2 slaves left" in ended.stderr


def test_open_mpi_by_hand_without_the_master(mpiexec: Mpiexec) -> None:
    """Slaves leave by themselves, in a call or not, and mpiexec does not say 0."""
    if mpiexec.mpi != "openmpi":
        pytest.skip("MPICH can't do without a guard")
    first, *rest = mpiexec.command(4)
    command = [first, "--with-ft", "ulfm", *rest, sys.executable, script(mpiexec, WAITS)]
    with mpiexec.start_command(command, env={**mpiexec.root_env(), "PYTHONPATH": os.pathsep.join(sys.path)}) as app:
        app.wait_for("waiting")
        os.kill(app.ranks()[0], signal.SIGKILL)
        ended = app.wait(timeout=20.0)
    assert ended.returncode != 0, ended.stderr


SOAK = """
    @task
    def value(number, size):
        time.sleep(0.002)
        return number.to_bytes(4, "big") * size

    def main(seed):
        dice = random.Random(seed)
        ranks = pids(5)
        victims = dice.sample(sorted(ranks), 3)
        sizes = [dice.choice([1, 1, 1, 100, 50_000, 500_000]) for _ in range(400)]
        for victim in victims:
            threading.Timer(dice.uniform(0.0, 0.6), os.kill, [ranks[victim], 9]).start()
        futures = [value.delay(number, size) for number, size in enumerate(sizes)]
        told = []
        for number, future in enumerate(futures):
            future.add_done_callback(lambda _, number=number: told.append(number))
        for number, (size, future) in enumerate(zip(sizes, futures)):
            assert future.result() == number.to_bytes(4, "big") * size, number
        end = time.monotonic() + 5
        while len(told) < 400 and time.monotonic() < end:  # callbacks come after the results, in another thread
            time.sleep(0.01)
        assert sorted(told) == list(range(400)), "twice, or never"
        print("right")
    """


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=[pytest.mark.soak] if seed > 1 else []) for seed in range(20)])
def test_three_of_five_slaves_die_at_random(mpiexec: Mpiexec, seed: int) -> None:
    """400 calls: every result right, and none twice."""
    ended = survive(mpiexec, SOAK, str(seed), ranks=6, timeout=40.0)
    assert (ended.returncode, ended.stdout) == (0, "right\n"), ended.stderr


LATE = """
    def main():
        ranks = pids()
        for rank, one in ranks.items():
            if rank > 1:
                threading.Timer(float(os.environ["AFTER"]), os.kill, [one, 9]).start()
        print("main", flush=True)
    """


@pytest.mark.parametrize("after", ["0", "0.001", "0.005"])
def test_slaves_that_die_while_the_run_ends(mpiexec: Mpiexec, after: str) -> None:
    """All calls have ended: the code is main's, unless rank 0 is in MPI_Finalize by then, which breaks or waits for ever."""
    command = [sys.executable, "-m", "mpitasks", "--survive", "-n", "4", script(mpiexec, LATE)]
    with mpiexec.start_command(command, env={"PYTHONPATH": os.pathsep.join(sys.path), "AFTER": after}) as app:
        ended = app.wait(timeout=20.0)
    assert ended.stdout == "main\n"
    assert ended.returncode in (0, 137, 255), ended.stderr


def test_a_word_that_comes_too_late_does_no_harm() -> None:
    """Rank 0 has a rank killed that has ended by itself meanwhile, which its guard knows: it must be able to say so."""
    ours, theirs = socket.socketpair()
    watching = guard.Guard(os.posix_spawn("/bin/true", ["true"], {}), ours, os.getppid(), 0)
    with ours, theirs:
        while watching._status() is None:
            time.sleep(0.001)
        watching._take({"kill": "MPI has failed with it"})
    assert watching._why == ""


def test_nothing_is_left(mpiexec: Mpiexec) -> None:
    """No process, whatever has died; `App.wait` looks for those after each of these tests."""
    with start(mpiexec, MAINS["all"], "SIGKILL") as app:
        app.wait(timeout=20.0)
        assert processes.marked(app.folder) == []
