"""`Future` and `Futures`: states, results, callbacks, cancelling, and failures that nobody asks for."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import logging
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpitasks
from mpitasks import Done, Failed, Future, Futures, NotRunning, ResultTimeout, task
from tests.api.tasks import add, echo, fail, gate, hold, note, ran

if TYPE_CHECKING:
    from tests.api.conftest import Run

CANCELLED = concurrent.futures.CancelledError
FORGOTTEN = "a call of 'tests.api.tasks.fail' failed, and nobody asked for its result"


# ---------------------------------------------------------------- states


def test_a_future_goes_through_its_states(threads: Run) -> None:
    """Pending, running, finished: as the standard library asks for them, and in its repr."""

    def states(future: Future[Any]) -> tuple[bool, ...]:
        return future.running(), future.done(), future.cancelled()

    def main() -> list[Any]:
        door = gate()
        first, second = hold.delay(), hold.delay()
        door.wait_for_a_call()
        seen = [states(first), states(second), repr(first), repr(second), first.rank in (1, 2), second.rank, second.attempts]
        door.opened.set()
        return [*seen, first.result(), states(first), repr(first), first.attempts]

    name = "tests.api.tasks.hold"
    assert threads(main) == [
        *[(True, False, False), (False, False, False), f"<Future of '{name}': running>", f"<Future of '{name}': pending>"],
        *[True, None, 0, None, (False, True, False), f"<Future of '{name}': finished>", 1],
    ]


def test_a_future_is_one_of_the_standard_library(farm: Run) -> None:
    """So that whatever takes those takes ours."""
    assert farm(lambda: isinstance(add.delay(1), concurrent.futures.Future))


def test_a_future_may_be_asked_again(farm: Run) -> None:
    """The value is the same object; so is the exception."""

    def main() -> list[bool]:
        good, bad = echo.delay([1]), fail.delay()
        return [good.result() is good.result(), bad.exception() is bad.exception(), good.exception() is None]

    assert farm(main) == [True, True, True]


def test_a_future_may_be_asked_after_the_run(farm: Run) -> None:
    """Values stay."""
    assert farm(lambda: echo.delay(5)).result() == 5


def test_asking_has_a_timeout(threads: Run) -> None:
    """`ResultTimeout`, which is a `TimeoutError`; the call goes on."""

    def main() -> Any:
        door = gate()
        future = hold.delay(value=7)
        for ask in (future.result, future.exception):
            for timeout in (0, 0.01):
                words = rf"the call of '\S+\.hold' has not ended within {timeout} s; it goes on, ask again later"
                with pytest.raises(ResultTimeout, match=words):
                    ask(timeout=timeout)
        door.opened.set()
        return future.result(timeout=10)

    assert issubclass(ResultTimeout, TimeoutError)
    assert threads(main) == 7


def test_a_timeout_of_a_finished_call_does_not_matter(farm: Run) -> None:
    """Not even 0."""

    def main() -> int:
        future = add.delay(1)
        future.result()
        return future.result(timeout=0)

    assert farm(main) == 2


def test_results_are_for_any_thread(threads: Run) -> None:
    """`delay` and waiting work in threads of main; each gets its own."""

    def main() -> list[int]:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda x: add.delay(x).result(), range(50)))

    assert threads(main) == list(range(1, 51))


# ---------------------------------------------------------------- callbacks


def test_callbacks_run_with_the_future(farm: Run) -> None:
    """In their order; at once if the call has ended already."""

    def main() -> list[Any]:
        heard: list[Any] = []
        future = add.delay(1)
        future.add_done_callback(lambda one: heard.append((1, one is future)))
        future.add_done_callback(lambda one: heard.append((2, one.result())))
        future.result()
        future.add_done_callback(lambda one: heard.append((3, one.done())))
        return heard

    assert sorted(farm(main)) == [(1, True), (2, 2), (3, True)]


def test_a_callback_that_raises_is_logged(farm: Run, caplog: pytest.LogCaptureFixture) -> None:
    """The other callbacks and the run go on."""

    def main() -> list[int]:
        heard: list[int] = []
        future = add.delay(1)
        future.add_done_callback(lambda one: 1 // 0)
        future.add_done_callback(lambda one: heard.append(one.result()))
        future.result()
        return heard

    assert farm(main) == [2]
    (record,) = caplog.records
    assert record.getMessage() == "a callback of <Future of 'tests.api.tasks.add': finished> raised"
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_a_callback_may_delay(threads: Run) -> None:
    """In whichever thread it runs; the run's end waits for what it has submitted."""

    def main() -> None:
        door = gate()
        future = hold.delay(value=3)
        future.add_done_callback(lambda one: note.delay(one.result()))
        door.opened.set()

    threads(main)
    assert ran == [3]


