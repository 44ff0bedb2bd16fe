"""Calls, and a farm with an executor, for the tests of `Executor`."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

import mpitasks
from mpitasks import Context, Executor, task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BOTH = pytest.mark.parametrize("backend", ["threads", "inline"])

AFTER = "^cannot schedule new futures after shutdown$"
"""What the standard library says, word by word."""


class Bench:
    """What the calls of one test share with it; the slaves are threads of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        self.gate = threading.Event()
        """Calls of `hold` end when it is set."""
        self.began = threading.Semaphore(0)
        """Released by each call of `hold` that begins."""
        self.notes: list[Any] = []


bench = Bench()


def fresh() -> Iterator[None]:
    """Within, nothing is left of an earlier test; after it, no call holds a thread."""
    bench.clear()
    yield
    bench.gate.set()


def hold(value: Any = None) -> Any:
    """Wait at the gate."""
    bench.began.release()
    if not bench.gate.wait(20):
        raise AssertionError("nobody has opened the gate")
    return value


def note(value: Any) -> Any:
    """Write down that it ran."""
    with bench.lock:
        bench.notes.append(value)
    return value


def divide(a: int, b: int) -> float:
    """Divide."""
    return a / b


def capture(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give back what it is given."""
    return args, kwargs


def fail(kind: type[Exception], text: str) -> NoReturn:
    """Fail."""
    raise kind(text)


def divide_by(x: int) -> float:
    """Fail, if it is given 0."""
    return 1 / x


def call(fn: Callable[[int], Any], x: int) -> Any:
    """Call a function that travels as an argument."""
    return fn(x)


MANY = [note] * 1500
"""More than a slave is sent at one time: what was sent can't be cancelled."""


async def later(value: int) -> int:
    """Give it back, asynchronously."""
    await asyncio.sleep(0)
    return value


@task("executor-test-double")
def double(x: int) -> int:
    """Double."""
    return 2 * x


@task("executor-test-rank", bind=True)
def attempt_of(ctx: Context, x: int) -> tuple[int, int]:
    """Tell what its context says."""
    return ctx.attempt, x


@task("executor-test-single", max_slaves=1)
def single(x: int) -> int:
    """Wait at the gate, one call at a time."""
    return hold(x)


@task("executor-test-keyed", resource="part", key="part")
def keyed(part: int) -> int:
    """Prefer a slave."""
    return part


class Falsey(Exception):
    def __bool__(self) -> bool:
        return False


class Sizeless(Exception):
    def __len__(self) -> int:
        return 0


class Counter:
    def __init__(self, start: int) -> None:
        self.start = start

    def plus(self, x: int) -> int:
        return self.start + x

    def __call__(self, x: int) -> int:
        return self.start * x

    @classmethod
    def make(cls, start: int) -> int:
        return cls(start).start

    @staticmethod
    def negative(x: int) -> int:
        return -x


class Unpicklable:
    def __reduce__(self) -> NoReturn:
        raise ZeroDivisionError("no pickle of this")


class BadOnArrival:
    """Can be pickled, and not unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return fail, (LookupError, "lost on the way")


def in_main(body: Callable[[], Any], backend: str = "threads", slaves: int = 3) -> Any:
    """What `body` returns, as main of a farm."""
    return mpitasks.run(body, backend=backend, slaves=slaves if backend == "threads" else None)


def with_executor(body: Callable[[Executor], Any], backend: str = "threads", **options: Any) -> Any:
    """What `body` returns, given an executor."""

    def main() -> Any:
        with Executor(**options) as executor:
            return body(executor)

    return in_main(main, backend)


def begun(count: int) -> None:
    """Wait until so many calls of `hold` have begun."""
    for _ in range(count):
        assert bench.began.acquire(timeout=20)
