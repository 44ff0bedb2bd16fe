"""A drain: nothing more is handed out, what runs may end, and main is told at a safe point."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import mpitasks
from mpitasks import Drained, FarmBroken, current, farm, task, walltime
from mpitasks.journal import records
from mpitasks.journal.book import Journal
from mpitasks.journal.listing import read
from mpitasks.runtime.clock import Clock
from mpitasks.runtime.interrupts import DRAIN, ENDS, Interrupts
from tests.api.tasks import Gate, fresh, gate, hold
from tests.runtime.world import do, echo, fail, inside

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.runtime.world import World

_fresh = pytest.fixture(autouse=True)(fresh)


# ---------------------------------------------------------------- the master


def test_nothing_more_is_handed_out(new_world: Callable[..., World]) -> None:
    """What slaves have not begun comes back, and stays; and what is submitted then waits too."""
    world = new_world(2)
    for number in range(6):
        echo.delay(number)
    world.master.step()
    sent = world.windows()
    world.master.interrupts.draining = "the test"
    echo.delay(6)
    for _ in range(5):
        world.turn()
    assert world.windows() == sent
    assert len(world.messages("DRAIN")) == 2
    assert world.master.left == 7 - len(sent)


def test_not_even_to_an_idle_slave(new_world: Callable[..., World]) -> None:
    """A call that is submitted after the drain, and before the master has looked again."""
    world = new_world(1)
    world.master.interrupts.draining = "the test"
    echo.delay()
    assert world.windows() == []


def test_what_main_cancels_meanwhile_is_left_too(new_world: Callable[..., World]) -> None:
    """As asyncio does with an async main."""
    world = new_world(1)
    futures = [echo.delay(number) for number in range(3)]
    world.master.interrupts.draining = "the test"
    assert futures[2].cancel()
    world.turn()
    world.turn()
    assert world.master.left == 3 - len(world.windows()[0][1])


def test_what_runs_may_end_and_counts(new_world: Callable[..., World]) -> None:
    """It is told that it should stop; one that does not ask has done all of its work."""
    world = new_world(1)
    seen: list[bool] = []

    def look() -> None:
        world.master.interrupts.draining = "the test"
        world.master.step()
        world.slaves[1].receive()
        seen.append(current().should_stop())

    inside.extend([look])
    first, second = do.delay(), echo.delay(2)
    world.turn()
    world.turn()
    assert (seen, first.done(), second.done()) == ([True], True, False)
    assert world.master.left == 2  # the one that has asked, and the one that has not begun


def test_a_call_that_does_not_ask_is_done(new_world: Callable[..., World]) -> None:
    """Whenever it ends."""
    world = new_world(1)

    def wait() -> None:
        world.master.interrupts.draining = "the test"
        world.master.step()

    inside.extend([wait])
    do.delay()
    world.turn()
    world.turn()
    assert world.master.left == 0


def test_a_failed_call_is_not_tried_again(new_world: Callable[..., World]) -> None:
    """The next run does that."""
    world = new_world(1)

    def fail() -> None:
        world.master.interrupts.draining = "the test"
        world.master.step()
        raise OSError

    inside.extend([fail, fail])
    future = do.options(retries=5, backoff=0.0).delay()
    world.turn()
    world.turn()
    assert (type(future.exception(timeout=0)), future.attempts, world.master.left) == (OSError, 1, 1)


# ---------------------------------------------------------------- interrupts


def drained(**options: Any) -> Interrupts:
    """Interrupts that take SIGUSR1."""
    made = Interrupts((*ENDS, DRAIN))
    for name, value in options.items():
        setattr(made, name, value)
    return made


def test_sigusr1_is_raised_once_and_stays() -> None:
    """Whoever waits after that waits in vain: main gets it again, other threads an error."""
    interrupts = drained()
    with interrupts.installed():
        with pytest.raises(Drained) as caught:
            signal.raise_signal(DRAIN)
        signal.raise_signal(DRAIN)  # once more says nothing new
        assert (caught.value.code, interrupts.draining, interrupts.was_told) == (75, "SIGUSR1", True)
        with pytest.raises(Drained):
            interrupts.check()
        interrupts.check_once()
        with ThreadPoolExecutor(1) as other, pytest.raises(FarmBroken, match=r"would wait for ever: SIGUSR1"):
            other.submit(interrupts.check).result()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(Drained):
            interrupts.check()
        interrupts.forget()
        interrupts.check()


def test_where_ranks_survive_a_raw_signal_means_nothing() -> None:
    """The launcher sends it for reasons of its own; who asks by other ways is heard."""
    interrupts = drained(by_signal=False)
    with interrupts.installed():
        signal.raise_signal(DRAIN)
        assert (interrupts.draining, interrupts.pending) == ("", None)
        interrupts.drain("the walltime is over")
        with pytest.raises(Drained):
            interrupts.check()
        assert interrupts.draining == "the walltime is over"


def test_a_program_that_handles_sigusr1_keeps_it() -> None:
    """And is drained at the next safe point all the same."""
    seen: list[int] = []
    before = signal.signal(DRAIN, lambda number, _: seen.append(number))
    try:
        interrupts = drained()
        with interrupts.installed():
            signal.raise_signal(DRAIN)
            assert (seen, interrupts.draining) == ([DRAIN], "")
            interrupts.drain("the test")
            with pytest.raises(Drained):
                interrupts.check()
    finally:
        signal.signal(DRAIN, before)


def test_a_drain_after_the_end_is_too_late() -> None:
    """All calls have ended: the run is complete."""
    interrupts = drained()
    with interrupts.installed():
        interrupts.drain_no_more()
        signal.raise_signal(DRAIN)
        interrupts.drain("the test")
        interrupts.check()
        interrupts.insist_on_drain()


class Door:
    """A lock that says when the main thread has come to it."""

    def __init__(self, arrived: threading.Event) -> None:
        self._arrived = arrived
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._arrived.set()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_a_drain_at_the_very_end_meets_the_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is put back only when nobody is about to send the signal, which would end the process."""
    interrupts, sending, moved = drained(), threading.Event(), threading.Event()
    interrupts._wakes = Door(moved)  # type: ignore[assignment]  # as good as a lock
    met: list[bool] = []

    def kill(*_: int) -> None:
        sending.set()
        assert moved.wait(10)
        met.append(signal.getsignal(DRAIN) == interrupts._handle)

    monkeypatch.setattr(signal, "pthread_kill", kill)
    other = threading.Thread(target=interrupts.drain, args=("the test",))
    with interrupts.installed():
        other.start()
        assert sending.wait(10)
    moved.set()
    other.join()
    assert met == [True]


