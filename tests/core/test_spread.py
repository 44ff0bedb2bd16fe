"""Acquiring once more what others hold: when it pays, for how many slaves, and within which limits."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import pytest

from mpitasks.core.calls import Kind
from mpitasks.core.prices import Prices
from mpitasks.core.spread import Load, spread

from .world import World, provided

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from mpitasks.core.calls import Provided

FILE = Kind("file")


def prices_of(queue: str, resource: Hashable, price: float, call: float = 1.0) -> Prices:
    """What an earlier run has learned."""
    prices = Prices()
    prices.learn(queue, resource, price)
    prices.calls[queue] = call
    return prices


def makespan(world: World, calls: float) -> float:
    """When the last call ended, in a farm where calls take so long."""
    world.run(10_000.0, lambda _: calls, acquiring=world.costs.get("plain", 0.0))
    assert world.unfinished() == []
    return max(world.ended_at)


def kinds_of(makes: str, *, count: int, price: float) -> tuple[list[Hashable], dict[Hashable, float]]:
    """So many resources, plain ids or provided, and what they cost in a `World`."""
    if makes == "plain":
        return [f"r{number}" for number in range(count)], {"plain": price}
    found: list[Provided] = [provided(FILE, number) for number in range(count)]
    return list(found), dict.fromkeys(found, price)


# -------------------------------------------------------------------- whole farms


@pytest.mark.parametrize("makes", ["plain", "provided"])
def test_a_hot_resource_is_spread_over_all_slaves(makes: str) -> None:
    """2,000 calls of one resource keep 20 slaves busy nearly from the start, and each acquires it once."""
    world = World(slaves=20)
    world.queue("a")
    (hot,), world.costs = kinds_of(makes, count=1, price=5.0)
    world.submit("a", n=2000, resource=hot)
    assert makespan(world, 1.0) <= 1.1 * 105.0
    assert world.loads == {hot: 20}


@pytest.mark.parametrize("makes", ["plain", "provided"])
@pytest.mark.parametrize(("slaves", "most", "fewest"), [(2, 25.0, 4), (3, 13.4, 3), (5, 13.4, 4), (7, 12.9, 7)])
def test_a_second_run_knows_the_prices(makes: str, slaves: int, most: float, fewest: int) -> None:
    """Three resources that take long, and calls that don't: as soon as it can be, with few acquisitions."""
    prices = Prices()
    for _ in range(2):
        world = World(slaves, prices=prices)
        world.queue("a")
        resources, world.costs = kinds_of(makes, count=3, price=10.0)
        for number in range(100):
            world.submit("a", resource=resources[number % 3])
        took = makespan(world, 0.1)
        prices = world.scheduler.learned()
    assert took <= most + 1e-6
    assert sum(world.loads.values()) <= 1.2 * fewest


@pytest.mark.parametrize("makes", ["plain", "provided"])
def test_an_unknown_price_never_duplicates(makes: str) -> None:
    """Before anything was measured, calls wait for the holder, for `patience`."""
    world = World(slaves=5, patience=20.0)
    world.queue("a")
    (hot,), _ = kinds_of(makes, count=1, price=0.0)
    world.submit("a", n=50, resource=hot, chunk=1)
    world.obey()
    world.run(19.9, lambda _: 1000.0)
    assert world.loads.total() <= 1
    assert len(world.sent) == 1
    world.run(0.2, lambda _: 1000.0)
    assert len(world.sent) == 2


def test_max_holders_holds_while_duplicating() -> None:
    """However much it would pay, no more slaves than may hold the resource."""
    world = World(slaves=10)
    world.queue("a")
    hot = provided(Kind("hot", max_holders=3))
    world.costs = {hot: 0.1}
    world.submit("a", n=100, resource=hot)
    assert makespan(world, 1.0) == pytest.approx(100 / 3, abs=2.0)
    assert world.loads == {hot: 3}


def test_max_slaves_holds_while_duplicating(world_of: Callable[..., World]) -> None:
    """However much it would pay, no more slaves than the task may have."""
    world = world_of(slaves=10, prices=prices_of("a", "x", 0.1))
    world.queue("a", max_slaves=3)
    world.queue("b")
    world.submit("a", n=100, resource="x")
    world.submit("b", n=2)
    assert sorted(world.decide().calls()) == ["a1", "a2", "a3", "b1", "b2"]
    world.cancel_all()


