"""What a short call costs: lines of the library that both sides execute, since times depend on the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mpitasks
from mpitasks import task
from mpitasks.runtime.submissions import SUBMITS_A_LOOK
from tests.lines import lines_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.runtime.world import World

    NewWorld = Callable[..., World]

CALLS = 8 * SUBMITS_A_LOOK


@task
def nothing(_: object = None) -> None:
    """Do nothing."""


def many(world: World, *args: object) -> None:
    """Submit many calls while the slave runs them, and then ask for what they return."""
    futures = []
    for _ in range(CALLS // SUBMITS_A_LOOK):
        futures += [nothing.delay(*args) for _ in range(SUBMITS_A_LOOK)]
        while world.slaves[1].step():  # type: ignore[index]  # a rank
            pass
    world.finish()
    for future in futures:
        future.result()


def cost(world: World, *args: object) -> float:
    """Lines for each of many calls, once it is known that they are short."""
    many(world, *args)
    return lines_of(mpitasks, lambda: many(world, *args)) / CALLS


def test_a_call_among_many_takes_two_hundred_lines(new_world: NewWorld) -> None:
    """From `delay` to `result`, master and slave together."""
    assert cost(new_world(1)) <= 220


def test_what_is_pickled_takes_little_more(new_world: NewWorld) -> None:
    """Where arguments are no numbers."""
    assert cost(new_world(1), "text") <= 290


def test_after_a_map_a_call_takes_no_more_than_before(new_world: NewWorld) -> None:
    """To ask of each for how many it stands is for those that may stand for many."""
    world = new_world(1)
    before = cost(world)
    mapped = nothing.map(range(CALLS))
    world.finish()
    mapped.results()
    assert cost(world) <= 1.02 * before


def test_one_call_there_and_back_takes_seven_hundred_lines(new_world: NewWorld) -> None:
    """Nearly all of them decide: where one call is all there is, none can share them."""
    world = new_world(1)

    def trip() -> None:
        future = nothing.delay()
        world.turn()
        future.result()

    trip()
    assert lines_of(mpitasks, trip) <= 760
