"""`timeout=`, as users meet it."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import pytest

import mpitasks
from mpitasks import TaskTimeout, current, resource, task
from tests.api.tasks import add, gate, gates, hold

if TYPE_CHECKING:
    from collections.abc import Callable

Run = Any


@task("tests.timeouts.spin", timeout=0.02)
def spin() -> None:
    """Go on for ever, but for who is told to stop."""
    while not current().should_stop():
        pass


@task("tests.timeouts.slow", timeout=0.02)
def slow(name: str) -> str:
    """Wait at the gate, where no alarm comes to a thread."""
    gates[name].begun.set()
    gates[name].opened.wait(10)
    return "too late"


WRONG = [
    ("a minute", TypeError, r"timeout='a minute' must be seconds, or None for no limit"),
    (True, TypeError, r"timeout=True must be seconds, or None for no limit"),
    *(
        (given, ValueError, rf"timeout={re.escape(repr(given))} must be seconds, more than 0 and at most 1e9, or None for")
        for given in [0, -1.5, float("inf"), float("nan"), 1e300, 10**400]
    ),
]


@pytest.mark.parametrize(("given", "kind", "text"), WRONG, ids=lambda one: str(one)[:30])
def test_what_is_no_time_is_refused(given: Any, kind: type[Exception], text: str) -> None:
    """By the decorators and by `options`, each with its name."""

    def provider() -> Any:
        yield 1

    places: dict[str, Callable[[], object]] = {
        r"@task\('x'\): ": lambda: task("x", timeout=given)(abs),
        r"add\.options\(\): ": lambda: add.options(timeout=given),
        r"@resource\('x'\): ": lambda: resource("x", timeout=given)(provider),
    }
    for where, act in places.items():
        with pytest.raises(kind, match=where + text):
            act()


def test_a_call_that_takes_too_long_fails(farm: Run) -> None:
    """On each backend; where calls run in threads, the task may help by `should_stop`."""

    def main() -> BaseException | None:
        error = spin.delay().exception()
        assert add.delay(1).result() == 2
        return error

    error = farm(main)
    assert isinstance(error, TaskTimeout)
    assert (error.seconds, "in spin" in error.stack, "in spin" in str(error.__cause__)) == (0.02, True, True)


def test_one_in_time_returns(farm: Run) -> None:
    """Whatever its limit is; None lifts that of the task."""

    def main() -> list[int]:
        return [add.options(timeout=limit).delay(1).result() for limit in (100, 0.5e2, None)]

    assert farm(main) == [2, 2, 2]


def test_a_plain_call_has_no_limit() -> None:
    """It is the plain function, here and now."""
    assert task("tests.timeouts.plain", timeout=1e-9)(sum)([1, 2]) == 3


def test_the_run_ends_without_a_thread_that_hangs(threads: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Its future has failed, so that nobody waits; the log names it."""
    gate()

    def main() -> str:
        return type(slow.delay("gate").exception()).__name__

    assert threads(main) == "TaskTimeout"
    texts = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert texts == ["slave 2 is left in a call of 'tests.timeouts.slow' that has outlasted its timeout; its thread goes on"]


def test_its_slave_comes_back(threads: Run) -> None:
    """Once the call has ended after all, the outcome of which is nobody's."""
    barrier = gate()

    def main() -> tuple[str, set[int | None]]:
        late = slow.delay("gate")
        late.exception()
        barrier.opened.set()
        ranks: set[int | None] = set()
        while len(ranks) < 2:
            many = add.map(range(8))
            many.results()
            ranks.update(future.rank for future in many)
        return type(late.exception()).__name__, ranks

    assert threads(main) == ("TaskTimeout", {1, 2})


def test_the_limit_of_slaves_counts_it(threads: Run) -> None:
    """`max_slaves=1` holds although nobody waits for the one that hangs: the next call comes when that has ended."""
    barrier = gate()

    def main() -> tuple[bool, str]:
        late = hold.options(timeout=0.02).delay()
        late.exception()
        second = hold.delay(value="second")
        with pytest.raises(mpitasks.ResultTimeout):
            second.result(timeout=0.01)
        barrier.opened.set()
        return isinstance(late.exception(), TaskTimeout), second.result()

    assert threads(main) == (True, "second")


def test_acquiring_has_its_own(threads: Run, names: None) -> None:
    """A provider that hangs fails the call that needs it."""
    barrier = gate()

    @resource("tests.timeouts.licence", timeout=0.02)
    def licence() -> Any:
        barrier.opened.wait(10)
        yield 1

    @task("tests.timeouts.uses", resource=licence)
    def uses() -> int:
        return licence.get()

    def main() -> BaseException | None:
        error = uses.delay().exception()
        barrier.opened.set()
        return error

    error = threads(main)
    assert isinstance(error, TaskTimeout)
    assert str(error).startswith(
        "acquiring resource tests.timeouts.licence() can't be interrupted; slave 2 is left in it after"
    )
