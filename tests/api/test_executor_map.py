"""`Executor.map` gives what the standard library says that it gives."""

from __future__ import annotations

import concurrent.futures
import gc
import itertools
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from mpitasks import Executor
from tests.api.executors import (
    AFTER,
    BOTH,
    MANY,
    Counter,
    begun,
    bench,
    call,
    divide,
    divide_by,
    double,
    fail,
    fresh,
    hold,
    in_main,
    note,
    with_executor,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_fresh = pytest.fixture(autouse=True)(fresh)

CHUNK = 10
"""Where a test needs calls that wait: else all of `MANY` are sent at once, since they take so little."""


class Clock:
    now = 100.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which deadlines are reckoned; it stands still."""
    clock = Clock()
    monkeypatch.setattr("mpitasks.futures.monotonic", lambda: clock.now)
    return clock


@BOTH
@pytest.mark.parametrize("options", [{}, {"chunksize": 3}, {"buffersize": 2}, {"chunksize": 3, "buffersize": 2}])
def test_map_gives_what_map_gives(backend, options) -> None:
    """Values in order, the shortest iterable ends it, generators and empty ones are fine."""

    def body(executor: Executor) -> list[list[Any]]:
        return [
            list(executor.map(pow, range(10), range(12), **options)),
            list(executor.map(lambda x: x + 1, (x for x in range(7)), **options)),
            list(executor.map(double, range(7), **options)),
            list(executor.map(str, [], **options)),
            list(executor.map(str, **options)),
        ]

    expected = [list(map(pow, range(10), range(10))), list(range(1, 8)), list(range(0, 14, 2)), [], []]
    assert with_executor(body, backend, initializer=None) == expected


def test_map_keeps_the_order_of_the_items() -> None:
    """The first value is waited for, though later ones are there."""

    def body(executor: Executor) -> list[Any]:
        values = executor.map(call, [hold, note, note], range(3))
        begun(1)
        concurrent.futures.wait([executor.submit(note, "last")])
        bench.gate.set()
        return list(values)

    assert with_executor(body, max_workers=2) == [0, 1, 2]


@BOTH
def test_map_submits_before_it_returns(backend) -> None:
    """Nobody has to iterate; and an iterator that never began cancels nothing when it is dropped."""

    def main() -> list[Any]:
        items = iter(range(50))
        with Executor(max_workers=1) as executor:
            executor.map(note, items)
            assert list(items) == []
        return bench.notes

    assert in_main(main, backend) == list(range(50))


@BOTH
@pytest.mark.parametrize("chunksize", [1, 2, 10])
def test_an_item_that_raises_does_so_at_its_place(backend, chunksize) -> None:
    """Also in a chunk, where the standard library raises at the chunk's first item; then the iterator has ended."""

    def body(executor: Executor) -> None:
        values = executor.map(divide, [5] * 4, [2, 1, 0, 5], chunksize=chunksize)
        assert [next(values), next(values)] == [2.5, 5.0]
        with pytest.raises(ZeroDivisionError):
            next(values)
        assert list(values) == []

    with_executor(body, backend)


def test_an_item_that_raises_cancels_what_waits() -> None:
    """Nobody will ask for it."""

    def body(executor: Executor) -> None:
        values = executor.map(call, [divide_by, hold, *MANY], itertools.repeat(0), chunksize=CHUNK)
        with pytest.raises(ZeroDivisionError):
            next(values)
        bench.gate.set()

    with_executor(body, max_workers=1)
    assert len(bench.notes) < len(MANY)


@pytest.mark.parametrize("leave", [lambda values: values.close(), lambda values: None], ids=["close", "drop"])
def test_leaving_the_iterator_cancels_what_waits(leave) -> None:
    """By `close`, or by a `break` in a loop that holds the only reference."""

    def body(executor: Executor) -> None:
        values = executor.map(call, [abs, hold, *MANY], itertools.count(), chunksize=CHUNK)
        assert next(values) == 0
        begun(1)
        leave(values)
        del values
        bench.gate.set()

    with_executor(body, max_workers=1)
    assert len(bench.notes) < len(MANY)


def test_a_closed_iterator_has_ended() -> None:
    """As a generator of the standard library."""

    def body(executor: Executor) -> list[Any]:
        values: Any = executor.map(abs, range(5), chunksize=2)
        next(values)
        values.close()
        return list(values)

    assert with_executor(body) == []


@pytest.mark.parametrize("chunksize", [CHUNK, 3])
def test_map_raises_when_the_time_is_out(clock, chunksize) -> None:
    """After it the iterator has ended, and what waits is cancelled."""

    def body(executor: Executor) -> list[Any]:
        values = executor.map(call, [abs, hold, *MANY], itertools.count(), timeout=60, chunksize=chunksize)
        seen = [next(values)]
        clock.now += 100
        with pytest.raises(TimeoutError, match="have not ended in the time that map"):
            next(values)
        seen += list(values)
        bench.gate.set()
        return seen

    assert with_executor(body, max_workers=1) == [0]
    assert len(bench.notes) < len(MANY)


def test_a_value_in_time_is_given_after_it() -> None:
    """What has ended is there, however late it is asked for."""

    def body(executor: Executor) -> list[Any]:
        values = executor.map(note, range(20), timeout=0)
        executor.shutdown()
        return list(values)

    assert with_executor(body) == list(range(20))


def test_the_time_counts_from_the_call_of_map(monkeypatch, clock) -> None:
    """Not from the first `next`, and not anew for each value."""
    asked: list[float | None] = []

    def body(executor: Executor) -> None:
        values = executor.map(abs, range(3), timeout=60, buffersize=1)
        wait = executor._farm.wait
        monkeypatch.setattr(executor._farm, "wait", lambda done, watch, left: asked.append(left) or wait(done, watch, left))
        for x in range(3):
            clock.now += 10
            assert next(values) == x

    with_executor(body)
    assert asked[:3] == [50.0, 40.0, 30.0]


def test_a_timeout_of_the_callable_is_not_that_of_map() -> None:
    """It is the item's own exception, with the traceback from the slave."""

    def body(executor: Executor) -> None:
        with pytest.raises(TimeoutError, match="mine") as caught:
            next(executor.map(fail, [TimeoutError], ["mine"], timeout=60))
        assert "in fail" in str(caught.value.__cause__)

    with_executor(body)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"chunksize": 0}, ValueError, "chunksize must be >= 1, and is 0"),
        ({"chunksize": -1}, ValueError, "chunksize must be >= 1, and is -1"),
        ({"chunksize": 1.5}, TypeError, "chunksize must be an integer, and is 1.5"),
        ({"buffersize": 0}, ValueError, "buffersize must be None or > 0, and is 0"),
        ({"buffersize": -1}, ValueError, "buffersize must be None or > 0, and is -1"),
        ({"buffersize": 2.0}, TypeError, "buffersize must be an integer or None, and is 2.0"),
        ({"buffersize": "foo"}, TypeError, "buffersize must be an integer or None, and is 'foo'"),
    ],
)
def test_sizes_are_checked_when_map_is_called(options, kind, text) -> None:
    """Before anything is drawn or submitted."""

    def body(executor: Executor) -> None:
        items = iter([1])
        with pytest.raises(kind, match=text):
            executor.map(str, items, **options)
        assert next(items) == 1

    with_executor(body)


