"""`map`, `starmap` and `imap`."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from mpitasks import Futures, current, task
from tests.api.tasks import add, add_later, echo, fail, gates, ran
from tests.api.tasks import gate as new_gate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.api.conftest import Run

ORDERS = pytest.mark.parametrize("ordered", [True, False])


class Counted:
    """An endless iterator that counts what is drawn from it."""

    def __init__(self) -> None:
        self.drawn = 0

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        self.drawn += 1
        return self.drawn - 1


# ---------------------------------------------------------------- map, starmap


@pytest.mark.parametrize("chunksize", ["auto", 1, 3, 1000])
def test_map_makes_one_call_an_item(farm: Run, chunksize: Any) -> None:
    """In order, for any chunk size; the shortest iterable ends it."""

    def main() -> tuple[list[int], int]:
        futures = add.map(range(10), itertools.count(100), chunksize=chunksize)
        assert isinstance(futures, Futures)
        return futures.results(), len(futures)

    assert farm(main) == ([100 + 2 * x for x in range(10)], 10)


def test_map_of_nothing(farm: Run) -> None:
    """No item, no call."""
    assert farm(lambda: (add.map([]).results(), add.map().results(), add.starmap([]).results())) == ([], [], [])


def test_starmap_takes_all_arguments_from_each_item(farm: Run) -> None:
    """As itertools.starmap."""
    assert farm(lambda: add.starmap([(1, 2), [3, 4], (5,)]).results()) == [3, 7, 6]


def test_starmap_refuses_items_that_hold_no_arguments(farm: Run) -> None:
    """The error shows the item, and the way out."""
    with pytest.raises(TypeError, match=r"starmap\(\) takes .*\[\(1, 2\), \(3, 4\)\], and got the item 7; .*use map\(\)"):
        farm(lambda: add.starmap([(1, 2), 7]))


def test_async_tasks_can_be_mapped(farm: Run) -> None:
    """The values are those of the coroutines."""
    assert farm(lambda: (add_later.map([1, 2]).results(), list(add_later.imap([3])))) == ([2, 3], [4])


def test_map_checks_every_call(farm: Run) -> None:
    """A wrong item is refused on the caller's line."""
    with pytest.raises(TypeError, match="too many positional arguments"):
        farm(lambda: add.map([1], [2], [3]))


def test_failures_of_map_stay_per_item(farm: Run) -> None:
    """One failed call spoils no other of its chunk."""

    def main() -> list[str]:
        return [type(outcome).__name__ for outcome in picky.map([1, 0, 2], chunksize=3).outcomes()]

    assert farm(main) == ["Done", "Failed", "Done"]


@task
def picky(x: int) -> int:
    """Fail for 0."""
    return 10 // x


@pytest.mark.parametrize("chunksize", [0, -1, 1.5, "many", None])
@pytest.mark.parametrize("method", ["map", "starmap", "imap"])
def test_a_senseless_chunksize_is_refused(farm: Run, method: str, chunksize: Any) -> None:
    """At once, and with the rule."""
    with pytest.raises(ValueError, match=rf'chunksize={chunksize!r} must be a whole number above 0, or "auto"'):
        farm(lambda: getattr(add, method)([], chunksize=chunksize))


# ---------------------------------------------------------------- imap


@ORDERS
@pytest.mark.parametrize("chunksize", ["auto", 2])
def test_imap_gives_values(farm: Run, ordered: bool, chunksize: Any) -> None:
    """All of them; in the order of the items, or as they come."""
    values = farm(lambda: list(add.imap(range(50), chunksize=chunksize, ordered=ordered)))
    assert (values if ordered else sorted(values)) == list(range(1, 51))


@ORDERS
@pytest.mark.parametrize("buffersize", [1, 2, 5])
def test_imap_draws_no_more_than_its_buffer(farm: Run, ordered: bool, buffersize: int) -> None:
    """Calls drawn and not yet returned: an endless iterator is drawn from as values are taken, and not before."""

    def main() -> list[int]:
        items = Counted()
        values = echo.imap(items, buffersize=buffersize, ordered=ordered)
        return [items.drawn, *(items.drawn for _ in itertools.islice(values, 4))]

    assert farm(main) == [0, *range(buffersize, buffersize + 4)]


@ORDERS
def test_imap_has_a_buffer_by_default(farm: Run, ordered: bool) -> None:
    """128 calls a slave."""

    def main() -> int:
        items = Counted()
        next(echo.imap(items, ordered=ordered))
        return items.drawn

    assert farm(main) in (256, 128)  # inline, there is one slave


