"""Ctrl-C and SIGTERM: raised in main, at once or at a safe point, and never in the middle of our own code."""

from __future__ import annotations

import signal
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import mpitasks
from mpitasks.errors import Terminated
from mpitasks.runtime.interrupts import MARK, Interrupts
from tests.api.tasks import fresh, gate, hold
from tests.runtime.world import echo

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from tests.runtime.world import World

_fresh = pytest.fixture(autouse=True)(fresh)

OURS: dict[str, Any] = {"__name__": "mpitasks.of_the_tests"}
"""The module of functions that look like ours."""
exec(  # noqa: S102  their frames must have our package's name in their globals
    f"""
def ours(call): return call()
def main(call):
    {MARK} = "main"
    return call()
def task(call):
    {MARK} = "task"
    return call()
""",
    OURS,
)


def users(call: Callable[[], Any]) -> Any:
    """A frame of the user's."""
    return call()


STACKS: list[tuple[list[str], str]] = [
    ([], "at once"),  # no frame of ours at all: main's own code before or after a run
    (["main"], "at once"),
    (["ours", "main"], "at once"),
    (["main", "users"], "at once"),
    (["main", "users", "ours"], "later"),  # such as delay()
    (["main", "users", "ours", "ours"], "later"),
    (["ours"], "later"),
    (["main", "ours", "task"], "both"),  # a task that runs inline is ended, and then main
    (["main", "ours", "task", "users"], "both"),
    (["main", "ours", "task", "users", "ours"], "later"),
]


@pytest.mark.parametrize(("stack", "when"), STACKS, ids=str)
@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_when_a_signal_is_raised(number: int, error: type[BaseException], stack: list[str], when: str) -> None:
    """It depends on whose code it meets: the user's, or ours, which may hold a lock or be inside MPI."""
    interrupts = Interrupts()
    frame: list[FrameType | None] = []

    def innermost() -> None:
        frame.append(sys._getframe(1) if stack and stack[-1] != "users" else sys._getframe(0))

    call: Callable[[], Any] = innermost
    for name in reversed(stack):
        call = partial(users if name == "users" else OURS[name], call)
    call()
    if when == "later":
        interrupts._handle(number, frame[0])
    else:
        with pytest.raises(error):
            interrupts._handle(number, frame[0])
    assert interrupts.pending == (None if when == "at once" else number)


def test_what_is_pending_is_raised_once() -> None:
    """At the next safe point; and then no more."""
    interrupts = Interrupts()
    interrupts.check()
    interrupts.pending = signal.SIGINT
    with pytest.raises(KeyboardInterrupt):
        interrupts.check()
    interrupts.check()


def test_what_is_pending_can_be_forgotten() -> None:
    """When the run is ending already."""
    interrupts = Interrupts()
    interrupts.pending = signal.SIGTERM
    interrupts.forget()
    interrupts.check()


def test_only_the_main_thread_raises() -> None:
    """Another thread leaves it to that one."""
    interrupts = Interrupts()
    interrupts.pending = signal.SIGTERM
    other = threading.Thread(target=interrupts.check)
    other.start()
    other.join()
    with pytest.raises(Terminated):
        interrupts.check()


def test_terminated_is_an_exit_with_143() -> None:
    """As a shell counts."""
    assert issubclass(Terminated, SystemExit)
    assert Terminated().code == 143


def test_handlers_are_put_back() -> None:
    """SIGINT and SIGTERM are ours only within."""
    interrupts = Interrupts()
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with interrupts.installed():
        assert signal.getsignal(signal.SIGINT) == interrupts._handle
        with pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_run_outside_of_the_main_thread_has_no_handlers() -> None:
    """Python allows none; the run works all the same."""
    values: list[Any] = []
    other = threading.Thread(target=lambda: values.append(mpitasks.run(lambda: echo.delay(1).result(), backend="inline")))
    other.start()
    other.join()
    assert values == [1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
@pytest.mark.parametrize("kind", ["waiting", "computing", "async"])
def test_main_is_interrupted(number: signal.Signals, code: type[BaseException], kind: str) -> None:
    """While it waits for a future, computes, or awaits; queued calls are cancelled."""
    queued: list[mpitasks.Future[Any]] = []

    def begin() -> mpitasks.Future[Any]:
        gate()
        future = hold.delay()
        queued.append(hold.delay())
        future.add_done_callback(lambda _: None)
        return future

    def send() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, number)

    def main() -> None:
        future = begin()
        threading.Timer(0.01, send).start()
        if kind == "waiting":
            future.result(timeout=10)
        end = threading.Event()
        while not end.wait(10):
            pass

    async def async_main() -> None:
        future = begin()
        threading.Timer(0.01, send).start()
        await future

    with pytest.raises(code):
        mpitasks.run(async_main if kind == "async" else main, backend="threads", slaves=1, grace=0.0)
    assert queued[0].cancelled()


def test_an_interrupt_inside_an_inline_task_ends_main() -> None:
    """Not only the task, whose exception is an outcome."""

    def main() -> str:
        mpitasks.submit(signal.raise_signal, signal.SIGINT)
        return "went on"

    with pytest.raises(KeyboardInterrupt):
        mpitasks.run(main, backend="inline")


def test_a_pending_interrupt_is_raised_by_delay(new_world: Callable[..., World]) -> None:
    """A main that only submits ends too."""
    world = new_world(1)
    world.master.interrupts.pending = signal.SIGINT
    with pytest.raises(KeyboardInterrupt):
        echo.delay()
