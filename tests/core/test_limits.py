"""Limits: how many slaves may run a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .world import World


def test_no_more_slaves_than_the_limit(world_of: Callable[..., World]) -> None:
    """A task with `max_slaves=2` runs on two slaves, and a third waits for the next outcome."""
    world = world_of(slaves=3)
    world.queue("a", max_slaves=2)
    world.submit("a", n=3)
    assert world.decide() == {3: "a1", 2: "a2"}
    world.finish(2)
    assert world.decide() == {2: "a3"}


def test_a_slave_counts_until_its_last_outcome(world_of: Callable[..., World]) -> None:
    """A slave whose window is not empty still runs the task, whatever it has answered."""
    world = world_of(slaves=2)
    world.queue("a", max_slaves=1)
    world.submit("a", n=4, chunk=3)
    assert world.decide() == {2: "a1 a2 a3"}
    world.finish(2)
    assert world.decide() == {}
    world.finish(2)
    # It goes on with the same task: still one slave.
    assert world.decide() == {2: "a4"}
    world.finish(2, 2)
    world.submit("a")
    assert world.decide() == {2: "a5"}


def test_a_slave_counts_until_it_has_given_everything_back(world_of: Callable[..., World]) -> None:
    """A slave that was asked for its calls counts until it has confirmed, and after that while it runs one."""
    world = world_of(slaves=1)
    world.queue("a", max_slaves=1)
    world.submit("a", n=3, chunk=3)
    assert world.decide() == {1: "a1 a2 a3"}
    world.join()
    world.give_back(1, 2)
    assert world.decide() == {}
    world.give_back(1, 1)
    assert world.decide() == {1: "a1 a2 a3"}


def test_a_lost_slave_does_not_count(world_of: Callable[..., World]) -> None:
    """The place of a lost slave goes to another, and so do its calls."""
    world = world_of(slaves=3)
    world.queue("a", max_slaves=1)
    world.submit("a", n=2)
    assert world.decide() == {3: "a1"}
    assert world.lose(3) == ["a1"]
    assert world.decide() == {2: "a1"}


def test_limits_come_before_priorities(world_of: Callable[..., World]) -> None:
    """A call of the highest priority waits while its task is at its limit, and does not hold up others."""
    world = world_of(slaves=2)
    world.queue("a", max_slaves=1)
    world.queue("b")
    world.submit("a", n=2, priority=9)
    world.submit("b")
    assert world.decide() == {2: "a1", 1: "b1"}


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_second_definition_changes_nothing(world_of: Callable[..., World], limit: int) -> None:
    """The first definition of a queue holds."""
    world = world_of(slaves=4)
    world.queue("a", max_slaves=limit)
    world.queue("a", max_slaves=4, weight=3)
    world.submit("a", n=4)
    world.obey()
    assert world.running("a") == limit
