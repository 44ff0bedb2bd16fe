"""How a run ends: what comes back from main, exit codes, and no rank left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.mpi.launcher import Mpiexec

SLEEPER = """
import sys, time
import mpitasks

@mpitasks.task
def sleep(seconds):
    time.sleep(seconds)
    print("slept", seconds, flush=True)
    return seconds
"""


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_run_gives_back_what_main_returns(mpiexec: Mpiexec, ranks: int) -> None:
    """On rank 0, `run(main, *args)` is `main(*args)`; on the others it does not return."""
    source = """
        import mpitasks

        @mpitasks.task
        def double(x):
            return 2 * x

        def main(a, b):
            return [double.delay(a).result(), double.delay(b).result()]

        if __name__ == "__main__":
            print("main gave", mpitasks.run(main, 1, "x"))
    """
    ended = mpiexec(ranks, source)
    assert (ended.returncode, ended.stdout) == (0, "main gave [2, 'xx']\n"), ended.stderr


@pytest.mark.parametrize(("fails", "seen"), [("no", "returned"), ("yes", "raised ValueError")])
def test_nothing_after_run_executes_on_slaves(mpiexec: Mpiexec, fails: str, seen: str) -> None:
    """Neither the lines that follow, nor `except`, nor `finally` around `run`, whether or not main fails."""
    source = """
        import sys
        import mpitasks

        @mpitasks.task
        def nothing():
            pass

        def main():
            [nothing.delay().result() for _ in range(9)]
            if sys.argv[1] == "yes":
                raise ValueError

        try:
            mpitasks.run(main)
            print("returned")
        except BaseException as error:
            print("raised", type(error).__name__)
        finally:
            print("finally")
        print("after")
    """
    ended = mpiexec(4, source, fails)
    assert (ended.returncode, ended.stdout) == (0, f"{seen}\nfinally\nafter\n"), ended.stderr


def test_a_slave_ends_as_python_ends(mpiexec: Mpiexec) -> None:
    """Its exit handlers run, and what it has printed and not flushed is not lost."""
    source = """
        import atexit, sys
        import mpitasks

        @mpitasks.task
        def prepare():
            atexit.register(print, "exit handler", end="")
            sys.stdout.write("a text without an end, ")

        if __name__ == "__main__":
            mpitasks.run(lambda: prepare.delay().result())
    """
    ended = mpiexec(2, source)
    assert (ended.returncode, ended.stdout) == (0, "a text without an end, exit handler"), ended.stderr


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_mains_exception_is_shown_once(mpiexec: Mpiexec, ranks: int) -> None:
    """One traceback on stderr, exit code 1, no rank left."""
    source = """
        import mpitasks

        def main():
            raise LookupError("where is it?")

        if __name__ == "__main__":
            mpitasks.run(main)
    """
    ended = mpiexec(ranks, source)
    counts = [ended.stderr.count(text) for text in ("Traceback", "LookupError: where is it?", "in main")]
    assert (ended.returncode, ended.stdout, counts) == (1, "", [1, 1, 1]), ended.stderr


@pytest.mark.parametrize(("given", "code"), [("0", 0), ("7", 7), ("None", 0), ("'a reason'", 1)])
def test_the_code_of_sys_exit_is_kept(mpiexec: Mpiexec, given: str, code: int) -> None:
    """`sys.exit(n)` in main ends the job with n, in order and without a traceback."""
    source = f"""
        {SLEEPER.strip().replace(chr(10), chr(10) + " " * 8)}

        def main():
            sleep.delay(0).result()
            sys.exit({given})

        if __name__ == "__main__":
            mpitasks.run(main)
    """
    ended = mpiexec(3, source)
    assert (ended.returncode, ended.stdout) == (code, "slept 0\n"), ended.stderr
    assert ("a reason" in ended.stderr, "Traceback" in ended.stderr) == (code == 1, False)


def test_unfinished_calls_end_before_run_returns(mpiexec: Mpiexec) -> None:
    """When main returns, calls that nobody waits for are waited for, and so are those that depend on them."""
    source = f"""{SLEEPER}
def main():
    first = sleep.delay(0.2)
    sleep.options(after=[first]).delay(0.1)

if __name__ == "__main__":
    mpitasks.run(main)
    print("end")
