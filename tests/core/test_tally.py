"""What was decided, and why: the counts and words that reports are made of."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest

from mpitasks.core.calls import PLAIN, Call, Kind, Provided
from mpitasks.core.prices import Prices
from mpitasks.core.scheduler import Scheduler
from mpitasks.core.tally import LATEST, MOST_RESOURCES, REASONS, Decision, Tally
from mpitasks.ids import CallId, Rank

from .world import World, provided

if TYPE_CHECKING:
    from collections.abc import Callable

LICENSE = provided(Kind("license", max_holders=1))


@pytest.fixture
def world(world_of: Callable[..., World]) -> World:
    """Two slaves; the second is on top."""
    made = world_of(slaves=2, patience=5.0)
    made.queue("a", "b")
    return made


def last(world: World) -> Decision:
    """The latest decision."""
    return world.scheduler.tally.latest[-1]


def test_every_decision_has_its_reason(world: World) -> None:
    """Plain, new, sticky, overdue: what each window was sent for."""
    world.submit("a")
    world.submit("a", n=3, resource="x")
    assert world.decide() == {2: "a1", 1: "a2"}
    world.finish(1)
    assert world.decide() == {1: "a3"}
    world.finish(2)
    world.wait(5.0)
    assert world.decide() == {2: "a4"}
    reasons = [decision.reason for decision in world.scheduler.tally.latest]
    assert reasons == ["plain", "new", "sticky", "overdue"]
    assert world.scheduler.tally.queues["a"].calls == {"plain": 1, "new": 1, "sticky": 1, "overdue": 1}
    assert world.scheduler.tally.resources["x"].calls == {"new": 1, "sticky": 1, "overdue": 1}
    assert set(reasons) <= set(REASONS)


def test_a_decision_tells_all(world: World) -> None:
    """When, where to, whose calls, what for, which and how many."""
    world.submit("a", n=3, resource="x", chunk=3)
    world.wait(1.5)
    assert world.decide() == {2: "a1 a2 a3"}
    assert last(world) == Decision(1.5, Rank(2), "a", "x", CallId(1), 3, "new", "")


def test_what_is_acquired_once_more_is_duplicated(world_of: Callable[..., World]) -> None:
    """Because that ends its calls sooner, and not because it waited."""
    prices = Prices()
    prices.learn("a", "x", 0.1)
    prices.calls["a"] = 1.0
    world = world_of(slaves=2, prices=prices)
    world.queue("a")
    world.submit("a", n=9, resource="x")
    assert world.decide() == {2: "a1", 1: "a2"}
    assert [decision.reason for decision in world.scheduler.tally.latest] == ["new", "duplicated"]
    world.cancel_all()


def test_holders_of_an_exhausted_resource_are_owed(world: World) -> None:
    """What needs it besides something else goes to them alone; where they hold all that is needed, that is sticky."""
    part = Kind("part")
    for name in "xyy":
        world.submit("a", resource=Provided(part, (name,), LICENSE))
    assert world.one_by_one() == "a1 a2 a3"
    assert [decision.reason for decision in world.scheduler.tally.latest] == ["new", "owed", "sticky"]


def test_a_refill_is_sticky_or_plain(world_of: Callable[..., World]) -> None:
    """A slave that goes on does so because it holds the resource, or needs none."""
    world = world_of(slaves=1)
    world.queue("a", "b")
    world.submit("a")
    world.submit("b", n=2, resource="x", priority=-1)
    world.one_by_one_lasting(0.002, 0.002, 0.002)
    world.submit("a", n=8)
    assert world.decide() == {1: "a2 a3 a4 a5 a6"}
    world.finish(1, 1, 1, seconds=0.002)
    assert world.decide() == {1: "a7 a8 a9"}
    world.finish(*[1] * 5, seconds=0.002)
    world.submit("b", n=8, resource="x")
    assert world.decide() == {1: "b3 b4 b5 b6 b7"}
    world.finish(1, 1, 1, seconds=0.002)
    assert world.decide() == {1: "b8 b9 b10"}
    assert [decision.reason for decision in world.scheduler.tally.latest][3:] == ["plain", "plain", "sticky", "sticky"]
    world.cancel_all()


def test_a_lent_slave_is_counted_where_it_came_from(world: World) -> None:
    """A window of another task than before: by the task that it left, and as a move of the slave."""
    world.submit("a", n=3)
    assert world.decide() == {2: "a1", 1: "a2"}
    assert last(world).lent_from == ""
    world.submit("b", n=2)
    world.finish(2)
    assert world.decide() == {2: "b1"}
    assert last(world).lent_from == "a"
    world.finish(2, 1)
    assert world.decide() == {1: "b2", 2: "a3"}
    world.finish(2)
    world.submit("a")
    assert world.decide() == {2: "a4"}
    assert [decision.lent_from for decision in world.scheduler.tally.latest] == ["", "", "a", "a", "b", ""]
    tally = world.scheduler.tally
    assert (tally.queues["a"].lent_from, tally.queues["b"].lent_from) == ({"b": 1}, {"a": 2})
    assert [tally.slaves[Rank(rank)].moves for rank in (1, 2)] == [1, 2]


def test_a_refill_is_not_lent(world_of: Callable[..., World]) -> None:
    """A slave that goes on with its task did not come from another, though it did before."""
    world = world_of(slaves=1)
    world.queue("a", "b")
    world.submit("a")
    world.submit("b")
    world.one_by_one_lasting(0.002, 0.002)
    world.submit("a", n=20)
    assert world.decide() == {1: "a2 a3 a4 a5 a6"}
    world.finish(1, 1, 1, seconds=0.002)
    assert world.decide() == {1: "a7 a8 a9"}
    assert [decision.lent_from for decision in world.scheduler.tally.latest] == ["", "a", "b", ""]
    world.cancel_all()


def test_what_slaves_did_is_counted(world: World) -> None:
    """Calls and their seconds, by task and by slave; a call that was never begun has ended, and no slave ran it."""
    world.submit("a", n=4, chunk=4)
    assert world.decide() == {2: "a1 a2 a3 a4"}
    world.finish(2, 2, seconds=1.5)
    world.finish(2, seconds=None)
    world.finish(2, seconds=2.0)
    tally = world.scheduler.tally
    assert {rank: (one.calls, one.seconds) for rank, one in tally.slaves.items()} == {1: (0, 0.0), 2: (3, 5.0)}
    of_queue = tally.queues["a"]
    assert (of_queue.ended, of_queue.seconds, of_queue.windows, of_queue.calls) == (4, 5.0, 1, {"plain": 4})


def test_acquisitions_are_counted_as_they_are_said(world: World) -> None:
    """Of providers, by what slaves say; of plain ids, by who takes them up."""
    world.costs = {LICENSE: 3.0}
    world.submit("a", n=2, resource=LICENSE)
    world.submit("b", n=2, resource="x")
    assert world.decide() == {2: "a1", 1: "b1"}
    world.finish(2, 1)
    world.report(2, 1)
    assert world.decide() == {2: "a2", 1: "b2"}
    world.finish(2, 1)
    world.report(2, 1)
    tally = world.scheduler.tally
    counts = {resource: (of.acquisitions, of.acquiring) for resource, of in tally.resources.items()}
    assert counts == {LICENSE: (1, 3.0), "x": (1, 0.0)}
    assert (tally.slaves[Rank(2)].acquisitions, tally.slaves[Rank(2)].acquiring) == (1, 3.0)
    assert tally.slaves[Rank(1)].acquisitions == 0


def test_who_comes_back_is_counted_on(world: World) -> None:
    """What a slave did before it was lost is not forgotten when one of its rank joins."""
    world.submit("a")
    assert world.decide() == {2: "a1"}
    world.finish(2)
    world.lose(2)
    world.join(2)
    assert world.scheduler.tally.slaves[Rank(2)].calls == 1


def test_counts_stay_small() -> None:
    """Of 100,000 resources only those used last are counted, and of as many decisions the latest are kept."""
    tally = Tally()
    world = World(slaves=1)
    world.queue("a")
    tally.queues, tally.slaves = world.scheduler.tally.queues, world.scheduler.tally.slaves
    for number in range(100_000):
        resource = "hot" if number % 100 == 0 else number
        tally.decided(Decision(0.0, Rank(1), "a", resource, CallId(number), 1, "new", ""))
    assert (len(tally.resources), len(tally.latest)) == (MOST_RESOURCES, LATEST)
    hot = tally.resources["hot"]
    assert (hot.calls, hot.acquisitions, hot.acquiring) == ({"new": 1000}, 0, 0.0)


def test_a_scheduler_of_many_resources_stays_small() -> None:
    """40,000 resources, each with a call, leave behind no more than 12,000 do."""

    def size(calls: int) -> int:
        scheduler = Scheduler()
        scheduler.queue_defined("a")
        scheduler.slave_joined(Rank(1))
        for number in range(calls):
            scheduler.submitted(Call(CallId(number), "a", resource=number))
            scheduler.decide(float(number))
            scheduler.calls_finished(Rank(1), [(CallId(number), 1.0)], float(number))
        return len(pickle.dumps(scheduler))

    assert size(40_000) <= 1.05 * size(12_000)


def test_what_needs_nothing_is_no_resource(world: World) -> None:
    """Plain calls leave no resource behind."""
    world.submit("a")
    assert world.decide() == {2: "a1"}
    assert (last(world).resource, list(world.scheduler.tally.resources)) == (PLAIN, [])
