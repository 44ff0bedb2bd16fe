"""What long random histories have found, each in its smallest form.

Where several promises meet it is told as it was found: as events of `Farm`, which holds what is decided against them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mpitasks.core.calls import PLAIN, Kind
from mpitasks.ids import CallId, Rank

from .test_machine import PROVIDED, Farm
from .world import provided

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from .world import World


FILE = Kind("file")
ONE, LICENSED, MESH, PAGES = PROVIDED[1], PROVIDED[2], PROVIDED[5], [PROVIDED[3], PROVIDED[4], PROVIDED[7]]


@pytest.fixture
def farm_of() -> Iterator[Callable[..., Farm]]:
    """A maker of farms that are held against all promises, at each event and until all calls have ended."""
    farms: list[Farm] = []

    def make(slaves: int, *limits: int | None) -> Farm:
        farms.append(Farm())
        farms[-1].start(slaves, 1, 3, [*limits, None, None, None, None][:4], [1.0] * 4)
        return farms[-1]

    yield make
    for farm in farms:
        farm.at_any_time()
        if farm.world.idle():
            farm.while_slaves_idle()
        farm.teardown()


def submit(farm: Farm, queue: str, n: int = 1, resource: Hashable = PLAIN, **options: Any) -> None:
    """Calls are submitted."""
    farm.both(lambda world: world.submit(queue, n, resource=resource, **options), more=False)


def test_who_has_waited_long_when_its_resource_is_taken_up_waits_no_longer(farm_of: Callable[..., Farm]) -> None:
    """Its patience has ended in the decision in which another call takes up the resource: it goes in this one."""
    farm = farm_of(3)
    submit(farm, "a", 1, "z")
    submit(farm, "a", 3, priority=1)
    submit(farm, "d", 1, "y", cost=0.5)
    farm.join(False)
    submit(farm, "a", 1, "y")
    submit(farm, "d", 1, "z")
    farm.wait_for_deadline()
    farm.work(0, 0.001, False, 1)


def test_who_has_waited_long_counts_for_the_share_of_its_queue_at_once(farm_of: Callable[..., Farm]) -> None:
    """The same, where queues compete."""
    farm = farm_of(3)
    submit(farm, "d", 9)
    submit(farm, "b", 3, "x", cost=0.5)
    submit(farm, "b", 1, LICENSED)
    submit(farm, "a", 2, cost=0.5)
    submit(farm, "a", 1, LICENSED)
    farm.join(False)
    farm.wait_for_deadline()
    farm.work(0, 0.0, False, 3)


def test_of_what_an_idle_slave_holds_the_most_costly_goes_first(farm_of: Callable[..., Farm]) -> None:
    """Also before an older one that has waited long: the slave holds what that needs, and it is not acquired anew."""
    farm = farm_of(2, 2, 1, None, 2)
    submit(farm, "a", 1, MESH)
    submit(farm, "a")
    submit(farm, "b", 1, "z", cost=0.5)
    farm.join(False)
    submit(farm, "b", 1, LICENSED)
    farm.wait_for_deadline()
    submit(farm, "b", 1, MESH, cost=0.5)
    farm.wait(0.001, False)


def test_what_has_waited_long_goes_before_the_next_of_what_is_held(farm_of: Callable[..., Farm]) -> None:
    """That is the most costly one, even if an older one of what is held waits behind it."""
    farm = farm_of(3)
    submit(farm, "a")
    submit(farm, "a")
    farm.end_unbegun(1, False)
    submit(farm, "a", 2, MESH)
    farm.wait_for_deadline()
    submit(farm, "a")
    farm.wait(0.001, False)
    submit(farm, "b")
    submit(farm, "a", 2, LICENSED, cost=0.5)
    farm.wait_for_deadline()
    farm.give_back(2, 1, False)


def test_a_queue_whose_most_costly_call_has_gone_is_as_old_as_its_next(farm_of: Callable[..., Farm]) -> None:
    """Equal queues come by the age of their next calls, in whatever order they were defined."""
    farm = farm_of(2)
    farm.lose(0, False)
    submit(farm, "c", 3, cost=0.5)
    submit(farm, "d", 2)
    submit(farm, "a", 2, "x", cost=0.5)
    submit(farm, "b", 2)
    submit(farm, "a", 2)
    submit(farm, "b", 1, "x", cost=0.5)
    submit(farm, "a", 2, "y", cost=2.0)
    submit(farm, "b", 1, "y", cost=2.0)
    farm.finish(0, 1, 0.0, True, False)
    farm.both(lambda world: world.cancel("b4"), more=False)


def test_a_costly_call_goes_first_where_what_it_needs_has_waited_long(farm_of: Callable[..., Farm]) -> None:
    """Any slave may take it, also after one that waited beside it was cancelled."""
    farm = farm_of(2)
    submit(farm, "a", 1, "x")
    submit(farm, "a")
    submit(farm, "c")
    submit(farm, "c", 2, "x", cost=0.5)
    farm.wait_for_deadline()
    farm.both(lambda world: world.cancel("c3"), more=False)


def test_with_fewer_slaves_fewer_suspects_are_tried(farm_of: Callable[..., Farm]) -> None:
    """Those that were let go on while there were more slaves, and that none has yet, wait again for their trial."""
    farm = farm_of(5)
    submit(farm, "a")
    farm.lose(4, False)
    submit(farm, "a", 3)
    farm.lose(0, False)
    farm.lose(0, False)
    assert farm.world.withheld() == ["a3", "a4"]
    farm.finish(0, 1, 0.01, True, False)
    assert farm.world.withheld() == ["a3", "a4"]  # two slaves are left, and one of them has a suspect


def test_a_suspect_is_tried_while_the_last_slave_may_run_nothing_else(farm_of: Callable[..., Farm]) -> None:
    """What waits needs a resource of which the slave has yet to say that it has released another."""
    farm = farm_of(1)
    for page in PAGES:
        submit(farm, "b", 1, page)
        farm.work(0, 1.0, False, 1)
    farm.join(False)
    submit(farm, "a", 2, chunk=2)
    submit(farm, "b", 1, PAGES[0])
    farm.lose(1, False)
    assert farm.world.windows == {1: ["a1"]}


def test_what_only_a_released_one_needed_is_dropped_with_the_next_call(farm_of: Callable[..., Farm]) -> None:
    """Also if that needs what the slave has used last."""
    farm = farm_of(1)
    submit(farm, "a", 1, PAGES[1])
    submit(farm, "b", 2, ONE)
    for more in (False, True):
        farm.finish(0, 1, 0.0, True, more)
    farm.release(1, False)
    farm.report(0, True, False)
    assert farm.world.holds == {1: [ONE]}


def test_a_second_further_holder_is_weighed_with_the_first(farm_of: Callable[..., Farm]) -> None:
    """Acquiring costs `least_price` at least, also that of the first of two further holders in one decision."""
    farm = farm_of(3)
    submit(farm, "b", 5, "x")
    farm.work(0, 0.0, False, 2)
    submit(farm, "a", 1, "x")
    farm.work(0, 0.004, False, 1)


@pytest.mark.parametrize("told", [False, True])
def test_what_was_acquired_for_an_earlier_window_does_not_say_that_this_one_has_begun(
    world_of: Callable[..., World], told: bool
) -> None:
    """What a slave has released since is not what it holds once it gives the window back, unbegun."""
    world = world_of(slaves=1)
    world.queue("a")
    world.submit("a", 2, resource=provided(FILE, 1))
    assert world.decide() == {1: "a1"}
    world.finish(1)
    assert world.decide() == {1: "a2"}
    if told:
        world.report(1)
    world.release(1)
    world.report(1)
    world.give_back(1, 1)
    assert (world.scheduler.looks().holds, world.holds) == ({1: ()}, {1: []})
    assert world.decide() == {1: "a2"}


def test_a_slave_that_ended_stays_so_when_others_give_back_what_they_have_not(world_of: Callable[..., World]) -> None:
    """An illegal step changes nothing: not even who will be idle with the next decision."""
    world = world_of(slaves=1)
    world.queue("a")
    world.submit("a", 2)
    assert world.decide() == {1: "a1"}
    world.finish(1)
    before = world.snapshot()
    for step in (world.scheduler.given_back, world.scheduler.call_goes_on):
        with pytest.raises(KeyError):
            step(Rank(1), [CallId(99)], world.now)
    with pytest.raises(KeyError):
        world.scheduler.call_waits(Rank(1), CallId(99), 1, [], world.now)
    assert world.snapshot() == before
    assert world.decide() == {1: "a2"}
