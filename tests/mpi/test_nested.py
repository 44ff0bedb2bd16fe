"""Calls that submit calls, across real ranks. DESIGN: "Nested." Each script has a time limit: none of them may hang."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.mpi.launcher import Mpiexec

TASKS = """
import asyncio, gc, sys, threading, time, traceback
import mpitasks
from mpitasks import Deadlock, resource, task

@task
def add(one, other=0):
    return one + other

@task
def fib(n):
    return n if n < 2 else sum(fib.map([n - 1, n - 2]).results())

@task(bind=True)
def tree(ctx, depth):
    return 1 if depth == 0 else sum(tree.map([depth - 1] * 2).results())

@task("one", max_slaves=1)
def one(depth):
    return 0 if depth == 0 else 1 + one.delay(depth - 1).result()

@task
def down(depth):
    return 0 if depth == 0 else 1 + down.delay(depth - 1).result()

@task
def chain(depth):
    return "end" if depth == 0 else chain.delay(depth - 1)

@task
def fail(depth):
    if depth:
        return fail.delay(depth - 1).result()
    raise ValueError("the bottom")
"""

START = """
if __name__ == "__main__":
    mpitasks.run(main)
"""


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_calls_submit_calls(mpiexec: Mpiexec, ranks: int) -> None:
    """Two at a time, to a depth where all slaves wait; and under a limit of one slave."""
    source = f"""{TASKS}
def main():
    print(fib.delay(9).result(), tree.delay(5).result(), one.delay(30).result(), chain.delay(30).result())
{START}"""
    ended = mpiexec(ranks, source)
    assert (ended.returncode, ended.stdout) == (0, "34 32 30 end\n")


@pytest.mark.parametrize("ranks", [2, 4])
def test_a_thousand_levels(mpiexec: Mpiexec, ranks: int) -> None:
    """That wait for each other, and that give back futures; and what main asks for after."""
    source = f"""{TASKS}
def main():
    print(down.delay(1000).result(), one.delay(1000).result(), chain.delay(1000).result())
    print(sum(add.map(range(100)).results()))
{START}"""
    ended = mpiexec(ranks, source, timeout=60.0)
    assert (ended.returncode, ended.stdout) == (0, "1000 1000 end\n4950\n")


def test_too_many_levels_are_an_error(mpiexec: Mpiexec) -> None:
    """And no crash: the C stack has an end. The slave works on."""
    source = f"""{TASKS}
def main():
    for _ in range(2):
        error = down.delay(20_000).exception()
        print(type(error).__name__, "calls wait on this slave, each for the next" in str(error))
    print(down.delay(300).result(), len(error.__notes__) <= 20, len(str(error.__cause__)) < 30_000)
{START}"""
    smaller = "import resource; resource.setrlimit(resource.RLIMIT_STACK, (3 << 20, 3 << 20))"  # it grows as it is used
    ended = mpiexec(2, f"{smaller}\n{source}", timeout=60.0)
    assert (ended.returncode, ended.stdout) == (0, "RecursionError True\nRecursionError True\n300 True True\n")


@pytest.mark.parametrize("ranks", [2, 4])
def test_everything_that_main_can_do(mpiexec: Mpiexec, ranks: int) -> None:
    """Many calls, as they come, lazily, with futures and large values as arguments, cancelled, and of plain functions."""
    source = f"""{TASKS}
@task
def much():
    first = add.delay(1)
    values = [add.delay(first.arg(), add.delay(first).arg()).result(), add.map(range(4)).results()]
    values.append(sum(future.result() for future in mpitasks.as_completed(add.map(range(50)))))
    values.append(list(add.imap(range(5), buffersize=2)) + sorted(add.imap(range(3), ordered=False)))
    values.append(mpitasks.submit(lambda x: x * 10, first).result())
    large = bytearray(b"x" * 3_000_000)
    length = mpitasks.submit(len, large)
    large[:] = b""
    values.append(length.result())
    values.append(len(mpitasks.submit(bytes, 3_000_000).result()))
    futures = [mpitasks.submit(time.sleep, 0.001) for _ in range(100)]
    taken = [future.cancel() for future in futures]
    values.append([future.cancelled() for future in futures] == taken)
    return values

