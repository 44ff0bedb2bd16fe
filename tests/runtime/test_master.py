"""The master's half of the talk: windows, reports, take-backs, dependencies, functions, the end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpitasks
from mpitasks import DependencyFailed, FarmBroken
from mpitasks.ids import Rank
from mpitasks.runtime.functions import MOST_KEPT, Functions, dumps, is_known, names_known_everywhere
from mpitasks.runtime.submissions import SUBMITS_A_LOOK
from tests.runtime.world import World, do, echo, fail, inside, one_by_one

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.runtime.world import Clock

    NewWorld = Callable[..., World]

LATE = 0.031
"""Seconds after which a window without an outcome is asked for the rest."""

# ---------------------------------------------------------------- windows and reports


def test_one_call_there_and_back(new_world: NewWorld) -> None:
    """One window, one report."""
    world = new_world(1)
    future = echo.delay("value")
    assert [message[:3] for message in world.log] == [(0, 1, "WINDOW")]  # inside delay(), since the slave is idle
    world.turn()
    assert [message[:3] for message in world.log] == [(0, 1, "WINDOW"), (1, 0, "REPORT")]
    assert (future.result(timeout=0), future.rank, future.attempts) == ("value", 1, 1)


def test_an_unknown_task_goes_in_windows_of_one(new_world: NewWorld) -> None:
    """Until one call has shown how long it takes; then many short ones go at once, evenly."""
    world = new_world(2)
    echo.map(range(12))
    assert world.windows() == [(2, [1]), (1, [2])]
    world.turn()
    first, second = world.windows()[2:4]
    assert sorted([first[0], second[0]]) == [1, 2]
    assert (len(first[1]), len(second[1])) == (5, 3)  # each time half of what waits, as the scheduler sees fit
    world.finish()


def test_outcomes_come_batched(new_world: NewWorld) -> None:
    """A window of short calls is answered by one report."""
    world = new_world(1)
    echo.delay()
    many = one_by_one(echo, range(10), chunksize=10)
    world.turn()
    world.turn()
    counts = [len(outcomes) for _, _, _, outcomes, *_ in world.messages("REPORT")]
    assert counts == [1, 10]
    assert [future.result() for future in many] == list(range(10))


def test_a_chunk_travels_together(new_world: NewWorld) -> None:
    """As the user wished, whatever is known of the task."""
    world = new_world(1)
    echo.delay()
    echo.map(range(7), chunksize=3)
    world.finish()
    assert [len(ids) for _, ids in world.windows()] == [1, 3, 3, 1]


def test_nothing_is_sent_twice(new_world: NewWorld) -> None:
    """A step without news does nothing."""
    world = new_world(1)
    echo.delay()
    for _ in range(5):
        assert world.master.step() is False
    assert len(world.log) == 1


def test_calls_of_one_report_end_in_their_order(new_world: NewWorld) -> None:
    """Those of which only their futures have to know end together, but not past others."""
    world = new_world(1)
    told: list[int] = []

    def refuse() -> None:
        raise ValueError

    inside.extend([list, refuse, list])
    echo.delay()
    chunked = do._in_chunks(3)
    calls = [chunked.delay() for _ in range(3)]
    for place, future in enumerate(calls):
        future.add_done_callback(lambda _, place=place: told.append(place))
    world.finish()
    assert [len(outcomes) for _, _, _, outcomes, *_ in world.messages("REPORT")] == [1, 3]
    assert (told, calls[1].exception() is not None) == ([0, 1, 2], True)


def test_many_submissions_look_for_outcomes(new_world: NewWorld) -> None:
    """A main that only submits drives the farm too: every 64 calls for each rank."""
    world = new_world(1)
    first = echo.delay()
    world.slaves[1].run_all()
    for _ in range(2 * SUBMITS_A_LOOK - 1):
        echo.delay()
    assert not first.done()
    echo.delay()
    assert first.done()
    world.finish()


# ---------------------------------------------------------------- take-backs


def window_of(world: World, calls: int) -> list[mpitasks.Future[Any]]:
    """Give slave 1 a window of so many calls, while nobody else has any; the slave has not looked at it."""
    inside.extend([lambda: None] * len(world.slaves))
    blockers = [do.delay() for _ in world.slaves]
    chunked = do._in_chunks(calls)
    futures = [chunked.delay() for _ in range(calls)]
    world.master.step()
    world.slaves[1].run_all()
    world.master.step()
    assert [len(ids) for to, ids in world.windows() if to == 1] == [1, calls]
    for rank in world.slaves:
        if rank != 1:
            world.slaves[rank].run_all()
    world.master.step()
    assert all(blocker.done() for blocker in blockers)
    return futures


def test_a_late_window_is_asked_back(new_world: NewWorld, clock: Clock) -> None:
    """While an idle slave could run it: what was not begun goes there, what was begun stays."""
    world = new_world(2)
    futures = window_of(world, 4)

    def meanwhile() -> str:
        clock.now += LATE
        world.master.step()  # asks
        world.slaves[1].receive()  # what the listener thread would do
        world.master.step()  # hears, and sends to the other
        return "begun"

    inside.extend([lambda: "other"] * 3 + [meanwhile])
    world.slaves[1].step()
    world.slaves[1].step()
    assert [message[:3] for message in world.messages("BACK")] == [(0, 1, "BACK")]
    given_back = [message[4] for message in world.messages("REPORT") if message[4] is not None]
    assert [sorted(ids) for ids in given_back] == [[future._call.id for future in futures[1:] if future._call]]
    world.finish()
    assert [future.result() for future in futures] == ["begun", "other", "other", "other"]
    assert [future.rank for future in futures] == [1, 2, 2, 2]
    assert [future.attempts for future in futures] == [1, 1, 1, 1]  # what was given back had not begun


def test_a_window_in_time_is_left_alone(new_world: NewWorld, clock: Clock) -> None:
    """Nor is one asked twice."""
    world = new_world(2)
    window_of(world, 4)
    clock.now += 0.029
    world.master.step()
    assert world.messages("BACK") == []
    clock.now += 0.002
    for _ in range(3):
        world.master.step()
        clock.now += 1
    assert len(world.messages("BACK")) == 1
    inside.extend([lambda: None] * 4)
    world.finish()


def test_a_slave_that_has_begun_all_gives_nothing_back(new_world: NewWorld, clock: Clock) -> None:
    """The answer is empty, and no call runs twice."""
    world = new_world(2)
    futures = window_of(world, 2)
    clock.now += LATE
    world.master.step()
    inside.extend([lambda: None] * 2)
    slave = world.slaves[1]
    slave.receive()  # the window, and not yet the question
    while slave._inbox:
        slave._outbox.append(slave._run(slave._inbox.popleft()))
    world.finish()
    assert [future.rank for future in futures] == [1, 1]
    assert [message[4] for message in world.messages("REPORT") if message[1] == 0][-2:] == [[], None]


# ---------------------------------------------------------------- cancel


def test_cancel_before_the_window_is_sent(new_world: NewWorld) -> None:
    """Nothing goes to the slave."""
    world = new_world(1)
    echo.delay()
    waiting = echo.delay()
    assert waiting.cancel()
    world.finish()
    assert world.windows() == [(1, [1])]


def test_cancel_after_the_window_is_sent(new_world: NewWorld) -> None:
    """It is too late; the slave is told, and only this call is told to stop."""
    world = new_world(1)
    stops: list[bool] = []
    inside.extend([lambda: stops.append(mpitasks.current().should_stop())] * 2)
    future = do.delay()
    assert future.cancel() is False
    assert [message[2:] for message in world.messages("STOP")] == [("STOP", 1)]
    assert [world.slaves[1].receive(), world.slaves[1].receive()] == [True, True]
    world.finish()
    do.delay()
    world.finish()
    assert (stops, future.cancelled()) == ([True, False], False)


# ---------------------------------------------------------------- dependencies


def test_a_value_goes_on_as_it_came(new_world: NewWorld) -> None:
    """The large buffer of a result is sent on, and never unpickled on the master."""
    world = new_world(1)
    first = echo.delay(np.arange(100_000))
    second = echo.delay(first.arg())
    world.finish()
    values = world.messages("WINDOW")[-1][5][0][6]
    assert [[memoryview(buffer).nbytes for buffer in buffers] for _, buffers in values] == [[800_000]]
    assert second.result(timeout=0)[-1] == 99_999
    assert first._payload is not None  # not even now


def test_a_dependent_waits_for_all(new_world: NewWorld) -> None:
    """Arguments and `after`, and each only once."""
    world = new_world(3)
    one, two, three = echo.delay(1), echo.delay(2), echo.delay(3)
    dependent = echo.options(after=[three, one]).delay([one, two, one])
    for rank in (2, 1):
        world.turn(rank)
        assert not dependent.running()
    world.turn(3)
    assert dependent.running()
    world.finish()
    assert dependent.result() == [1, 2, 1]


def test_a_failure_ends_dependents_at_once(new_world: NewWorld) -> None:
    """No slave hears of them."""
    world = new_world(1)
    bad = fail.delay("origin")
    chain = [echo.delay(bad.arg())]
    chain += [echo.delay(chain[-1].arg()) for _ in range(3)]
    world.turn()
    assert [future.done() for future in chain] == [True] * 4
    assert isinstance(chain[-1].exception(), DependencyFailed)
    assert world.windows() == [(1, [1])]
    assert not world.master.is_busy


# ---------------------------------------------------------------- functions


def made(number: int) -> Callable[[], int]:
    """A closure of its own."""
    return lambda: number


def functions_sent(world: World) -> list[tuple[int, list[int], list[int]]]:
    """To whom which functions went, and which it may forget."""
    return [(to, sorted(functions), dropped) for _, to, _, functions, dropped, _ in world.messages("WINDOW")]


def test_a_function_is_sent_once_a_slave(new_world: NewWorld) -> None:
    """Equal bytes are one function, also in two closures."""
    world = new_world(2)
    for _ in range(3):
        futures = [mpitasks.submit(made(7)), mpitasks.submit(made(7))]
        world.finish()
        assert [future.result() for future in futures] == [7, 7]
    sent = functions_sent(world)
    assert sorted(to for to, functions, _ in sent if functions) == [1, 2]
    assert {tuple(functions) for _, functions, _ in sent} == {(0,), ()}


def test_functions_are_dropped_when_there_are_too_many(new_world: NewWorld) -> None:
    """The one used longest ago, and the slave forgets it too; used again, it is sent again."""
    world = new_world(1)
    for number in range(MOST_KEPT):
        mpitasks.submit(made(number))
        world.finish()
    mpitasks.submit(made(0))  # used again, so not the oldest
    world.finish()
    mpitasks.submit(made(-1))
    world.finish()
    assert functions_sent(world)[-1] == (1, [MOST_KEPT], [1])
    assert set(world.slaves[1]._runner.functions) == {0, *range(2, MOST_KEPT + 1)}
    again = mpitasks.submit(made(1))
    world.finish()
    assert again.result() == 1
    assert functions_sent(world)[-1] == (1, [MOST_KEPT + 1], [2])


def test_a_function_in_use_is_not_dropped() -> None:
    """However old; and it comes up again later."""
    functions = Functions()
    held = functions.number_of(b"held")
    for number in range(MOST_KEPT + 5):
        functions.release(functions.number_of(b"%d" % number))
    sent, dropped = functions.to_send(Rank(1), {held})
    assert (list(sent), dropped) == ([held], [])


@pytest.mark.parametrize("how", ["refused", "failed before", "cancelled", "failed after"])
def test_a_call_that_never_runs_lets_go_of_its_function(new_world: NewWorld, how: str) -> None:
    """Otherwise it would be kept for ever."""
    world = new_world(1)
    bad = fail.delay()
    if how == "failed before":
        world.finish()
    if how == "refused":
        with pytest.raises(mpitasks.EncodeError):
            mpitasks.submit(made(1), threading.Lock())
    else:
        future = mpitasks.submit(made(1), bad)
        if how == "cancelled":
            assert future.cancel()
        world.finish()
    assert list(world.master._functions._in_use.values()) in ([], [0])


def module_level() -> None:
    """Can be imported anywhere."""


def test_what_every_rank_can_import_travels_by_name(new_world: NewWorld) -> None:
    """No bytes of the function are sent at all."""
    world = new_world(1)
    mpitasks.submit(module_level)
    mpitasks.submit(abs, -1)
    mpitasks.submit(dict)
    world.finish()
    assert functions_sent(world) == [(1, [], [])] * 3


def test_what_is_known_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of the script counts if it was there when the run began, and if it still means the same."""
    import __main__  # noqa: PLC0415  as it is now

    def late() -> None: ...

    late.__module__, late.__qualname__ = "__main__", "late"
    monkeypatch.setattr(__main__, "late", late, raising=False)
    known = names_known_everywhere()
    assert is_known(late, known)
    assert not is_known(late, known - {"late"})
    monkeypatch.setattr(__main__, "late", module_level)
    assert not is_known(late, known)
    assert is_known(World.turn, frozenset())
    assert not is_known(made(1), frozenset())
    monkeypatch.setattr(late, "__module__", "no.such.module")
    assert not is_known(late, known)


