"""The slave's half of the talk: what it runs, reports, gives back, and how it ends."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpitasks
from mpitasks import UnknownTask, registry
from mpitasks.broken import InitializerFailed
from mpitasks.core.calls import State
from mpitasks.ids import MASTER, CallId, Rank
from mpitasks.runtime.messages import STOP, WINDOW
from mpitasks.runtime.slave import MOST_UNSENT, TICK, Slave
from mpitasks.transport import wire
from tests.runtime.world import Never, World, do, echo, inside, one_by_one

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.runtime.world import Clock

    NewWorld = Callable[..., World]


def reports(world: World) -> list[int]:
    """How many outcomes came in each report."""
    return [len(outcomes) for _, _, _, outcomes, *_ in world.messages("REPORT")]


# ---------------------------------------------------------------- waiting


def test_a_window_that_comes_while_a_call_waits_goes_back(new_world: NewWorld) -> None:
    """It is never among what the main thread may begin, and what came for the wait stays there."""
    world = new_world(1)
    slave = world.slaves[Rank(1)]
    above, late = [(CallId(number), "echo", "echo", 1, None, b"", (), None, None) for number in (7, 8)]
    slave._inbox.append(above)
    slave._runner.farm().waits.append(1)
    slave._take_in((WINDOW, {}, [], [late]))
    assert list(slave._inbox) == [above]
    slave._inbox.clear()
    assert [given_back for *_, given_back, _, _ in world.messages("REPORT")] == [[8]]


# ---------------------------------------------------------------- running


def test_every_exception_is_an_outcome(new_world: NewWorld) -> None:
    """`SystemExit` and `KeyboardInterrupt` too: the slave lives on, and is not inside a call any more."""
    world = new_world(1)
    raisers = [SystemExit, KeyboardInterrupt, GeneratorExit, RecursionError]

    def raise_it() -> None:
        raise raisers.pop()

    inside.extend([raise_it] * 4)
    futures = [do.delay() for _ in range(4)]
    world.finish()
    assert all(future.exception() is not None for future in futures)
    with pytest.raises(mpitasks.NotRunning):
        mpitasks.current()
    after = echo.delay(1)
    world.finish()
    assert after.result() == 1


def test_a_task_that_this_rank_lacks_fails_its_call(new_world: NewWorld, names: None) -> None:
    """The error names similar tasks and asks about imports."""
    world = new_world(1)
    del registry._tasks["tests.runtime.world.echo"]
    lost = echo.delay()
    world.finish()
    with pytest.raises(UnknownTask, match=r"no task named 'tests\.runtime\.world\.echo'; known: .*imported on every rank\?"):
        lost.result()


def test_the_note_tells_call_and_host(new_world: NewWorld) -> None:
    """Task, call, attempt, slave rank, host."""
    world = new_world(2)
    inside.extend([lambda: 1 // 0] * 2)
    do.delay()
    second = do.delay()
    world.finish()
    error = second.exception()
    assert error is not None
    assert error.__notes__ == [f"task 'tests.runtime.world.do', call 2, attempt 1, slave rank {second.rank} on here"]


def test_calls_run_in_the_order_of_the_window(new_world: NewWorld) -> None:
    """Oldest first."""
    world = new_world(1)
    order: list[int] = []
    for number in range(10):
        inside.insert(0, lambda number=number: order.append(number))
        do.delay()
    world.finish()
    assert order == list(range(10))


# ---------------------------------------------------------------- reports


def test_outcomes_wait_for_the_end_of_the_window(new_world: NewWorld) -> None:
    """Short calls are answered together, at most 128 at a time."""
    world = new_world(1)
    echo.delay()
    one_by_one(echo, range(MOST_UNSENT + 10), chunksize=MOST_UNSENT + 10)
    world.finish()
    assert reports(world) == [1, MOST_UNSENT, 10]


@pytest.mark.parametrize(
    ("value", "travels"),
    [(5, "as it is"), (None, "as it is"), (True, "as it is"), (0.5, "as it is"), ("text", "pickled"), (State.SENT, "pickled")],
)
def test_numbers_travel_as_they_are(new_world: NewWorld, value: object, travels: str) -> None:
    """There and back they are in the pickle of the message; what could run code of the user has one of its own."""
    world = new_world(1)
    future = echo.delay(value)
    world.finish()
    assert (future.result(), type(future.result())) == (value, type(value))
    (((_, _, _, _, _, arguments, *_),),) = (message[-1] for message in world.messages("WINDOW"))
    (((_, _, _, returned),),) = (message[3] for message in world.messages("REPORT"))
    found = ["as it is" if isinstance(payload, tuple) else "pickled" for payload in (arguments, returned)]
    assert found == [travels, travels]


def test_outcomes_do_not_wait_long(new_world: NewWorld, clock: Clock) -> None:
    """A call of more than a millisecond is reported before the next begins."""
    world = new_world(1)

    def take_long() -> None:
        clock.now += 0.002

    inside.extend([take_long] * 4)
    do.delay()
    for _ in range(3):
        do._in_chunks(3).delay()
    world.finish()
    assert reports(world) == [1, 1, 1, 1]


def test_a_large_outcome_is_sent_before_the_next_call(new_world: NewWorld) -> None:
    """Its memory is the user's, and the next call may write to it."""
    world = new_world(1)
    array = np.zeros(1 << 16)

    def change() -> Any:
        array[:] += 1
        return array

    inside.extend([change] * 3)
    do.delay()
    rest = do.starmap([()] * 2, chunksize=2)
    world.finish()
    assert reports(world) == [1, 1, 1]
    assert [future.result()[0] for future in rest] == [2.0, 3.0]


