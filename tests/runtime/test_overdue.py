"""A call that can't be interrupted: it ends for everybody but its slave, which comes back when it can."""

from __future__ import annotations

import logging
import signal
import threading
from contextvars import Context
from typing import TYPE_CHECKING, Any

import pytest

from mpitasks import DependencyFailed, NotRunning, TaskTimeout, current
from mpitasks.ids import CallId, Rank
from mpitasks.runtime import overdue, places, stacks
from mpitasks.runtime.alarm import PATIENCE, Limit
from mpitasks.runtime.overdue import SILENCE
from tests.runtime.world import World, do, echo, inside

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.runtime.world import Clock

    NewWorld = Callable[..., World]

LONG = 1000.0
"""Seconds that no test takes."""
limited = do.options(timeout=LONG)
PLACES = [places.Place("here", 0, "", -1)] * 3


class AtOnce(threading.Thread):
    """A thread whose work is done when it is started."""

    def start(self) -> None:
        """Do it."""
        self.run()


class Left(BaseException):
    """A process has ended: the test's goes on."""


class Stuck:
    """A call that goes on: what happens meanwhile is the test's, as the listener would have it."""

    def __init__(self, world: World, clock: Clock, rank: int) -> None:
        self.world, self.clock, self.rank = world, clock, rank

    def outlast(self) -> None:
        """The time is up, the alarm in vain, and the listener sees it."""
        self.clock.now += LONG + PATIENCE + 0.1
        self.world.slaves[Rank(self.rank)]._watch()
        self.world.master.step()


@pytest.fixture
def stuck(new_world: NewWorld, clock: Clock) -> Stuck:
    """Two slaves, of which the second will be left in a call."""
    return Stuck(new_world(2), clock, 2)


# ---------------------------------------------------------------- the slave tells


def test_the_future_fails_at_once_with_the_stack(stuck: Stuck) -> None:
    """Who waits hears of it while the call goes on; its error tells where."""
    seen: list[Any] = []

    def work() -> None:
        stuck.outlast()
        seen.append(future.exception(timeout=0))

    inside.append(work)
    future = limited.delay()
    stuck.world.turn(2)
    error = seen[0]
    assert isinstance(error, TaskTimeout)
    text = r"a call of 'tests\.runtime\.world\.do' can't be interrupted; slave 2 is left in it after timeout=1000 s, in \"/.*"
    with pytest.raises(TaskTimeout, match=text):
        raise error
    assert "in work\n    stuck.outlast()" in error.stack
    assert error.stack in str(error.__cause__)
    assert error.__notes__ == ["task 'tests.runtime.world.do', call 1, attempt 1, slave rank 2 on here"]
    assert (future.rank, future.attempts, future.cancel()) == (2, 1, False)


def test_before_its_time_nothing_is_told(stuck: Stuck) -> None:
    """And an alarm that works tells by the outcome."""

    def work() -> None:
        stuck.clock.now += LONG + PATIENCE
        stuck.world.slaves[Rank(2)]._watch()

    inside.append(work)
    future = limited.delay()
    stuck.world.turn(2)
    assert (future.result(), stuck.world.messages("STUCK")) == (None, [])


def test_it_is_told_once(stuck: Stuck) -> None:
    """The listener looks again and again."""

    def work() -> None:
        for _ in range(3):
            stuck.outlast()

    inside.append(work)
    future = limited.delay()
    stuck.world.turn(2)
    assert isinstance(future.exception(), TaskTimeout)
    assert len(stuck.world.messages("STUCK")) == 1


def test_dependents_end_with_it(stuck: Stuck) -> None:
    """They need not wait for what nobody waits for."""
    seen: list[Any] = []

    def work() -> None:
        stuck.outlast()
        seen.append(dependent.exception(timeout=0))

    inside.append(work)
    first = limited.delay()
    dependent = echo.delay(first)
    stuck.world.turn(2)
    assert isinstance(seen[0], DependencyFailed)
    assert isinstance(seen[0].__cause__, TaskTimeout)


def test_the_slave_gets_nothing_until_the_call_ends(stuck: Stuck) -> None:
    """Others run what waits; what the call returns after all is nobody's; then the slave works as before."""
    world, others, ranks = stuck.world, [], []

    def work() -> str:
        stuck.outlast()
        others.extend(Context().run(lambda: [echo.delay(number) for number in range(5)]))  # as main does
        for _ in others:
            world.turn(1)
        ranks.extend(future.rank for future in others)
        return "too late"

    inside.append(work)
    future = limited.delay()
    world.turn(2)
    world.turn()
    assert ranks == [1] * 5
    assert isinstance(future.exception(), TaskTimeout)
    after = [echo.delay(number) for number in range(2)]
    world.finish()
    assert sorted(one.rank or 0 for one in after) == [1, 2]