def main():
    print(much.delay().result())
{START}"""
    ended = mpiexec(ranks, source)
    expected = [2, [0, 1, 2, 3], 1225, [0, 1, 2, 3, 4, 0, 1, 2], 10, 3_000_000, 3_000_000, True]
    assert (ended.returncode, ended.stdout) == (0, f"{expected}\n")


@pytest.mark.parametrize("ranks", [2, 4])
def test_async_calls_await_their_calls(mpiexec: Mpiexec, ranks: int) -> None:
    """On top of each other, with timers and threads between."""
    source = f"""{TASKS}
@task
async def level(n):
    await asyncio.sleep(0.001)
    if n == 0:
        return 1
    left, right = level.delay(n - 1), level.delay(n - 1)
    return sum(await mpitasks.gather(left, right)) + await asyncio.to_thread(add.delay(0).result)

async def main():
    print(await level.delay(4))
{START}"""
    ended = mpiexec(ranks, source)
    assert (ended.returncode, ended.stdout) == (0, "16\n")


@pytest.mark.parametrize("ranks", [2, 4])
def test_a_failure_comes_up_through_all_levels(mpiexec: Mpiexec, ranks: int) -> None:
    """With the traceback of each; one that nobody asks for is logged, and what fails takes along what has not begun."""
    source = f"""{TASKS}
@task
def forget():
    mpitasks.wait([fail.delay(0)])
    gc.collect()

@task
def leaves():
    calls = [mpitasks.submit(time.sleep, 0.01) for _ in range(1000)]
    raise OSError("left")

def main():
    error = fail.delay(3).exception()
    text = "".join(traceback.format_exception(error))
    print(repr(error), text.count("fail.delay(depth - 1).result()") >= 3, len(error.__notes__))
    forget.delay().result()
    began = time.perf_counter()
    print(repr(leaves.delay().exception()))
    mpitasks.submit(time.sleep, 0).result()
    print(time.perf_counter() - began < 3)
{START}"""
    ended = mpiexec(ranks, source)
    assert (ended.returncode, ended.stdout) == (1, "ValueError('the bottom') True 4\nOSError('left')\nTrue\n")
    assert "a call of 'app.fail' failed, and nobody asked for its result" in ended.stderr


FORGETS = f"""{TASKS}
@task
def forget(how):
    kept.extend([fail.delay(0), fail.delay(0)])
    fail.delay(0)
    mpitasks.wait(kept)
    if how == "raises":
        raise OSError(how)
    return add.delay(1) if how == "gives back" else None

kept = []

def main():
    print(repr(forget.delay(sys.argv[1]).exception()))
{START}"""


@pytest.mark.parametrize(("how", "code"), [("returns", 1), ("gives back", 1), ("raises", 0)])
@pytest.mark.parametrize("ranks", [2, 4])
def test_failures_that_a_call_did_not_ask_for_give_code_1(mpiexec: Mpiexec, ranks: int, how: str, code: int) -> None:
    """As main's do, the run's sum counts them; unless the call failed itself, and main has asked for that."""
    ended = mpiexec(ranks, FORGETS, how)
    assert (ended.returncode, ended.stdout) == (code, "OSError('raises')\n" if how == "raises" else "None\n")
    said = "3 failed calls of this run: nobody asked for the result; the exit code is 1" in ended.stderr
    assert (said, ended.stderr.count("a call of 'app.fail' failed")) == (bool(code), 3)


CROSS = """
@task("left", max_slaves=1)
def left(n):
    time.sleep(0.3)
    return right.delay(n - 1).result() if n else "left"

@task("right", max_slaves=1)
def right(n):
    time.sleep(0.3)
    return left.delay(n - 1).result() if n else "right"

@task("async left", max_slaves=1)
async def async_left(n):
    await asyncio.sleep(0.3)
    return await async_right.delay(n - 1) if n else "left"

@task("async right", max_slaves=1)
async def async_right(n):
    await asyncio.sleep(0.3)
    return await async_left.delay(n - 1) if n else "right"

@resource("a", max_holders=1)
def a():
    yield "a"

@resource("b", max_holders=1)
def b():
    yield "b"

@task("holds a", resource=a)
def holds_a(n):
    time.sleep(0.3)
    return holds_b.delay(n - 1).result() if n else a.get()

@task("holds b", resource=b)
def holds_b(n):
    time.sleep(0.3)
    return holds_a.delay(n - 1).result() if n else b.get()
"""


@pytest.mark.parametrize(("one", "other"), [("left", "right"), ("async_left", "async_right"), ("holds_a", "holds_b")])
@pytest.mark.parametrize("busy", [False, True])
def test_a_cycle_raises_in_the_youngest(mpiexec: Mpiexec, one: str, other: str, busy: bool) -> None:
    """Of limits or of holders, while another slave idles or is busy: the younger call hears why, the older one goes on."""
    source = f"""{TASKS}{CROSS}
