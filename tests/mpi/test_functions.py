"""Functions of every kind: made late, bound, async; what travels, and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.mpi.launcher import Mpiexec

START = """
if __name__ == "__main__":
    mpitasks.run(main)
"""


def test_a_closure_travels_once_to_each_slave(mpiexec: Mpiexec) -> None:
    """What it refers to is unpickled once a slave, however many calls there are; equal closures count as one."""
    source = f"""
import os
import mpitasks

class Counted:
    def __reduce__(self):
        return unpickled, ()

def unpickled():
    print("unpickled by rank", mpitasks.current().rank, flush=True)
    return Counted()

def main():
    def closure(n):
        return type(counted).__name__, n, os.getpid()

    counted = Counted()
    values = [future.result() for future in [mpitasks.submit(closure, n) for n in range(200)]]
    values += [mpitasks.submit(closure, n).result() for n in range(200, 300)]
    assert [value[:2] for value in values] == [("Counted", n) for n in range(300)]
    assert os.getpid() not in [value[2] for value in values]
{START}"""
    ended = mpiexec(3, source)
    lines = ended.stdout.splitlines()
    assert (ended.returncode, lines) == (0, sorted(set(lines), key=lines.index)), ended.stderr
    assert set(lines) <= {"unpickled by rank 1", "unpickled by rank 2"}


def test_a_closure_is_what_it_was_at_submit(mpiexec: Mpiexec) -> None:
    """A variable that changes between two calls changes the second call, not the first."""
    source = f"""
import time
import mpitasks

def main():
    futures = []
    for n in range(20):
        futures.append(mpitasks.submit(lambda: n))
    n = "after"
    print([future.result() for future in futures] == list(range(20)), mpitasks.submit(lambda: n).result())
{START}"""
    ended = mpiexec(2, source)
    assert (ended.returncode, ended.stdout) == (0, "True after\n"), ended.stderr


@pytest.mark.parametrize("ranks", [1, 3])
def test_any_callable_can_be_submitted(mpiexec: Mpiexec, ranks: int) -> None:
    """Lambdas, nested functions and classes, partials, methods, builtins, instances, and what a library defines."""
    source = f"""
import functools, math, os, statistics
import mpitasks

class Adder:
    def __init__(self, more):
        self.more = more
    def __call__(self, x):
        return x + self.more
    def twice(self, x):
        return self(self(x))
    @staticmethod
    def static(x):
        return -x
    @classmethod
    def made(cls, x):
        return cls(x).more

@mpitasks.task
def plain(x, *, more=0):
    return x + more

def helper(x):
    return x * 100

def main():
    def outer(x):
        def inner(y):
            return helper(y) + x
        return inner(x)

    class Local(Adder):
        def twice(self, x):
            return super().twice(x) + 0.5

    callables = [lambda x: x + 0.25, outer, helper, abs, math.sqrt, statistics.fmean and Adder(1), Adder(1).twice,
                 Adder.static, Adder.made, functools.partial(plain.fn, more=7), Local(1).twice, plain, int]
    print([mpitasks.submit(fn, 4).result() for fn in callables])
    print(mpitasks.submit(plain, 4, more=1).result(), mpitasks.submit(dict, a=1).result())
    print(mpitasks.submit(lambda fn, x: fn(x), plain, 2).result())
{START}"""
    ended = mpiexec(ranks, source)
    lines = ["[4.25, 404, 400, 4, 2.0, 5, 6, -4, 4, 11, 6.5, 4, 4]", "5 {'a': 1}", "2"]
    assert (ended.returncode, ended.stdout.splitlines()) == (0, lines), ended.stderr


def test_a_task_may_be_made_inside_main(mpiexec: Mpiexec) -> None:
    """With a name and all its options; slaves that never saw it run it, also bound or async, and notes name it."""
    source = f"""
import asyncio
import mpitasks
from mpitasks import task

