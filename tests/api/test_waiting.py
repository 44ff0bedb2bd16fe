"""Waiting for many: ours, the standard library's and asyncio's ways."""

from __future__ import annotations

import asyncio
import concurrent.futures as stdlib
import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import mpitasks
from mpitasks import Future, ResultTimeout, as_completed, gather, task, wait
from tests.api.tasks import PATIENCE, add, add_later, echo, fail, gate, gates, hold

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.api.conftest import Run

WAITS = pytest.mark.parametrize("wait_for", [wait, stdlib.wait], ids=["ours", "stdlib"])
ITERATORS = pytest.mark.parametrize("completed", [as_completed, stdlib.as_completed], ids=["ours", "stdlib"])

# ---------------------------------------------------------------- wait


@WAITS
def test_wait_for_all(farm: Run, wait_for: Callable[..., Any]) -> None:
    """Sets of done and not done, for any iterable."""

    def main() -> tuple[int, int, int]:
        many = add.map(range(20))
        done, not_done = wait_for(iter(many))
        return len(done & set(many)), len(done), len(not_done)

    assert farm(main) == (20, 20, 0)


@WAITS
def test_wait_for_the_first(threads: Run, wait_for: Callable[..., Any]) -> None:
    """Return when one has ended; what had ended before counts."""

    def main() -> None:
        door = gate()
        held, quick = hold.delay(), echo.delay()
        done, not_done = wait_for([held, quick], return_when=stdlib.FIRST_COMPLETED)
        assert (done, not_done) == ({quick}, {held})
        assert wait_for([held, quick], return_when=stdlib.FIRST_COMPLETED).done == {quick}
        door.opened.set()

    threads(main)


@WAITS
def test_wait_for_the_first_failure(threads: Run, wait_for: Callable[..., Any]) -> None:
    """A call that returns does not end the wait, one that raises does; a failure so found is still not asked for."""

    def main() -> None:
        door, _ = gate(), gate("late")
        held = hold.delay()
        door.wait_for_a_call()
        good = echo.delay()
        good.result()
        late = mpitasks.submit(hold_and_fail)
        threading.Thread(target=open_when_waited_for, args=(late,)).start()
        began = time.monotonic()
        done, not_done = wait_for([held, good, late], return_when=stdlib.FIRST_EXCEPTION, timeout=PATIENCE)
        assert (done, not_done) == ({good, late}, {held})
        assert time.monotonic() - began < PATIENCE
        assert str(late.exception()) == "late"
        assert wait_for([held, late], return_when=stdlib.FIRST_EXCEPTION).not_done == {held}
        door.opened.set()

    threads(main)


def hold_and_fail() -> None:
    """Fail, but not before the gate `late` is opened."""
    assert gates["late"].opened.wait(PATIENCE)
    raise ValueError("late")


def open_when_waited_for(future: Future[Any]) -> None:
    """Let the call fail when somebody waits for it."""
    for _ in range(10_000):
        if future._made is not None and future._waiters:
            break
        threading.Event().wait(0.001)
    gates["late"].opened.set()


@WAITS
def test_wait_for_a_failure_that_never_comes(farm: Run, wait_for: Callable[..., Any]) -> None:
    """Then all have ended."""
    assert farm(lambda: len(wait_for(add.map(range(5)), return_when=stdlib.FIRST_EXCEPTION).done)) == 5


@WAITS
def test_a_failed_dependent_is_a_failure(farm: Run, wait_for: Callable[..., Any]) -> None:
    """Also to the standard library."""

    def main() -> bool:
        dependent = echo.delay(fail.delay().arg())
        wait_for([dependent], return_when=stdlib.FIRST_EXCEPTION)
        return isinstance(dependent.exception(), mpitasks.DependencyFailed)

    assert farm(main)