def test_a_function_that_cannot_be_pickled_is_refused() -> None:
    """By cloudpickle neither."""
    lock = threading.Lock()
    words = r"<function \S+<lambda> at \S+ can't travel to a slave: TypeError: .*; what it refers to must be picklable"
    with pytest.raises(mpitasks.EncodeError, match=words):
        dumps(lambda: lock, frozenset())


# ---------------------------------------------------------------- the end


def test_the_slaves_are_let_go(new_world: NewWorld) -> None:
    """Each is told, says goodbye, and only then is the master done."""
    world = new_world(2)
    helper = threading.Thread(target=lambda: [slave.serve() for slave in world.slaves.values()])
    helper.start()
    assert world.master.close(10.0) == []
    helper.join()
    assert [message[:3] for message in world.log] == [(0, 1, "LEAVE"), (0, 2, "LEAVE"), (1, 0, "BYE"), (2, 0, "BYE")]


def test_a_slave_that_does_not_leave_is_named(new_world: NewWorld) -> None:
    """After the time that it was given; then whoever still waits hears that the run has ended."""
    world = new_world(2)
    future = echo.delay()
    world.slaves[1].run_all()
    world.slaves[1].close()
    assert world.master.busy_ranks() == {2: "tests.runtime.world.echo"}
    assert world.master.close(0.0) == [2]
    with pytest.raises(FarmBroken, match="the farm has ended: the run has ended"):
        future.result()
    with pytest.raises(FarmBroken, match="echo' can't be called any more: the run is ending"):
        echo.delay()