"""
    ended = mpiexec(3, source)
    assert (ended.returncode, ended.stdout) == (0, "slept 0.2\nslept 0.1\nend\n"), ended.stderr


@pytest.mark.parametrize("end", ["raise ValueError('no more')", "sys.exit(1)"])
def test_what_is_queued_when_main_fails_is_cancelled(mpiexec: Mpiexec, end: str) -> None:
    """With 1,000 calls queued the job ends as soon as the running ones do, and says how many it dropped."""
    source = f"""{SLEEPER}
def main():
    global futures
    futures = sleep.map([0.3] * 1000)
    futures[0].result()
    {end}

if __name__ == "__main__":
    try:
        mpitasks.run(main)
    finally:
        print(sum(future.cancelled() for future in futures) > 900)
"""
    ended = mpiexec(3, source)
    assert (ended.returncode, ended.stdout.splitlines()[-1], ended.seconds < 6) == (1, "True", True), ended
    assert "calls that had not begun are cancelled" in ended.stderr


def test_a_running_call_may_end_when_main_fails(mpiexec: Mpiexec) -> None:
    """It has the grace; its slave then leaves in order."""
    source = f"""{SLEEPER}
def main():
    sleep.delay(1.0)
    time.sleep(0.2)
    raise ValueError("no more")

if __name__ == "__main__":
    mpitasks.run(main, grace=20)
"""
    ended = mpiexec(3, source)
    assert (ended.returncode, ended.stdout, ended.seconds < 10) == (1, "slept 1.0\n", True), ended
    assert ("aborted" in ended.stderr, ended.stderr.count("no more")) == (False, 2)  # the line of source, and the error


def test_a_call_that_outlasts_the_grace_is_aborted(mpiexec: Mpiexec) -> None:
    """The job ends with main's traceback, shown once, the slave that was stuck, and exit code 1."""
    source = f"""{SLEEPER}
def main():
    sleep.delay(1000)
    time.sleep(0.2)
    raise ValueError("no more")

if __name__ == "__main__":
    mpitasks.run(main, grace=0.5)
"""
    ended = mpiexec(3, source)
    assert (ended.returncode, ended.stdout, 0.7 < ended.seconds < 8) == (1, "", True), ended
    assert [ended.stderr.count(text) for text in ("ValueError: no more", "still in a call of 'app.sleep'")] == [1, 1]


MISUSES = {
    "nested": ("mpitasks.run(main)", "mpitasks.run(int)", "StartError", "run() was called while a run is running"),
    "second": ("mpitasks.run(int); mpitasks.run(int)", "", "StartError", "run() was called a second time under MPI"),
    "delay before": ("one.delay()", "", "NotRunning", "app.one.delay() was called outside mpitasks.run()"),
    "delay after": ("mpitasks.run(int); one.delay()", "", "NotRunning", "app.one.delay() was called outside mpitasks.run()"),
    "delay in a child": ("mpitasks.run(main, isolate=True)", "one.delay(one).result()", "NotRunning", "in an isolated call"),
    "run in a task": ("mpitasks.run(main)", "one.delay(mpitasks.run).result()", "StartError", "was called inside a task"),
}


@pytest.mark.parametrize("case", MISUSES)
def test_a_call_in_the_wrong_place_is_refused(mpiexec: Mpiexec, case: str) -> None:
    """`run` and `delay` where they can't work raise an error that says so, on whichever rank, and nothing hangs."""
    script, in_main, error, message = MISUSES[case]
    source = f"""
import mpitasks

@mpitasks.task
def one(fn=None):
    return 1 if fn is None else fn.delay() if fn is one else fn(int)

def main():
    {in_main or "pass"}

if __name__ == "__main__":
    {script}
"""
    ended = mpiexec(2, source)
    assert (ended.returncode, f"{error}: " in ended.stderr, message in ended.stderr) == (1, True, True), ended.stderr


def test_no_end_leaves_shared_memory(mpiexec: Mpiexec) -> None:
    """Not an abort, nor a kill: MPICH's has no name any more, and Open MPI's mpiexec removes its own."""
    source = """
        import mpitasks

        @mpitasks.task
        def segments():
            with open("/proc/self/maps") as maps:
                return {line.split()[5] for line in maps if "mpich_shm" in line and "deleted" not in line}

        def main():
            print(segments.delay().result(), segments())

        if __name__ == "__main__":
            mpitasks.run(main)
    """
    ended = mpiexec(3, source)
    assert (ended.returncode, ended.stdout) == (0, "set() set()\n"), ended.stderr
