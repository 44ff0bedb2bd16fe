"""Failed calls that run again."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import mpitasks
from mpitasks import Context, DependencyFailed, task
from mpitasks.retries import ASKED, LONGEST, Retries, name_of, names_of
from tests.api.tasks import add

if TYPE_CHECKING:
    from collections.abc import Callable

Run = Any


@task("tests.retries.flaky", retries=3, retry_for=OSError, bind=True)
def flaky(ctx: Context, well_at: int) -> int:
    """Fail until that attempt."""
    if ctx.attempt < well_at:
        msg = f"attempt {ctx.attempt}"
        raise ConnectionError(msg)
    return ctx.attempt


@task("tests.retries.asks", retries=2, retry_for=OSError, bind=True)
def asks(ctx: Context, well_at: int) -> int:
    """Ask to run again, from where an exception is handled."""
    try:
        return {well_at: well_at}[ctx.attempt]
    except KeyError:
        ctx.retry(delay=0.001)


@task("tests.retries.asks_in_vain", bind=True)
def asks_in_vain(ctx: Context) -> None:
    """Ask without any retries."""
    ctx.retry()


@task("tests.retries.ends", retries=3)
def ends(how: str) -> None:
    """End by what is no `Exception`."""
    raise {"exit": SystemExit, "interrupt": KeyboardInterrupt}[how]


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), 1e300, 10**400, "5"])
def test_a_pause_that_is_none_is_refused(farm: Run, names: None, delay: Any) -> None:
    """In the call, which fails by that; the farm goes on."""

    @task("tests.retries.asks_amiss", retries=2, bind=True)
    def asks_amiss(ctx: Context) -> None:
        ctx.retry(delay=delay)

    with pytest.raises(ValueError, match=r"retry\(delay=.*\) must be seconds, from 0 to 1e9: the pause before the next run"):
        farm(lambda: (asks_amiss.options(retries=0).delay().exception(), asks_amiss.options(retries=0).delay().result()))


@pytest.mark.parametrize("asks", [True, False])
def test_a_cancelled_call_does_not_run_again(threads: Run, names: None, asks: bool) -> None:
    """Nobody wants it: it fails as it failed, whether it had asked or not."""
    begun, cancelled = threading.Event(), threading.Event()

    @task("tests.retries.unwanted", retries=3, bind=True)
    def unwanted(ctx: Context) -> None:
        begun.set()
        assert cancelled.wait(10)
        while asks and not ctx.should_stop():
            pass
        raise OSError

    def main() -> tuple[bool, str, int]:
        future = unwanted.delay()
        assert begun.wait(10)
        was_in_time = future.cancel()
        cancelled.set()
        return was_in_time, type(future.exception()).__name__, future.attempts

    assert threads(main) == (False, "OSError", 1)


def test_a_failed_call_runs_again(farm: Run) -> None:
    """Until it returns; its future counts the attempts."""

    def main() -> tuple[int, int]:
        future = flaky.delay(4)
        return future.result(), future.attempts

    assert farm(main) == (4, 4)


def test_retries_are_used_up(farm: Run) -> None:
    """Then it fails with its last exception, whose note says which attempt that was."""

    def main() -> tuple[BaseException | None, int]:
        future = flaky.delay(5)
        return future.exception(), future.attempts

    error, attempts = farm(main)
    assert (type(error), str(error), attempts) == (ConnectionError, "attempt 4", 4)
    assert "attempt 4" in error.__notes__[0]


@pytest.mark.parametrize(
    ("options", "attempts"),
    [
        ({"retries": 0}, 1),
        ({"retries": 1}, 2),
        ({"retries": 2, "retry_for": KeyError}, 1),
        ({"retries": 2, "retry_for": (KeyError, ConnectionError)}, 3),
        ({"retries": 2}, 3),
    ],
)
def test_options_of_a_call_say_how_often(farm: Run, options: dict[str, Any], attempts: int) -> None:
    """They stand for those of the task, as a whole."""

    def main() -> int:
        future = flaky.options(**options).delay(9)
        future.exception()
        return future.attempts

    assert farm(main) == attempts


@pytest.mark.parametrize("how", ["exit", "interrupt"])
def test_what_is_no_exception_is_not_retried(farm: Run, how: str) -> None:
    """A task that exits has meant it."""

    def main() -> int:
        future = ends.delay(how)
        future.exception()
        return future.attempts

    assert farm(main) == 1


def test_a_task_asks_to_run_again(farm: Run) -> None:
    """Whatever `retry_for` says."""
    assert farm(lambda: asks.delay(3).result()) == 3


def test_a_task_that_asks_too_often_fails(farm: Run) -> None:
    """With the exception that it handled; or, if it handled none, with the way out."""

    def main() -> list[BaseException | None]:
        return [asks.delay(9).exception(), asks_in_vain.delay().exception()]

    handled, nothing = farm(main)
    assert repr(handled) == "KeyError(3)"
    assert "the task asked to run again, and has no retries left: @task(retries=...)" in str(nothing)


def test_dependents_wait_for_the_last_attempt(farm: Run) -> None:
    """They get the value, or fail when no retry is left; also those submitted while it waits to run again."""

    def main() -> tuple[int, BaseException | None]:
        well, badly = flaky.options(retries=3, backoff=0.01).delay(3), flaky.delay(9)
        return add.delay(well, 1).result(), add.delay(badly, 1).exception()

    value, error = farm(main)
    assert (value, type(error)) == (4, DependencyFailed)
    assert isinstance(error.__cause__, ConnectionError)


def test_a_call_that_waits_to_run_again_can_be_cancelled(threads: Run) -> None:
    """And then does not run again."""

    def main() -> tuple[bool, bool, int]:
        future = flaky.options(retries=1, backoff=1000.0).delay(2)
        dependent = add.delay(future, 1)
        _until(lambda: mpitasks.statistics().queues["tests.retries.flaky"].retried == 1)
        return future.cancel(), dependent.cancelled(), future.attempts

    assert threads(main) == (True, True, 1)


def test_a_main_that_fails_waits_for_no_retry(threads: Run) -> None:
    """What waits to run again is cancelled, as all that has not begun."""

    def main() -> None:
        flaky.options(retries=1, backoff=1000.0).delay(2)
        _until(lambda: mpitasks.statistics().queues["tests.retries.flaky"].retried == 1)
        raise LookupError

    began = time.monotonic()
    with pytest.raises(LookupError):
        threads(main)
    assert time.monotonic() - began < 60


def _until(true: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(5000):
        if true():
            return
        pause.wait(0.002)
    msg = "it never came true"
    raise AssertionError(msg)


def test_arguments_stay_as_they_were(threads: Run) -> None:
    """What `delay` saw is what runs, retries included: large buffers are copied before they are sent."""
    np = pytest.importorskip("numpy")

    def main() -> float:
        array = np.ones(100_000)
        future = sum_of.delay(array)
        array[:] = 2.0
        return future.result()

    assert threads(main) == 100_000.0


@task("tests.retries.sum_of", retries=1, backoff=0.01, bind=True)
def sum_of(ctx: Context, array: Any) -> float:
    """Sum at the second attempt."""
    if ctx.attempt == 1:
        raise OSError
    return float(array.sum())


# ---------------------------------------------------------------- the rule


def test_pauses_double() -> None:
    """From `backoff` on, times 0.5 to 1.5 by dice, up to an hour before that."""
    retries = Retries(most=100, backoff=0.5)
    failure = (names_of(OSError()), None)
    pauses = [retries.pause(failed, failure, lambda: 0.5) for failed in (1, 2, 3, 50)]
    assert pauses == [0.5, 1.0, 2.0, LONGEST]
    assert [retries.pause(1, failure, dice) for dice in (lambda: 0.0, lambda: 1.0)] == [0.25, 0.75]


def test_any_number_of_failures_has_a_pause() -> None:
    """A power of two so high is no number any more."""
    failure = (names_of(OSError()), None)
    pauses = [Retries(10_000, None, backoff).pause(1025, failure, lambda: 0.5) for backoff in (0.0, 1e-300, 1e9)]
    assert pauses == [0.0, 1e-300 * 2.0**1000, LONGEST]


def test_a_pause_that_the_task_asks_for_is_exact() -> None:
    """No dice."""
    assert Retries(most=1, backoff=0.5).pause(1, ((ASKED,), 7.0)) == 7.0


def test_exceptions_count_by_what_they_inherit_from() -> None:
    """As in an `except` clause."""
    retries = Retries(most=1, names=frozenset([name_of(OSError)]))
    assert retries.pause(1, (names_of(ConnectionResetError()), None)) is not None
    assert retries.pause(1, (names_of(ValueError()), None)) is None


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"retries": -1}, ValueError, "retries=-1 must be a whole number, 0 or more"),
        ({"retries": 1.5}, ValueError, "retries=1.5 must be a whole number"),
        ({"retries": 1, "retry_for": "OSError"}, TypeError, "retry_for='OSError' must be a type of exceptions, or a tuple"),
        ({"retries": 1, "retry_for": [OSError]}, TypeError, "must be a type of exceptions, or a tuple"),
        ({"retries": 1, "backoff": -1}, ValueError, "backoff=-1 must be seconds, from 0 to 1e9"),
        ({"retries": 1, "backoff": 1e300}, ValueError, r"backoff=1e\+300 must be seconds, from 0 to 1e9"),
        ({"retries": 1, "backoff": 10**400}, ValueError, "backoff=10* must be seconds, from 0 to 1e9"),
        ({"backoff": 1}, TypeError, "they go with retries=, how often"),
        ({"retry_for": OSError}, TypeError, "they go with retries=, how often"),
    ],
)
def test_senseless_retries_are_refused(options: dict[str, Any], error: type[Exception], words: str) -> None:
    """Of tasks and of calls."""
    with pytest.raises(error, match=words):
        task("tests.retries.wrong", **options)(lambda: None)
    with pytest.raises(error, match=words):
        add.options(**options)