def main():
    factor = 3

    @task("late.scale")
    def scale(x):
        return x * factor

    @task("late.bound", bind=True, max_slaves=1)
    def bound(ctx, x):
        return ctx.task_name, ctx.rank, ctx.attempt, x

    @task("late.wait")
    async def wait(x):
        await asyncio.sleep(0.01)
        return x / 0

    print(scale.map(range(5)).results(), scale(2))
    print(bound.delay(1).result()[::2], {{bound.delay(n).result()[1] for n in range(20)}} <= {{1, 2}})
    error = wait.delay(1).exception()
    print(type(error).__name__, error.__notes__[0].partition(",")[0], mpitasks.get("late.scale") is scale)
{START}"""
    ended = mpiexec(3, source)
    lines = ["[0, 3, 6, 9, 12] 6", "('late.bound', 1) True", "ZeroDivisionError task 'late.wait' True"]
    assert (ended.returncode, ended.stdout.splitlines()) == (0, lines), ended.stderr


def test_a_function_that_cannot_travel_is_refused(mpiexec: Mpiexec) -> None:
    """One that can't be pickled fails on the caller's line, one that can't be unpickled fails its call."""
    source = f"""
import threading
import mpitasks

class Unreadable:
    def __reduce__(self):
        return unreadable, ()

def unreadable():
    raise LookupError("not here")

def main():
    lock, odd = threading.Lock(), Unreadable()
    try:
        mpitasks.submit(lambda: lock)
    except mpitasks.EncodeError as error:
        print("main.<locals>.<lambda>" in str(error), "cannot pickle '_thread.lock' object" in str(error))
    for _ in range(2):
        print(repr(mpitasks.submit(lambda: odd).exception()))
    print(mpitasks.submit(lambda: 1).result())
{START}"""
    ended = mpiexec(2, source)
    lines = ["True True", "LookupError('not here')", "LookupError('not here')", "1"]
    assert (ended.returncode, ended.stdout.splitlines()) == (0, lines), ended.stderr


@pytest.mark.parametrize("ranks", [1, 3])
def test_async_tasks_run_on_one_loop_a_slave(mpiexec: Mpiexec, ranks: int) -> None:
    """Each to its end, one after the other; the loop stays, so what belongs to it can be kept between calls."""
    source = f"""
import asyncio
import mpitasks
from mpitasks import task

kept = {{}}
running = []

@task
async def visit(n):
    running.append(n)
    loop = kept.setdefault("loop", asyncio.get_running_loop())
    await asyncio.sleep(0.001)
    alone = running == [n]
    running.remove(n)
    return loop is asyncio.get_running_loop() and alone, mpitasks.current().task_name

@task(bind=True)
async def bound(ctx, x):
    return await asyncio.to_thread(lambda: (ctx.task_name, x))

def main():
    print(set(visit.map(range(60)).results()))
    print(bound.delay(1).result(), mpitasks.submit(asyncio.sleep, 0.01, "slept").result())
{START}"""
    ended = mpiexec(ranks, source)
    assert (ended.returncode, ended.stdout) == (0, "{(True, 'app.visit')}\n('app.bound', 1) slept\n"), ended.stderr


def test_a_call_knows_itself(mpiexec: Mpiexec) -> None:
    """`current()` and the bound context agree; outside a call, `current()` is an error."""
    source = f"""
import threading
import mpitasks
from mpitasks import task, current

@task("who", bind=True)
def who(ctx, x, *, y=2):
    return ctx is current(), ctx.rank, ctx.task_name, ctx.attempt, ctx.should_stop(), x, y

@task
def elsewhere():
    raised = []
    def look():
        try:
            current()
        except mpitasks.NotRunning as error:
            raised.append(str(error))
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return raised

def main():
    print(who.delay(1).result(), who.delay(1, y=3).result()[-1])
    print(elsewhere.delay().result()[0].partition(":")[0])
    try:
        current()
    except mpitasks.NotRunning:
        print("not in main")
{START}"""
    ended = mpiexec(2, source)
    lines = ["(True, 1, 'who', 1, False, 1, 2) 3", "current() was called where no call runs", "not in main"]
    assert (ended.returncode, ended.stdout.splitlines()) == (0, lines), ended.stderr