def test_both_is_logged(stuck: Stuck, caplog: pytest.LogCaptureFixture) -> None:
    """With slave and task: that it is left there, and that it is back."""
    inside.append(stuck.outlast)
    future = limited.delay()
    stuck.world.turn(2)
    assert future.exception() is not None
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "slave 2 is left in a call of 'tests.runtime.world.do' that has outlasted its timeout"),
        (
            logging.WARNING,
            "slave 2 has ended the call of 'tests.runtime.world.do' that had outlasted its timeout, and works again",
        ),
    ]


def test_the_call_may_see_that_nobody_waits(stuck: Stuck) -> None:
    """`should_stop()` is true from then on, and not for the next call."""
    seen: list[bool] = []

    def work() -> None:
        seen.append(current().should_stop())
        stuck.outlast()
        seen.append(current().should_stop())

    inside.append(work)
    limited.delay()
    stuck.world.turn(2)
    inside.append(lambda: seen.append(current().should_stop()))
    do.delay()
    stuck.world.finish()
    assert seen == [False, True, False]


def test_what_has_a_limit_goes_alone(stuck: Stuck) -> None:
    """Nothing is to wait behind what perhaps never ends, not even where the user wants chunks."""
    many = echo.options(timeout=LONG).map(range(4), chunksize=2)
    stuck.world.finish()
    assert [len(ids) for _, ids in stuck.world.windows()] == [1, 1, 1, 1]
    assert many.results() == [0, 1, 2, 3]


def test_what_waits_behind_it_is_given_back_first(new_world: NewWorld, clock: Clock) -> None:
    """A call without a limit may have taken along one that has; and what comes behind that must not wait for it."""
    world = new_world(1)
    stuck = Stuck(world, clock, 1)
    inside.extend([lambda: "behind", stuck.outlast, lambda: "before", lambda: "first"])
    futures = [*do.starmap([()]), *do.starmap([()], chunksize=3), limited.delay(), do.delay()]
    world.finish()
    assert world.windows() == [(1, [1]), (1, [2, 3, 4]), (1, [4])]
    told = [message[2] for message in world.messages("REPORT", "STUCK") if message[2] == "STUCK" or message[4] == [4]]
    assert told == ["REPORT", "STUCK"]
    assert [future.exception() is None for future in futures] == [True, True, False, True]
    assert futures[3].result() == "behind"


# ---------------------------------------------------------------- calls that wait


def alone(new_world: NewWorld, clock: Clock) -> Stuck:
    """One slave, that waits by letting the master go on."""
    stuck = Stuck(new_world(1), clock, 1)
    stuck.world.slaves[Rank(1)].backoff.pause = stuck.world.master.step  # type: ignore[method-assign]  # there is one thread
    return stuck


def test_what_waits_below_it_ends_too(new_world: NewWorld, clock: Clock) -> None:
    """At once, with the stack; the slave works again when both have ended after all, and says so once."""
    stuck, seen = alone(new_world, clock), []

    def outlast() -> str:
        stuck.outlast()
        seen.extend([outer.exception(timeout=0), stuck.world.master.is_busy, stuck.world.master.left_in_calls()])
        return "too late"

    def wait() -> list[object]:
        seen.append(limited.delay().exception())
        seen.append(echo.delay(1).exception())
        seen.append(current().should_stop())
        return seen

    inside.extend([outlast, wait])
    outer = do.delay()
    stuck.world.turn()
    below, is_busy, left, above, refused, should_stop = seen
    text = (
        r"a call of 'tests\.runtime\.world\.do' can't go on, on the stack of the same slave: "
        r"a call of 'tests\.runtime\.world\.do' can't be interrupted; slave 1 is left in it after timeout=1000 s, in "
    )
    with pytest.raises(TaskTimeout, match=text):
        raise below
    assert "in outlast\n    stuck.outlast()" in below.stack
    assert (is_busy, left, type(above), should_stop) == (False, {1: "tests.runtime.world.do"}, TaskTimeout, True)
    with pytest.raises(NotRunning, match="that call has outlasted its timeout, and was given up"):
        raise refused
    after = echo.delay(3)
    stuck.world.finish()
    assert (after.result(), stuck.world.master.left_in_calls(), outer.exception()) == (3, {}, below)