def test_a_drain_at_the_very_begin_meets_the_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or sends no signal, and is raised at the next safe point."""
    interrupts, install = drained(), signal.signal
    sent: list[int] = []

    def drain_first(number: int, handler: Any) -> Any:
        if number == DRAIN and not interrupts.draining:
            interrupts.drain("the test")
        return install(number, handler)

    monkeypatch.setattr(signal, "signal", drain_first)
    monkeypatch.setattr(signal, "pthread_kill", lambda _, number: sent.append(number))
    with interrupts.installed(), pytest.raises(Drained):
        interrupts.check()
    assert sent == []


def test_a_main_that_has_caught_it_is_told_again() -> None:
    """When it returns: what it has not submitted is missing."""
    interrupts = drained()
    interrupts.insist_on_drain()
    with interrupts.installed(), pytest.raises(Drained):
        signal.raise_signal(DRAIN)
    with pytest.raises(Drained):
        interrupts.insist_on_drain()


# ---------------------------------------------------------------- the clock


class Steps(Interrupts):
    """Write down what they are told."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[str] = []
        self.changed = threading.Event()

    def drain(self, why: str) -> None:
        self.draining = why
        self.step(why)

    def insist(self) -> None:
        self.step("insist")

    def step(self, what: str) -> None:
        self.steps.append(what)
        if what == "give up":
            self.changed.set()


def test_the_clock_takes_three_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The drain, the end of the grace, the end of all patience."""
    monkeypatch.setattr("mpitasks.runtime.clock.SLACK", 0.0)
    steps = Steps()
    with Clock(steps, 0.0, lambda: steps.step("give up")).running(0.0, "time is over"):
        assert steps.changed.wait(10)
    assert steps.steps == ["time is over", "insist", "give up"]


def test_the_clock_sees_that_somebody_else_has_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it takes the other steps."""
    monkeypatch.setattr("mpitasks.runtime.clock.SLACK", 0.0)
    monkeypatch.setattr("mpitasks.runtime.clock.LOOK", 0.001)
    steps = Steps()
    with Clock(steps, 0.0, lambda: steps.step("give up")).running(None, ""):
        steps.draining = "SIGUSR1"
        assert steps.changed.wait(10)
    assert steps.steps == ["insist", "give up"]


@pytest.mark.parametrize("draining", ["", "SIGUSR1"])
def test_a_run_that_ends_stops_the_clock(draining: str) -> None:
    """At whatever step it is."""
    steps = Steps()
    steps.draining = draining
    with Clock(steps, 1000.0, lambda: steps.step("give up")).running(None, ""):
        pass
    assert steps.steps == []
    assert "mpitasks-clock" not in [thread.name for thread in threading.enumerate()]


