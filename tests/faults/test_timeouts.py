"""Hangs in Python, in C, and in C that keeps the interpreter: each call ends in time, with its stack, and so does the run."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.mpi.app import Ended
    from tests.mpi.launcher import Mpiexec

APP = """
import asyncio, ctypes, hashlib, os, subprocess, sys, threading, time
import mpitasks
from mpitasks import task

def loop():
    while True:
        pass

def loop_that_catches_exceptions():
    while True:
        try:
            time.sleep(0.001)
        except Exception:
            pass

def loop_that_catches_all():
    while True:
        try:
            time.sleep(0.001)
        except:
            pass

def sleep():
    time.sleep(1000)

def lock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()

def program():
    subprocess.run(["sleep", "1000"])

async def waits():
    await asyncio.sleep(1000)

async def computes():
    loop()

def sleep_in_c():
    ctypes.CDLL(None).sleep(1000)

def sleep_in_c_with_the_interpreter():
    ctypes.PyDLL(None).sleep(1000)

def computes_in_c():
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", 2**31 - 1)

def computes_in_c_with_the_interpreter():
    sum(range(10**12))

hang = task("hang", timeout=0.3)(globals()[sys.argv[1]])

@task
def work(number):
    time.sleep(0.01)
    return number

def main():
    began = time.perf_counter()
    late = hang.delay()
    dependent = work.delay(late)
    print("others", sum(work.map(range(50)).results()), time.perf_counter() - began < 5, flush=True)
    try:
        late.result()
    except mpitasks.TaskTimeout as error:
        print(type(error).__name__, f"in {hang.fn.__name__}" in error.stack, f"in {hang.fn.__name__}" in str(error.__cause__))
        print("call 1, attempt 1, slave rank" in error.__notes__[0], time.perf_counter() - began < 8)
    print(type(dependent.exception()).__name__)
    print("more", sum(work.map(range(50)).results()), flush=True)

if __name__ == "__main__":
    mpitasks.run(main, journal="run.jrnl" if "journal" in sys.argv else None)
    print("after run", flush=True)
    print(time.time(), file=sys.stderr, flush=True)
    sys.exit(int(sys.argv[2]))
"""
SAID = ["others 1225 True", "TaskTimeout True True", "True True", "DependencyFailed", "more 1225", "after run"]

ENDED = [
    *("loop", "loop_that_catches_exceptions", "sleep", "lock", "program", "waits", "computes"),
    *("sleep_in_c", "sleep_in_c_with_the_interpreter"),
]
"""What the alarm ends: the slave goes on."""
LEFT = ["loop_that_catches_all", "computes_in_c", "computes_in_c_with_the_interpreter"]
"""What nothing ends but the end of its process."""


SOON = 5.0
"""Seconds from the last line of the script until mpiexec has ended: on an idle machine, Open MPI's needs 2."""


def seconds_of_the_end(ended: Ended) -> float:
    """How long it took after the script's last line."""
    said = next(line for line in ended.stderr.splitlines() if re.fullmatch(r"\d+\.\d+", line))
    return time.time() - float(said)


@pytest.mark.parametrize("hang", ENDED)
def test_a_hang_that_can_be_interrupted(mpiexec: Mpiexec, hang: str) -> None:
    """50 other calls are done, and 50 more after it; the error has the stack; nothing is left, and the code is main's."""
    ended = mpiexec(4, APP, hang, "0")
    assert (ended.returncode, ended.stdout.splitlines()) == (0, SAID), ended.stderr
    assert "left in a call" not in ended.stderr
    assert seconds_of_the_end(ended) < SOON


@pytest.mark.parametrize("code", [0, 7])
@pytest.mark.parametrize("hang", LEFT)
def test_a_hang_that_cannot_be_interrupted(mpiexec: Mpiexec, hang: str, code: int) -> None:
    """The same, under a bare mpiexec too, though the rank is left in the call: stderr names it."""
    ended = mpiexec(4, APP, hang, str(code))
    assert (ended.returncode, ended.stdout.splitlines()) == (code, SAID), ended.stderr
    assert "mpitasks: rank 3 was left in a call of 'hang' that had outlasted its timeout" in ended.stderr
    assert seconds_of_the_end(ended) < SOON


@pytest.mark.parametrize("hang", LEFT)
def test_the_same_where_mpitasks_started_it(mpiexec: Mpiexec, hang: str) -> None:
    """`python -m mpitasks` gives main's own exit code, and the journal is complete."""
    command = [sys.executable, "-m", "mpitasks", "-n", "4", mpiexec._script(APP), hang, "5", "journal"]
    ended = mpiexec.start_command(command).wait(timeout=30)
    assert (ended.returncode, ended.stdout.splitlines()) == (5, SAID), ended.stderr
    listed = mpiexec.start_command([sys.executable, "-m", "mpitasks", "journal", "run.jrnl"]).wait(timeout=30)
    assert "complete" in listed.stdout.lower(), listed.stdout


RAISES = """
import sys, time
import mpitasks
from mpitasks import task

@task(timeout=0.2)
def hang():
    while True:
        try:
            sum(range(10**12)) if "with the interpreter" in sys.argv else time.sleep(0.001)
        except:
            pass

def main():
    print(type(hang.delay().exception()).__name__, flush=True)
    if "exit" in sys.argv:
        sys.exit(9)
    raise OSError("main's own")

if __name__ == "__main__":
    mpitasks.run(main)
"""


