"""Calls of a dead slave: tried alone, a strike for each death alone, and never the last slave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mpitasks.core.calls import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from .world import World


def short(world: World, n: int) -> None:
    """Submit n calls of a queue whose calls are short, so that they travel together; one slave has them all."""
    world.queue("a", max_slaves=1)
    world.submit("a")
    world.obey()
    world.finish(len(world.windows), seconds=0.001)
    world.submit("a", n)


def test_the_calls_of_a_window_run_again_one_by_one(world_of: Callable[..., World]) -> None:
    """Each alone with its slave; what comes after them does not join."""
    world = world_of(slaves=3)
    short(world, 4)
    assert world.decide() == {3: "a2 a3 a4 a5"}
    assert world.lose(3) == ["a2", "a3", "a4", "a5"]
    world.submit("a")
    assert world.decide() == {2: "a2"}
    for name, follower in (("a2", "a3"), ("a3", "a4"), ("a4", "a5")):
        assert world.windows[2] == [name]
        world.finish(2, seconds=0.001)
        assert world.decide() == {2: follower}
    world.finish(2, seconds=0.001)
    assert world.decide() == {2: "a6"}


def test_the_calls_of_one_window_are_tried_one_at_a_time(world_of: Callable[..., World]) -> None:
    """Others go on beside that, and travel together as ever."""
    world = world_of(slaves=3)
    world.queue("a")
    world.submit("a", 2, chunk=2)
    world.queue("b")
    assert world.decide() == {3: "a1 a2"}
    world.lose(3)
    world.submit("a", 3, chunk=3)
    assert world.decide() == {2: "a1", 1: "a3 a4 a5"}
    world.finish(2)
    assert world.decide() == {2: "a2"}


def test_a_window_that_died_is_no_strike(world_of: Callable[..., World]) -> None:
    """Nobody knows which of its calls it was; only who is alone when a slave dies has a strike."""
    world = world_of(slaves=5)
    short(world, 2)
    assert world.decide() == {5: "a2 a3"}
    world.lose(5)
    assert world.decide() == {4: "a2"}
    world.lose(4)
    # It goes last: the other one may be innocent.
    assert world.decide() == {3: "a3"}
    world.finish(3)
    assert world.decide() == {3: "a2"}
    assert world.scheduler._suspects.strikes == {world.calls["a2"].id: 1}
    world.cancel_all()


@pytest.mark.parametrize("strikes", [1, 2, 3])
def test_a_call_with_too_many_strikes_is_given_up(world_of: Callable[..., World], strikes: int) -> None:
    """As many slaves may die of it as the rules allow; what waited for it ends too."""
    world = world_of(slaves=6, strikes=strikes)
    world.queue("a")
    world.submit("a")
    world.submit("a", after=["a1"])
    for rank in range(6, 6 - strikes, -1):
        assert world.decide() == {rank: "a1"}
        world.lose(rank)
    assert world.decide() == {}
    assert (world.ended, world.scheduler.unfinished) == (["a1", "a2"], 0)


def test_with_one_strike_no_call_of_a_window_runs_again(world_of: Callable[..., World]) -> None:
    """Whoever says strikes=1 wants no call to run twice, and each of them may have begun."""
    world = world_of(slaves=3, strikes=1)
    short(world, 2)
    assert world.decide() == {3: "a2 a3"}
    world.lose(3)
    assert (sorted(world.ended), world.scheduler.unfinished) == (["a1", "a2", "a3"], 0)


def test_a_call_is_given_up_before_it_can_take_the_last_slave(world_of: Callable[..., World]) -> None:
    """Whatever the number of strikes; all others go on there."""
    world = world_of(slaves=2)
    world.queue("a")
    world.submit("a", 3)
    assert world.decide() == {2: "a1", 1: "a2"}
    world.lose(2)
    assert (world.ended, world.calls["a1"].state) == (["a1"], State.ENDED)
    world.finish(1)
    assert world.decide() == {1: "a3"}


def test_on_the_last_slave_suspects_without_a_strike_go_after_all_else(world_of: Callable[..., World]) -> None:
    """One of them may take it, and they may all be innocent."""
    world = world_of(slaves=2)
    short(world, 2)
    assert world.decide() == {2: "a2 a3"}
    world.lose(2)
    world.queue("b")
    world.submit("b", 2)
    for sent in ("b1", "b2", "a2", "a3"):
        assert world.decide() == {1: sent}
        world.finish(1)


def test_suspects_of_several_deaths_leave_one_slave_alone(world_of: Callable[..., World]) -> None:
    """So that they can't take all slaves at once; those of different windows don't wait for each other beyond that."""
    world = world_of(slaves=6)
    world.queue("a")
    world.submit("a", 3)
    assert world.decide() == {6: "a1", 5: "a2", 4: "a3"}
    for rank in (6, 5, 4):
        world.lose(rank)
    assert world.decide() == {3: "a1", 2: "a2"}
    world.finish(2)
    assert world.decide() == {2: "a3"}


def test_an_outcome_acquits(world_of: Callable[..., World]) -> None:
    """A call that failed with an exception, and is tried again for that, begins anew."""
    world = world_of(slaves=3)
    world.queue("a")
    world.submit("a")
    assert world.decide() == {3: "a1"}
    world.lose(3)
    assert world.decide() == {2: "a1"}
    world.finish(2)
    assert (world.scheduler._suspects.strikes, world.scheduler._suspects.on_trial) == ({}, {})


def test_a_suspect_that_is_cancelled_lets_the_next_go_on(world_of: Callable[..., World]) -> None:
    """Be it on trial or withheld."""
    world = world_of(slaves=3)
    short(world, 4)
    assert world.decide() == {3: "a2 a3 a4 a5"}
    world.lose(3)
    assert world.cancel("a3") == []
    assert world.decide() == {2: "a2"}
    world.give_back(2, 1)
    assert world.cancel("a2") == []
    assert world.decide() == {2: "a4"}
    world.finish(2)
    assert world.decide() == {2: "a5"}
    assert world.scheduler.unfinished == 1


def test_a_suspect_that_is_given_up_keeps_the_others_of_its_window_waiting_no_longer(world_of: Callable[..., World]) -> None:
    """Its trial is over, although its slave is still in it; and what another slave so left ends is tried in its turn."""
    world = world_of(slaves=3)
    world.queue("a")
    world.submit("a", 3, chunk=3)
    assert world.decide() == {3: "a1 a2 a3"}
    world.lose(3)
    assert world.decide() == {2: "a1"}
    world.give_up(2)
    assert world.decide() == {1: "a2"}
    world.finish(1)
    assert world.decide() == {1: "a3"}
