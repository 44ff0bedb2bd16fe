"""`cost`: within one backlog the most costly call goes first, wherever it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .world import World


@pytest.fixture
def world(world_of: Callable[..., World]) -> World:
    """One slave."""
    made = world_of(slaves=1)
    made.queue("a", "b")
    return made


def test_the_most_costly_call_goes_first(world: World) -> None:
    """Then the others by cost, and those of equal cost or of none by age."""
    for cost in (0.0, 1.0, 3.0, 0.0, 3.0, 2.0):
        world.submit("a", cost=cost)
    assert world.one_by_one() == "a3 a5 a6 a2 a1 a4"


def test_cost_is_nothing_beside_other_priorities(world: World) -> None:
    """Priority goes before cost."""
    world.submit("a", cost=9.0)
    world.submit("a", priority=1)
    assert world.one_by_one() == "a2 a1"


def test_cost_is_nothing_between_tasks(world: World) -> None:
    """A task whose calls are called costly gets no more slaves than another."""
    world.submit("b", n=2)
    world.submit("a", n=2)
    without = world.one_by_one()
    world.submit("b", n=2)
    world.submit("a", n=2, cost=9.0)
    assert (without, world.one_by_one()) == ("b1 a1 a2 b2", "b3 a3 a4 b4")


def test_cost_orders_resources_and_the_calls_of_each(world: World) -> None:
    """The most costly call goes first, whatever it needs; then a slave goes on with what it holds, by cost again."""
    world.submit("a", resource="x")
    world.submit("a", resource="x", cost=1.0)
    world.submit("a", resource="y")
    world.submit("a", resource="y", cost=9.0)
    world.submit("a", resource="x")
    assert world.one_by_one() == "a4 a3 a2 a1 a5"


@pytest.mark.parametrize(("name", "rest"), [("a1", "a2 a3 a4"), ("a2", "a1 a3 a4"), ("a4", "a1 a2 a3")])
def test_a_cancelled_call_is_passed_over(world: World, name: str, rest: str) -> None:
    """The first, one in the middle, and one without a cost."""
    for cost in (3.0, 2.0, 1.0, 0.0):
        world.submit("a", cost=cost)
    world.cancel(name)
    assert world.one_by_one() == rest


def test_a_costly_call_behind_a_cancelled_one_is_found(world_of: Callable[..., World]) -> None:
    """It is the next one, and goes to the holder as soon as that is idle."""
    world = world_of(slaves=2)
    world.queue("a")
    world.submit("a", resource="x")
    assert world.decide() == {2: "a1"}
    world.submit("a", resource="x", cost=9.0)
    world.submit("a", resource="x", cost=1.0)
    world.finish(2)
    world.cancel("a2")
    world.submit("a", resource="x", cost=5.0)
    assert world.decide() == {2: "a4"}
    world.finish(2)
    assert world.decide() == {2: "a3"}


def test_what_comes_back_goes_to_its_place(world: World) -> None:
    """Calls that a slave gives back wait in the order of their cost again."""
    for cost in (0.0, 1.0, 3.0, 0.0, 2.0):
        world.submit("a", cost=cost, chunk=5)
    assert world.decide() == {1: "a3 a5 a2 a1 a4"}
    world.give_back(1)
    world.submit("a", cost=1.5, chunk=5)
    world.finish(1)
    assert world.decide() == {1: "a5 a6 a2 a1 a4"}
    world.finish(*[1] * 5)


def test_windows_are_filled_by_cost(world: World) -> None:
    """Whatever is left in a window, it is topped up with the most costly calls that wait by then."""
    world.submit("a")
    world.one_by_one_lasting(0.002)
    for number in range(8):
        world.submit("a", cost=float(number))
    assert world.decide() == {1: "a9 a8 a7 a6 a5"}
    world.submit("a", cost=2.5)
    world.finish(1, 1, 1, seconds=0.002)
    assert world.decide() == {1: "a10 a4 a3"}
    world.finish(*[1] * 5, seconds=0.002)
    assert world.decide() == {1: "a2"}


def test_costly_calls_do_not_lengthen_the_wait_for_a_holder(world_of: Callable[..., World]) -> None:
    """Each overtakes the others, but all have waited since before: the first of them may go elsewhere in time."""
    world = world_of(slaves=2, patience=10.0)
    world.queue("a")
    world.submit("a", resource="x")
    assert world.decide() == {2: "a1"}
    for number in range(1, 7):
        world.submit("a", resource="x", cost=float(number))
        world.wait(2.0)
        orders = world.decide()
        assert orders == ({1: "a7"} if number == 6 else {})
    world.cancel_all()


def test_windows_hold_their_bytes_by_cost(world_of: Callable[..., World]) -> None:
    """Large arguments end a window, also among costly calls; one call may be larger than that."""
    world = world_of(slaves=1, most_bytes=100)
    world.queue("a")
    for cost in (3.0, 2.0, 1.0, 0.0):
        world.submit("a", cost=cost, size=60, chunk=4)
    assert world.decide() == {1: "a1 a2"}
    world.finish(1, 1)
    assert world.decide() == {1: "a3 a4"}
