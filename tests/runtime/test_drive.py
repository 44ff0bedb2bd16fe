"""Who drives the farm: threads that wait take turns, and a dying background thread is heard of."""

from __future__ import annotations

import concurrent.futures
import logging
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

import mpitasks
from mpitasks import FarmBroken
from mpitasks.runtime.drive import BLOCKED_AT_MOST, LED_NAP, Drive
from mpitasks.runtime.intake import Intake
from mpitasks.runtime.interrupts import Interrupts
from mpitasks.runtime.master import Master
from tests.runtime.world import Never, echo, fail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.runtime.world import World

    NewWorld = Callable[..., World]

PATIENCE = 10.0


class Farm:
    """Steps that do nothing but tell who made them."""

    def __init__(self) -> None:
        self.stepped: dict[str, threading.Event] = defaultdict(threading.Event)
        self.error: BaseException | None = None
        self.error_only_in = ""
        self.interrupts = Interrupts()
        self.news: list[Callable[[], object]] = []
        self.gaps: list[float] = []
        self.drive = Drive(self, new_backoff=Never)

    def has_news(self) -> bool:
        """Whether code of the user is to be run."""
        return bool(self.news)

    def seldom_driven(self, gap: float) -> None:
        """So long may nobody drive."""
        self.gaps.append(gap)

    def announce(self) -> None:
        """Run it."""
        while self.news:
            self.news.pop()()

    def turn(self) -> bool:
        """Drive a little."""
        name = threading.current_thread().name
        self.stepped[name].set()
        if self.error is not None and name == self.error_only_in:
            raise self.error
        return False

    def wait_in(self, name: str, done: threading.Event, **options: Any) -> concurrent.futures.Future[bool]:
        """Wait in a thread of that name."""
        outcome: concurrent.futures.Future[bool] = concurrent.futures.Future()

        def run() -> None:
            try:
                outcome.set_result(self.drive.wait(done.is_set, lambda: done_watcher, options.get("timeout")))
            except BaseException as error:  # noqa: BLE001  handed on
                outcome.set_exception(error)

        done_watcher = threading.Event()
        threading.Thread(target=run, name=name).start()
        return outcome


@pytest.fixture
def farm() -> Iterator[Farm]:
    """A farm without ranks."""
    farm = Farm()
    yield farm
    farm.drive.stop()


def is_blocked(farm: Farm) -> bool:
    """Whether a thread sleeps while another leads; asked for a while."""
    end = time.monotonic() + PATIENCE
    while not farm.drive._blocked and time.monotonic() < end:
        time.sleep(0)
    return bool(farm.drive._blocked)


# ---------------------------------------------------------------- taking turns


def test_whoever_waits_drives(farm: Farm) -> None:
    """In its own thread, until it is done."""
    done = threading.Event()
    outcome = farm.wait_in("one", done)
    assert farm.stepped["one"].wait(PATIENCE)
    done.set()
    assert outcome.result(PATIENCE) is True
    assert not farm.drive._leading.locked()