@pytest.mark.parametrize(("priority", "running"), [(0, (3, 3)), (1, (1, 5))])
def test_two_tasks_share_what_is_idle(world_of: Callable[..., World], priority: int, running: tuple[int, int]) -> None:
    """Which task's calls further slaves acquire something for, priority and fair share decide, as for all other calls."""
    prices = prices_of("a", "x", 0.1)
    prices.learn("b", "y", 0.1)
    prices.calls["b"] = 1.0
    world = world_of(slaves=6, prices=prices)
    world.queue("a", "b")
    world.submit("a", n=50, resource="x")
    world.submit("b", n=50, resource="y", priority=priority)
    assert len(world.decide().calls()) == 6
    assert (world.running("a"), world.running("b")) == running
    world.cancel_all()


# -------------------------------------------------------------------- one decision


@pytest.mark.parametrize(("price", "sent"), [(3.5, ["a2", "a3"]), (4.1, ["a2"])])
def test_it_pays_where_the_price_is_below_the_wait(world_of: Callable[..., World], price: float, sent: list[str]) -> None:
    """The holder would come to the last of three more calls, and end it, in four seconds."""
    world = world_of(slaves=2, prices=prices_of("a", "x", price))
    world.queue("a")
    world.submit("a", resource="x")
    assert world.decide() == {2: "a1"}
    world.finish(2)
    world.submit("a", n=4, resource="x")
    assert world.decide().calls() == sent
    world.cancel_all()


def test_other_work_goes_first(world_of: Callable[..., World]) -> None:
    """Only slaves that have nothing else to do acquire what others hold."""
    world = world_of(slaves=3, prices=prices_of("a", "x", 0.1))
    world.queue("a", "b")
    world.submit("a", n=20, resource="x")
    world.submit("b", n=2, priority=-5)
    assert world.decide() == {3: "a1", 2: "b1", 1: "b2"}
    world.cancel_all()


def test_the_wait_for_a_holder_is_longer_where_the_price_is_higher(world_of: Callable[..., World]) -> None:
    """Nobody acquires for 50 seconds what a holder may be done with in 40."""
    world = world_of(slaves=2, prices=prices_of("a", "x", 50.0), patience=30.0)
    world.queue("a")
    world.submit("a", n=2, resource="x")
    assert world.decide() == {2: "a1"}
    world.wait(49.0)
    assert world.decide() == {}
    world.wait(1.0)
    assert world.decide() == {1: "a2"}


def test_a_call_that_is_late_is_expected_to_take_longer(world_of: Callable[..., World]) -> None:
    """What was to take a second and has taken ten will take ten more: meanwhile it pays to acquire."""
    world = world_of(slaves=2, prices=prices_of("a", "x", 5.0))
    world.queue("a", "b")
    world.submit("a", resource="x")
    world.one_by_one()
    world.submit("a", n=2, resource="x")
    assert world.decide() == {2: "a2"}
    world.wait(11.0)
    world.submit("b", priority=1)
    assert world.decide() == {1: "b1"}
    world.finish(1)
    assert world.decide() == {1: "a3"}


def test_a_slave_that_has_just_acquired_is_not_late(world_of: Callable[..., World]) -> None:
    """It has run its call for no time yet: it comes to the others after one second, and not after twice the acquisition."""
    file = provided(FILE, 1)
    world = world_of(slaves=2, prices=prices_of("a", file, 5.0))
    world.queue("a")
    world.costs[file] = 5.0
    world.submit("a", resource=file)
    assert world.decide() == {2: "a1"}
    world.begin(2)
    world.wait(5.0)
    world.report(2)
    world.submit("a", n=2, resource=file)
    assert world.decide() == {}
    world.cancel_all()


def test_a_lost_holder_is_no_reason_to_ask_for_ever(world_of: Callable[..., World]) -> None:
    """Where a look was due and there is nothing left to look at, the scheduler does not want to be asked again at once."""
    world = world_of(slaves=2, prices=prices_of("a", "x", 5.0), review_share=0, review_after=0.5)
    world.queue("a")
    world.queue("c", max_slaves=1)
    world.submit("a", resource="x")
    world.submit("c", n=2)
    assert world.decide() == {2: "a1", 1: "c1"}
    world.finish(2)
    assert world.decide() == {}
    assert world.scheduler.deadline() == 0.5
    world.lose(2)
    world.join(2)
    world.wait(1.0)
    assert (world.decide(), world.scheduler.deadline()) == ({}, inf)
    world.cancel_all()


