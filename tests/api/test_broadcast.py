"""`broadcast` as users type it, on the backends that need no MPI."""

from __future__ import annotations

import functools
import itertools
import pickle
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpitasks
from mpitasks import EncodeError, Executor, NotHeld, NotRunning, broadcast, current, resource, task
from mpitasks.runtime import copies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Run = Callable[..., Any]

LARGE = np.arange(20_000.0)


@task
def at(table: Any, place: int = 0) -> float:
    """One of its elements."""
    return float(table[place])


@task
def dig(value: Any) -> float:
    """As deep as the tests put it."""
    return float(value["tables"][0][1][3])


@task
def hand_on(table: Any, places: int) -> float:
    """Give it to calls of its own."""
    return sum(at.map(itertools.repeat(table), range(places)).results())


@resource
def halves(table: Any) -> Iterator[Any]:
    """Made of a broadcast."""
    made.append(threading.get_ident())
    yield table / 2


made: list[int] = []


@task(resource=halves, key="table")
def half(table: Any, place: int) -> float:
    """An element of what the provider has made."""
    return float(halves.get()[place])


def test_an_argument_by_itself_or_inside_of_anything(farm: Run) -> None:
    """By position, keyword and in containers; in a constant of `map`; in a partial, a closure, and an executor's calls."""

    def main() -> None:
        table = broadcast(LARGE)
        assert at.delay(table, 1).result() == at.delay(table=table.arg(), place=1).result() == 1
        assert dig.delay({"tables": [(0, table)]}).result() == 3
        assert at.map(itertools.repeat(table), range(50)).results() == list(range(50))
        assert list(at.imap(itertools.repeat(table), range(50))) == list(range(50))
        assert mpitasks.submit(functools.partial(lambda known, place: float(known[place]), table), 4).result() == 4
        assert mpitasks.submit(lambda: float(table[5])).result() == 5
        with Executor() as executor:
            assert list(executor.map(functools.partial(at.fn, table), range(5))) == list(range(5))

    farm(main)


def test_beside_futures(farm: Run) -> None:
    """Both stand for values."""

    def main() -> None:
        table = broadcast(LARGE)
        place = mpitasks.submit(int, "7")
        assert at.delay(table, place.arg()).result() == 7
        assert mpitasks.submit(sum, [at.delay(table, 2).arg(), at.delay(table, 3).arg()]).result() == 5

    farm(main)


def test_an_initializer_takes_one(farm: Run) -> None:
    """What an executor's slaves are set up with."""

    def main() -> None:
        with Executor(initializer=remember, initargs=(broadcast(LARGE),)) as executor:
            assert [executor.submit(recall, place).result() for place in (1, 2)] == [1, 2]

    farm(main)


def remember(table: Any) -> None:
    """Keep it."""
    remembered[threading.get_ident()] = table


def recall(place: int) -> float:
    """One of its elements."""
    return float(remembered[threading.get_ident()][place])


remembered: dict[int, Any] = {}


def test_a_provider_is_given_the_value(farm: Run) -> None:
    """A broadcast is a key of its own, and what is made of it is kept."""
    made.clear()

    def main() -> None:
        one, other = broadcast(LARGE), broadcast(LARGE + 100)
        assert [half.delay(one, place).result() for place in range(4)] == [0, 0.5, 1, 1.5]
        assert half.delay(other, 2).result() == 51
        assert hand_on_to_half.delay(one).result() == 2
        with pytest.raises(NotHeld):
            halves.get()

    farm(main)
    assert len(made) <= 4


@task
def hand_on_to_half(table: Any) -> float:
    """The key of a call's call."""
    return half.delay(table, 4).result()


def test_calls_hand_it_on(farm: Run) -> None:
    """To their own calls."""
    assert farm(lambda: hand_on.delay(broadcast(LARGE), 10).result()) == 45


def test_an_isolated_call_maps_the_same_memory(farm: Run) -> None:
    """Its child gets the descriptor, once; a new child again; and small values by themselves."""

    def main() -> None:
        alone, table, small = looks.options(isolate=True), broadcast(LARGE), broadcast({0: 5.0})
        first = alone.delay(table).result()
        assert first == alone.delay(table).result()
        assert first[:2] == (3.0, False)
        assert at.options(isolate=True).delay(small).result() == 5
        with pytest.raises(mpitasks.TaskCrashed):
            leave.options(isolate=True).delay().result()
        assert alone.delay(table).result()[:2] == first[:2]
        table.release()
        assert alone.delay(broadcast(LARGE + 1)).result()[:2] == (4.0, False)

    farm(main)


