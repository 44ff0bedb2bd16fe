"""The known faults of the library that came before, each as the rule that it broke.

What belongs to the master's loop and to the older names is tested with those; here is what the scheduler answers for.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from .world import World

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("order", list(permutations("abc")), ids="".join)
def test_a_lent_slave_comes_back_in_time(world_of: Callable[..., World], order: tuple[str, ...]) -> None:
    """A lent slave comes back with its next outcome, not earlier and not later, in whatever order queues were defined."""
    world = world_of(slaves=4)
    world.queue(*order)
    world.submit("c", n=20)
    assert world.decide() == {4: "c1", 3: "c2", 2: "c3", 1: "c4"}
    world.submit("a", n=4)
    assert world.decide() == {}
    world.finish(1)
    assert world.decide() == {1: "a1"}
    world.finish(2)
    assert world.decide() == {2: "a2"}
    world.finish(3)
    assert world.decide() == {3: "c5"}
    world.finish(1)
    assert world.decide() == {1: "a3"}
    world.cancel_all()


@pytest.mark.parametrize("first", ["limited", "open"])
def test_a_queue_without_limit_keeps_slaves(world_of: Callable[..., World], first: str) -> None:
    """Limited queues with much to do take their share from one without limit, and no more."""
    world = world_of(slaves=3)
    world.queue(*(["open"] if first == "open" else []))
    world.queue("limited", max_slaves=3)
    world.queue("other", max_slaves=3)
    world.queue("open")
    world.submit("limited", n=50)
    world.submit("other", n=50)
    world.submit("open", n=50)
    world.run(4.5, lambda _: 1.0)
    assert [world.running(queue) for queue in ("limited", "other", "open")] == [1, 1, 1]
    world.cancel_all()


def test_a_running_call_keeps_only_its_own_slave(world_of: Callable[..., World]) -> None:
    """While one call of a task runs, the slaves that it does not need work for others."""
    world = world_of(slaves=4)
    world.queue("a", "b")
    world.submit("a", n=4)
    assert world.decide() == {4: "a1", 3: "a2", 2: "a3", 1: "a4"}
    world.finish(1, 2, 3)
    world.submit("b", n=3)
    assert world.decide() == {3: "b1", 2: "b2", 1: "b3"}


def test_a_limited_queue_with_nothing_to_do_keeps_nothing(world_of: Callable[..., World]) -> None:
    """Slaves of a limited queue that has run out go to the others at once."""
    world = world_of(slaves=3)
    world.queue("limited", max_slaves=2)
    world.queue("b")
    world.submit("limited", n=2)
    world.submit("b", n=3)
    assert world.decide() == {3: "limited1", 2: "b1", 1: "limited2"}
    world.finish(1, 3)
    assert world.decide() == {3: "b2", 1: "b3"}


@pytest.mark.parametrize(("slaves", "queues"), [(1, 2), (1, 5), (2, 3), (3, 7)])
def test_no_queue_starves_for_lack_of_slaves(slaves: int, queues: int) -> None:
    """With fewer slaves than queues all get the same, the last too, and none waits much longer than a round."""
    world = World(slaves)
    names = [f"{number}-" for number in range(queues)]
    world.queue(*names)
    for name in names:
        world.submit(name, n=100)
    used = world.run(60.0, lambda _: 1.0)
    assert [used[name] for name in names] == [pytest.approx(60.0 * slaves / queues, abs=2.0)] * queues
    first = {name: next(sent.at for sent in world.sent if sent.name.startswith(name)) for name in names}
    assert max(first.values()) <= queues / slaves


@pytest.mark.parametrize("slaves", [3, 5, 50])
def test_limits_below_the_number_of_slaves_are_fine(world_of: Callable[..., World], slaves: int) -> None:
    """Limits that sum to fewer than the slaves leave the others idle, and nothing waits for ever."""
    world = world_of(slaves=slaves)
    world.queue("a", "b", max_slaves=1)
    world.submit("a", n=5)
    world.submit("b", n=5)
    assert world.decide().calls() == ["a1", "b1"]
    world.run(10.0, lambda _: 1.0)
    assert world.unfinished() == []


@pytest.mark.parametrize("slaves", [2, 3, 8])
def test_all_slaves_move_at_once(world_of: Callable[..., World], slaves: int) -> None:
    """One decision moves as many slaves as are idle to where the work is."""
    world = world_of(slaves=slaves)
    world.queue("a", "b")
    world.submit("a", n=slaves)
    world.obey()
    world.finish(*range(1, slaves + 1))
    world.submit("b", n=slaves)
    assert world.decide().calls() == [f"b{number}" for number in range(1, slaves + 1)]


@pytest.mark.parametrize("slaves", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("order", ["1231231231", "3311222131", "1112223331"])
def test_each_resource_is_loaded_once(slaves: int, order: str) -> None:
    """Three resources that take long are loaded three times, however many slaves there are and in whatever order."""
    world = World(slaves, patience=5000.0)
    world.queue("a")
    for resource in order:
        world.submit("a", resource=resource)
    world.run(2000.0, lambda _: 1.0, acquiring=300.0)
    assert (world.loads, world.unfinished()) == ({"1": 1, "2": 1, "3": 1}, [])


def test_a_call_without_resource_erases_nothing(world_of: Callable[..., World]) -> None:
    """After a call without resource, the slave is still the one that holds what it held."""
    world = world_of(slaves=2)
    world.queue("a", "b")
    world.submit("a", resource="x")
    world.submit("b", n=2)
    assert world.decide() == {2: "a1", 1: "b1"}
    world.finish(2)
    assert world.decide() == {2: "b2"}
    world.finish(2, 1)
    world.submit("a", resource="x")
    assert world.decide() == {2: "a2"}


@pytest.mark.parametrize("slaves", [1, 2, 3])
def test_calls_without_resource_do_not_starve_new_resources(slaves: int) -> None:
    """However many calls without resource come, those for a new resource go by their age."""
    world = World(slaves)
    world.queue("a")
    world.submit("a", n=10)
    world.submit("a", resource="x")
    world.submit("a", n=100)
    world.run(12.0, lambda _: 1.0)
    at = {sent.name: sent.at for sent in world.sent}
    assert at["a11"] == 10 // slaves


def test_none_is_a_resource_and_not_the_lack_of_one(world_of: Callable[..., World]) -> None:
    """Calls for the resource None stick to the slave that holds it."""
    world = world_of(slaves=2)
    world.queue("a", "b")
    world.submit("a", resource=None)
    assert world.decide() == {2: "a1"}
    world.finish(2)
    world.submit("b")
    assert world.decide() == {1: "b1"}
    world.submit("a", n=2, resource=None)
    assert world.decide() == {2: "a2"}
    world.finish(1)
    assert world.decide() == {}
    world.finish(2)
    assert world.decide() == {2: "a3"}


def test_a_failure_is_an_outcome(world_of: Callable[..., World]) -> None:
    """A slave whose call has failed is as free as any other, and the farm goes on."""
    world = world_of(slaves=1)
    world.queue("a", max_slaves=1)
    world.submit("a", n=2)
    assert world.decide() == {1: "a1"}
    world.finish(1, ok=False)
    assert world.decide() == {1: "a2"}


def test_without_slaves_a_decision_ends(world_of: Callable[..., World]) -> None:
    """With nobody to run them calls wait, and a decision returns at once; the first slave that joins gets them."""
    world = world_of(slaves=0)
    world.queue("a")
    world.submit("a", n=2)
    assert (world.decide(), world.scheduler.has_idle, world.scheduler.unfinished) == ({}, False, 2)
    world.join()
    assert world.decide() == {1: "a1"}
    world.finish(1)
    assert world.decide() == {1: "a2"}
