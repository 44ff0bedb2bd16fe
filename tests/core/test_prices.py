"""What acquisitions cost is learned: of plain ids from their calls, of provided ones from what slaves say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mpitasks.core.calls import Kind
from mpitasks.core.prices import MOST_KNOWN, WEIGHT, Prices

from .world import World, provided

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = Kind("file")


@pytest.fixture
def world(world_of: Callable[..., World]) -> World:
    """One slave."""
    made = world_of(slaves=1)
    made.queue("a", "b")
    return made


def test_a_plain_id_costs_what_its_first_call_takes_longer(world: World) -> None:
    """The first call of a slave with a plain id, less the next one."""
    world.submit("a", n=2, resource="x")
    assert world.decide() == {1: "a1"}
    world.finish(1, seconds=5.0)
    assert world.scheduler.prices.of("a", "x") is None
    assert world.decide() == {1: "a2"}
    world.finish(1, seconds=1.0)
    assert world.scheduler.prices.of("a", "x") == 4.0


def test_a_price_is_never_below_zero(world: World) -> None:
    """A first call that was the shorter one says that the id costs nothing."""
    world.submit("a", n=2, resource="x")
    world.one_by_one_lasting(1.0, 3.0)
    assert world.scheduler.prices.of("a", "x") == 0.0


def test_only_the_next_call_is_compared(world: World) -> None:
    """A third call tells nothing about the price."""
    world.submit("a", n=3, resource="x")
    world.one_by_one_lasting(5.0, 1.0, 3.0)
    assert world.scheduler.prices.of("a", "x") == 4.0


def test_calls_of_two_slaves_are_not_compared(world_of: Callable[..., World]) -> None:
    """The later call of another slave tells nothing: it was a first one too."""
    world = world_of(slaves=2, patience=1.0)
    world.queue("a")
    world.submit("a", n=2, resource="x")
    assert world.decide() == {2: "a1"}
    world.wait(1.0)
    assert world.decide() == {1: "a2"}
    world.finish(2, seconds=5.0)
    world.finish(1, seconds=1.0)
    assert world.scheduler.prices.of("a", "x") is None


def test_calls_of_two_tasks_are_not_compared(world: World) -> None:
    """How much longer a call of another task takes has nothing to do with the id."""
    world.submit("a", resource="x")
    world.submit("b", n=2, resource="x")
    world.submit("a", resource="x", priority=-1)
    world.one_by_one_lasting(5.0, 1.0, 2.0, 3.0)
    assert (world.scheduler.prices.of("b", "x"), world.scheduler.prices.of("a", "x")) == (None, 2.0)


def test_calls_between_do_not_disturb(world: World) -> None:
    """Calls without a resource come and go between the first and the next one."""
    world.submit("a", resource="x")
    world.submit("a", n=2)
    world.submit("a", resource="x", priority=-1)
    world.one_by_one_lasting(5.0, 0.5, 0.5, 1.0)
    assert world.scheduler.prices.of("a", "x") == 4.0


def test_an_id_taken_up_again_is_measured_again(world: World) -> None:
    """What a slave dropped meanwhile costs it a first call once more, which is no later one."""
    for number, resource in enumerate("xyxx"):
        world.submit("a", resource=resource, priority=-number)
    world.one_by_one_lasting(9.0, 1.0, 5.0, 2.0)
    assert world.scheduler.prices.of("a", "x") == 3.0


@pytest.mark.parametrize("chunk", [2, 3, 4])
def test_windows_of_several_calls_do_not_disturb(world: World, chunk: int) -> None:
    """The first call of a window is the first one, and the second the later one, in one message or in two."""
    world.submit("a", n=4, resource="x", chunk=chunk)
    world.obey()
    world.report_outcomes(1, [5.0, *[1.0] * (chunk - 1)])
    assert world.scheduler.prices.of("a", "x") == 4.0
    world.cancel_all()


def test_the_first_call_is_no_call_like_others(world: World) -> None:
    """What a task takes is learned from calls that did not acquire."""
    world.submit("a", n=2, resource="x")
    world.one_by_one_lasting(5.0, 1.0)
    assert world.scheduler.learned().calls == {"a": 1.0}


def test_a_call_never_begun_tells_nothing(world: World) -> None:
    """A first call that was dropped before it began is not the first one."""
    world.submit("a", n=3, resource="x", chunk=3)
    assert world.decide() == {1: "a1 a2 a3"}
    world.finish(1, seconds=None)
    world.finish(1, seconds=5.0)
    world.finish(1, seconds=1.0)
    assert world.scheduler.prices.of("a", "x") == 4.0


def test_a_window_given_back_leaves_no_first_call_behind(world: World) -> None:
    """The call that a slave runs instead is not compared with anything."""
    world.submit("a", resource="x")
    assert world.decide() == {1: "a1"}
    world.give_back(1, 1)
    world.submit("b", n=2, priority=1)
    assert world.decide() == {1: "b1"}
    world.finish(1, seconds=5.0)
    assert world.decide() == {1: "b2"}
    world.finish(1, seconds=1.0)
    assert (bool(world.scheduler.prices), world.scheduler.learned().calls) == (False, {"b": 5.0 + 0.2 * (1.0 - 5.0)})
    world.cancel_all()


def test_what_a_provider_takes_is_said_by_the_slave(world: World) -> None:
    """A slave's words set the price, and calls have no influence on it."""
    one = provided(FILE, "one")
    world.costs = {one: 2.0}
    world.submit("a", n=2, resource=one)
    world.one_by_one_lasting(5.0, 1.0)
    assert world.scheduler.prices.of("a", one) is None
    world.report(1)
    assert world.scheduler.prices.of("a", one) == 2.0