def test_what_ended_with_the_farm_is_not_cancelled_too(new_world: NewWorld) -> None:
    """An outcome is final: the failure stays, although the run is abandoned afterwards."""
    world = new_world(1)
    futures = [echo.delay(number) for number in range(3)]
    dependent = echo.delay(futures[-1])
    world.master.end_all(OSError("the wire"))
    world.master.abandon(0.0)
    assert [type(future.exception(timeout=0)).__name__ for future in futures] == ["FarmBroken"] * 3
    assert isinstance(dependent.exception(timeout=0), DependencyFailed)


def test_abandoned_calls_are_cancelled(new_world: NewWorld) -> None:
    """What waits, what waits for it, what a slave gives back; what runs is told to stop, and no call is taken any more."""
    world = new_world(1)
    window = window_of(world, 3)
    waiting = [echo.delay(1), echo.delay(window[0]), echo.delay(2)]
    waiting.append(echo.delay([waiting[0]]))
    assert world.master.abandon(0.0) == 4
    assert [future.cancelled() for future in waiting] == [True] * 4
    assert world.messages("DRAIN") == [(0, 1, "DRAIN")]
    stops: list[bool] = []
    inside.append(lambda: stops.append(mpitasks.current().should_stop()))
    slave = world.slaves[1]
    slave.receive()
    call = slave._inbox.popleft()  # begun before the message came
    slave.receive()
    slave._outbox.append(slave._run(call))
    slave._report()
    world.master.step()
    assert [future.cancelled() for future in window] == [False, True, True]
    assert stops == [True]
    assert not world.master.is_busy


def given_back() -> Any:
    """A call that ends as another one."""
    inside.append(do.delay)
    return do.delay()


def followed() -> Any:
    """A call that follows an equal one."""
    shared = do.options(memo=True)
    return [shared.delay(), shared.delay()][1]


@pytest.mark.parametrize("begin", [given_back, followed])
def test_what_becomes_free_after_the_end_does_not_begin(new_world: NewWorld, begin: Callable[[], Any]) -> None:
    """It waited for a call that runs nowhere itself, but ends well when another one does."""
    world = new_world(1)

    def end() -> int:
        world.master.abandon(0.0)
        world.slaves[1].receive()
        world.master.step()
        return 1

    inside.append(end)
    future = begin()
    dependent = echo.delay(future)
    world.finish()
    assert (future.result(timeout=0), dependent.cancelled()) == (1, True)


def test_a_failure_forgotten_is_logged_without_the_lock(new_world: NewWorld, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody holds the future: then the farm does, until it has let go of its own lock."""
    world = new_world(1)
    fail.delay("forgotten")
    locked: list[bool] = []
    caplog.handler.addFilter(lambda record: bool(locked.append(world.master._lock._is_owned())) or True)
    world.turn()
    assert locked == [False]