def test_a_call_that_waits_runs_again_where_it_may(new_world: NewWorld, clock: Clock) -> None:
    """As if it had raised the timeout of the call above it."""
    stuck = alone(new_world, clock)
    inside.extend([lambda: "second", stuck.outlast, lambda: limited.delay().result()])
    outer = do.options(retries=1).delay()
    stuck.world.finish()
    assert (outer.result(), outer.attempts) == ("second", 2)


def test_what_runs_on_top_ends_with_a_call_whose_time_is_up(new_world: NewWorld, clock: Clock) -> None:
    """It has no limit of its own, and can't be interrupted."""
    stuck, seen = alone(new_world, clock), []

    def outlast() -> None:
        stuck.outlast()
        seen.extend([outer.exception(timeout=0), stuck.world.master.is_busy])

    inside.extend([outlast, lambda: do.delay().result()])
    outer = limited.delay()
    stuck.world.turn()
    error, is_busy = seen
    assert (str(error).partition(",")[0], is_busy) == (
        "a call of 'tests.runtime.world.do' can't be interrupted; slave 1 is left in it after timeout=1000 s",
        False,
    )
    assert "in outlast\n    stuck.outlast()" in error.stack


def test_a_call_that_waits_is_not_overdue_before_it_has_looked(new_world: NewWorld, clock: Clock) -> None:
    """What it waits for has taken its time, and ended; now it ends by itself, and nobody is given up for it."""
    stuck = alone(new_world, clock)
    slave = stuck.world.slaves[Rank(1)]

    def pass_time() -> None:
        clock.now += LONG + 0.1

    def wait() -> None:
        future = do.delay()
        slave._runner.farm().announce = lambda: bool(clock.now > LONG and slave._watch())  # type: ignore[method-assign]  # as the listener
        future.result()

    inside.extend([pass_time, wait])
    outer = limited.delay()
    stuck.world.turn()
    assert "was ended after timeout=1000 s" in str(outer.exception())
    assert stuck.world.messages("STUCK") == []


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("limit", [None, LONG, 100 * LONG])
def test_the_limit_of_a_call_that_waits_is_not_forgotten(
    new_world: NewWorld, clock: Clock, monkeypatch: pytest.MonkeyPatch, limit: float | None
) -> None:
    """Whatever limit another one has had on top of it: if it then keeps all of its slave, the master gives it up in time."""
    stuck, seen = alone(new_world, clock), []
    monkeypatch.setattr(stacks, "dump", lambda place: f'  File "there.py", line 5, in {place.host}\n')
    stuck.world.master._overdue._places = PLACES

    def keep() -> None:
        echo.options(timeout=limit).delay().result()
        clock.now += LONG + SILENCE + 0.1
        for _ in range(3):
            stuck.world.master.step()
        seen.append(outer.exception(timeout=0))

    inside.append(keep)
    outer = limited.delay()
    stuck.world.turn()
    assert "can't be interrupted, and keeps all of slave 1" in str(seen[0])


# ---------------------------------------------------------------- again


def retried(stuck: Stuck, **options: Any) -> tuple[Any, list[Any]]:
    """A call that gets stuck in its first attempt, and what came of it while that went on."""
    seen: list[Any] = []

    def work() -> str:
        inside.append(lambda: "second")
        stuck.outlast()
        stuck.world.turn(1)
        seen.append((future.done(), future.rank, future.attempts))
        return "first"

    inside.append(work)
    future = do.options(timeout=LONG, retries=1, **options).delay()
    stuck.world.turn(2)
    return future, seen


@pytest.mark.parametrize("options", [{}, {"retry_for": TaskTimeout}, {"retry_for": (OSError, TaskTimeout)}], ids=str)
def test_it_runs_again_elsewhere(stuck: Stuck, options: dict[str, Any]) -> None:
    """Where it may; the outcome of the first attempt counts no more."""
    future, seen = retried(stuck, **options)
    assert seen == [(True, 1, 2)]
    assert future.result() == "second"


@pytest.mark.parametrize("kind", [OSError, TimeoutError, ValueError])
def test_it_does_not_run_again_if_only_others_are_named(stuck: Stuck, kind: type[Exception]) -> None:
    """`retry_for=OSError` means what the task raises, though `TaskTimeout` is a TimeoutError, and that an OSError."""
    future, seen = retried(stuck, retry_for=kind)
    assert seen == [(True, 2, 1)]
    assert isinstance(future.exception(), TaskTimeout)