@pytest.mark.parametrize("how", ["exit", "raise"])
@pytest.mark.parametrize("hang", ["", "with the interpreter"])
def test_main_may_fail_all_the_same(mpiexec: Mpiexec, how: str, hang: str) -> None:
    """Its traceback once, its exit code; the rank that is left changes nothing about that."""
    ended = mpiexec(4, RAISES, how, hang)
    assert (ended.returncode, ended.stdout) == (9 if how == "exit" else 1, "TaskTimeout\n"), ended.stderr
    assert ended.stderr.count("OSError: main's own") == (how == "raise")
    assert "rank 3 was left in a call of 'app.hang'" in ended.stderr


BACK = """
import time
import mpitasks
from mpitasks import task

@task(timeout=0.2)
def hang(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            time.sleep(0.01)
        except:
            pass
    return "too late"

@task
def work(number):
    time.sleep(0.01)
    return number

def main():
    late = hang.delay(2)
    print(type(late.exception()).__name__, late.rank)
    time.sleep(1.5)
    many = work.map(range(60))
    print(sum(many.results()), sorted({future.rank for future in many}), type(late.exception()).__name__)

if __name__ == "__main__":
    mpitasks.run(main)
"""


def test_a_slave_that_comes_back_works_again(mpiexec: Mpiexec) -> None:
    """What the call returned is dropped; stderr tells both."""
    ended = mpiexec(4, BACK)
    assert (ended.returncode, ended.stdout) == (0, "TaskTimeout 3\n1770 [1, 2, 3] TaskTimeout\n"), ended.stderr
    assert "slave 3 is left in a call of 'app.hang' that has outlasted its timeout" in ended.stderr
    assert "slave 3 has ended the call of 'app.hang' that had outlasted its timeout, and works again" in ended.stderr
    assert "was left" not in ended.stderr


NESTED = """
import asyncio, hashlib, sys, time
import mpitasks
from mpitasks import task

@task
def loop():
    while True:
        pass

@task
async def waits():
    await asyncio.sleep(1000)

@task
def catches_all():
    while True:
        try:
            time.sleep(0.001)
        except:
            pass

@task
def in_c():
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", 2**31 - 1)

@task
def in_c_with_the_interpreter():
    sum(range(10**12))

hang = globals()[sys.argv[1]]

@task
def waits_for_one_with_a_limit():
    return hang.options(timeout=0.3).delay().result()

@task(timeout=0.3)
def waits_with_a_limit():
    return between.delay().result()

@task
def between():
    return hang.delay().result()

@task(timeout=0.3)
async def awaits_with_a_limit():
    return await hang.delay()

@task(timeout=0.5)
def waits_for_an_isolated_one():
    return hang.options(isolate=True).delay().result()

@task(memo=True)
def slow():
    time.sleep(1.5)
    return "slow"

@task(timeout=0.5)
def waits_for_an_equal_one():
    return slow.delay().result()

def twice():
    waits = waits_for_an_equal_one.delay()
    time.sleep(0.2)
    equal = slow.delay()
    print(type(waits.exception()).__name__, equal.result())

def main():
    began = time.perf_counter()
    error = globals()[sys.argv[2]].delay().exception()
    print(type(error).__name__, f"in {hang.fn.__name__}" in error.stack, time.perf_counter() - began < 8)
    if sys.argv[3] == "goes on":
        print(mpitasks.submit(abs, -3).result())

if __name__ == "__main__":
    mpitasks.run(main if len(sys.argv) > 2 else twice)
    print("after run", flush=True)
    print(time.time(), file=sys.stderr, flush=True)
"""
OUTER = ["waits_for_one_with_a_limit", "waits_with_a_limit", "awaits_with_a_limit"]


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("hang", ["loop", "waits"])
def test_a_hang_on_top_of_a_call_that_waits_is_ended(mpiexec: Mpiexec, hang: str, outer: str) -> None:
    """By its own limit, or by that of a call below; the only slave goes on."""
    ended = mpiexec(2, NESTED, hang, outer, "goes on")
    assert (ended.returncode, ended.stdout) == (0, "TaskTimeout True True\n3\nafter run\n"), ended.stderr
    assert "left in a call" not in ended.stderr


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("hang", ["catches_all", "in_c", "in_c_with_the_interpreter"])
def test_a_hang_on_top_that_cannot_be_interrupted(mpiexec: Mpiexec, hang: str, outer: str) -> None:
    """What waits below it ends too, with its stack; and so does the run, without the rank."""
    ended = mpiexec(2, NESTED, hang, outer, "is left")
    assert (ended.returncode, ended.stdout) == (0, "TaskTimeout True True\nafter run\n"), ended.stderr
    assert "mpitasks: rank 1 was left in a call of " in ended.stderr
    assert seconds_of_the_end(ended) < SOON


@pytest.mark.parametrize("hang", ["loop", "in_c_with_the_interpreter"])
def test_a_hang_in_a_child_has_the_time_of_what_waits_for_it(mpiexec: Mpiexec, hang: str) -> None:
    """It is killed, whatever it does, and the slave goes on."""
    ended = mpiexec(2, NESTED, hang, "waits_for_an_isolated_one", "goes on")
    assert (ended.returncode, ended.stdout) == (0, "TaskTimeout False True\n3\nafter run\n"), ended.stderr
    assert "left in a call" not in ended.stderr


def test_the_time_of_one_waiter_is_not_that_of_another(mpiexec: Mpiexec) -> None:
    """A call is ended since the call that waits for it must end; who asked for an equal one gets its value."""
    ended = mpiexec(2, NESTED, "loop")
    assert (ended.returncode, ended.stdout) == (0, "TaskTimeout slow\nafter run\n"), ended.stderr