@ORDERS
@pytest.mark.parametrize(("turn", "ahead"), [(0.0, range(2_000, 32_769)), (1.0, range(1, 257))])
def test_imap_draws_more_by_default_while_values_come_fast(
    threads: Run, monkeypatch: pytest.MonkeyPatch, ordered: bool, turn: float, ahead: range
) -> None:
    """A message costs more than the short calls that it carries; slow ones had better not wait as arguments."""
    clock = itertools.count()
    monkeypatch.setattr("mpitasks.stream.perf_counter", lambda: turn * next(clock))

    def main() -> int:
        items = Counted()
        values = itertools.islice(echo.imap(items, ordered=ordered), 3_000)
        return max(items.drawn - taken for taken, _ in enumerate(values))

    assert threads(main) in ahead


@ORDERS
def test_imap_draws_less_again_where_items_come_slowly(threads: Run, monkeypatch: pytest.MonkeyPatch, ordered: bool) -> None:
    """Large items may come after small ones: they must not fill the memory."""
    slow = [0.0]
    clock = itertools.count()
    monkeypatch.setattr("mpitasks.stream.perf_counter", lambda: slow[0] * next(clock))

    def main() -> int:
        items = Counted()
        values = echo.imap(items, ordered=ordered)
        for taken, _ in enumerate(values):
            if taken == 3_000:
                slow[0] = 1.0
            if taken == 20_000:
                return items.drawn - taken
        raise AssertionError

    assert threads(main) <= 512


@pytest.mark.parametrize("buffersize", [0, -3, 1.5, "a"])
def test_a_senseless_buffersize_is_refused(farm: Run, buffersize: Any) -> None:
    """At once, not when the first value is asked for."""
    words = f"buffersize={buffersize!r} must be a whole number above 0: the calls drawn and not yet returned"
    with pytest.raises(ValueError, match=words):
        farm(lambda: add.imap([], buffersize=buffersize))


def test_imap_out_of_order_gives_what_is_ready(threads: Run) -> None:
    """A call that waits holds up no other."""

    def main() -> list[int]:
        door = new_gate()
        values = zero_waits.imap(range(4), buffersize=4, chunksize=1, ordered=False)
        early = [next(values) for _ in range(3)]
        door.opened.set()
        return [*early, *values]

    assert threads(main) == [1, 2, 3, 0]


@task
def zero_waits(x: int) -> int:
    """Wait at the gate if it is 0."""
    if x == 0:
        assert gates["gate"].opened.wait(10)
    return x


@ORDERS
def test_imap_raises_what_a_call_raised(farm: Run, ordered: bool) -> None:
    """In its turn, and there it ends."""

    def main() -> None:
        values = picky.imap([5, 0, 1], buffersize=1, ordered=ordered)
        assert next(values) == 2
        with pytest.raises(ZeroDivisionError):
            next(values)
        assert list(values) == []

    farm(main)


@ORDERS
def test_leaving_imap_cancels_the_rest(threads: Run, ordered: bool) -> None:
    """What was drawn and not sent never runs."""

    def main() -> None:
        door = new_gate()
        values = all_but_zero_wait.imap(Counted(), buffersize=20, chunksize=1, ordered=ordered)
        assert next(values) == 0
        door.wait_for_a_call()
        values.close()
        door.opened.set()

    threads(main, slaves=1)
    assert ran == [0, 1]


@task
def all_but_zero_wait(x: int) -> int:
    """Wait at the gate unless it is 0."""
    ran.append(x)
    if x:
        gates["gate"].begun.set()
        assert gates["gate"].opened.wait(10)
    return x


@ORDERS
def test_an_error_of_the_iterable_comes_through(farm: Run, ordered: bool) -> None:
    """What the user's iterator raises is raised where the values are taken."""

    def items() -> Iterator[int]:
        yield 1
        raise OSError("disk")

    def main() -> None:
        values = echo.imap(items(), buffersize=1, ordered=ordered)
        assert next(values) == 1
        with pytest.raises(OSError, match="disk"):
            next(values)

    farm(main)


def test_a_failure_in_imap_counts_as_told(farm: Run, caplog: pytest.LogCaptureFixture) -> None:
    """The one that was raised is not logged as forgotten."""

    def main() -> None:
        with pytest.raises(ValueError, match="no"):
            next(fail.imap(["no"]))

    farm(main)
    assert caplog.records == []


@pytest.mark.parametrize("priority", [0, 5])
def test_options_hold_for_map_too(threads: Run, priority: int) -> None:
    """And `options` of a chunked task are not lost."""

    def main() -> list[int]:
        return [
            future._call is None or future._call.priority for future in add.options(priority=priority).map([1], chunksize=2)
        ]

    assert threads(main) in ([True], [priority])
    assert threads(lambda: current_task.options(resource="x").map([1], chunksize=2).results()) == ["x"]


@task(resource="own")
def current_task(x: int) -> str:
    """Say "x", having run."""
    assert current().attempt == x
    return "x"
