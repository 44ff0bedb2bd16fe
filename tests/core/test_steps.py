"""Steps that can't have happened are refused, and change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mpitasks.core.calls import Call
from mpitasks.ids import CallId, Rank

if TYPE_CHECKING:
    from collections.abc import Callable

    from .world import World

ILLEGAL: dict[str, Callable[[World], object]] = {
    "outcome of an unknown slave": lambda world: world.scheduler.calls_finished(Rank(9), [(CallId(1), 1.0)], 2.0),
    "outcome of an unknown call": lambda world: world.scheduler.calls_finished(Rank(2), [(CallId(99), 1.0)], 2.0),
    "outcome of another slave's call": lambda world: world.scheduler.calls_finished(Rank(1), [(CallId(1), 1.0)], 2.0),
    "outcomes of which one is unknown": lambda world: world.scheduler.calls_finished(
        Rank(2), [(CallId(1), 1.0), (CallId(99), 1.0)], 2.0
    ),
    "outcome of a call that waits": lambda world: world.scheduler.calls_finished(Rank(2), [(CallId(5), 1.0)], 2.0),
    "given back by an unknown slave": lambda world: world.scheduler.given_back(Rank(9), [], 2.0),
    "given back, but not its own": lambda world: world.scheduler.given_back(Rank(2), [CallId(2), CallId(4)], 2.0),
    "given back, but unknown": lambda world: world.scheduler.given_back(Rank(2), [CallId(3), CallId(99)], 2.0),
    "an unknown slave is lost": lambda world: world.scheduler.slave_lost(Rank(9)),
    "a slave joins twice": lambda world: world.scheduler.slave_joined(Rank(2)),
    "a call of no queue": lambda world: world.scheduler.submitted(Call(CallId(99), "z")),
    "a call of no queue, after another": lambda world: world.scheduler.submitted(Call(CallId(99), "z"), [world.calls["a1"]]),
    "cancelled after it was sent": lambda world: _too_late(world, "a1"),
}


def _too_late(world: World, name: str) -> None:
    if not world.scheduler.cancelled(world.calls[name]):
        raise KeyError(name)


@pytest.mark.parametrize("step", ILLEGAL.values(), ids=ILLEGAL)
def test_an_illegal_step_changes_nothing(world_of: Callable[..., World], step: Callable[[World], object]) -> None:
    """What can't have happened raises, and all that the scheduler knows is as it was."""
    world = world_of(slaves=2)
    world.queue("a", max_slaves=2)
    world.submit("a", n=3, chunk=3)
    world.submit("a", n=4, resource="x")
    assert world.decide() == {2: "a1 a2 a3", 1: "a4"}
    before = world.snapshot()
    with pytest.raises((KeyError, ValueError)):
        step(world)
    assert world.snapshot() == before


def test_a_rank_that_joins_twice_is_told_so(world_of: Callable[..., World]) -> None:
    """The message names the rank, the rule and the way out."""
    world = world_of(slaves=2)
    message = r"slave 2 joined, but it is here already: a rank joins again only after slave_lost\(2\)"
    with pytest.raises(ValueError, match=message):
        world.join(2)


def test_a_lost_rank_may_join_again(world_of: Callable[..., World]) -> None:
    """A slave that comes back is a new one, and holds nothing."""
    world = world_of(slaves=3)
    world.queue("a")
    world.submit("a", resource="x")
    assert world.decide() == {3: "a1"}
    world.lose(3)
    world.join(3)
    assert world.decide() == {3: "a1"}
    assert (world.loads["x"], world.calls["a1"].attempt) == (2, 2)


def test_a_call_that_comes_back_goes_to_the_place_of_its_age(world_of: Callable[..., World]) -> None:
    """Calls that were given back go before younger ones, in their order."""
    world = world_of(slaves=2)
    world.queue("a", max_slaves=2)
    world.submit("a", n=8, chunk=3)
    assert world.decide() == {2: "a1 a2 a3", 1: "a4 a5 a6"}
    world.begin(1)
    world.give_back(1, 2)
    world.give_back(2, 2)
    world.finish(2)
    assert world.decide() == {2: "a2 a3 a5"}
    world.finish(2, 2, 2)
    assert world.decide() == {2: "a6 a7 a8"}


@pytest.mark.parametrize("losses", [1, 2, 3])
def test_a_call_that_comes_back_alone_may_have_been_forgotten(world_of: Callable[..., World], losses: int) -> None:
    """The only call for a resource is sent, lost, and sent again, as often as it takes."""
    world = world_of(slaves=5, strikes=9)
    world.queue("a")
    world.submit("a", resource="x")
    for rank in [5, 4, 3][:losses]:
        assert world.decide() == {rank: "a1"}
        world.lose(rank)
    assert world.decide() == {5 - losses: "a1"}