def test_a_price_is_a_moving_average() -> None:
    """Later measurements count more, and one alone is not believed."""
    prices = Prices()
    prices.learn("a", "x", 10.0)
    prices.learn("a", "x", 20.0)
    assert prices.of("a", "x") == 10.0 + WEIGHT * 10.0


def test_a_resource_that_nobody_had_costs_what_its_like_do() -> None:
    """Of a provider: the mean of its other resources. Of a plain id: of other ids of the task, and of no other task."""
    prices = Prices()
    assert (prices.of("a", "x"), bool(prices)) == (None, False)
    prices.learn("a", "x", 3.0)
    prices.learn("", provided(FILE, "one"), 7.0)
    assert (prices.of("a", "y"), prices.of("b", "x"), bool(prices)) == (3.0, None, True)
    assert (prices.of("b", provided(FILE, "two")), prices.of("b", provided(Kind("other")))) == (7.0, None)


def test_prices_stay_small() -> None:
    """Of 100,000 resources only those measured last have a price of their own; the others cost what their like do."""
    prices = Prices()
    prices.learn("a", 0, 1.0)
    for number in range(1, 100_000):
        prices.learn("a", number, 2.0)
        if number % 8_900 == 0:
            prices.learn("a", 0, 1.0)
    assert len(prices._of_resource) == MOST_KNOWN
    assert [prices.of("a", number) for number in (0, 1, 99_999)] == pytest.approx([1.0, 2.0, 2.0], abs=0.5)
    assert prices.of("a", 0) == 1.0


def test_what_is_needed_costs_too(world_of: Callable[..., World]) -> None:
    """A further holder has to acquire the inner resource as well: that price counts."""
    world = world_of(slaves=2)
    world.queue("a")
    server = provided(Kind("server"))
    mesh = provided(Kind("mesh"), 1, inner=server)
    world.costs = {server: 60.0, mesh: 0.1}
    world.submit("a", n=30, resource=mesh)
    world.run(20.0, lambda _: 1.0)
    world.run(10.0, lambda _: 1.0)
    assert (world.loads, len({sent.rank for sent in world.sent})) == ({server: 1, mesh: 1}, 1)
    world.cancel_all()