@WAITS
def test_waiting_has_a_timeout(threads: Run, wait_for: Callable[..., Any]) -> None:
    """And is no error."""

    def main() -> None:
        door = gate()
        held = hold.delay()
        door.wait_for_a_call()
        assert wait_for([held], timeout=0.01) == (set(), {held})
        assert wait_for([held], timeout=0) == (set(), {held})
        door.opened.set()
        assert wait_for([held]).done == {held}

    threads(main)


def test_wait_for_nothing(farm: Run) -> None:
    """Returns at once, also outside of a run."""
    assert wait([]) == (set(), set())
    assert farm(lambda: wait([])) == (set(), set())


def test_wait_takes_no_other_word(farm: Run) -> None:
    """As the standard library, and with what is known."""
    words = "return_when='SOME' is not known; known: FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED"
    with pytest.raises(ValueError, match=words):
        farm(lambda: wait([add.delay(1)], return_when="SOME"))


@pytest.mark.parametrize(("function", "where"), [(wait, r"wait\(\)"), (mpitasks.as_completed, r"as_completed\(\)")])
@pytest.mark.parametrize("wrong", [lambda: add.delay(1), lambda: [1], lambda: 5], ids=["one future", "no futures", "a number"])
def test_only_many_futures_can_be_waited_for(
    farm: Run, function: Callable[[Any], object], where: str, wrong: Callable[[], Any]
) -> None:
    """The error says what is wanted."""
    with pytest.raises(TypeError, match=rf"{where} takes an iterable of futures, such as .*, and got "):
        farm(lambda: function(wrong()))


