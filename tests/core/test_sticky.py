"""Stickiness: which call of a queue, and which slave for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mpitasks.core.calls import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from mpitasks.core.scheduler import Scheduler

    from .world import World


def test_a_slave_prefers_what_it_holds(world_of: Callable[..., World]) -> None:
    """Before older calls, a slave takes the one whose resource it holds."""
    world = world_of(slaves=1)
    world.queue("a")
    world.submit("a", resource="x")
    world.submit("a", resource="y")
    world.submit("a", resource="x")
    world.submit("a")
    assert world.one_by_one() == "a1 a3 a2 a4"


def test_a_call_goes_to_the_idle_slave_that_holds_its_resource(world_of: Callable[..., World]) -> None:
    """Of several idle slaves the holder gets the call, not the one that ended last."""
    world = world_of(slaves=3)
    world.queue("a", "b")
    world.submit("a", resource="x")
    world.submit("b", n=2)
    assert world.decide() == {3: "a1", 2: "b1", 1: "b2"}
    world.finish(3, 2, 1)
    world.submit("a", resource="x")
    assert world.decide() == {3: "a2"}


def test_a_resource_is_kept_until_its_work_runs_out(world_of: Callable[..., World]) -> None:
    """Each resource is acquired once, if that takes long beside all its calls."""
    world = world_of(slaves=2, patience=500.0)
    world.queue("a")
    for resource in "xyzxyzxyzxyz":
        world.submit("a", resource=resource)
    world.run(2000.0, lambda _: 1.0, acquiring=300.0)
    assert (world.loads, world.unfinished()) == ({"x": 1, "y": 1, "z": 1}, [])


def test_a_call_waits_for_the_busy_holder(world_of: Callable[..., World]) -> None:
    """While a slave that holds its resource is busy, a call waits, and idle slaves do other work."""
    world = world_of(slaves=2)
    world.queue("a")
    world.submit("a", n=2, resource="x")
    assert world.decide() == {2: "a1"}
    world.submit("a", resource="y")
    assert world.decide() == {1: "a3"}
    world.finish(2)
    assert world.decide() == {2: "a2"}


def test_a_call_without_resource_does_not_erase_what_is_held(world_of: Callable[..., World]) -> None:
    """A slave that ran a call without resource still holds what it held."""
    world = world_of(slaves=1)
    world.queue("a")
    world.submit("a", resource="x")
    world.submit("a")
    assert world.one_by_one() == "a1 a2"
    world.submit("a", resource="x")
    assert world.one_by_one() == "a3"
    assert world.loads == {"x": 1}


def test_a_call_without_resource_goes_to_a_slave_that_holds_nothing_wanted(world_of: Callable[..., World]) -> None:
    """Of idle slaves, one that holds nothing takes what needs nothing, so that holders are there for what they hold."""
    world = world_of(slaves=2)
    world.queue("a", "b")
    world.submit("a", resource="x")
    assert world.decide() == {2: "a1"}
    world.finish(2)
    world.submit("b")
    assert world.decide() == {1: "b1"}
    world.submit("a", resource="x")
    assert world.decide() == {2: "a2"}


def test_a_new_resource_goes_to_a_slave_whose_own_nobody_wants(world_of: Callable[..., World]) -> None:
    """Of two holders, the one whose resource no call waits for gives it up."""
    world = world_of(slaves=3)
    world.queue("a")
    world.queue("b", max_slaves=1)
    world.submit("a", resource="x")
    world.submit("a", resource="y")
    world.submit("b")
    assert world.decide() == {3: "a1", 2: "b1", 1: "a2"}
    world.finish(1, 3)
    world.submit("b", resource="x")  # waits, for b is at its limit
    assert world.decide() == {}
    world.submit("a", resource="z")
    assert world.decide() == {1: "a3"}


def test_a_slave_keeps_the_last_that_it_used(world_of: Callable[..., World]) -> None:
    """With `keep=2`, a third resource takes the place of the one unused for longest."""
    world = world_of(slaves=2, keep=2)
    world.queue("a", "b")
    for resource in "xyxz":
        world.submit("a", resource=resource, priority=-len(world.calls))
    world.submit("b", priority=1)
    assert world.decide() == {2: "b1", 1: "a1"}
    world.finish(1)
    assert world.decide() == {1: "a2"}
    world.finish(1)
    assert world.decide() == {1: "a3"}
    world.finish(1)
    assert world.decide() == {1: "a4"}
    world.finish(2, 1)
    world.submit("a", resource="y")
    assert world.decide() == {2: "a5"}
    world.submit("a", resource="x")
    assert world.decide() == {1: "a6"}


def test_old_and_new_go_by_age(world_of: Callable[..., World]) -> None:
    """Calls without resource, and those whose resource nobody holds, go in the order of their age."""
    world = world_of(slaves=1)
    world.queue("a")
    for resource in ["x", PLAIN, "y", PLAIN, "z"]:
        world.submit("a", resource=resource)
    assert world.one_by_one() == "a1 a2 a3 a4 a5"


def test_new_resources_are_not_starved_by_calls_without(world_of: Callable[..., World]) -> None:
    """An endless stream of calls without resource does not keep those waiting whose resource nobody holds."""
    world = world_of(slaves=2)
    world.queue("a")
    world.submit("a", n=6)
    assert world.decide() == {2: "a1", 1: "a2"}
    world.submit("a", resource="x")
    world.submit("a", n=50)
    world.finish(1, 2)
    assert world.decide() == {2: "a3", 1: "a4"}
    world.finish(1, 2)
    assert world.decide() == {2: "a5", 1: "a6"}
    world.finish(1, 2)
    assert world.decide() == {2: "a7", 1: "a8"}
    world.cancel_all()


@pytest.mark.parametrize("resource", [None, 0, "", ("mesh", 1), frozenset({1})], ids=repr)
def test_every_value_may_be_a_resource(world_of: Callable[..., World], resource: Hashable) -> None:
    """None, and what else is false, is a resource like any other, and not the lack of one."""
    world = world_of(slaves=2)
    world.queue("a", "b")
    world.submit("a", resource=resource)
    world.submit("b")
    assert world.decide() == {2: "a1", 1: "b1"}
    world.finish(2, 1)
    world.submit("a", resource=resource)
    assert world.decide() == {2: "a2"}
    assert world.loads == {resource: 1}


def test_resources_are_shared_by_tasks(world_of: Callable[..., World]) -> None:
    """What one task made a slave hold, a call of another task finds there."""
    world = world_of(slaves=2)
    world.queue("a", "b")
    world.submit("a", resource="x")
    assert world.decide() == {2: "a1"}
    world.submit("b", resource="x")
    assert world.decide() == {}
    world.finish(2)
    assert world.decide() == {2: "b1"}


def test_the_slave_that_ended_last_goes_first(world_of: Callable[..., World]) -> None:
    """Of equal idle slaves the one that ended last gets the next call: it still polls fast."""
    world = world_of(slaves=3)
    world.queue("a")
    world.submit("a", n=3)
    assert world.decide() == {3: "a1", 2: "a2", 1: "a3"}
    world.finish(2, 1, 3)
    world.submit("a")
    assert world.decide() == {3: "a4"}
    world.submit("a")
    assert world.decide() == {1: "a5"}


def test_of_slaves_that_hold_something_the_last_to_end_goes_first(world_of: Callable[..., World]) -> None:
    """Where all idle slaves hold something that nobody wants, the one that ended last gets the next call."""
    world = world_of(slaves=2)
    world.queue("a")
    world.submit("a", resource="x")
    world.submit("a", resource="y")
    assert world.decide() == {2: "a1", 1: "a2"}
    world.finish(2, 1)
    world.submit("a")
    assert world.decide() == {1: "a3"}
    world.finish(1)
    world.submit("a", resource="z")
    assert world.decide() == {1: "a4"}


def test_what_is_held_goes_before_what_is_younger(world_of: Callable[..., World]) -> None:
    """A call for what a slave holds goes before a younger one, however long both have waited."""
    world = world_of(slaves=1)
    world.queue("a", "b")
    world.submit("a", resource="x")
    assert world.decide() == {1: "a1"}
    world.submit("a", resource="x")
    world.submit("a")
    world.wait(2 * world.rules.patience)
    assert world.decide() == {}
    world.finish(1)
    assert world.decide() == {1: "a2"}
    world.finish(1)
    assert world.decide() == {1: "a3"}


def test_the_holder_that_ended_last_goes_first(world_of: Callable[..., World]) -> None:
    """Of idle holders too."""
    world = world_of(slaves=2)
    world.queue("a")
    world.submit("a", n=2, resource="x", chunk=1)
    assert world.decide() == {2: "a1"}
    world.wait(world.rules.patience)
    assert world.decide() == {1: "a2"}
    world.finish(1, 2)
    world.submit("a", resource="x")
    assert world.decide() == {2: "a3"}


def only_slave_1_ends(world_of: Callable[..., World], **rules: float) -> World:
    """Two slaves, the other in a call for long: this one goes on with what it holds, if nothing else is due."""
    world = world_of(slaves=2, **rules)
    world.queue("a", "b", "c")
    world.submit("c", priority=-9)
    assert world.decide() == {2: "c1"}
    world.submit("a", resource="x")
    assert world.decide() == {1: "a1"}
    return world


def test_a_slave_goes_on_with_what_it_holds(world_of: Callable[..., World]) -> None:
    """Before it takes an older call up."""
    world = only_slave_1_ends(world_of)
    world.submit("a", resource="y")
    world.submit("a", resource="x")
    world.finish(1)
    assert world.decide() == {1: "a3"}
    world.cancel_all()


def test_what_waits_for_a_slave_alone_goes_before_more_of_the_same(world_of: Callable[..., World]) -> None:
    """While the slave is busy, nobody can run the call of higher priority, so that it is not ranked."""
    world = only_slave_1_ends(world_of)
    world.submit("a", resource="x")
    world.submit("b", resource="x", priority=1)
    world.finish(1)
    assert world.decide() == {1: "b1"}
    world.cancel_all()


def test_what_has_waited_long_goes_before_more_of_the_same(world_of: Callable[..., World]) -> None:
    """An older call of the queue waits for `patience` only."""
    world = only_slave_1_ends(world_of, patience=3.0)
    world.submit("a", resource="y")
    world.submit("a", resource="x")
    assert world.decide() == {}
    world.wait(3.1)
    world.finish(1)
    assert world.decide() == {1: "a2"}
    world.cancel_all()


def test_a_queue_that_is_behind_goes_before_more_of_the_same(world_of: Callable[..., World]) -> None:
    """By more than a turn."""
    world = only_slave_1_ends(world_of)
    world.submit("a", resource="x")
    world.submit("b")
    world.finish(1)
    assert world.decide() == {1: "b1"}
    world.cancel_all()


@pytest.mark.parametrize(
    "running",
    [
        lambda scheduler: scheduler.looks().queues["a"].running,
        lambda scheduler: scheduler.state(0.0).queues["a"].running,
    ],
)
def test_a_slave_that_has_ended_is_idle_to_all_who_ask(
    world_of: Callable[..., World], running: Callable[[Scheduler], int]
) -> None:
    """Before the next decision too, which may have it go on."""
    world = only_slave_1_ends(world_of)
    world.submit("a", resource="x")
    world.finish(1)
    assert (world.scheduler.has_idle, running(world.scheduler)) == (True, 0)
    world.cancel_all()
