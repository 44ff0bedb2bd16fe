"""Futures as arguments: where they may stand, and what becomes of a call that needs one."""

from __future__ import annotations

import concurrent.futures
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpitasks
from mpitasks import DependencyFailed, FarmBroken, Future, Futures
from mpitasks.context import inside_a_call
from tests.api.tasks import add, echo, fail, gate, hold, note, ran

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.api.conftest import Run

WHEN = pytest.mark.parametrize("when", ["pending", "finished", "asked for"])
"""The state of a future when it is given to `delay`."""


def made(value: Any, when: str) -> Future[Any]:
    """A future in that state, or on its way there; its gate is opened by `let_go`."""
    if when == "pending":
        gate()
        return hold.delay(value=value)
    future: Future[Any] = echo.delay(value)
    while not future.done():
        add.delay(0).result()  # somebody must drive, and not by asking for this one
    if when == "asked for":
        future.result()
    return future


def let_go() -> None:
    """Open the gate, if there is one."""
    from tests.api.tasks import gates  # noqa: PLC0415  as fresh as the call

    for one in gates.values():
        one.opened.set()


@WHEN
@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: x,
        lambda x: [x],
        lambda x: (1, x),
        lambda x: {x},
        lambda x: {"a": x},
        lambda x: {"a": [({"b": x},)]},
        lambda x: [x, x, {"again": x}],
    ],
)
def test_a_future_is_its_value_wherever_it_stands(threads: Run, when: str, wrap: Callable[[Any], Any]) -> None:
    """At the top level, in list, tuple, set and dict, nested, and twice."""

    def main() -> Any:
        dependent = echo.delay(wrap(made("value", when)))
        let_go()
        return dependent.result()

    assert threads(main) == wrap("value")


@WHEN
def test_a_future_may_be_a_named_argument(threads: Run, when: str) -> None:
    """Among the keywords as among the others."""

    def main() -> Any:
        dependent = add.delay(1, y=made(10, when).arg())
        let_go()
        return dependent.result()

    assert threads(main) == 11


def test_arguments_may_hold_futures_inline(farm: Run) -> None:
    """On every backend."""
    assert farm(lambda: add.delay(add.delay(1).arg(), y=add.delay(2).arg()).result()) == 5


@pytest.mark.parametrize("value", [None, [None], np.arange(1 << 16)], ids=["None", "list", "array"])
def test_any_value_goes_on(farm: Run, value: Any) -> None:
    """None is a value; a large one goes on in its own frames."""
    got = farm(lambda: echo.delay(echo.delay(value).arg()).result())
    np.testing.assert_array_equal(got, value)


def test_one_future_twice_is_one_value(farm: Run) -> None:
    """As it would be without futures: one object."""

    def main() -> bool:
        future = echo.delay(["value"])
        return bool(mpitasks.submit(lambda a, b: a is b, future, future).result())

    assert farm(main)


def test_many_futures_are_a_list(farm: Run) -> None:
    """`Futures`, as they are or by `arg()`, with all sorts of states among them."""

    def main() -> list[Any]:
        many = add.map(range(3))
        first = echo.delay(many.arg()).result()
        return [first, echo.delay(many).result(), echo.delay({"a": many[:2]}).result(), echo.delay(Futures([])).result()]

    assert farm(main) == [[1, 2, 3], [1, 2, 3], {"a": [1, 2]}, []]


def test_a_long_chain(farm: Run) -> None:
    """Each call waits for the one before."""

    def main() -> int:
        future = add.delay(0)
        for _ in range(200):
            future = add.delay(future.arg())
        return future.result()

    assert farm(main) == 201


def test_a_value_is_not_unpickled_on_its_way(farm: Run) -> None:
    """The bytes of one result go on to the next call; only slaves unpickle them."""
    assert farm(lambda: echo.delay(mpitasks.submit(Telltale)).result()) == "value"
    assert ran == [True]


class Telltale:
    """Pickled, it becomes a text, and a note of where it was unpickled."""

    def __reduce__(self) -> Any:
        return unpickled, ()


def unpickled() -> str:
    """Write down whether this is inside a call."""
    ran.append(inside_a_call())
    return "value"


# ---------------------------------------------------------------- failed and cancelled ones


@pytest.mark.parametrize("asked", [True, False])
def test_a_failed_future_fails_what_needs_it(farm: Run, asked: bool) -> None:
    """`DependencyFailed`, with the original as its cause; the body never runs."""

    def main() -> None:
        bad = fail.delay("origin")
        if asked:
            bad.exception()
        needs = note.delay(bad.arg())
        words = r"the call of '\S+\.note' never ran: it needs a call of '\S+\.fail', which failed"
        with pytest.raises(DependencyFailed, match=words) as caught:
            needs.result()
        assert caught.value.__cause__ is bad.exception()
        assert str(bad.exception()) == "origin"

    farm(main)
    assert ran == []


