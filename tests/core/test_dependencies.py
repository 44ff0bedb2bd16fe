"""Calls that wait for other calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mpitasks.core.calls import PLAIN
from mpitasks.ids import Rank

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from .world import World


@pytest.fixture
def world(world_of: Callable[..., World]) -> World:
    """Two slaves; a1 and a2 run."""
    made = world_of(slaves=2)
    made.queue("a", "b")
    made.submit("a", n=2)
    assert made.decide() == {2: "a1", 1: "a2"}
    return made


def test_a_call_goes_on_when_all_it_waits_for_has_ended(world: World) -> None:
    """A call is sent after the last of those it depends on has ended, and not before."""
    world.submit("b", after=["a1", "a2"])
    world.finish(2)
    assert world.decide() == {}
    world.finish(1)
    assert world.decide() == {1: "b1"}


def test_what_has_ended_holds_nothing_up(world: World) -> None:
    """A call that depends on an ended one runs at once."""
    world.finish(2)
    world.submit("b", after=["a1"])
    assert world.decide() == {2: "b1"}


def test_waiting_twice_for_the_same_call_is_waiting_once(world: World) -> None:
    """A dependency that is named twice counts once."""
    world.submit("b", after=["a1", "a1"])
    world.finish(2)
    assert world.decide() == {2: "b1"}


def test_a_failure_ends_what_waited_and_what_waited_for_that(world: World) -> None:
    """A failed call takes all its dependents with it, and says for each which call was the reason."""
    world.submit("b", after=["a1"])
    world.submit("b", after=["b1", "a2"])
    world.submit("b", after=["b2", "b1"])
    assert world.finish(2, ok=False) == ["b1", "b2", "b3"]
    world.finish(1)
    assert world.decide() == {}
    assert (world.unfinished(), world.scheduler.unfinished) == ([], 0)


def test_the_reason_is_the_call_that_it_waited_for(world: World) -> None:
    """What ends because of another call ends because of the one it depends on, not of the first that failed."""
    world.submit("b", after=["a1"])
    world.submit("b", after=["b1"])
    call = world.calls["a1"]
    world.scheduler.calls_finished(Rank(2), [(call.id, 1.0)], 1.0)
    ended = world.scheduler.call_failed(call)
    assert [(str(one.call), str(one.because)) for one in ended] == [("b1", "a1"), ("b2", "b1")]


@pytest.mark.parametrize(("name", "gone"), [("b1", ["b2"]), ("b2", [])])
def test_a_cancelled_call_ends_what_waited_for_it(world: World, name: str, gone: list[str]) -> None:
    """Cancelling a call that waits for others ends its dependents, and not what it waited for."""
    world.submit("b", after=["a1"])
    world.submit("b", after=["b1"])
    assert world.cancel(name) == gone
    world.finish(2)
    assert world.decide() == ({} if name == "b1" else {2: "b1"})


def test_a_cancelled_call_is_not_sent(world: World) -> None:
    """A call that was cancelled in time never reaches a slave; the next one goes in its place."""
    world.submit("a", n=3)
    assert (world.cancel("a3"), world.cancel("a5")) == ([], [])
    world.finish(1, 2)
    assert world.decide() == {2: "a4"}


@pytest.mark.parametrize("resource", [PLAIN, "x"], ids=str)
def test_what_stood_behind_a_cancelled_call_moves_up(world: World, resource: Hashable) -> None:
    """When the oldest call for a resource is cancelled, the next one is the oldest."""
    world.submit("b", n=2, resource=resource)
    assert world.cancel("b1") == []
    world.finish(1)
    assert world.decide() == {1: "b2"}


def test_a_sent_call_can_not_be_cancelled(world: World) -> None:
    """After it was sent it is too late, and after it has ended too."""
    assert world.cancel("a1") is None
    world.finish(2)
    assert world.cancel("a1") is None


def test_a_refused_call_is_never_sent(world: World) -> None:
    """A call that depends on one that had failed before is refused, and counts as ended."""
    name = world.submit("b", after=["a1"])[0]
    world.finish(2, ok=False)
    world.scheduler.refused(world.calls[name])
    assert world.decide() == {}
    assert world.scheduler.unfinished == 1
