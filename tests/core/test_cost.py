"""Cost: what a decision touches grows like the logarithm of what waits, at most.

Times would depend on the machine. Counted are the lines of the core that Python executes, loops included; for what
happens in C, the comparisons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from mpitasks import core
from mpitasks.core.calls import PLAIN, Kind, Provided
from mpitasks.core.prices import Prices
from tests.lines import lines_of

from .world import World, provided

if TYPE_CHECKING:
    from collections.abc import Callable


def plain(world: World, n: int) -> None:
    """One task, no resources."""
    world.submit("a", n)


def new_resources(world: World, n: int) -> None:
    """A resource a call."""
    for number in range(n):
        world.submit("a", resource=number)


def held_resources(world: World, n: int) -> None:
    """Few resources, each with many calls."""
    for number in range(n):
        world.submit("a", resource=number % 50)


def waiting_for_holders(world: World, n: int) -> None:
    """A resource a call, and all are held by one slave or another."""
    for number in range(min(n, len(world.windows))):
        world.submit("b", resource=number, priority=9)
    world.obey()
    for number in range(n):
        world.submit("a", resource=number)


def priorities(world: World, n: int) -> None:
    """A priority a call."""
    for number in range(n):
        world.submit("a", priority=number * 7919 % n)


def at_its_limit(world: World, n: int) -> None:
    """Many calls that no slave may run."""
    world.queue("c", max_slaves=1)
    for number in range(n):
        world.submit("c", resource=number % 50)


def wanted_by_a_full_queue(world: World, n: int) -> None:
    """All slaves are idle, and hold what calls wait for that may not run."""
    for rank in world.windows:
        world.submit("b", resource=rank)
    world.obey()
    world.finish(*world.windows)
    at_its_limit(world, n)
    world.obey()
    for rank in world.windows:
        world.submit("c", resource=rank)


def deep_windows(world: World, n: int) -> None:
    """Nearly all slaves have calls that wait in their windows, and some slaves are idle."""
    world.queue("c")
    world.submit("c", 2 * (len(world.windows) - 3), chunk=2)


FILE, MESH = Kind("file"), Kind("mesh")
LICENSE = provided(Kind("license", max_holders=2))


def licensed(number: int) -> Provided:
    """One of many resources that need the same one, which few slaves may hold."""
    return provided(MESH, number, inner=LICENSE)


def provided_resources(world: World, n: int) -> None:
    """A file a call, and some are held."""
    for number in range(n):
        world.submit("a", resource=provided(FILE, number))


def behind_an_exhausted_resource(world: World, n: int) -> None:
    """All calls need what two slaves hold, which are busy with it; and each something else besides."""
    for number in range(n):
        world.submit("a", resource=licensed(number))


def behind_an_idle_holder(world: World, n: int) -> None:
    """The same, but the task is at its limit, and the other holder is idle."""
    world.queue("c", max_slaves=1)
    for number in range(2):
        world.submit("a", resource=licensed(number))
    world.obey()
    world.finish(*[rank for rank, window in world.windows.items() if window])
    for number in range(n):
        world.submit("c", resource=licensed(number))


def of_an_exhausted_resource(world: World, n: int) -> None:
    """Many calls of one resource that two slaves hold."""
    for _ in range(n):
        world.submit("a", resource=LICENSE)


def behind_gates(world: World, n: int) -> None:
    """Calls that need one of three resources that one slave each may hold: what a decision looks at grows with these."""
    kind = Kind("gate", max_holders=1)
    for number in range(n):
        world.submit("a", resource=provided(MESH, number, inner=provided(kind, number % 3)))


def costly(world: World, n: int) -> None:
    """Each call costs something else, with a resource and without."""
    for number in range(n):
        world.submit("a", cost=1.0 + number * 7919 % n, resource=number % 2 or PLAIN)


SHAPES = [
    plain,
    new_resources,
    held_resources,
    waiting_for_holders,
    priorities,
    at_its_limit,
    wanted_by_a_full_queue,
    deep_windows,
    provided_resources,
    behind_an_exhausted_resource,
    behind_an_idle_holder,
    of_an_exhausted_resource,
    behind_gates,
    costly,
]


def life(world: World) -> None:
    """What happens in a farm, and a decision after each."""
    for number in range(8):
        busy = next((rank for rank, window in world.windows.items() if window), None)
        if busy is not None:
            world.finish(busy)
            world.obey()
        world.submit("a", resource=number if number % 2 else PLAIN, priority=number % 3)
        world.obey()
        world.cancel(world.submit("b")[0])
        world.scheduler.deadline()
    lost = next((rank for rank, window in world.windows.items() if window), 1)
    world.lose(lost)
    world.obey()
    world.join(lost)
    world.obey()


def cost(shape: Callable[[World, int], None], *, calls: int, slaves: int) -> int:
    """Lines that a bit of life takes, with so many calls waiting and so many slaves."""
    world = World(slaves)
    world.queue("a", "b")
    shape(world, calls)
    world.obey()
    return lines_of(core, lambda: life(world))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_decision_does_not_look_at_all_calls(shape: Callable[[World, int], None]) -> None:
    """Many times the calls cost no more than their logarithm does: for a hundred times as many, a factor of 17 / 10."""
    few, many = (cost(shape, calls=calls, slaves=10) for calls in (1_000, 100_000 if shape is plain else 5_000))
    assert many <= 1.3 * few


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("calls", [5, 2_000])
def test_a_decision_does_not_look_at_all_slaves(shape: Callable[[World, int], None], calls: int) -> None:
    """Two hundred times the slaves, most of them idle or all busy, cost no more than their logarithm does."""
    # With a call for each slave nothing waits; where more wait, slaves go on with them, which is cheaper than to be idle.
    few = max(cost(shape, calls=each, slaves=10) for each in (10, calls))
    many = cost(shape, calls=calls, slaves=2_000)
    assert many <= 1.5 * few


def spent(*, calls: int, slaves: int) -> float:
    """Lines that a decision takes in the mean, in a farm that knows all prices and could always duplicate."""
    prices = Prices()
    prices.learn("a", "x", 50.0)
    world = World(slaves, prices=prices)
    world.queue("a")
    for number in range(calls):
        world.submit("a", resource=number % (calls // 4))
    decisions = 4 * slaves

    def go_on() -> None:
        for number in range(decisions):
            world.wait(0.001)
            busy = [rank for rank, window in world.windows.items() if window]
            world.finish(busy[number * 7 % len(busy)])
            world.obey()

    world.obey()
    return lines_of(core, go_on) / decisions


def test_looks_at_everything_are_rare() -> None:
    """Whether to acquire once more is asked about all slaves and resources: so seldom that each decision costs the same."""
    few, many = spent(calls=80, slaves=10), spent(calls=8000, slaves=1000)
    assert many <= 2.0 * few


def cost_with_queues(queues: int, resource: Callable[[int], object]) -> int:
    """Lines that a bit of life takes, with calls in so many queues."""
    world = World(slaves=20)
    world.queue("a", "b", *(f"q{number}" for number in range(queues)))
    for number in range(queues):
        world.submit(f"q{number}", 3, resource=resource(number))
    world.obey()
    return lines_of(core, lambda: life(world))


@pytest.mark.parametrize("resource", [lambda _: PLAIN, lambda number: number])
def test_a_decision_does_not_look_at_all_queues(resource: Callable[[int], object]) -> None:
    """Fifty times the queues with calls: twenty slaves choose among them for little more, if not all need the same."""
    few, many = (cost_with_queues(queues, resource) for queues in (20, 1_000))
    assert many <= 1.5 * few


class Counted(int):
    """A priority that counts how often it is compared."""

    compared: ClassVar[int] = 0

    def __neg__(self) -> Counted:
        return Counted(-int(self))

    def __lt__(self, other: int) -> bool:
        Counted.compared += 1
        return int(self) < int(other)


def test_a_new_priority_does_not_sort_all_others() -> None:
    """A priority of its own for each call: to find its place takes a logarithm of comparisons."""
    world = World()
    world.queue("a")
    for number in range(1000):
        world.submit("a", priority=Counted(number * 7919 % 1000))
    Counted.compared = 0
    for number in range(100):
        world.submit("a", priority=Counted(1000 + number))
    assert Counted.compared <= 100 * 2 * 11


def size_after(rounds: int, ahead: int) -> int:
    """Bytes that the scheduler is worth after so many calls for one resource, so many of which wait for its holder."""
    world = World(slaves=2)
    world.queue("a", "b")
    world.queue("c", max_slaves=1)
    world.submit("c", 1, priority=9)
    world.obey()
    world.submit("c", resource="x", priority=9)  # at its limit, it waits all the time for what others run
    world.submit("a", ahead, resource="x")
    for _ in range(rounds):
        world.obey()
        world.submit("a", resource="x")
        world.obey()
        world.finish(next(rank for rank, window in world.windows.items() if window and window[0].startswith("a")))
        world.wait(0.001)
    return len(world.snapshot())


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_what_has_ended_leaves_nothing_behind(ahead: int) -> None:
    """After ten times the calls, the scheduler is as large as before: no alarm and no offer stays for each of them."""
    some_alarms = 7_000  # up to 64 are left for the next sweep; 2000 would be 120 kB
    assert size_after(2000, ahead) <= size_after(200, ahead) + some_alarms