def test_a_failure_goes_through_a_chain(threads: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Each link blames the first, however long the chain; known at once, not when the last is asked; told once."""

    def main() -> None:
        door = gate()
        bad = mpitasks.submit(fail.fn, hold.delay(value="origin"))
        second = echo.delay([bad])
        third = echo.options(after=[second]).delay()
        last = third
        for _ in range(2000):
            last = echo.delay(last.arg())
        door.opened.set()
        error = last.exception()
        assert isinstance(error, DependencyFailed)
        assert str(error.__cause__) == "origin"
        assert [third.rank, third.attempts] == [None, 0]

    threads(main)
    assert "nobody asked" not in caplog.text


def test_a_dependent_that_failed_counts_as_failed(farm: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody asked for it, so it is logged as any other failure; its cause, which it shows, is not."""

    def main() -> None:
        echo.delay(fail.delay("origin").arg())

    farm(main)
    assert [record.getMessage() for record in caplog.records] == [
        "a call of 'tests.api.tasks.echo' failed, and nobody asked for its result",
        "1 failed call of this run: nobody asked for the result",
    ]
    assert "ValueError: origin" in caplog.text


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cancelled_future_cancels_what_needs_it(threads: Run, when: str) -> None:
    """Whether it was cancelled before the dependent was submitted or after."""

    def main() -> list[bool]:
        door = gate()
        hold.delay()
        door.wait_for_a_call()
        waiting = hold.delay()
        if when == "before":
            waiting.cancel()
        dependents = [echo.delay([waiting]), add.options(after=[waiting]).delay(1)]
        dependents.append(echo.delay(dependents[0]))
        waiting.cancel()
        door.opened.set()
        return [one.cancelled() for one in dependents]

    assert threads(main) == [True, True, True]


def test_a_dependent_can_be_cancelled(threads: Run) -> None:
    """Before its turn; what it waits for goes on."""

    def main() -> list[Any]:
        door = gate()
        first = hold.delay(value=5)
        second = echo.delay(first.arg())
        cancelled = second.cancel()
        door.opened.set()
        return [cancelled, second.cancelled(), first.result()]

    assert threads(main) == [True, True, 5]


def test_the_run_ends_with_failed_dependents(threads: Run) -> None:
    """What never ran leaves nothing for which the end would wait, functions included."""

    def main() -> None:
        door = gate()
        held = hold.delay()
        bad = mpitasks.submit(lambda x: 1 // 0, held)
        for _ in range(5):
            mpitasks.submit(lambda x: x, bad).add_done_callback(lambda one: note.fn(type(one.exception())))
        door.opened.set()
        bad.exception()

    threads(main)
    assert ran == [DependencyFailed] * 5


# ---------------------------------------------------------------- elsewhere


def test_a_future_of_an_earlier_run_is_its_value(farm: Run) -> None:
    """What has ended has a value for good."""
    asked, unasked = farm(lambda: (add.delay(1), add.delay(2)))
    asked.result()
    assert farm(lambda: add.delay(asked.arg(), unasked.arg()).result()) == 5


def test_a_future_that_its_run_left_behind_is_refused(threads: Run) -> None:
    """It will never have a value, so waiting for it would be for ever: in any way."""
    left: list[Future[Any]] = []

    def leave() -> None:
        door = gate()
        left.append(hold.delay())
        door.wait_for_a_call()
        raise KeyError

    with pytest.raises(KeyError):
        threads(leave)

    async def wait_for() -> None:
        await left[0]

    def ask() -> None:
        left[0].result()

    for waits in (lambda: echo.delay([left[0]]).result(), lambda: echo.options(after=left).delay().result()):
        with pytest.raises(DependencyFailed) as caught:
            threads(waits)
        assert isinstance(caught.value.__cause__, FarmBroken)
    with pytest.raises(FarmBroken, match="the farm has ended: the run has ended"):
        threads(ask)
    with pytest.raises(FarmBroken, match="the farm has ended: the run has ended"):
        threads(wait_for)


@pytest.mark.parametrize("value", [5, 2.5, None, "text"])
def test_a_future_whose_value_is_known_is_pickled_as_that(farm: Run, value: object) -> None:
    """Anywhere, and after the run too: whoever has asked for it, has it."""

    def main() -> Future[object]:
        future = echo.delay(value)
        assert (future.result(), pickle.loads(pickle.dumps(future))) == (value, value)
        return future

    assert pickle.loads(pickle.dumps(farm(main))) == value


def test_a_future_cannot_be_pickled_elsewhere(threads: Run) -> None:
    """It belongs to its run."""

    def main() -> None:
        door = gate()
        future = hold.delay()
        for thing in (future, [future], Futures([future])):
            words = r"<Future of '\S+\.hold': \w+> can only be pickled as an argument of a call: a future belongs to its run"
            with pytest.raises(TypeError, match=words):
                pickle.dumps(thing)
        door.opened.set()

    threads(main)


def test_a_future_of_the_standard_library_is_refused(farm: Run) -> None:
    """As pickle refuses it."""
    with pytest.raises(mpitasks.EncodeError, match="argument 'value' of"):
        farm(lambda: echo.delay(concurrent.futures.Future()))