def test_a_callback_may_wait(threads: Run) -> None:
    """For a call that it submits itself, in the thread that drives the farm."""

    def main() -> list[int]:
        heard: list[int] = []
        door, told = gate(), threading.Event()
        future = hold.delay(value=3)

        def go_on(one: concurrent.futures.Future[Any]) -> None:
            heard.append(add.delay(one.result()).result())
            told.set()

        future.add_done_callback(go_on)
        door.opened.set()
        future.result()
        assert told.wait(10)
        return heard

    assert threads(main) == [4]


def test_a_callback_hears_of_a_cancelled_call(threads: Run) -> None:
    """At once, in the thread that cancels."""

    def main() -> list[bool]:
        door, heard = gate(), []
        hold.delay()
        door.wait_for_a_call()
        waiting = hold.delay()
        waiting.add_done_callback(lambda one: heard.append(one.cancelled()))
        waiting.cancel()
        door.opened.set()
        return heard

    assert threads(main) == [True]


# ---------------------------------------------------------------- cancel


def test_a_call_can_be_cancelled_before_it_is_sent(threads: Run) -> None:
    """Then, again, and for good: its body never runs."""

    def main() -> None:
        door = gate()
        running = hold.delay()
        door.wait_for_a_call()
        waiting = hold.delay("no such gate")
        assert [waiting.cancel(), waiting.cancel(), waiting.cancelled(), waiting.done()] == [True] * 4
        assert repr(waiting) == "<Future of 'tests.api.tasks.hold': cancelled>"
        for ask in (waiting.result, waiting.exception):
            with pytest.raises(CANCELLED):
                ask()
        assert running.cancel() is False
        door.opened.set()
        assert running.result() is None
        assert running.cancel() is False

    threads(main)


def test_a_cancelled_call_may_be_awaited(threads: Run) -> None:
    """With the CancelledError of asyncio."""

    async def main() -> str:
        door = gate()
        hold.delay()
        door.wait_for_a_call()
        waiting = hold.delay()
        waiting.cancel()
        door.opened.set()
        try:
            await asyncio.wrap_future(waiting)
        except asyncio.CancelledError:
            return "cancelled"
        return "?"

    assert threads(main) == "cancelled"


# ---------------------------------------------------------------- Futures


def test_futures_are_a_sequence(farm: Run) -> None:
    """Length, items, slices, iteration; it can't be changed."""

    def main() -> None:
        many = echo.map("abcd")
        assert [len(many), many[0].result(), many[-1].result(), many[1:3].results()] == [4, "a", "d", ["b", "c"]]
        assert [future.result() for future in many] == list("abcd")
        assert isinstance(many[1:], Futures)
        assert many[2] in many
        assert many.index(many[2]) == 2
        assert repr(many) == "<Futures: 4 of 4 ended>"
        with pytest.raises(TypeError, match="does not support item assignment"):
            many[0] = many[1]
        with pytest.raises(IndexError):
            many[4]

    farm(main)


def test_a_future_that_was_waited_for_goes_with_the_last_who_holds_it() -> None:
    """At once, with its value: nothing waits for the garbage collector."""

    def main() -> bool:
        future = echo.delay()
        future._event()
        future.result()
        gone = weakref.ref(future)
        gc.disable()
        try:
            del future
            echo.delay().result()
            return gone() is None
        finally:
            gc.enable()

    assert mpitasks.run(main, backend="inline")  # in one thread, so that no other holds it for a moment


def test_results_raise_the_first_failure_and_count_the_others(farm: Run, caplog: pytest.LogCaptureFixture) -> None:
    """A note says how many more have failed; those count as told."""

    def main() -> list[str]:
        many = maybe.map([1, 0, 2, 0, 0])
        many.outcomes()
        with pytest.raises(ZeroDivisionError) as caught:
            many.results()
        with pytest.raises(ZeroDivisionError):
            many.results()  # and not a second note
        return caught.value.__notes__[1:]

    assert farm(main) == ["and 2 more of these calls have failed"]
    assert caplog.records == []


def test_results_of_one_failure_have_no_note(farm: Run) -> None:
    """Nothing is said of none."""

    def main() -> int:
        with pytest.raises(ZeroDivisionError) as caught:
            maybe.map([1, 0, 2]).results()
        return len(caught.value.__notes__)

    assert farm(main) == 1


@task
def maybe(x: int) -> int:
    """Fail for 0."""
    return 1 // x


def test_outcomes_are_done_or_failed(threads: Run) -> None:
    """A cancelled call counts as failed."""

    def main() -> list[Done[Any] | Failed]:
        door = gate()
        running = hold.delay(value=None)
        door.wait_for_a_call()
        waiting = hold.delay()
        waiting.cancel()
        door.opened.set()
        return Futures([running, fail.delay("x"), waiting]).outcomes(timeout=10)

    done, failed, cancelled = threads(main)
    assert done == Done(None)
    assert isinstance(failed, Failed)
    assert str(failed.error) == "x"
    assert isinstance(cancelled, Failed)
    assert isinstance(cancelled.error, CANCELLED)