def test_nothing_stays_unsent(new_world: NewWorld) -> None:
    """What the listener gave back leaves the main thread without a next call: then it reports what it has."""
    world = new_world(1)
    echo.delay()
    one_by_one(echo, range(3), chunksize=3)
    world.turn()
    slave = world.slaves[1]
    assert slave.receive()
    slave._run_next()
    assert reports(world) == [1]
    slave._inbox.clear()  # as if it had been given back just now
    slave.step()
    assert reports(world) == [1, 1]


def test_seconds_are_those_of_the_call(new_world: NewWorld, clock: Clock) -> None:
    """What the scheduler learns from."""
    world = new_world(1)

    def take_long() -> None:
        clock.now += 1.5

    inside.append(take_long)
    do.delay()
    world.turn()
    ((_, failure, seconds, *_),) = world.messages("REPORT")[0][3]
    assert (failure, seconds) == (None, 1.5)


def test_output_is_flushed_when_the_work_is_done(new_world: NewWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """What calls print should be seen now."""
    flushed: list[str] = []

    class Stream:
        closed = False

        def flush(self) -> None:
            flushed.append("flush")

    monkeypatch.setattr("sys.stdout", Stream())
    monkeypatch.setattr("sys.stderr", None)  # as under pythonw
    world = new_world(1)
    echo.delay()
    world.turn()
    monkeypatch.undo()
    assert flushed == ["flush"]


# ---------------------------------------------------------------- the listener


class Door:
    """A call that waits here lets the listener work."""

    def __init__(self) -> None:
        self.begun, self.opened = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.opened.wait(10)
        return "passed"


def listened(world: World, begin: Callable[[Slave], object], until: Callable[[], bool]) -> None:
    """While slave 1 is in a call, do something and wait until the listener has done its part."""
    door = Door()
    inside.append(door)
    slave = world.slaves[1]
    serving = threading.Thread(target=slave.serve)
    serving.start()
    assert door.begun.wait(10)
    begin(slave)
    pause = threading.Event()
    for _ in range(int(10 / TICK)):
        if until():
            break
        pause.wait(TICK / 5)
    door.opened.set()
    for _ in range(1000):
        if not world.master.step() and not world.master.is_busy:
            break
        pause.wait(0.001)
    world.master._post.send(Rank(1), (4,))  # LEAVE
    serving.join(10)
    assert not serving.is_alive()


def test_the_listener_gives_back_what_is_not_begun(new_world: NewWorld) -> None:
    """While the main thread is in a call: the messages are BACK and then the report with no outcome."""
    world = new_world(1)
    echo.delay()
    world.turn()
    futures = [do.delay()]

    def ask(_: Slave) -> None:
        futures.extend(echo.map(range(3)))
        world.master._post.send(Rank(1), (1,))  # BACK

    listened(world, ask, lambda: len(world.messages("REPORT")) > 1)
    assert (world.messages("REPORT")[1][3], world.messages("REPORT")[1][4]) == ([], [])
    assert [future.result() for future in futures] == ["passed", 0, 1, 2]


def test_the_listener_tells_a_call_to_stop(new_world: NewWorld) -> None:
    """`should_stop()` becomes true in the middle of the call."""
    world = new_world(1)
    stopped: list[Callable[[], bool]] = []
    future = do.delay()

    class Asking(Door):
        def __call__(self) -> str:
            stopped.append(mpitasks.current().should_stop)
            return super().__call__()

    door = Asking()
    inside.append(door)
    serving = threading.Thread(target=world.slaves[1].serve)
    serving.start()
    assert door.begun.wait(10)
    assert not stopped[0]()
    assert future.cancel() is False
    pause = threading.Event()
    for _ in range(int(10 / TICK)):
        if stopped[0]():
            break
        pause.wait(TICK / 5)
    assert stopped[0]()
    door.opened.set()
    world.master._post.send(Rank(1), (4,))
    serving.join(10)
    world.master.step()
    assert future.result() == "passed"


def test_a_stop_that_comes_too_late_is_forgotten(new_world: NewWorld) -> None:
    """A slave that is idle keeps no ids of calls that have ended."""
    world = new_world(1)
    do.delay()
    world.finish()
    world.master._post.send(Rank(1), (STOP, 1))
    while world.slaves[1].step():
        pass
    assert world.slaves[1]._stopped == set()


def test_the_listener_sends_records(new_world: NewWorld) -> None:
    """What a long call logs is not held back until its end."""
    world = new_world(1)
    do.delay()
    listened(
        world, lambda slave: slave.records.append({"name": "app", "msg": "early", "levelno": 5}), lambda: bool(reports(world))
    )
    assert reports(world) == [0, 1]
    assert world.messages("REPORT")[0][5] == [{"name": "app", "msg": "early", "levelno": 5}]


# ---------------------------------------------------------------- setups, coroutines, the end


def window(world: World, functions: dict[int, Any], *calls: tuple[Any, ...]) -> list[Any]:
    """Hand the slave a window made by hand; the outcomes."""
    world.master._post.send(Rank(1), (0, functions, [], list(calls)))
    world.slaves[1].run_all()
    outcomes: list[Any] = []
    while (arrival := world.master._transport.receive()) is not None:
        outcomes += wire.unpack(arrival.packet)[1]
    return outcomes


def call(number: int, *, target: Any = "tests.runtime.world.echo", setup: int | None = None) -> tuple[Any, ...]:
    """A call as it travels."""
    return (number, "tests.runtime.world.echo", target, 1, setup, wire.encode(((), {})), (), None, None)


set_up: list[str] = []


def well() -> None:
    """Initialize."""
    set_up.append("well")


def badly() -> None:
    """Initialize, and fail."""
    set_up.append("badly")
    raise OSError("no disk")


def test_an_initializer_runs_once_a_slave(new_world: NewWorld) -> None:
    """Before the first call that asks for it; a failed one fails each of its calls, and no other."""
    set_up.clear()
    world = new_world(1)
    outcomes = window(
        world, {5: well, 6: badly}, call(1, setup=5), call(2, setup=5), call(3, setup=6), call(4, setup=6), call(5)
    )
    assert [failure is None for _, failure, *_ in outcomes] == [True, True, False, False, True]
    assert set_up == ["well", "badly"]
    with pytest.raises(InitializerFailed, match="the initializer of this executor raised OSError: no disk"):
        world.slaves[1]._runner._do_setup(6)


async def later() -> str:
    """Is asynchronous."""
    return "later"


def test_a_coroutine_is_run_to_its_end(new_world: NewWorld) -> None:
    """Whatever returned it: also a plain function."""
    world = new_world(1)
    inside.append(later)
    future = do.delay()
    world.finish()
    assert future.result() == "later"
    world.slaves[1].close()


def test_nothing_is_lost_at_the_end(new_world: NewWorld) -> None:
    """Outcomes and records that are unsent go before the goodbye."""
    world = new_world(1)
    slave = world.slaves[1]
    echo.delay(1)
    slave.receive()
    slave._outbox.append(slave._run(slave._inbox.popleft()))
    slave.records.append({"name": "app"})
    slave.close()
    assert [message[2] for message in world.log] == ["WINDOW", "REPORT", "BYE"]
    assert len(world.log[1][3]) == len(world.log[1][5]) == 1


def test_a_slave_leaves_when_it_is_told_to_and_has_nothing_left(new_world: NewWorld) -> None:
    """Calls that came before are run first."""
    world = new_world(1)
    futures = [echo.delay(1)]
    world.master._post.send(Rank(1), (4,))
    world.slaves[1].serve()
    world.master.step()
    assert futures[0].result(timeout=0) == 1
    assert [message[2] for message in world.messages("REPORT", "BYE")] == ["REPORT", "BYE"]


def test_a_slave_whose_launcher_is_gone_ends_itself(new_world: NewWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else could end it; the listener sees to it."""
    ended: list[int] = []

    class Ended(Exception): ...

    def leave(code: int) -> None:
        ended.append(code)
        raise Ended

    monkeypatch.setattr("mpitasks.runtime.slave.os._exit", leave)
    monkeypatch.setattr("mpitasks.runtime.slave.TICK", 0.0)
    world = new_world(1)
    slave = Slave(world.slaves[1]._transport, host="here", backoff=Never(), is_orphan=lambda: True)
    with pytest.raises(Ended):
        slave._listen(threading.Event())
    assert ended == [1]
    assert slave._transport.rank != MASTER
