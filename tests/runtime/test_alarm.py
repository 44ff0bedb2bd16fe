"""What takes too long is ended: in the user's code alone, whatever that makes of it, and nothing is left behind."""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from mpitasks import TaskTimeout, resource, task
from mpitasks.ids import CallId, Rank
from mpitasks.runtime import alarm
from mpitasks.runtime.alarm import Alarm, Limit
from tests.runtime.world import World, do, echo, inside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.runtime.world import Clock

    NewWorld = Callable[..., World]

LONG = 1000.0
"""Seconds that no test takes: the alarm comes when the test wants it."""
OURS: dict[str, Any] = {"__name__": "mpitasks.of_the_tests"}
"""The module of a function that looks like ours."""
exec("def ours(call): return call()", OURS)  # noqa: S102  its frame must have our package's name in its globals


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """After each test, the process's alarm is as it was."""
    before = signal.getsignal(signal.SIGALRM)
    yield
    left = signal.getitimer(signal.ITIMER_REAL), signal.getsignal(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    signal.signal(signal.SIGALRM, before)
    assert left == ((0.0, 0.0), before)


def ring() -> None:
    """The time is up."""
    signal.raise_signal(signal.SIGALRM)


def spin() -> None:
    """Go on for ever, in Python."""
    while True:
        pass


def outcome(world: World, work: Callable[[], Any], seconds: float = LONG) -> BaseException | None:
    """How a call ends that does this."""
    inside.append(work)
    future = do.options(timeout=seconds).delay()
    world.finish()
    return future.exception()


# ---------------------------------------------------------------- plain code


def test_a_loop_is_ended_in_time(new_world: NewWorld) -> None:
    """For real, after its timeout, with task, limit and place; the slave goes on."""
    world = new_world(1)
    error = outcome(world, spin, 0.02)
    assert isinstance(error, TaskTimeout)
    assert isinstance(error, TimeoutError)
    text = r"a call of 'tests\.runtime\.world\.do' was ended after timeout=0\.02 s, in \".*test_alarm.py\", line \d+, in spin"
    with pytest.raises(TaskTimeout, match=text):
        raise error
    assert (error.seconds, "in spin\n    while True" in error.stack or "in spin\n    pass" in error.stack) == (0.02, True)
    assert error.__notes__ == ["task 'tests.runtime.world.do', call 1, attempt 1, slave rank 1 on here"]
    after = echo.delay(3)
    world.finish()
    assert after.result() == 3


def test_the_cause_is_the_traceback_there(new_world: NewWorld) -> None:
    """It begins in the user's code."""
    error = outcome(new_world(1), ring)
    assert error is not None
    text = str(error.__cause__).strip()
    assert text.splitlines()[1].endswith("in do")
    assert "in ring\n" in text
    assert "TimeUp" in text


def test_nobody_pays_who_has_no_limit(new_world: NewWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """No timer, no message."""
    monkeypatch.setattr(signal, "setitimer", None)
    world = new_world(1)
    future = echo.delay(1)
    world.finish()
    assert (future.result(), world.messages("LIMIT")) == (1, [])


def test_the_master_is_told_before_it_begins(new_world: NewWorld) -> None:
    """Afterwards, nobody there may be able to tell."""
    world = new_world(1)
    told: list[int] = []
    assert outcome(world, lambda: told.append(len(world.messages("LIMIT")))) is None
    what = "a call of 'tests.runtime.world.do'"
    assert told == [1]
    assert world.messages("LIMIT") == [(1, 0, "LIMIT", (1, "tests.runtime.world.do", 1, LONG, what))]


def test_except_exception_lets_it_through(new_world: NewWorld) -> None:
    """It is none."""

    def catch() -> None:
        try:
            ring()
        except Exception:  # noqa: BLE001  that is the test
            spin()

    assert isinstance(outcome(new_world(1), catch), TaskTimeout)


@pytest.mark.parametrize("then", [lambda: 5, lambda: 1 // 0, lambda: sum(sorted([3, 1], key=lambda one: -one))])
def test_whatever_the_task_makes_of_it(new_world: NewWorld, then: Callable[[], object]) -> None:
    """Who swallows it returns what is perhaps half a result: it failed all the same."""

    def swallow() -> object:
        try:
            ring()
        except BaseException:  # noqa: BLE001  that is the test
            return then()
        return None

    assert isinstance(outcome(new_world(1), swallow), TaskTimeout)


def test_it_comes_again(new_world: NewWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare `except:` around one step is not the end of it."""
    monkeypatch.setattr(alarm, "AGAIN", 0.01)

    def swallow() -> None:
        for _ in range(3):
            with suppress(BaseException):
                spin()
        spin()

    error = outcome(new_world(1), swallow, 0.01)
    assert isinstance(error, TaskTimeout)
    assert "in swallow" in error.stack


def test_a_callback_of_c_code_is_ended_too(new_world: NewWorld) -> None:
    """The exception goes through `sorted`."""
    assert isinstance(outcome(new_world(1), lambda: sorted([2, 1], key=lambda _: ring())), TaskTimeout)


def test_a_call_of_another_task_is_the_users_code(new_world: NewWorld, names: None) -> None:
    """Ours only hands it on; so does what a function without a name is called by."""
    other = task("tests.alarm.other")(spin)
    assert isinstance(outcome(new_world(1), other, 0.02), TaskTimeout)


def test_our_own_code_is_never_interrupted(new_world: NewWorld) -> None:
    """The alarm comes again soon, once the user's code goes on."""
    met: list[str] = []

    def work() -> None:
        OURS["ours"](ring)  # the innermost frame is the user's, and what calls it may hold a lock
        met.append("ours is over")
        spin()

    assert isinstance(outcome(new_world(1), work), TaskTimeout)
    assert met == ["ours is over"]


# ---------------------------------------------------------------- the signal is the process's


def test_what_was_there_before_is_there_after(new_world: NewWorld) -> None:
    """The handler, and the timer with what is left of it."""
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: rung.append(number))
    signal.setitimer(signal.ITIMER_REAL, 500.0, 7.0)
    try:
        assert isinstance(outcome(new_world(1), ring), TaskTimeout)
        left, again = signal.getitimer(signal.ITIMER_REAL)
        assert (490.0 < left < 500.0, again) == (True, 7.0)
        ring()
        assert rung == [signal.SIGALRM]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def test_what_a_task_puts_there_stays(new_world: NewWorld) -> None:
    """Its own handler and timer, as without a timeout."""
    before = signal.getsignal(signal.SIGALRM)

    def work() -> None:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.alarm(300)

    assert outcome(new_world(1), work) is None
    assert (signal.getsignal(signal.SIGALRM), signal.alarm(0)) == (signal.SIG_IGN, 300)
    signal.signal(signal.SIGALRM, before)


def test_a_task_that_uses_it_for_a_while(new_world: NewWorld) -> None:
    """It puts ours back, and its timeout holds again."""

    def work() -> None:
        before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
        ring()
        signal.signal(signal.SIGALRM, before)
        ring()
        spin()

    assert isinstance(outcome(new_world(1), work), TaskTimeout)


def test_our_handler_put_back_too_late_does_nothing(new_world: NewWorld) -> None:
    """Nothing runs under a limit then."""
    kept: list[Any] = []
    before = signal.getsignal(signal.SIGALRM)
    assert outcome(new_world(1), lambda: kept.append(signal.getsignal(signal.SIGALRM))) is None
    signal.signal(signal.SIGALRM, kept[0])
    ring()
    signal.signal(signal.SIGALRM, before)


def test_a_handler_of_c_code_becomes_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python can't put it back."""
    timer = alarm._Timer(lambda *_: None, LONG)
    before, timer._before = timer._before, None
    timer.stop()
    assert signal.signal(signal.SIGALRM, before) == signal.SIG_DFL  # type: ignore[arg-type]


def test_in_another_thread_there_is_no_alarm() -> None:
    """Only that it is overdue can be seen, and that at once."""
    one = Alarm()
    begun, end = threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return end.wait(10)

    limit = Limit(CallId(1), "a", 1, 1e-6, "a call of 'a'")
    thread = threading.Thread(target=partial(one.within, limit, work))
    thread.start()
    begun.wait(10)
    watched = one.overdue()
    end.set()
    thread.join()
    assert (watched is not None and watched.limit, one.overdue()) == (limit, None)


# ---------------------------------------------------------------- event loops


def test_an_async_task_that_waits_is_cancelled(new_world: NewWorld) -> None:
    """Where it waits is told; the loop is the same one for the next call."""
    loops: list[object] = []

    async def work() -> None:
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(LONG)

    async def after() -> int:
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return 3

    world = new_world(1)
    error = outcome(world, work, 0.02)
    assert isinstance(error, TaskTimeout)
    assert "in work\n    await asyncio.sleep(LONG)" in error.stack
    inside.append(after)
    future = do.delay()
    world.finish()
    assert (future.result(), len(loops), loops[0] is loops[1]) == (3, 2, True)


async def computes() -> None:
    """Never wait."""
    spin()


async def waits_for_one_that_computes() -> None:
    """Have a task of its own compute."""
    await asyncio.create_task(computes())


@pytest.mark.parametrize("work", [computes, waits_for_one_that_computes])
def test_an_async_task_that_computes_is_ended_where_it_is(new_world: NewWorld, work: Callable[[], Any]) -> None:
    """Also where a task of its own does."""
    error = outcome(new_world(1), work, 0.02)
    assert isinstance(error, TaskTimeout)
    assert "in spin\n" in error.stack


def test_the_loop_itself_is_never_interrupted(new_world: NewWorld) -> None:
    """What it calls between its tasks is neither: the task is cancelled instead, until it gives in."""
    survived: list[str] = []

    async def work() -> None:
        asyncio.get_running_loop().call_soon(lambda: (ring(), survived.append("the callback")))
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            survived.append("the task")
        asyncio.get_running_loop().call_soon(ring)
        await asyncio.sleep(LONG)

    assert isinstance(outcome(new_world(1), work), TaskTimeout)
    assert survived == ["the callback", "the task"]


# ---------------------------------------------------------------- calls that wait


OURS["users"] = None
exec("def users(call):\n    mpitasks_calls = 'task'\n    return call()", OURS)  # noqa: S102  as `ours`, where it runs a task


@pytest.mark.parametrize("above", [None, LONG])
def test_a_call_that_waits_has_its_time(above: float | None) -> None:
    """What runs on top of it for it is ended, for real: a loop without a limit, or with a longer one."""
    one, ended = Alarm(), []

    def on_top() -> None:
        with one.on_top():
            try:
                OURS["users"](spin) if above is None else one.within(limit_of(2, above), lambda: OURS["users"](spin))
            except alarm.TimeUp:
                ended.append(one.ended_for())
        one.check()

    with pytest.raises(TaskTimeout, match=r"call 1 was ended after timeout=0.02 s, in .*, in spin"):
        one.within(limit_of(1, 0.02), on_top)
    assert [watched is not None and watched.limit.call_id for watched in ended] == [1]


def limit_of(number: int, seconds: float) -> Limit:
    """A limit."""
    return Limit(CallId(number), "a", 1, seconds, f"call {number}")


def test_a_shorter_limit_on_top_ends_that_alone() -> None:
    """And what is left of the time is the waiting call's."""
    one, ended = Alarm(), []

    def on_top() -> str:
        with one.on_top(), pytest.raises(TaskTimeout, match="call 2 was ended"):
            one.within(limit_of(2, 0.02), lambda: OURS["users"](spin))
        ended.append(signal.getitimer(signal.ITIMER_REAL)[0])
        one.check()
        return "went on"

    assert one.within(limit_of(1, LONG), on_top) == "went on"
    assert LONG - 100 < ended[0] < LONG


def test_what_runs_on_top_fails_by_the_timeout_of_what_waits(new_world: NewWorld, clock: Clock) -> None:
    """Through all levels, also those without a limit; each says whose time was up."""
    world, seen = new_world(1), []
    world.slaves[Rank(1)].backoff.pause = world.master.step  # type: ignore[method-assign]  # there is one thread

    def time_is_up() -> None:
        clock.now += LONG + 0.1
        ring()

    def wait() -> None:
        future = do.delay()
        try:
            future.result()
        finally:
            seen.append(future.exception(timeout=0) if future.done() else None)

    inside.extend([time_is_up, wait, wait])
    outer = do.options(timeout=LONG).delay()
    world.finish()
    error = outer.exception()
    assert isinstance(error, TaskTimeout)
    assert "a call of 'tests.runtime.world.do' was ended after timeout=1000 s" in str(error)
    assert "in time_is_up\n    ring()" in error.stack
    texts = [str(one) for one in seen if one is not None]
    assert all("was ended, and with it what ran for it, after timeout=1000 s" in text for text in texts)
    assert len(seen) == 2


# ---------------------------------------------------------------- acquiring


def test_acquiring_has_a_limit_of_its_own(new_world: NewWorld, names: None) -> None:
    """`timeout` of the task excludes it; the error says what was acquired; later calls try again."""
    acquire: list[Callable[[], None]] = [ring, lambda: None]

    @resource("tests.alarm.thing", timeout=LONG)
    def thing() -> Iterator[str]:
        acquire.pop(0)()
        yield "thing"

    @task("tests.alarm.uses", resource=thing, timeout=LONG / 2)
    def uses() -> str:
        return thing.get()

    world = new_world(1)
    first, second = uses.delay(), uses.delay()
    world.finish()
    with pytest.raises(TaskTimeout, match=r"acquiring resource tests\.alarm\.thing\(\) was ended after timeout=1000 s, in "):
        first.result()
    assert second.result() == "thing"
    told = [limit and limit[3:] for *_, limit in world.messages("LIMIT")]
    acquiring, running = (LONG, "acquiring resource tests.alarm.thing()"), (LONG / 2, "a call of 'tests.alarm.uses'")
    assert told == [acquiring, None, acquiring, None, running]