@pytest.mark.parametrize(("kind", "attempts"), [(OSError, 1), (TaskTimeout, 2)])
def test_so_it_is_with_what_the_alarm_ends(new_world: NewWorld, kind: type[Exception], attempts: int) -> None:
    """One rule for both."""
    world = new_world(1)
    inside.extend([lambda: signal.raise_signal(signal.SIGALRM)] * 2)
    future = do.options(timeout=LONG, retries=1, retry_for=kind).delay()
    world.finish()
    assert (type(future.exception()), future.attempts) == (TaskTimeout, attempts)


def test_what_the_first_attempt_hears_does_not_count_for_the_second(stuck: Stuck, tmp_path: Path) -> None:
    """It is nobody's any more: the second one does all of its work, and that is kept."""

    def work() -> None:
        inside.append(lambda: "second")
        stuck.outlast()
        assert current().should_stop()
        stuck.world.turn(1)

    stuck.world.master.keep_journal(tmp_path / "run.jrnl")
    inside.append(work)
    future = do.options(timeout=LONG, retries=1).delay()
    stuck.world.turn(2)
    kept = stuck.world.master.kept
    stuck.world.master.end_journal("ended")
    assert (future.result(), kept) == ("second", 1)


# ---------------------------------------------------------------- the slave can't tell


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stacks are fetched without a thread."""
    monkeypatch.setattr(overdue.threading, "Thread", AtOnce)


@pytest.mark.usefixtures("at_once")
def test_a_silent_slave_is_given_up_by_the_master(stuck: Stuck, monkeypatch: pytest.MonkeyPatch) -> None:
    """A little after it should have told; its stack is asked for by a signal, from outside."""
    world, seen = stuck.world, []
    monkeypatch.setattr(stacks, "dump", lambda place: f'  File "there.py", line 5, in {place.host}\n')
    world.master._overdue._places = PLACES

    def work() -> str:
        world.master.step()
        stuck.clock.now += LONG + SILENCE - 0.1
        world.master.step()
        seen.append(future.done())
        stuck.clock.now += 0.2
        world.master.step()  # asks for the stack
        world.master.step()
        seen.append(future.exception(timeout=0))
        return "too late"

    inside.append(work)
    future = limited.delay()
    world.turn(2)
    assert seen[0] is False
    error = seen[1]
    assert isinstance(error, TaskTimeout)
    assert str(error) == (
        "a call of 'tests.runtime.world.do' can't be interrupted, and keeps all of slave 2, which is left in it "
        'after timeout=1000 s, in "there.py", line 5, in here'
    )
    assert error.__notes__ == ["task 'tests.runtime.world.do', call 1, attempt 1, slave rank 2 on here"]
    after = [echo.delay(number) for number in range(2)]
    world.finish()
    assert sorted(one.rank or 0 for one in after) == [1, 2]


@pytest.mark.usefixtures("at_once")
def test_a_call_ends_with_the_one_that_it_gave_back(stuck: Stuck) -> None:
    """At once, not with the next message."""
    seen: list[bool] = []

    def work() -> None:
        stuck.world.master.step()
        stuck.clock.now += LONG + SILENCE + 0.1
        stuck.world.master.step()
        stuck.world.master.step()
        seen.append(outer.done())

    inside.extend([work, limited.delay])
    outer = do.delay()
    stuck.world.finish()
    assert (seen, type(outer.exception())) == ([True], TaskTimeout)


@pytest.mark.usefixtures("at_once")
def test_what_was_given_up_may_give_back_a_call(stuck: Stuck) -> None:
    """Nobody ends by that any more; the slave works again."""
    world = stuck.world

    def work() -> Any:
        world.master.step()
        stuck.clock.now += LONG + SILENCE + 0.1
        world.master.step()
        world.master.step()
        return echo.delay(1)

    inside.append(work)
    future = limited.delay()
    world.finish()
    assert (type(future.exception()), world.master.left_in_calls()) == (TaskTimeout, {})
    after = [echo.delay(number) for number in range(2)]
    world.finish()
    assert sorted(one.rank or 0 for one in after) == [1, 2]


@pytest.mark.usefixtures("at_once")
def test_without_a_stack_the_error_says_so(stuck: Stuck) -> None:
    """Why it can't be had."""

    def work() -> None:
        stuck.world.master.step()
        stuck.clock.now += LONG + SILENCE + 0.1
        stuck.world.master.step()
        stuck.world.master.step()

    inside.append(work)
    future = limited.delay()
    stuck.world.turn(2)
    assert "its stack can't be read: it is no process of its own" in str(future.exception().__cause__)  # type: ignore[union-attr]


