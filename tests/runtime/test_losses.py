"""Slaves die: every call ends exactly once, and what is said of it is true."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from mpitasks import SlaveLost, current
from mpitasks.errors import DependencyFailed, MpiTasksError
from mpitasks.ids import Rank
from mpitasks.runtime.functions import Functions

from .world import World, do, echo, fail, inside

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mpitasks.futures import Future


def windows_of(world: World, rank: int) -> list[list[int]]:
    """The windows that went to that slave."""
    return [calls for to, calls in world.windows() if to == rank]


def failure(future: Future[Any]) -> str:
    """What the lost call says."""
    error = future.exception(0)
    assert type(error) is SlaveLost
    return str(error)


def test_the_calls_of_a_dead_slave_run_elsewhere(new_world: Callable[..., World]) -> None:
    """Each gives its result, once; the others know nothing of it."""
    world = new_world(3)
    futures = [echo.delay(number) for number in range(5)]
    world.kill(3)
    world.finish()
    assert [future.result() for future in futures] == [0, 1, 2, 3, 4]
    assert [future.attempts for future in futures] == [2, 1, 1, 1, 1]
    assert windows_of(world, 3) == [[1]]


def test_what_a_slave_had_sent_before_it_died_counts(new_world: Callable[..., World]) -> None:
    """An outcome that has arrived is an outcome: the call does not run again."""
    world = new_world(3)
    future = echo.delay(1)
    while world.slaves[3].step():
        pass
    world.kill(3)
    world.finish()
    assert (future.result(), future.attempts, len(world.windows())) == (1, 1, 1)


def test_a_late_outcome_of_a_dead_slave_is_not_heard(new_world: Callable[..., World]) -> None:
    """It could be the second one of that call."""
    world = new_world(3)
    future = echo.delay(1)
    slave = world.slaves[3]
    world.kill(3)
    world.master.step()
    slave._transport.inner.is_dead = False  # type: ignore[attr-defined]  # as if what it said was still under way
    while slave.step():
        pass
    world.finish()
    assert (future.result(), future.attempts, future.rank) == (1, 2, 2)


def test_a_poisoned_call_says_where_and_how(new_world: Callable[..., World]) -> None:
    """After three deaths alone; every other call has its result."""
    world = new_world(6)
    poison, *others = [echo.delay(number) for number in range(4)]
    dependent = echo.delay(poison)
    where = []
    for how in ("signal 9", "signal 11", "exit code 3"):
        where.append(poison.rank)
        world.kill(where[-1], how)
        world.master.step()
    world.finish()
    assert failure(poison) == (
        "call 1 of task 'tests.runtime.world.echo': the slave that had it died, 3 times: "
        "rank {} (signal 9); rank {} (signal 11); rank {} (exit code 3). With strikes=3, it does not run again".format(*where)
    )
    assert [future.result() for future in others] == [1, 2, 3]
    error = dependent.exception()
    assert (type(error), type(error.__cause__) if error else None) == (DependencyFailed, SlaveLost)


def test_strikes_can_be_set(new_world: Callable[..., World]) -> None:
    """With 1, no call of a dead slave runs again."""
    world = new_world(3, strikes=1)
    first, second = echo.delay(1), echo.delay(2)
    world.kill(3)
    world.finish()
    assert failure(first).endswith("died, once: rank 3 (signal 9). With strikes=1, no call of a dead slave runs again")
    assert second.result() == 2


def test_a_call_does_not_take_the_last_slave(new_world: Callable[..., World]) -> None:
    """It fails before that, whatever the strikes are; the others run there."""
    world = new_world(2, strikes=9)
    poison, other = echo.delay(1), echo.delay(2)
    world.kill(2)
    world.finish()
    assert failure(poison).endswith("(signal 9). It does not run again, since it could take the only slave that is left")
    assert (other.result(), echo.delay(3).done()) == (2, False)
    world.finish()


def test_with_no_slave_left_all_calls_fail_at_once(new_world: Callable[..., World]) -> None:
    """Those that were there, wherever they were, and those that come later; main goes on."""
    world = new_world(2)
    retried = fail.options(retries=5, backoff=1000).delay()
    world.turn()
    sent, waiting = [echo.delay(1), echo.delay(2)], echo.delay(3)
    blocked = echo.options(after=[waiting]).delay(4)
    for rank in (1, 2):
        world.kill(rank)
    world.master.step()
    assert "no slave is left to run it; the last to die was rank 2 (signal 9)" in failure(waiting)
    assert "no slave is left" in failure(retried)
    assert sorted(failure(future).partition(": ")[2][:8] for future in sent) == ["no slave", "the slav"]
    assert type(blocked.exception()) is DependencyFailed
    new = echo.delay(6)
    assert (new.done(), world.master.is_busy) == (True, False)
    assert failure(new) == (
        "call 6 of task 'tests.runtime.world.echo': no slave is left to run it; the last to die was rank 2 (signal 9)"
    )


@pytest.mark.parametrize(
    ("slaves", "calls", "said"),
    [
        (2, 0, "a slave has died: rank 2 (signal 9); it had nothing to do; 1 slave left"),
        (3, 1, "a slave has died: rank 3 (signal 9); it had call 1 of '{}', which runs again; 2 slaves left"),
        (2, 1, "a slave has died: rank 2 (signal 9); it had call 1 of '{}', which does not run again; 1 slave left"),
        (1, 1, "a slave has died: rank 1 (signal 9); it had call 1 of '{}', which does not run again; none left"),
    ],
)
def test_a_death_is_one_line(
    new_world: Callable[..., World], caplog: pytest.LogCaptureFixture, slaves: int, calls: int, said: str
) -> None:
    """Which rank, how, what it was doing, and what becomes of that."""
    world = new_world(slaves)
    for number in range(calls):
        echo.delay(number).add_done_callback(lambda future: future.exception())
    world.kill(slaves)
    world.master.step()
    assert [record.getMessage() for record in caplog.records] == [said.format("tests.runtime.world.echo")]
    world.finish()


def test_a_death_in_a_window_says_so(new_world: Callable[..., World], caplog: pytest.LogCaptureFixture) -> None:
    """Its calls run again one by one."""
    world = new_world(2)
    first, futures = echo.map(range(2)), echo.map(range(4), chunksize=4)
    world.turn(1)
    world.kill(1)
    world.finish()
    assert (first.results(), futures.results()) == ([0, 1], [0, 1, 2, 3])
    assert [calls for _, calls in world.windows()] == [[1], [2], [3, 4, 5, 6], [3], [4], [5], [6]]
    assert re.search(r"it had 4 calls of '.*echo', all run again, one by one; 1 slave left", caplog.text)


def test_a_call_ends_with_the_lost_one_that_it_gave_back(new_world: Callable[..., World]) -> None:
    """At once: no message will come of either."""
    world = new_world(2)
    inside.append(lambda: echo.delay(1))
    outer = do.delay()
    world.turn(2)
    world.kill(world.windows()[-1][0])
    world.master.step()
    assert "task 'tests.runtime.world.echo': the slave that had it died" in failure(outer)


def test_what_a_cancelled_call_heard_is_lost_with_its_slave(new_world: Callable[..., World], tmp_path: Path) -> None:
    """It is told again where it runs again; and if it does not ask there, it does all of its work, and that is kept."""
    world = new_world(3)
    slave = world.slaves[Rank(3)]

    def hear() -> None:
        future.cancel()
        slave.receive()
        assert current().should_stop()
        world.master.step()
        world.kill(3)

    world.master.keep_journal(tmp_path / "run.jrnl")
    inside.extend([lambda: "whole", hear])
    future = do.delay()
    while slave.step():
        pass
    world.finish()
    kept = world.master.kept
    world.master.end_journal("ended")
    assert (future.result(), future.attempts, kept) == ("whole", 2, 1)
    assert [(to, call) for _, to, _, call in world.messages("STOP")] == [(3, 1), (2, 1)]


def test_functions_are_forgotten_with_their_slave() -> None:
    """A slave that has the number of a dead one has none of its functions."""
    functions = Functions()
    number = functions.number_of(b"pickled")
    assert list(functions.to_send(Rank(1), {number})[0]) == [number]
    functions.forget(Rank(1))
    assert list(functions.to_send(Rank(1), {number})[0]) == [number]


def test_a_slave_that_dies_while_the_run_ends_is_not_waited_for(new_world: Callable[..., World]) -> None:
    """`close` returns; what the others are told is not to finalize."""
    world = new_world(2)
    world.kill(1)
    world.master.step()
    world.master._endings.closing = True
    assert world.master.has_lost_slaves
    world.kill(2)
    assert world.master.close(5.0) == []


def test_slaves_hear_that_ranks_have_died(new_world: Callable[..., World]) -> None:
    """With the word that they may leave: MPI_Finalize would wait for the dead."""
    world = new_world(3)
    world.kill(1)
    world.master.step()
    world.master.close(0.0)
    for rank in (2, 3):
        while world.slaves[rank].step():
            pass
    assert [message[1:] for message in world.messages("LEAVE")] == [(2, "LEAVE", True), (3, "LEAVE", True)]
    assert [slave.after_deaths for slave in world.slaves.values()] == [True, True]


def test_slave_lost_is_of_our_tree() -> None:
    """So that whoever catches all that mpitasks raises catches it."""
    assert issubclass(SlaveLost, MpiTasksError)
