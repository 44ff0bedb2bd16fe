"""`Executor` under mpiexec."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.mpi.launcher import Mpiexec

SCRIPT = """
import asyncio, concurrent.futures, pickle, time
import mpitasks
from mpitasks import Executor, current, task

here = []

def prepare(word):
    here.append(word)
    if word == "bad" and current().rank == RANKS - 1:
        raise LookupError("no data on this rank")

def seen(_):
    return current().rank, tuple(here)

def divide(a, b):
    return a / b

@task
def double(x):
    return 2 * x

def values(executor):
    n = 3
    print([executor.submit(lambda x: x ** n, x).result() for x in range(4)])
    print(list(executor.map(double, range(7), chunksize=3)), sum(executor.map(abs, iter(range(-500, 0)), buffersize=9)))
    print(executor.submit(dict, self=1, fn=2).result())

def failures(executor):
    try:
        list(executor.map(divide, [1, 1, 1], [2, 1, 0], chunksize=3))
    except ZeroDivisionError as error:
        print(type(error.__cause__).__name__, "in divide" in str(error.__cause__))
    print([isinstance(executor.submit(repr, thing).exception(), pickle.PicklingError) for thing in (open, lambda: 1)])

def initializers():
    with Executor(initializer=prepare, initargs=("one",)) as one, Executor(initializer=prepare, initargs=("two",)) as two:
        found = [*one.map(seen, range(40)), *two.map(seen, range(40))]
    print(all(len(words) == len(set(words)) for _, words in found), {words[-1] for _, words in found} <= {"one", "two"})
    with Executor(initializer=prepare, initargs=("bad",)) as bad:
        futures = [bad.submit(seen, x) for x in range(RANKS - 1)]
        errors = {type(error).__name__ for error in (future.exception() for future in futures) if error}
        try:
            while True:
                list(bad.map(time.sleep, [0.01] * 2 * RANKS))  # long enough that every slave gets one
        except concurrent.futures.BrokenExecutor as error:
            print(errors <= {"InitializerFailed"}, error)

def ends():
    executor = Executor(max_workers=1)
    futures = [executor.submit(abs, x) for x in range(3000)]
    executor.shutdown(cancel_futures=True)
    print(all(future.done() for future in futures), futures[0].result())
    try:
        executor.submit(abs, 1)
    except RuntimeError as error:
        print(error)

async def main():
    loop = asyncio.get_running_loop()
    with Executor() as executor:
        values(executor)
        failures(executor)
        print(await asyncio.gather(*(loop.run_in_executor(executor, abs, -x) for x in range(5))))
    initializers()
    ends()

RANKS = int(__import__("sys").argv[1])
mpitasks.run(main)
"""

EXPECTED = """\
[0, 1, 8, 27]
[0, 2, 4, 6, 8, 10, 12] 125250
{'self': 1, 'fn': 2}
RemoteTraceback True
[False, True]
[0, 1, 2, 3, 4]
True True
True the initializer of this executor raised LookupError: no data on this rank
True 0
cannot schedule new futures after shutdown
"""


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, 4])
def test_an_executor_works_across_processes(mpiexec: Mpiexec, ranks: int) -> None:
    """Values, failures, initializers, asyncio and the end, where slaves share nothing with main."""
    ended = mpiexec(ranks, SCRIPT, str(ranks), timeout=60)
    assert (ended.returncode, ended.stdout) == (0, EXPECTED), ended.stderr