def main():
    long = mpitasks.submit(time.sleep, {4.0 if busy else 0.0})
    futures = [{one}.delay(1), {other}.delay(1)]
    began = time.perf_counter()
    younger = futures[1].exception()
    print(type(younger).__name__, "waits for call" in str(younger), time.perf_counter() - began < 3.5)
    print(futures[0].result()[-5:])
{START}"""
    ended = mpiexec(4, source)
    ending = {"left": "right", "async_left": "right", "holds_a": "b"}[one]
    assert (ended.returncode, ended.stdout) == (0, f"Deadlock True True\n{ending}\n")


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_calls_that_need_each_others_tasks_end(mpiexec: Mpiexec, ranks: int) -> None:
    """On one slave there is no cycle: it runs all of it. On more, it ends or says why; it never hangs."""
    source = f"""{TASKS}{CROSS}
def main():
    futures = [left.delay(3), right.delay(3), async_left.delay(2), async_right.delay(2), holds_a.delay(2), holds_b.delay(2)]
    for future in futures:
        assert future.exception() is None or isinstance(future.exception(), Deadlock), future.exception()
    print("ended")
{START}"""
    ended = mpiexec(ranks, source, timeout=60.0)
    assert (ended.returncode, ended.stdout) == (0, "ended\n")


@pytest.mark.parametrize("ranks", [2, 4])
def test_main_fails_while_calls_wait(mpiexec: Mpiexec, ranks: int) -> None:
    """What has not begun is cancelled, so nobody waits for it; the run ends within its grace."""
    source = f"""{TASKS}
@task
def parent():
    return [future.result() for future in [mpitasks.submit(time.sleep, 0.2) for _ in range(100)]]

def main():
    parent.delay()
    time.sleep(0.5)
    raise SystemExit(3)
{START}"""
    ended = mpiexec(ranks, source)
    assert ended.returncode == 3
    assert ended.seconds < 15


def test_calls_that_nobody_waits_for_end_with_the_run(mpiexec: Mpiexec) -> None:
    """When main has returned, what calls have submitted is waited for too."""
    source = f"""{TASKS}
@task
def say(n):
    time.sleep(0.01)
    print("said", n, flush=True)

@task
def leave(n):
    say.map(range(n))

def main():
    leave.delay(20).result()
{START}"""
    ended = mpiexec(3, source)
    assert (ended.returncode, sorted(ended.stdout.split("\n"))) == (0, sorted(["", *(f"said {n}" for n in range(20))]))


def test_so_are_those_of_callbacks(mpiexec: Mpiexec) -> None:
    """Which may come after the end of main, and of the call that has added them."""
    source = f"""{TASKS}
@task
def say(n):
    time.sleep(0.01)
    print("said", n, flush=True)
    return n

def further(future):
    if future.result() < 20:
        say.delay(future.result() + 1).add_done_callback(further)

@task
def leave():
    for n in (0, 10):
        say.delay(n).add_done_callback(further)

def main():
    leave.delay().result()
{START}"""
    ended = mpiexec(3, source)
    said = [f"said {n}" for n in [*range(21), *range(10, 21)]]
    assert (ended.returncode, sorted(ended.stdout.split("\n"))) == (0, sorted(["", *said]))


def test_a_journal_holds_calls_of_calls(mpiexec: Mpiexec) -> None:
    """A rerun runs none again that has returned; equal ones are told from each other by their parent and place."""
    source = f"""{TASKS}
import os
@task
def sample():
    with open("ran", "a") as file:
        file.write("x")
    return os.urandom(4).hex()

@task
def parent(n):
    values = [sample.delay().result() for _ in range(5)]
    if sys.argv[1] == "fail":
        raise OSError
    return values

def main():
    futures = parent.map(range(2))
    [future.exception() for future in futures]
    if sys.argv[1] != "fail":
        print(len({{value for values in futures.results() for value in values}}))

if __name__ == "__main__":
    mpitasks.run(main, journal="run.jrnl")
"""
    assert mpiexec(3, source, "fail").returncode == 0
    ended = mpiexec(3, source, "again")
    assert (ended.returncode, ended.stdout) == (0, "10\n")
    assert (mpiexec.folder / "ran").read_text() == "x" * 10