@pytest.mark.usefixtures("at_once")
def test_what_has_ended_is_watched_no_more(stuck: Stuck) -> None:
    """Nor what acquired a resource, once that is there; a long call without a limit is nobody's business."""
    limited_echo = echo.options(timeout=LONG)
    first = limited_echo.delay(1)
    stuck.world.finish()

    def work() -> None:
        stuck.world.master.step()
        stuck.clock.now += 10 * LONG
        stuck.world.master.step()
        stuck.world.master.step()

    inside.append(work)
    second = do.delay()
    stuck.world.finish()
    assert (first.result(), second.result(), stuck.world.master.left_in_calls()) == (1, None, {})


def test_a_stack_that_is_found_meanwhile_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread finds it, just as another slave begins what has a limit: it is looked at all the same, and at once."""
    watch = overdue.Overdue(())
    watch.limited(Rank(1), Limit(CallId(1), "a", 1, LONG, "a call of 'a'"), 0.0)
    (begun,) = watch._begun[Rank(1)]

    def at_the_same_time(*values: float) -> float:
        least = min(*values)
        watch._find(begun)
        return least

    monkeypatch.setattr(overdue, "min", at_the_same_time, raising=False)
    watch.limited(Rank(2), Limit(CallId(2), "a", 1, LONG, "a call of 'a'"), 0.0)
    monkeypatch.undo()
    assert watch.due < 0.0
    assert [one.rank for one in watch.look(0.0, lambda _: False)] == [1]


def test_a_slave_that_minds_a_child_has_time() -> None:
    """It ends what outlasts the time of a call that waits for it; it is looked at again later."""
    watch = overdue.Overdue(())
    watch.limited(Rank(1), Limit(CallId(1), "a", 1, LONG, "a call of 'a'"), 0.0)
    due = watch.due
    assert watch.look(due, lambda rank: rank == 1) == []
    assert watch.due == due + overdue.SILENCE
    watch.answered(Rank(1), [CallId(1)])
    assert watch.due > due


# ---------------------------------------------------------------- the end


def close_in_call(stuck: Stuck) -> tuple[list[int], list[tuple[Any, ...]]]:
    """End the run while a slave is left in a call; who has not left, and what was said meanwhile."""
    told: list[Any] = []
    world = stuck.world

    def work() -> None:
        stuck.outlast()
        world.master.finish()
        said = len(world.log)
        world.master._leaving.have_left = lambda: True  # type: ignore[method-assign]  # slaves run by hand here
        told.append(world.master.close(0.0))
        told.append([message[:3] for message in world.log[said:]])

    inside.append(work)
    limited.delay()
    world.turn(2)
    return told[0], told[1]


def test_the_end_does_not_wait_for_it(stuck: Stuck, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told first; if it can't leave, the others stay until the job ends, since MPI could not end without it."""
    monkeypatch.setattr("mpitasks.runtime.leaving.LEAVE_WITHIN", 0.0)
    stuck.world.master.places = PLACES
    left, said = close_in_call(stuck)
    assert (left, said) == ([1], [(0, 2, "LEAVE"), (0, 1, "STAY")])
    assert stuck.world.master.left_in_calls() == {2: "tests.runtime.world.do"}


def test_a_slave_leaves_in_the_midst_of_a_call(stuck: Stuck, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the main thread, by the alarm's signal, once the master lets it go: then MPI can end in order."""
    ended: list[str] = []
    slave = stuck.world.slaves[Rank(2)]

    def leave() -> None:
        ended.append(threading.current_thread().name)
        slave.wire.release()
        slave._runner.alarm._end = None
        raise Left

    monkeypatch.setattr(slave, "_leave", leave)

    def work() -> None:
        stuck.outlast()
        slave._watch()
        assert ended == []
        slave._leaving = True
        listener = threading.Thread(target=slave._watch, name="like the listener")
        listener.start()
        listener.join()

    inside.append(work)
    limited.delay()
    stuck.world.turn(2)
    assert ended == [threading.main_thread().name]
    assert [message[:3] for message in stuck.world.messages("BYE")] == [(2, 0, "BYE")]
