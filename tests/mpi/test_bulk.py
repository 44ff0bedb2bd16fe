"""Large values: whole, unchanged, in both directions at once, and a snapshot of what `delay` saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.mpi.launcher import Mpiexec

TASKS = """
import hashlib, time
import numpy as np
import mpitasks
from mpitasks import task

@task
def make(kind, size):
    return value_of(kind, size)

@task
def describe(value):
    return looks(value)

@task
def sleep(seconds):
    time.sleep(seconds)

@task
def echo(value):
    return value

def value_of(kind, size):
    pattern = np.arange(size // 8, dtype="int64") * 2654435761
    return pattern if kind == "array" else pattern.tobytes() if kind == "bytes" else bytearray(pattern)

def looks(value):
    writable = isinstance(value, np.ndarray) and value.flags.writeable
    return type(value).__name__, memoryview(value).nbytes, hashlib.sha1(value).hexdigest(), writable

"""

START = """
if __name__ == "__main__":
    mpitasks.run(main)
"""


@pytest.mark.parametrize("kind", ["bytes", "bytearray", "array"])
def test_200_mb_go_there_and_back(mpiexec: Mpiexec, kind: str) -> None:
    """As an argument and as a result, equal in type and content, an array as writable as the original."""
    source = f"""{TASKS}
def main():
    value = value_of({kind!r}, 200_000_000)
    expected = looks(value)
    print(describe.delay(value).result() == expected)
    print(looks(make.delay({kind!r}, 200_000_000).result()) == expected)
    print(expected[::3])
{START}"""
    ended = mpiexec(2, source)
    name = "ndarray" if kind == "array" else kind
    assert (ended.returncode, ended.stdout) == (0, f"True\nTrue\n{(name, kind == 'array')}\n"), ended.stderr


def test_arrays_are_what_they_were(mpiexec: Mpiexec) -> None:
    """Order, shape, type and whether they can be written to survive, small and large, also where memory has gaps."""
    source = f"""{TASKS}
@task
def about(array):
    return array.shape, array.dtype.str, array.flags.writeable, array.flags.f_contiguous, float(array.sum())

def main():
    for rows in (4, 300):
        square = np.arange(rows * rows, dtype="f4").reshape(rows, rows)
        frozen = square.copy()
        frozen.setflags(write=False)
        for array in (square, frozen, np.asfortranarray(square), square[::2, 1::2], square[:0], square.astype(">i2")):
            there = about.delay(array).result()
            back = echo.delay(array).result()
            assert there == about(array) == about(back), (there, about(array), about(back))
            assert np.array_equal(array, back)
    text = echo.delay(np.array([None, "a"], dtype=object)).result()
    print(text)
{START}"""
    ended = mpiexec(2, source)
    assert (ended.returncode, ended.stdout) == (0, "[None 'a']\n"), ended.stderr


@pytest.mark.parametrize("ranks", [2, 5])
def test_windows_of_every_size_both_ways_at_once(mpiexec: Mpiexec, ranks: int) -> None:
    """Sends never block: with windows from 1 B to 64 MB under way in both directions, all arrive."""
    source = f"""{TASKS}
def main():
    for power in range(27):
        calls = min(4, 1 << power)
        value = bytes([power]) * ((1 << power) // calls)
        futures = echo.map([value] * (calls * (6 if power > 22 else 24)), chunksize=calls)
        assert all(future.result() == value for future in futures), power
    print("all are back")
{START}"""
    ended = mpiexec(ranks, source)
    assert (ended.returncode, ended.stdout) == (0, "all are back\n"), ended.stderr


def test_many_large_results_at_once(mpiexec: Mpiexec) -> None:
    """Results that nobody has asked for yet wait on the master, whole, whatever order they are asked for in."""
    source = f"""{TASKS}
def main():
    sizes = [8 * (1 + 40_000 * (n % 7)) for n in range(120)]
    futures = [make.delay("array", size) for size in sizes]
    mpitasks.wait(futures)
    for future, size in reversed(list(zip(futures, sizes))):
        assert looks(future.result()) == looks(value_of("array", size))
    print("all are right")
{START}"""
    ended = mpiexec(5, source)
    assert (ended.returncode, ended.stdout) == (0, "all are right\n"), ended.stderr


@pytest.mark.parametrize("slave", ["idle", "busy"])
def test_a_call_runs_what_delay_saw(mpiexec: Mpiexec, slave: str) -> None:
    """What happens to an argument after `delay` does not reach the call, whether it is sent at once or later."""
    source = f"""{TASKS}
def main():
    if {slave!r} == "busy":
        sleep.delay(0.3)
    for kind in ("array", "bytearray"):
        for size in (80, 80_000, 8_000_000):
            value = value_of(kind, size)
            expected = looks(value)
            future = describe.delay(value)
            value[:] = value_of(kind, size)[::-1]
            assert future.result() == expected, (kind, size)
            if {slave!r} == "busy":
                sleep.delay(0.3)
    print("as it was")
{START}"""
    ended = mpiexec(2, source)
    assert (ended.returncode, ended.stdout) == (0, "as it was\n"), ended.stderr


def test_a_value_that_goes_on_is_what_the_slave_gave(mpiexec: Mpiexec) -> None:
    """Main may write to a result that a waiting call takes too: the call gets what the first one returned."""
    source = f"""{TASKS}
def main():
    made = make.delay("array", 8_000_000)
    mpitasks.wait([made])
    sleep.delay(0.5)
    future = describe.delay(made)
    array = made.result()
    expected = looks(array)
    array[:] = 0
    print(future.result() == expected)
{START}"""
    ended = mpiexec(2, source)
    assert (ended.returncode, ended.stdout) == (0, "True\n"), ended.stderr


def test_a_result_is_what_the_task_returned(mpiexec: Mpiexec) -> None:
    """A slave that writes to the array it has returned, in its next call, does not change the result."""
    source = f"""{TASKS}
kept = np.zeros(4_000_000)

@task
def fill(n):
    kept[:] = n
    return kept

def main():
    futures = fill.map(range(12), chunksize=12)
    print([int(future.result().min()) for future in futures] == list(range(12)))
    print([int(future.result().max()) for future in futures] == list(range(12)))
{START}"""
    ended = mpiexec(2, source)
    assert (ended.returncode, ended.stdout) == (0, "True\nTrue\n"), ended.stderr


def test_copy_false_hands_the_buffer_over(mpiexec: Mpiexec) -> None:
    """`options(copy=False)` saves the copy of an argument that waits: the caller leaves it alone until the call ends."""
    source = f"""{TASKS}
def main():
    value = value_of("array", 8_000_000)
    sleep.delay(0.3)
    left_alone = describe.options(copy=False).delay(value)
    print(left_alone.result() == looks(value))
    sleep.delay(0.3)
    touched = describe.options(copy=False).delay(value)
    value[:] = 0
    print(touched.result() == looks(value))
{START}"""
    ended = mpiexec(2, source)
    assert (ended.returncode, ended.stdout) == (0, "True\nTrue\n"), ended.stderr