@pytest.mark.parametrize("ask", [Futures.results, Futures.outcomes], ids=["results", "outcomes"])
def test_futures_share_one_timeout(threads: Run, ask: Any) -> None:
    """`results` and `outcomes` give up together, and say after how long, however the calls were made."""

    def main() -> None:
        door = gate()
        several, mapped = Futures([add.delay(1), hold.delay(), hold.delay()]), hold.map(["gate"] * 5)
        with pytest.raises(
            ResultTimeout, match=r"^2 of 3 calls have not ended in 0.01 s, the first of them one of '\S+\.hold'; "
        ):
            ask(several, timeout=0.01)
        with pytest.raises(
            ResultTimeout, match=r"^5 of 5 calls have not ended in 0.01 s, the first of them one of '\S+\.hold'; "
        ):
            ask(mapped, timeout=0.01)
        assert [repr(several), repr(mapped)] == ["<Futures: 1 of 3 ended>", "<Futures: 0 of 5 ended>"]
        door.opened.set()

    threads(main)


def test_futures_are_cancelled_together(threads: Run) -> None:
    """True only if all were in time."""

    def main() -> list[bool]:
        door = gate()
        running = hold.delay()
        door.wait_for_a_call()
        waiting = hold.starmap([()] * 3)
        told = [waiting.cancel(), Futures([running, *waiting]).cancel(), all(one.cancelled() for one in waiting)]
        door.opened.set()
        return told

    assert threads(main) == [True, False, True]


# ---------------------------------------------------------------- failures that nobody asks for


@pytest.fixture(autouse=True)
def nothing_is_left_of_other_tests(request: pytest.FixtureRequest) -> None:
    """Failures of theirs that nobody asked for are logged when they are forgotten: not in the middle of these."""
    if "caplog" in request.fixturenames:
        gc.collect()


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What mpitasks logged."""
    return [record.getMessage() for record in caplog.records if record.name == "mpitasks"]


def test_a_failure_that_nobody_asks_for_is_logged(farm: Run, caplog: pytest.LogCaptureFixture) -> None:
    """With the remote traceback; and a line at the end counts."""

    def main() -> None:
        fail.delay("lost")

    farm(main)
    assert messages(caplog) == [FORGOTTEN, "1 failed call of this run: nobody asked for the result"]
    assert "raise ValueError(text)\nValueError: lost" in caplog.text
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


def test_failures_that_are_kept_are_logged_at_the_end(farm: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Once each, although the program still holds the futures."""
    kept = farm(lambda: fail.map("ab"))
    assert messages(caplog) == [FORGOTTEN, FORGOTTEN, "2 failed calls of this run: nobody asked for the result"]
    del kept
    gc.collect()
    assert len(messages(caplog)) == 3


def ask_in_vain(future: Future[Any]) -> None:
    """Ask for the value."""
    with pytest.raises(ValueError, match="no"):
        future.result()


@pytest.mark.parametrize("ask", [Future.exception, ask_in_vain, lambda future: Futures([future]).outcomes()])
def test_a_failure_that_was_asked_for_is_not_logged(farm: Run, caplog: pytest.LogCaptureFixture, ask: Any) -> None:
    """Neither then nor at the end."""

    def main() -> None:
        ask(fail.delay())

    farm(main)
    assert caplog.records == []


def test_cancelled_calls_are_no_failures(threads: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever cancels knows."""

    def main() -> None:
        door = gate()
        hold.delay()
        door.wait_for_a_call()
        hold.delay().cancel()
        door.opened.set()

    threads(main)
    assert caplog.records == []


def test_the_count_is_of_this_run(farm: Run, caplog: pytest.LogCaptureFixture) -> None:
    """A second run starts from nothing."""
    farm(lambda: fail.delay() and None)
    caplog.clear()
    farm(lambda: add.delay(1).result())
    assert caplog.records == []


def test_a_log_handler_may_delay(farm: Run) -> None:
    """A forgotten failure is logged where no lock is held."""

    class Busy(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            try:
                note.delay(record.getMessage())
            except (NotRunning, RuntimeError):  # the summary comes after the end
                ran.append("too late")

    handler = Busy()
    logging.getLogger("mpitasks").addHandler(handler)
    try:
        farm(lambda: [fail.delay("x") and None, *add.map(range(20)).results()])
    finally:
        logging.getLogger("mpitasks").removeHandler(handler)
    assert FORGOTTEN in ran


def test_an_outcome_stays_as_it_is() -> None:
    """It is what a call has given: nothing is set or deleted, and what can't be compared is equal to itself."""
    done = Done(np.arange(3))
    assert done == Done(done.value)
    assert done != Failed(ValueError())
    with pytest.raises(AttributeError, match="can't be deleted: an outcome stays as it is"):
        del done.value
    with pytest.raises(AttributeError, match="can't be set: an outcome stays as it is"):
        done.value = np.arange(2)