def test_the_next_one_leads_when_the_leader_leaves(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    """One drives, the other sleeps; then it is woken and drives."""
    monkeypatch.setattr("mpitasks.runtime.drive.BLOCKED_AT_MOST", 1000 * PATIENCE)  # it must be woken
    first, second = threading.Event(), threading.Event()
    one = farm.wait_in("one", first)
    assert farm.stepped["one"].wait(PATIENCE)
    two = farm.wait_in("two", second)
    assert is_blocked(farm)
    assert not farm.stepped["two"].is_set()
    first.set()
    assert one.result(PATIENCE) is True
    assert farm.stepped["two"].wait(PATIENCE)
    second.set()
    assert two.result(PATIENCE) is True


def test_a_sleeping_thread_wakes_for_its_own_sake(farm: Farm) -> None:
    """What it waits for has come, and the other still leads."""
    first, second = threading.Event(), threading.Event()
    one = farm.wait_in("one", first)
    assert farm.stepped["one"].wait(PATIENCE)
    two = farm.wait_in("two", second)
    assert is_blocked(farm)
    second.set()
    for event in list(farm.drive._blocked):
        event.set()
    assert two.result(PATIENCE) is True
    assert not farm.stepped["two"].is_set()
    assert not one.done()
    first.set()
    one.result(PATIENCE)


@pytest.mark.parametrize("timeout", [0, BLOCKED_AT_MOST / 10])
def test_waiting_has_an_end(farm: Farm, timeout: float) -> None:
    """For the one that leads and for one that sleeps."""
    never = threading.Event()
    assert farm.drive.wait(never.is_set, threading.Event, timeout) is False
    first = threading.Event()
    one = farm.wait_in("one", first)
    assert farm.stepped["one"].wait(PATIENCE)
    assert farm.wait_in("two", never, timeout=timeout).result(PATIENCE) is False
    first.set()
    one.result(PATIENCE)


def test_what_is_done_needs_no_driving(farm: Farm) -> None:
    """Not one step."""
    assert farm.drive.wait(lambda: True, threading.Event, 0) is True
    assert farm.stepped == {}


# ---------------------------------------------------------------- the background thread


def test_the_background_thread_fills_in(farm: Farm) -> None:
    """While nobody waits, it drives."""
    farm.drive.start()
    assert farm.stepped["mpitasks-background"].wait(PATIENCE)


def test_the_background_thread_keeps_away_from_a_driven_farm(farm: Farm) -> None:
    """While somebody else has driven within 2 ms."""
    farm.drive.stepped_at = time.monotonic() + 1000
    farm.drive.start()
    farm.drive.stop()
    assert farm.stepped == {}


def test_the_background_thread_looks_less_often_in_silence(farm: Farm) -> None:
    """After 1 s every 5 ms, after 5 s every 10 ms."""
    now = time.monotonic()
    naps = []
    for silence in (0.0, 2.0, 6.0):
        farm.drive.heard_at = now - silence
        naps.append(farm.drive._nap())
    assert naps == [2e-3, 5e-3, 10e-3]


def test_the_background_thread_sleeps_while_another_one_leads(farm: Farm) -> None:
    """In a long silence both would nap for nothing; whoever steps down wakes it."""
    farm.drive.heard_at = time.monotonic() - 6.0
    with farm.drive._leading:
        assert farm.drive._nap() == LED_NAP
    farm.drive._leading.acquire()
    farm.drive._step_down()
    assert farm.drive._rouse.is_set()
    assert farm.drive._nap() < LED_NAP


def test_a_gap_between_turns_is_told(farm: Farm) -> None:
    """The longest of late, which fades when others are shorter."""
    for gap in (0.010, 0.020, 0.0198, 0.002, 0.002):
        farm.drive.stepped_at = time.monotonic() - gap
        farm.drive.take_over()
    assert farm.gaps == pytest.approx([0.010, 0.020, 0.018, 0.0162], rel=0.05)


def test_who_waits_forgets_the_gaps(farm: Farm) -> None:
    """Bit by bit, since main may compute again at once."""
    farm.drive.stepped_at = time.monotonic() - 0.1
    farm.drive.take_over()
    farm.drive.wait(lambda: False, threading.Event, 0)
    assert farm.gaps == pytest.approx([0.1, 0.09], rel=0.05)


def test_every_waiter_hears_of_its_death(farm: Farm) -> None:
    """The one that leads, one that sleeps, and whoever comes later; the cause is told."""
    never = threading.Event()
    one = farm.wait_in("one", never)
    assert farm.stepped["one"].wait(PATIENCE)
    two = farm.wait_in("two", never)
    assert is_blocked(farm)
    farm.drive.broken = OSError("wire cut")
    for outcome in (one, two):
        with pytest.raises(FarmBroken, match="the farm has ended: wire cut") as caught:
            outcome.result(PATIENCE)
        assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(FarmBroken, match="the farm has ended: wire cut"):
        farm.drive.wait(never.is_set, threading.Event, None)


def test_what_it_dies_of_is_kept(farm: Farm) -> None:
    """Its own error is the cause."""
    farm.error, farm.error_only_in = OSError("wire cut"), "mpitasks-background"
    farm.drive.start()
    farm.drive._background.join(PATIENCE)
    with pytest.raises(FarmBroken, match="the farm has ended: wire cut"):
        farm.drive.wait(lambda: False, threading.Event, None)
    assert farm.drive.broken is farm.error
    assert not farm.drive._leading.locked()


def test_a_broken_farm_takes_no_calls(new_world: NewWorld) -> None:
    """And its futures don't wait for ever."""
    world = new_world(1)
    future = echo.delay()
    world.master._drive.broken = OSError("wire cut")
    with pytest.raises(FarmBroken, match="the farm has ended: wire cut"):
        future.result()
    with pytest.raises(
        FarmBroken, match=r"'tests\.runtime\.world\.echo' can't be called any more: the run is ending"
    ) as caught:
        echo.delay()
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("how", ["await", "concurrent.futures.wait", "result in another thread"])
def test_a_broken_farm_ends_its_futures(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Waiters that don't drive hear of it too: those of asyncio and of the standard library."""

    def break_down(*_: object) -> None:
        raise OSError("wire cut")

    def begin() -> mpitasks.Future[Any]:
        monkeypatch.setattr(Intake, "_take_in", break_down)
        return echo.delay()

    async def awaiting() -> None:
        await begin()

    def main() -> None:
        future = begin()
        if how == "await":
            raise AssertionError
        if how == "concurrent.futures.wait":
            concurrent.futures.wait([future])
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(future.result).result()

    with pytest.raises(FarmBroken, match="wire cut"):
        mpitasks.run(awaiting if how == "await" else main, backend="threads", slaves=1, grace=0.0)


def test_a_master_whose_launcher_is_gone_ends_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else could end it."""
    ended = threading.Event()

    def leave(code: int) -> None:
        assert code == 1
        ended.set()
        drive._stopping = True

    monkeypatch.setattr("mpitasks.runtime.drive.os._exit", leave)
    drive = Drive(Farm(), new_backoff=Never, is_orphan=lambda: True)
    drive.start()
    assert ended.wait(PATIENCE)
    drive.stop()


# ---------------------------------------------------------------- code of the user


def test_what_is_announced_runs_without_the_lead(farm: Farm) -> None:
    """By the thread that led, which then leads again until it is done."""
    done = threading.Event()
    led: list[bool] = []
    farm.news.append(lambda: (led.append(farm.drive._leading.locked()), farm.drive.wait(done.is_set, threading.Event, 0)))
    outcome = farm.wait_in("one", done)
    assert farm.stepped["one"].wait(PATIENCE)
    done.set()
    assert outcome.result(PATIENCE) is True
    assert led == [False]


def test_what_is_announced_may_take_long(farm: Farm) -> None:
    """Meanwhile another thread leads."""
    first, second, began, going_on = (threading.Event() for _ in range(4))
    farm.news.append(lambda: (began.set(), going_on.wait(PATIENCE)))
    one = farm.wait_in("one", first)
    assert began.wait(PATIENCE)
    two = farm.wait_in("two", second)
    assert farm.stepped["two"].wait(PATIENCE)
    second.set()
    assert two.result(PATIENCE) is True
    assert not one.done()
    first.set()
    going_on.set()
    assert one.result(PATIENCE) is True


def test_what_is_announced_in_the_background_runs_without_the_lead(farm: Farm) -> None:
    """It may wait as anywhere."""
    told: list[bool] = []
    done = threading.Event()
    farm.news.append(lambda: (told.append(farm.drive._leading.locked()), done.set()))
    farm.drive.start()
    assert done.wait(PATIENCE)
    assert told == [False]


def test_the_end_waits_for_a_callback_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may submit more, and main has returned meanwhile."""
    finished = threading.Event()
    finish = Master.finish

    def and_tell(master: Master) -> None:
        finish(master)
        finished.set()

    monkeypatch.setattr(Master, "finish", and_tell)
    began, late = threading.Event(), []

    def callback(_: object) -> None:
        began.set()
        assert not finished.wait(0.05)
        late.append(echo.delay("late"))

    def main() -> None:
        echo.delay().add_done_callback(callback)
        assert began.wait(PATIENCE)  # without driving: the background thread runs the callback

    mpitasks.run(main, backend="threads", slaves=1)
    assert late[0].result(timeout=0) == "late"


@pytest.fixture
def served(new_world: NewWorld) -> Iterator[World]:
    """A world whose slave serves in a thread, and whose master is driven by whoever waits."""
    world = new_world(1)
    serving = threading.Thread(target=world.slaves[1].serve)
    serving.start()
    yield world
    world.master.close(PATIENCE)
    serving.join(PATIENCE)
    assert not serving.is_alive()


def test_a_callback_may_delay_and_wait(served: World) -> None:
    """In the very thread that drives."""
    heard: list[Any] = []
    future = echo.delay("first")
    future.add_done_callback(lambda one: heard.append(echo.delay([one.result()]).result(timeout=PATIENCE)))
    assert served.master.wait(lambda: bool(heard), threading.Event, PATIENCE)
    assert heard == [["first"]]


def test_a_callback_may_wait_for_what_another_thread_gets(served: World) -> None:
    """The thread that runs callbacks does not keep others from driving."""
    got = threading.Event()
    future = echo.delay("first")
    other = threading.Thread(target=lambda: (echo.delay().result(), got.set()))
    future.add_done_callback(lambda one: (other.start(), got.wait(PATIENCE)))
    assert served.master.wait(got.is_set, threading.Event, PATIENCE)
    other.join()


def test_a_log_handler_may_wait(served: World) -> None:
    """As a callback."""
    heard: list[Any] = []

    class Asking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(echo.delay(record.getMessage()).result(timeout=PATIENCE))

    handler = Asking()
    logging.getLogger("mpitasks").addHandler(handler)
    try:
        fail.delay()
        assert served.master.wait(lambda: bool(heard), threading.Event, PATIENCE)
    finally:
        logging.getLogger("mpitasks").removeHandler(handler)
    assert heard == ["a call of 'tests.runtime.world.fail' failed, and nobody asked for its result"]