# -------------------------------------------------------------------- how many


@pytest.mark.parametrize(
    ("loads", "slaves", "given"),
    [
        pytest.param([], 5, [], id="nothing waits"),
        pytest.param([Load(100.0, 1, 5.0, 99)], 0, [], id="nobody is idle"),
        pytest.param([Load(100.0, 1, 5.0, 99)], 3, [0, 0, 0], id="the more the better"),
        pytest.param([Load(100.0, 1, 5.0, 2)], 3, [0, 0], id="no more than may"),
        pytest.param([Load(100.0, 1, 100.0, 99)], 3, [], id="too dear"),
        pytest.param([Load(100.0, 10, 11.0, 99)], 3, [], id="too dear for many holders"),
        pytest.param([Load(12.0, 2, 5.9, 99)], 3, [], id="next to nothing"),
        pytest.param([Load(10.0, 1, 1.0, 9), Load(100.0, 1, 1.0, 9)], 1, [1], id="the last one first"),
        pytest.param([Load(60.0, 1, 1.0, 9), Load(100.0, 1, 1.0, 9)], 3, [1, 0, 1], id="in turns"),
        pytest.param([Load(100.0, 1, 1.0, 9), Load(100.0, 1, 1.0, 9)], 1, [], id="one of two equals gains nothing"),
        pytest.param([Load(100.0, 1, 1.0, 0), Load(50.0, 1, 1.0, 9)], 2, [1, 1], id="where one may not, the others go on"),
        pytest.param([Load(90.0, 1, 95.0, 9), Load(50.0, 1, 1.0, 9)], 2, [1, 1], id="where one is too dear, the others go on"),
    ],
)
def test_spread(loads: list[Load], slaves: int, given: list[int]) -> None:
    """One slave after the other to what would end last, while that ends it sooner."""
    assert spread(loads, slaves) == given


def test_no_slave_acquires_for_next_to_nothing() -> None:
    """A few slaves come as close as all of them: what gains under two percent is no gain."""
    loads = [Load(100.0, 1, 60.0, 99), Load(79.0, 1, 78.9, 99)]
    assert spread(loads, 50) == [0]


def test_the_core_forgets_what_it_wanted_to_spread(world_of: Callable[..., World]) -> None:
    """That slaves more may have a resource is said for one decision: what of it is unused is not left for the next."""
    prices = prices_of("a", "x", 0.1)
    prices.learn("b", "y", 0.1)
    prices.calls["b"] = 1.0
    world = world_of(slaves=4, prices=prices)
    world.queue("a", "b")
    world.submit("a", n=20, resource="x")
    world.submit("b", n=20, resource="y")
    assert world.decide().calls() == ["a1", "a2", "b1", "b2"]
    queues = world.scheduler._queues
    assert [queues[name].levels[0].backlogs[one].extra for name, one in (("a", "x"), ("b", "y"))] == [0, 0]
    world.cancel_all()


def test_where_nobody_may_help_others_are_helped(world_of: Callable[..., World]) -> None:
    """Calls that only one slave may run take longest, whatever is done; idle slaves go to the others of that task."""
    hot = provided(Kind("hot", max_holders=1))
    prices = prices_of("a", "x", 0.1)
    prices.learn("", hot, 0.1)
    world = world_of(slaves=4, prices=prices)
    world.queue("a")
    world.submit("a", n=100, resource=hot)
    world.submit("a", n=20, resource="x")
    assert world.decide().calls() == ["a1", "a101", "a102", "a103"]
    world.cancel_all()


def test_nothing_is_acquired_for_less_than_a_message(world_of: Callable[..., World]) -> None:
    """What costs nothing, as far as measured, costs a window that travels: for less work than that it does not pay."""
    world = world_of(slaves=2, prices=prices_of("a", "x", 0.0, call=1e-5))
    world.queue("a")
    world.submit("a", n=40, resource="x", chunk=20)
    assert world.decide().calls() == [" ".join(f"a{number}" for number in range(1, 21))]
    world.cancel_all()
