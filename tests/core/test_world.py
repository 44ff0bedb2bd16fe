"""The language of these tests keeps its own word: an order that nobody looked at is a failure."""

from __future__ import annotations

import pytest

from .world import Unasserted, World


@pytest.fixture
def world() -> World:
    """A world whose last check is left to the test."""
    made = World(slaves=1)
    made.queue("a")
    made.submit("a", n=2)
    return made


def test_an_order_that_nobody_compared_fails(world: World) -> None:
    """Orders of one decision must be compared before the next."""
    world.decide()
    world.finish(1)
    with pytest.raises(Unasserted, match=r"nobody looked at these orders: \{1: 'a1'\}"):
        world.decide()


def test_an_order_that_comes_after_the_test_fails(world: World) -> None:
    """What is still to be decided when a test ends, the test has forgotten."""
    with pytest.raises(Unasserted, match=r"the test ended, and the scheduler went on with \{1: 'a1'\}"):
        world.check()


def test_orders_that_were_compared_are_fine(world: World) -> None:
    """A test that says what happens, and all of it, passes."""
    assert world.decide() == {1: "a1"}
    world.finish(1)
    assert world.decide() == {1: "a2"}
    world.check()