@BOTH
@pytest.mark.parametrize(
    ("chunksize", "buffersize", "drawn"),
    [
        (1, 1, [1, 2, 3, 4, 5, 6]),
        (1, 4, [4, 5, 6, 7, 8, 9]),
        (3, 1, [3, 6, 6, 6, 9, 9]),
        (3, 2, [6, 9, 9, 9, 12, 12]),
    ],
)
def test_a_buffer_is_drawn_as_in_python_3_14(backend, chunksize, buffersize, drawn) -> None:
    """The buffer counts chunks; one is drawn when the first value of another is given."""

    def body(executor: Executor) -> list[int]:
        items = itertools.count()
        seen = [0]
        counted = (seen.__setitem__(0, seen[0] + 1) or x for x in items)
        values = executor.map(abs, counted, chunksize=chunksize, buffersize=buffersize)
        counts = [seen[0]]
        for x in range(5):
            assert next(values) == x
            counts.append(seen[0])
        return counts

    assert with_executor(body, backend) == drawn


def test_a_buffer_is_never_exceeded() -> None:
    """While a value is waited for, not one call more is under way: the documentation's word, which 3.14 breaks by one."""

    def body(executor: Executor) -> int:
        items = iter(range(10))
        values = executor.map(hold, items, buffersize=2)
        waiting = threading.Thread(target=next, args=(values,))
        waiting.start()
        begun(2)
        assert not bench.began.acquire(timeout=0.05)
        following = next(items)
        bench.gate.set()
        waiting.join(20)
        return following

    assert with_executor(body) == 2


def test_a_full_buffer_is_not_drawn_on_by_shutdown() -> None:
    """What was drawn is done; the iterator then can't go on, and says why."""

    def body(executor: Executor) -> None:
        items = iter(range(4))
        values = executor.map(abs, items, buffersize=2)
        executor.shutdown()
        assert next(items) == 2
        with pytest.raises(RuntimeError, match=AFTER):
            next(values)

    with_executor(body)


def test_a_buffered_map_keeps_its_executor() -> None:
    """Dropping the executor must not cut the values short without a word."""

    def main() -> int:
        values = Executor().map(abs, range(100), buffersize=2)
        gc.collect()
        return len(list(values))

    assert in_main(main) == 100


@pytest.mark.parametrize("buffersize", [None, 2])
def test_an_iterable_that_raises_is_heard(buffersize) -> None:
    """Where it is drawn: at the call, or with a buffer while iterating."""

    def items() -> Iterator[int]:
        yield from range(5)
        raise LookupError("no more items")

    def body(executor: Executor) -> None:
        with pytest.raises(LookupError, match="no more items"):
            list(executor.map(note, items(), buffersize=buffersize))

    with_executor(body)
    assert sorted(bench.notes) == list(range(5))


@pytest.mark.parametrize("options", [{}, {"buffersize": 2}])
def test_map_keeps_no_value(options) -> None:
    """A value that was given belongs to the user alone."""

    def body(executor: Executor) -> list[bool]:
        alive = []
        for value in executor.map(Counter, range(5), **options):
            reference = weakref.ref(value)
            del value
            alive.append(reference() is not None)
        return alive

    assert with_executor(body) == [False] * 5
