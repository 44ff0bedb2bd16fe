"""How the loops pause: the backoff of whoever polls, and the pump of an asyncio loop."""

from __future__ import annotations

import threading
import time as real_time
from itertools import accumulate, pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from mpitasks.runtime import backoff, pump
from mpitasks.runtime.backoff import AWAKE, AWAKE_NAP, FIRST_NAP, LONGEST_NAP, Backoff
from mpitasks.runtime.pump import BUSY_TURNS, LONGEST_SLEEP, NAPPING_TURNS, Pump

if TYPE_CHECKING:
    from collections.abc import Callable


class Time:
    """Sleeps at once, and remembers; only for the test's own thread, since one of an earlier test may still be napping."""

    def __init__(self) -> None:
        self.now, self.naps, self.yields = 100.0, list[float](), 0
        self._thread = threading.current_thread()

    def sleep(self, seconds: float) -> None:
        """As in `time`."""
        if threading.current_thread() is not self._thread:
            real_time.sleep(seconds)
            return
        self.now += seconds
        self.naps.append(seconds)

    def monotonic(self) -> float:
        """As in `time`."""
        return self.now

    def sched_yield(self) -> None:
        """As in `os`."""
        self.yields += threading.current_thread() is self._thread


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The time of the loops."""
    made = Time()
    monkeypatch.setattr(backoff, "time", made)
    monkeypatch.setattr(backoff, "os", made)
    return made


# ---------------------------------------------------------------- backoff


def test_first_poll_then_yield_then_nap(time: Time) -> None:
    """So many looks, so many with others let in between, then naps from 20 µs on."""
    pauses = Backoff(polls=3, yields=5)
    for _ in range(3):
        pauses.pause()
    assert (time.yields, time.naps) == (0, [])
    for _ in range(5):
        pauses.pause()
    assert (time.yields, time.naps) == (5, [])
    pauses.pause()
    assert time.naps == [FIRST_NAP]


def test_naps_grow_to_a_millisecond(time: Time) -> None:
    """Each half as long again; but what follows within 100 ms is heard after 0.05 ms at most."""
    pauses, began = backoff.threads(), time.now
    while time.now < began + 2 * AWAKE:
        pauses.pause()
    assert time.naps[0] == FIRST_NAP
    assert all(later <= earlier * 1.5001 for earlier, later in pairwise(time.naps))
    ends = list(accumulate(time.naps))
    soon = [nap for nap, end in zip(time.naps, ends, strict=True) if end <= AWAKE]
    assert (max(soon), time.naps[-1]) == (AWAKE_NAP, LONGEST_NAP)


def test_naps_are_longer_after_long_silence(time: Time) -> None:
    """After 1 s 5 ms, after 5 s 10 ms: 0.7 % of a core."""
    pauses = backoff.threads()
    while time.now < 110:
        pauses.pause()
    by_second = {int(sum(time.naps[:place])): nap for place, nap in enumerate(time.naps)}
    assert [by_second[second] for second in (0, 2, 4, 6, 9)] == [LONGEST_NAP, 5e-3, 5e-3, 10e-3, 10e-3]


def test_news_begins_it_all_again(time: Time) -> None:
    """Whoever was answered just now polls fast."""
    pauses = Backoff(polls=1, yields=1)
    for _ in range(30):
        pauses.pause()
    napped = len(time.naps)
    pauses.reset()
    pauses.pause()
    pauses.pause()
    assert len(time.naps) == napped
    pauses.pause()
    assert time.naps[napped:] == [FIRST_NAP]


def test_threads_nap_at_once(time: Time) -> None:
    """Polling would keep the interpreter from the thread that works."""
    backoff.threads().pause()
    assert (time.yields, time.naps) == (0, [FIRST_NAP])


# ---------------------------------------------------------------- pump


class Loop:
    """An asyncio loop that runs nothing by itself."""

    def __init__(self) -> None:
        self.next: Callable[[], None] | None = None
        self.sleeps: list[float] = []

    def call_soon(self, call: Callable[[], None]) -> Loop:
        self.next = call
        return self

    def call_later(self, seconds: float, call: Callable[[], None]) -> Loop:
        self.sleeps.append(seconds)
        return self.call_soon(call)

    def cancel(self) -> None:
        self.next = None

    def turn(self) -> None:
        """One turn."""
        call, self.next = self.next, None
        assert call is not None
        call()


class Driven:
    """A farm that is busy, and hears nothing."""

    def __init__(self) -> None:
        self.is_busy, self.heard = True, False
        self.steps = self.checks = 0

    def step(self) -> bool:
        self.steps += 1
        return self.heard

    def check_interrupts(self) -> None:
        self.checks += 1


@pytest.fixture
def pumped(monkeypatch: pytest.MonkeyPatch) -> tuple[Pump, Loop, Driven, list[float]]:
    """A pump with its loop and its farm, and the naps it takes inside a turn."""
    loop, driven, naps = Loop(), Driven(), list[float]()
    monkeypatch.setattr(pump, "time", SimpleNamespace(sleep=naps.append))
    started: Any = Pump(loop, driven)
    started.start()
    return started, loop, driven, naps


def test_the_pump_stops_when_nothing_is_under_way(pumped: tuple[Pump, Loop, Driven, list[float]]) -> None:
    """And can be started again."""
    started, loop, driven, _ = pumped
    loop.turn()
    driven.is_busy = False
    loop.turn()
    assert (loop.next, driven.steps, driven.checks) == (None, 2, 2)
    started.start()
    loop.turn()
    assert driven.steps == 3


def test_the_pump_is_started_once(pumped: tuple[Pump, Loop, Driven, list[float]]) -> None:
    """Starting it again does not make two."""
    started, loop, driven, _ = pumped
    started.start()
    started.start()
    loop.turn()
    assert driven.steps == 1


def test_the_pump_looks_less_and_less_often(pumped: tuple[Pump, Loop, Driven, list[float]]) -> None:
    """At every turn, then with naps of 50 µs, then the loop sleeps up to 10 ms."""
    _, loop, driven, naps = pumped
    for _ in range(BUSY_TURNS):
        loop.turn()
    assert (naps, loop.sleeps) == ([], [])
    for _ in range(BUSY_TURNS, NAPPING_TURNS - 1):
        loop.turn()
    assert (len(naps), loop.sleeps) == (NAPPING_TURNS - BUSY_TURNS - 1, [])
    for _ in range(20):
        loop.turn()
    assert loop.sleeps[0] == 1e-3
    assert loop.sleeps == sorted(loop.sleeps)
    assert loop.sleeps[-1] == LONGEST_SLEEP
    driven.heard = True
    loop.turn()
    driven.heard = False
    slept = len(loop.sleeps)
    loop.turn()
    assert len(loop.sleeps) == slept