def test_an_isolated_call_where_memory_cannot_be_reached(threads: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its slave has the value for itself, and hands it to the child."""

    def refuse(where: object) -> Any:
        raise PermissionError(where)

    monkeypatch.setattr(copies, "attach", refuse)

    def main() -> None:
        alone, table = looks.options(isolate=True), broadcast(LARGE)
        assert [alone.delay(table).result()[:2] for _ in range(3)] == [(3.0, False)] * 3

    threads(main)


@task
def looks(table: Any) -> tuple[float, bool, int]:
    """An element, whether one can write to it, and who says so."""
    import os  # noqa: PLC0415  for this alone

    return float(table[3]), table.flags.writeable, os.getpid()


@task
def leave() -> None:
    """End the process."""
    import os  # noqa: PLC0415  for this alone

    os._exit(3)


def test_what_goes_wrong_is_said(farm: Run) -> None:
    """What was tried, the rule, the way out."""

    def main() -> Any:
        with pytest.raises(
            EncodeError, match=r"broadcast\(\) of lock, which can't be pickled: cannot pickle .* in a @resource"
        ):
            broadcast(threading.Lock())
        table = broadcast(LARGE)
        with pytest.raises(TypeError, match="a broadcast can only be pickled as an argument of a call"):
            pickle.dumps(table)
        with pytest.raises(EncodeError, match="a broadcast can only be pickled as an argument of a call"):
            broadcast([table])
        table.release()
        table.release()
        with pytest.raises(NotRunning, match=r"is used after release\(\): release it when .*, or broadcast it again"):
            at.delay(table)
        return broadcast(LARGE)

    with pytest.raises(NotRunning, match=r"mpitasks.broadcast\(\) was called outside mpitasks.run\(\): move it into main\(\)"):
        broadcast(LARGE)
    table = farm(main)
    assert table.value[3] == 3
    with pytest.raises(NotRunning, match="belongs to a run that has ended: broadcast the value again"):
        farm(lambda: at.delay(table))


def test_a_handle_taken_into_a_task_is_refused(farm: Run) -> None:
    """Where slaves share main's process, they could see it; elsewhere there is none."""
    tables: list[Any] = []

    def take() -> None:
        at.delay(tables[0])

    take_from.append(take)

    def main() -> None:
        tables.append(broadcast(LARGE))
        with pytest.raises(NotRunning, match="was taken from outside into a task: hand it to the task as an argument"):
            taken.delay().result()

    farm(main)


take_from: list[Callable[[], None]] = []


@task
def taken() -> None:
    """Take what is not its own."""
    take_from.pop()()


def test_a_value_that_cannot_be_unpickled_fails_its_calls(farm: Run) -> None:
    """Each of them, and nothing else."""

    def main() -> None:
        table = broadcast(_Odd())
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                at.delay(table).result()
        assert at.delay([1]).result() == 1

    farm(main)


class _Odd:
    def __reduce__(self) -> Any:
        return _raise, ()


def _raise() -> None:
    raise ZeroDivisionError


def test_a_journal_knows_a_call_by_the_content(farm: Run, tmp_path: Path) -> None:
    """A call with the broadcast of a value is equal to one with the value, in this run or the next; also a call's call."""
    ran.clear()

    def main(kind: str, offset: int = 0) -> Any:
        value = LARGE + offset
        table: Any = broadcast(value) if kind == "broadcast" else value
        return count.delay(table).result(), outer.delay(table).result()

    for kind in ("broadcast", "broadcast", "value"):
        assert farm(main, kind, journal=tmp_path / "run.jrnl") == (0, 1)
        assert ran == [0, 1]
    farm(main, "broadcast", 1, journal=tmp_path / "run.jrnl")
    assert ran == [0, 1, 0 + 2, 1 + 2]


ran: list[int] = []


@task
def count(table: Any, more: int = 0) -> int:
    """Note that it has run."""
    ran.append(len(ran))
    return ran[-1]


@task
def outer(table: Any) -> Any:
    """By a call of its own, in another place than main's."""
    return count.delay(table, current().attempt)


def test_memo_shares_by_content(farm: Run) -> None:
    """Equal values, one call."""

    def main() -> None:
        ran.clear()
        shared = count.options(memo=True)
        values = [shared.delay(broadcast(LARGE + n // 2)).result() for n in range(4)]
        assert values == [0, 0, 1, 1]

    farm(main)


def test_its_looks(farm: Run) -> None:
    """What a human sees."""

    def main() -> list[str]:
        table = broadcast(LARGE)
        before = repr(table)
        table.release()
        return [before, repr(table)]

    assert farm(main) == ["<Broadcast of ndarray>", "<Broadcast of ndarray: released>"]
