"""Which slave runs what, seen from outside: limits, priorities, sticky resources, and long calls among short ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.mpi.launcher import Mpiexec

# Times of different slaves can be compared: they run on one host, where the monotonic clock is one.
TASKS = """
import time
import mpitasks
from mpitasks import current, task

def spend(seconds):
    began = time.monotonic()
    time.sleep(seconds)
    return current().rank, began, time.monotonic()

@task(max_slaves=2)
def limited(seconds):
    return spend(seconds)

@task
def free(seconds):
    return spend(seconds)

def most_at_once(intervals):
    '''Slaves that were inside a call at one time, at most.'''
    moments = [began for _, began, _ in intervals]
    return max(len({rank for rank, began, ended in intervals if began <= moment < ended}) for moment in moments)
"""

START = """
if __name__ == "__main__":
    mpitasks.run(main)
"""


@pytest.mark.parametrize("chunksize", ["auto", 1, 7])
def test_a_limit_holds_at_every_moment(mpiexec: Mpiexec, chunksize: str | int) -> None:
    """With four slaves, a task with `max_slaves=2` runs on two at most, and the others run what else there is."""
    source = f"""{TASKS}
def main():
    intervals = limited.map([0.004 * (n % 3) for n in range(150)], chunksize={chunksize!r}).results()
    print(most_at_once(intervals))
    both = limited.map([0.01] * 60, chunksize={chunksize!r}), free.map([0.01] * 120, chunksize={chunksize!r})
    intervals, others = (futures.results() for futures in both)
    print(most_at_once(intervals), most_at_once(others), most_at_once(intervals + others))
{START}"""
    ended = mpiexec(5, source)
    assert (ended.returncode, ended.stdout) == (0, "2\n2 4 4\n"), ended.stderr


def test_higher_priority_goes_first(mpiexec: Mpiexec) -> None:
    """Across tasks, among all that waits: by priority, and of one priority by age."""
    source = f"""{TASKS}
order = []

@task
def low(name):
    order.append(name)
    return list(order)

@task(priority=5)
def high(name):
    order.append(name)
    return list(order)

def main():
    blocker = free.delay(0.3)
    futures = [low.delay(f"low {{n}}") for n in range(3)]
    futures += [high.delay(f"high {{n}}") for n in range(3)]
    futures += [low.options(priority=9).delay("first"), high.options(priority=-1).delay("last")]
    print(max((future.result() for future in futures), key=len))
{START}"""
    ended = mpiexec(2, source)
    order = ["first", "high 0", "high 1", "high 2", "low 0", "low 1", "low 2", "last"]
    assert (ended.returncode, ended.stdout) == (0, f"{order}\n"), ended.stderr


HOLDING = f"""{TASKS}
held = []

def use(name):
    '''Whether this call had to load what it uses.'''
    loads = held != [name]
    held[:] = [name]
    time.sleep(1.0 if loads else 0.0005)
    return name, loads, current().rank

@task("by.key", resource="mesh", key="name")
def by_key(name):
    return use(name)

@task("by.function", resource=lambda name: ("mesh", name))
def by_function(name):
    return use(name)

@task("by.option")
def by_option(name):
    return use(name)

def show(uses):
    print(sorted(name for name, loads, _ in uses if loads), len({{(name, rank) for name, _, rank in uses}}))
"""


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_a_resource_stays_where_it_is(mpiexec: Mpiexec, ranks: int) -> None:
    """Three resources that take long to load are loaded three times in all, with any number of slaves."""
    source = f"""{HOLDING}
def main():
    show(by_key.map("abc" * 30).results())
{START}"""
    ended = mpiexec(ranks, source)
    assert (ended.returncode, ended.stdout) == (0, "['a', 'b', 'c'] 3\n"), ended.stderr


def test_tasks_share_resources(mpiexec: Mpiexec) -> None:
    """Ids are global: named by `key=`, by a function or by `options(resource=)`, equal ids are one resource."""
    source = f"""{HOLDING}
def main():
    futures = []
    for name in "abc" * 10:
        futures += [by_key.delay(name), by_function.delay(name), by_option.options(resource=("mesh", name)).delay(name)]
    show([future.result() for future in futures])
{START}"""
    ended = mpiexec(5, source)
    assert (ended.returncode, ended.stdout) == (0, "['a', 'b', 'c'] 3\n"), ended.stderr


@pytest.mark.parametrize("place", [0, 5, 29])
def test_calls_behind_a_long_one_are_run_elsewhere(mpiexec: Mpiexec, place: int) -> None:
    """What waits in the window of a slave that is stuck is taken back: the others end long before, each runs once."""
    source = f"""{TASKS}
@task
def spend_and_tell(n):
    print("ran", n, flush=True)
    time.sleep(1.5 if n == {place} else 0.001)
    return time.monotonic()

def main():
    began = time.monotonic()
    ended = spend_and_tell.map(range(30), chunksize=30).results()
    print("in time", sum(end - began < 1 for end in ended), "late", sum(end - began >= 1.5 for end in ended))
{START}"""
    ended = mpiexec(3, source)
    expected = sorted([*[f"ran {n}" for n in range(30)], "in time 29 late 1"])
    assert (ended.returncode, sorted(ended.stdout.splitlines())) == (0, expected), ended.stderr


def test_no_slave_idles_while_calls_wait(mpiexec: Mpiexec) -> None:
    """Equal calls spread evenly, and a slave that a limit sets free at once helps with what is left."""
    source = f"""{TASKS}
def main():
    began = time.monotonic()
    futures = [*free.map([0.05] * 24), *limited.map([0.05] * 8)]
    ranks = [future.result()[0] for future in futures]
    seconds = time.monotonic() - began
    print(sorted(set(ranks)), 0.4 <= seconds < 0.7 or seconds)
{START}"""
    ended = mpiexec(5, source)
    assert (ended.returncode, ended.stdout) == (0, "[1, 2, 3, 4] True\n"), ended.stderr
