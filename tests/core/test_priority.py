"""Priority: after the limits it decides, across all queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .world import World


@pytest.mark.parametrize("order", ["abc", "cba", "bca"])
def test_higher_goes_first_across_queues(world_of: Callable[..., World], order: str) -> None:
    """Whatever the order in which they came: the higher priority goes first, negative ones last."""
    world = world_of(slaves=1)
    world.queue("a", "b", "c")
    priorities = {"a": 0, "b": 7, "c": -3}
    for queue in order:  # that is what `order` means
        world.submit(queue, priority=priorities[queue])
    assert world.one_by_one() == "b1 a1 c1"


def test_higher_goes_first_within_a_queue(world_of: Callable[..., World]) -> None:
    """A later call of higher priority overtakes those of its own task."""
    world = world_of(slaves=1)
    world.queue("a")
    world.submit("a", n=2)
    world.submit("a", priority=1)
    world.submit("a", priority=2)
    assert world.one_by_one() == "a4 a3 a1 a2"


def test_priority_comes_before_share(world_of: Callable[..., World]) -> None:
    """A queue with all the slaves gets the next one too, if its calls have the higher priority."""
    world = world_of(slaves=3)
    world.queue("a", "b")
    world.submit("a", n=4, priority=1)
    world.submit("b", n=4)
    assert world.decide() == {3: "a1", 2: "a2", 1: "a3"}
    world.finish(1)
    assert world.decide() == {1: "a4"}
    world.finish(1)
    assert world.decide() == {1: "b1"}


def test_priority_comes_before_stickiness(world_of: Callable[..., World]) -> None:
    """A slave leaves what it holds for a call of higher priority."""
    world = world_of(slaves=1)
    world.queue("a")
    world.submit("a", n=2, resource="x")
    assert world.decide() == {1: "a1"}
    world.submit("a", resource="y", priority=1)
    world.finish(1)
    assert world.decide() == {1: "a3"}
    world.finish(1)
    assert world.decide() == {1: "a2"}


def test_a_window_is_not_refilled_before_a_higher_priority(world_of: Callable[..., World]) -> None:
    """A slave that runs short calls of one task ends its window, and takes the higher priority of another."""
    world = world_of(slaves=1)
    world.queue("a", "b")
    world.submit("a", n=20, chunk=4)
    assert world.decide() == {1: "a1 a2 a3 a4"}
    world.submit("b", priority=1)
    world.finish(1, 1, 1)
    assert world.decide() == {}
    world.finish(1)
    assert world.decide() == {1: "b1"}
    world.finish(1)
    assert world.decide() == {1: "a5 a6 a7 a8"}


def test_a_window_is_not_refilled_before_what_waits_for_its_slave_alone(world_of: Callable[..., World]) -> None:
    """A call of higher priority, for what a busy slave holds, is not kept waiting by refills of that slave."""
    world = world_of(slaves=1)
    world.queue("a", "b")
    world.submit("b", resource="x")
    assert world.decide() == {1: "b1"}
    world.finish(1)
    world.submit("a", n=20, chunk=4)
    assert world.decide() == {1: "a1 a2 a3 a4"}
    world.submit("b", resource="x", priority=1)
    world.finish(1, 1, 1)
    assert world.decide() == {}
    world.finish(1)
    assert world.decide() == {1: "b2"}
    world.finish(1)
    assert world.decide() == {1: "a5 a6 a7 a8"}


def test_lower_ones_may_starve(world_of: Callable[..., World]) -> None:
    """While calls of higher priority come, lower ones wait, however long."""
    world = world_of(slaves=1)
    world.queue("a", "b")
    world.submit("b")
    world.submit("a", n=1000, priority=1)
    used = world.run(900.0, lambda _: 1.0)
    assert used == {"a": 900.0}