def test_the_clock_ends_no_journal_beside_a_write(tmp_path: Path, new_world: Callable[..., World]) -> None:
    """Both would write at the same place; the master's lock keeps them apart, and outcomes are written under it."""
    world, held = new_world(1), dict[str, bool]()
    book: Any = Journal(tmp_path / "run.jrnl")
    world.master._recall.book = book

    def watched(name: str, do: Callable[..., None]) -> Callable[..., None]:
        def watch(*args: Any) -> None:
            held[name] = world.master._lock._is_owned()  # type: ignore[attr-defined]  # as `withdraw` asks it
            do(*args)

        return watch

    for name in ("write", "end", "close"):
        setattr(book, name, watched(name, getattr(book, name)))
    echo.delay(1)
    world.turn()
    clock = threading.Thread(target=world.master.end_journal, args=(records.INTERRUPTED,))
    clock.start()
    clock.join()
    assert held == {"write": True, "end": True, "close": True}


# ---------------------------------------------------------------- whole runs


def send() -> None:
    """SIGUSR1 to main's thread."""
    signal.pthread_kill(threading.main_thread().ident or 0, DRAIN)


@pytest.mark.parametrize("kind", ["waiting", "computing", "async"])
def test_main_is_drained(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """While it waits, computes or awaits: the running call ends, the waiting one is cancelled, and a line says so."""
    queued: list[mpitasks.Future[Any]] = []

    def begin() -> None:
        made = gate()
        queued.extend([hold.delay(), hold.delay()])
        threading.Thread(target=interrupt, args=(made,)).start()

    def interrupt(made: Gate) -> None:
        made.wait_for_a_call()
        send()
        nap = threading.Event()
        while not farm.running("the", "test").interrupts.draining:  # type: ignore[attr-defined]  # it is a Master
            nap.wait(0.001)
        made.opened.set()

    def main() -> None:
        begin()
        if kind == "waiting":
            queued[1].result(timeout=10)
        end = threading.Event()
        while not end.wait(10):
            pass

    async def async_main() -> None:
        begin()
        await queued[1]

    with pytest.raises(Drained):
        mpitasks.run(async_main if kind == "async" else main, backend="threads", slaves=1, grace=5.0)
    assert (queued[0].exception(), queued[1].cancelled()) == (None, True)
    assert "mpitasks: interrupted: SIGUSR1; 1 call is left, and nothing is kept" in capsys.readouterr().err
    assert not farm.is_running()


asked: list[bool] = []


@task
def drain_yourself() -> bool:
    """A call that runs inline when the time is over."""
    signal.raise_signal(DRAIN)
    asked.append(current().should_stop())
    return asked[-1]


def test_inline_the_running_call_ends_first(tmp_path: Path) -> None:
    """It asks, and is not kept; then main is told, in `delay`."""
    returned: list[mpitasks.Future[Any]] = []
    asked.clear()

    def main() -> None:
        echo.delay(1)
        returned.append(drain_yourself.delay())

    with pytest.raises(Drained):
        mpitasks.run(main, backend="inline", journal=tmp_path / "run.jrnl")
    listing = read(tmp_path / "run.jrnl")
    assert asked == [True]
    assert (returned, [call["task"] for call in listing.calls]) == ([], [echo.name])
    assert [(run["end"], run["why"]) for run in listing.runs] == [(records.INTERRUPTED, "SIGUSR1")]


def test_main_can_not_refuse() -> None:
    """One that catches it and returns has not done what it would have: the run is no complete one."""

    def main() -> str:
        with suppress(Drained):
            signal.raise_signal(DRAIN)
        return "all is well"

    with pytest.raises(Drained):
        mpitasks.run(main, backend="inline")


@task
def never_ends() -> None:
    """A call that asks nobody."""
    nap = threading.Event()
    while True:
        nap.wait(0.001)


def test_inline_a_call_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same exception, after the grace: there is no other thread to go on in."""
    limit = walltime.Limit(0.0, walltime.OVER)
    monkeypatch.setattr(walltime, "chosen", lambda _, **__: limit)
    with pytest.raises(Drained):
        mpitasks.run(lambda: never_ends.delay().result(), backend="inline", grace=0.0)


def test_failures_of_a_drained_run_are_no_noise(caplog: pytest.LogCaptureFixture) -> None:
    """Main had no time to ask for them."""

    def main() -> None:
        kept = fail.delay()
        signal.raise_signal(DRAIN)
        kept.result()

    with pytest.raises(Drained):
        mpitasks.run(main, backend="inline")
    assert caplog.messages == []


def test_a_cancelled_call_that_stops_early_is_not_kept(tmp_path: Path) -> None:
    """Nobody else asked it to; what it returned may be half of it."""

    def main() -> None:
        entered = threading.Event()
        stopping.append(entered)
        future = stop_early.delay()
        assert entered.wait(10)
        future.cancel()
        assert future.result(timeout=10) == "half"

    mpitasks.run(main, backend="threads", slaves=1, journal=tmp_path / "run.jrnl")
    assert read(tmp_path / "run.jrnl").calls == []


stopping: list[threading.Event] = []


@task
def stop_early() -> str:
    """Run until it should stop."""
    stopping.pop().set()
    nap = threading.Event()
    while not current().should_stop():
        nap.wait(0.001)
    return "half"