def test_waiting_for_a_failure_is_not_asking_for_it(farm: Run, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged at the end all the same."""

    def main() -> None:
        many = fail.map("ab")
        wait(many)
        wait(many, return_when=stdlib.FIRST_EXCEPTION)
        assert len(list(as_completed(many))) == 2

    farm(main)
    assert caplog.records[-1].getMessage() == "2 failed calls of this run: nobody asked for the result"


# ---------------------------------------------------------------- as_completed


@ITERATORS
def test_futures_come_as_they_end(threads: Run, completed: Callable[..., Any]) -> None:
    """Each once, also if given twice; what has ended first comes first."""

    def main() -> list[Any]:
        door = gate()
        held, quick = hold.delay(value="held"), echo.delay("quick")
        seen = []
        for future in completed([held, quick, held]):
            seen.append(future.result())
            door.opened.set()
        return seen

    assert threads(main) == ["quick", "held"]


@ITERATORS
def test_iterating_has_a_timeout(threads: Run, completed: Callable[..., Any]) -> None:
    """For all together; what has ended is given before."""

    def main() -> None:
        door = gate()
        held, quick = hold.delay(), echo.delay()
        quick.result()
        seen: list[Future[Any]] = []
        with pytest.raises(TimeoutError) as caught:
            seen.extend(completed([held, quick], timeout=0.02))
        if completed is as_completed:
            assert isinstance(caught.value, ResultTimeout)
            assert str(caught.value) == "1 of 2 calls have not ended in 0.02 s"
        door.opened.set()

    threads(main)


@ITERATORS
def test_iterating_over_nothing(farm: Run, completed: Callable[..., Any]) -> None:
    """Ends at once."""
    assert farm(lambda: list(completed([]))) == []


def test_iterating_may_stop_early(farm: Run) -> None:
    """And begin again."""

    def main() -> tuple[int, int]:
        many = add.map(range(5))
        for _ in as_completed(many):
            break
        left = many[0]._made is None or many[0]._waiters
        assert not left
        return len(list(as_completed(many))), len(list(as_completed(many)))

    assert farm(main) == (5, 5)


@pytest.mark.parametrize(
    "items", [range(50), ["a" * 100_000] * 3, [[1], b"x", None, 2**70] * 5], ids=["numbers", "long", "mixed"]
)
def test_futures_of_a_map_come_as_they_end(farm: Run, items: list[Any]) -> None:
    """All of them, whichever way they travel, and also for who asks again."""

    def main() -> int:
        many = echo.map(items)
        assert len(list(itertools.islice(as_completed(many), 2))) == 2
        ended = list(as_completed(many))
        assert set(ended) == set(many) == wait(many).done == wait(many, return_when=stdlib.FIRST_EXCEPTION).done
        return len(ended)

    assert farm(main) == len(items)


# ---------------------------------------------------------------- asyncio


def test_an_async_main_awaits(farm: Run) -> None:
    """Pending and finished futures, failed ones, async tasks."""

    async def main() -> list[Any]:
        future = add.delay(1)
        values = [await future, await future, await add_later.delay(2)]
        with pytest.raises(ValueError, match="async"):
            await fail.delay("async")
        return [*values, await asyncio.wrap_future(add.delay(3)), future.result()]

    assert farm(main) == [2, 2, 3, 4, 2]


def test_other_coroutines_run_while_one_waits(threads: Run) -> None:
    """Waiting does not block the loop."""

    async def main() -> list[str]:
        door, order = gate(), []

        async def waits() -> None:
            await hold.delay()
            order.append("held")

        async def opens() -> None:
            order.append("opening")
            door.opened.set()

        await asyncio.gather(waits(), opens())
        return order

    assert threads(main) == ["opening", "held"]


def test_gather_gives_values_in_order(farm: Run) -> None:
    """Of futures and of iterables of futures."""

    async def main() -> list[Any]:
        return [await gather(add.delay(0), add.map([1, 2]), [add.delay(3)]), await gather()]

    assert farm(main) == [[1, 2, 3, 4], []]


def test_gather_raises_the_first_failure(farm: Run) -> None:
    """Or gives it back among the values."""

    async def main() -> list[str]:
        with pytest.raises(ValueError, match="one"):
            await gather(add.delay(1), fail.delay("one"))
        return [str(one) for one in await gather(add.delay(1), fail.map(["two"]), return_exceptions=True)]

    assert farm(main) == ["2", "two"]


def test_as_completed_is_async_too(threads: Run) -> None:
    """`async for`, in the order in which they end."""

    async def main() -> list[Any]:
        door = gate()
        held, quick = hold.delay(value="held"), echo.delay("quick")
        seen = []
        async for future in as_completed([held, quick, held]):
            seen.append(await future)
            door.opened.set()
        return seen

    assert threads(main) == ["quick", "held"]


def test_as_completed_has_a_timeout_in_async_too(threads: Run) -> None:
    """The same error."""

    async def main() -> None:
        door = gate()
        many = [hold.delay(), echo.delay()]
        ended = as_completed(many, timeout=0.05).__aiter__()
        assert await anext(ended) is many[1]
        with pytest.raises(ResultTimeout, match=r"1 of 2 calls have not ended in 0\.05 s"):
            await anext(ended)
        door.opened.set()

    threads(main)


def test_wait_for_cancels_what_takes_too_long(threads: Run) -> None:
    """`asyncio.wait_for` cancels our future: one that has not begun never runs."""

    async def main() -> bool:
        door = gate()
        running = hold.delay()
        door.wait_for_a_call()
        waiting = hold.delay("no such gate")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(waiting), 0.01)
        door.opened.set()
        await running
        return waiting.cancelled()

    assert threads(main) is True


def test_async_tasks_share_one_loop_a_slave(farm: Run) -> None:
    """They run alone, to their end, on a loop that is kept; under an async main too."""

    def main() -> int:
        return len(set(loop_id.map(range(5)).results()))

    async def async_main() -> int:
        return len(set(await gather(loop_id.map(range(5)))))

    assert farm(main, slaves=1) == 1
    assert farm(async_main, slaves=1) == 1


@task
async def loop_id(_: int) -> int:
    """Tell the loop that runs it, which is not busy with another call."""
    assert len(asyncio.all_tasks()) == 1
    await asyncio.sleep(0)
    return id(asyncio.get_running_loop())
