"""A call is given up while its slave is still in it: that has its place, gets nothing, and comes back when it can."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mpitasks.core.calls import Kind
from mpitasks.ids import Rank

from .world import provided

if TYPE_CHECKING:
    from collections.abc import Callable

    from .world import World


def test_the_call_ends_and_the_slave_gets_nothing(world_of: Callable[..., World]) -> None:
    """Other slaves go on with what waits."""
    world = world_of(slaves=2)
    world.queue("a")
    world.submit("a", n=4)
    assert world.decide() == {2: "a1", 1: "a2"}
    assert world.give_up(2) == []
    assert world.decide() == {}
    world.finish(1)
    assert world.decide() == {1: "a3"}
    world.finish(1)
    assert world.decide() == {1: "a4"}
    world.finish(1)
    assert (world.scheduler.unfinished, world.scheduler.left_in_calls()) == (0, [(2, world.calls["a1"].id)])


def test_the_late_outcome_frees_the_slave_and_is_nobodys(world_of: Callable[..., World]) -> None:
    """It ends no call a second time."""
    world = world_of(slaves=1)
    world.queue("a")
    world.submit("a", n=2)
    assert world.decide() == {1: "a1"}
    world.give_up(1)
    world.finish(1)  # compares what the scheduler says with no call at all
    assert world.decide() == {1: "a2"}
    world.finish(1)
    assert world.ended == ["a1", "a2"]


def test_the_limit_counts_who_is_left_in_a_call(world_of: Callable[..., World]) -> None:
    """`max_slaves` is of slaves that run the task, whether or not somebody waits for what they do."""
    world = world_of(slaves=2)
    world.queue("a", max_slaves=1)
    world.submit("a", n=2)
    assert world.decide() == {2: "a1"}
    world.give_up(2)
    assert world.decide() == {}
    world.finish(2)
    assert world.decide() == {2: "a2"}
    world.finish(2)


def test_max_holders_counts_who_is_left_in_a_call(world_of: Callable[..., World]) -> None:
    """Also while the slave says that it does not hold it yet: it may be about to."""
    world = world_of(slaves=2)
    licence = provided(Kind("licence", max_holders=1))
    world.queue("a")
    world.submit("a", n=2, resource=licence)
    assert world.decide() == {2: "a1"}
    assert world.scheduler.given_up(Rank(2), world.calls["a1"].id, 1, world.now) == [world.calls["a1"]]
    world.scheduler.resources_held(Rank(2), [], [], world.now)
    assert world.decide() == {}
    assert world.scheduler.calls_finished(Rank(2), [(world.calls["a1"].id, 1.0)], world.now) == []
    world.scheduler.resources_held(Rank(2), [], [], world.now)
    assert world.decide() == {1: "a2"}
    world.finish(1)


def test_what_waits_behind_it_can_still_be_given_back(world_of: Callable[..., World]) -> None:
    """And the slave keeps its place all the same."""
    world = world_of(slaves=2)
    world.queue("a", max_slaves=1)
    world.submit("a", n=3, chunk=3)
    assert world.decide() == {2: "a1 a2 a3"}
    world.give_up(2)
    assert world.give_back(2) == ["a2", "a3"]
    assert world.decide() == {}
    world.finish(2)
    assert world.decide() == {2: "a2 a3"}
    world.finish(2, 2)


def test_a_lost_slave_loses_no_call_that_was_given_up(world_of: Callable[..., World]) -> None:
    """It has ended before, and runs nowhere again."""
    world = world_of(slaves=2)
    world.queue("a", max_slaves=1)
    world.submit("a", n=2)
    assert world.decide() == {2: "a1"}
    world.give_up(2)
    assert world.lose(2) == []
    assert world.decide() == {1: "a2"}
    world.finish(1)


def test_it_may_run_again_elsewhere_meanwhile(world_of: Callable[..., World]) -> None:
    """The outcome of the first attempt does not count for the second."""
    world = world_of(slaves=2)
    world.queue("a")
    (name,) = world.submit("a")
    call = world.calls[name]
    assert world.decide() == {2: "a1"}
    world.give_up(2)
    world.scheduler.postponed(call)
    world.scheduler.resumed(call)
    world.ended.clear()
    assert world.decide() == {1: "a1"}
    assert call.attempt == 2
    world.finish(2)
    assert (world.scheduler.unfinished, world.ended) == (1, [])
    world.finish(1)
    assert (world.scheduler.unfinished, world.ended) == (0, ["a1"])


@pytest.mark.parametrize("attempt", [0, 2])
def test_another_attempt_is_not_given_up(world_of: Callable[..., World], attempt: int) -> None:
    """The word of a slave may come late: nothing happens."""
    world = world_of(slaves=1)
    world.queue("a")
    world.submit("a")
    assert world.decide() == {1: "a1"}
    before = world.snapshot()
    assert world.scheduler.given_up(Rank(1), world.calls["a1"].id, attempt, world.now) == []
    assert world.scheduler.given_up(Rank(9), world.calls["a1"].id, 1, world.now) == []
    assert world.snapshot() == before
    world.finish(1)
    assert world.scheduler.given_up(Rank(1), world.calls["a1"].id, 1, world.now) == []


def test_a_slave_is_left_in_one_call_at_a_time(world_of: Callable[..., World]) -> None:
    """It runs one."""
    world = world_of(slaves=1)
    world.queue("a")
    world.submit("a", n=2, chunk=2)
    assert world.decide() == {1: "a1 a2"}
    world.give_up(1)
    second = world.calls["a2"]
    with pytest.raises(ValueError, match=rf"slave 1 can't be in call {second.id}: it is in call .*, which was given up"):
        world.scheduler.given_up(Rank(1), second.id, 1, world.now)
    world.finish(1, 1)


def test_an_outcome_that_was_under_way_frees_nobody(world_of: Callable[..., World]) -> None:
    """A slave that can say nothing any more has perhaps ended the call before; its report comes with the late outcome."""
    world = world_of(slaves=1)
    world.queue("a")
    world.submit("a", n=3, chunk=2)
    assert world.decide() == {1: "a1 a2"}
    first, second = (world.calls[name] for name in ("a1", "a2"))
    assert world.scheduler.given_up(Rank(1), second.id, 1, world.now) == [second]
    assert world.scheduler.calls_finished(Rank(1), [(first.id, 1.0)], world.now) == [first]
    assert world.decide() == {}
    assert world.scheduler.calls_finished(Rank(1), [(second.id, 1.0)], world.now) == []
    assert world.decide() == {1: "a3"}
    world.scheduler.calls_finished(Rank(1), [(world.calls["a3"].id, 1.0)], world.now)
