"""Every wait that stickiness or a window causes has an end."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import pytest

from mpitasks.core.calls import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from .world import World

PATIENCE = 30.0
LATE = 0.03
TIMES = [number / 100 for number in range(2000)]


def rounded_down(times: list[float], wait: float, n: int) -> list[float]:
    """Times from which the wait, as a computer adds it, is a little too short."""
    return [time for time in times if (time + wait) - time < wait][:n]


@pytest.fixture
def world(world_of: Callable[..., World]) -> World:
    """Two slaves: 2 runs a long call and holds x; 1 is idle."""
    made = world_of(slaves=2)
    made.queue("a", "b")
    made.submit("a", resource="x")
    assert made.decide() == {2: "a1"}
    return made


def test_a_call_waits_for_a_busy_holder_for_patience(world: World) -> None:
    """After `patience` an idle slave acquires the resource again, and the scheduler asks to be woken for that."""
    world.wait(5.0)
    world.submit("a", resource="x")
    assert world.decide() == {}
    assert world.wait_for_deadline() == 5.0 + PATIENCE
    assert world.decide() == {1: "a2"}
    assert world.scheduler.deadline() == inf


@pytest.mark.timeout(10)
@pytest.mark.parametrize("start", [1 / 3, 1e5 / 7, *rounded_down(TIMES, PATIENCE, 3)])
def test_the_deadline_is_not_too_early(world: World, start: float) -> None:
    """At the very moment that `deadline` named there is something to do, however the sum was rounded."""
    world.wait(start)
    world.submit("a", resource="x")
    assert world.decide() == {}
    world.wait_for_deadline()
    assert world.decide() == {1: "a2"}


def test_patience_counts_from_the_call_and_not_from_the_last_event(world: World) -> None:
    """A call that comes after a long silence waits for its holder as long as any other."""
    world.wait(500.0)
    world.submit("a", resource="x")
    assert world.decide() == {}
    assert world.wait_for_deadline() <= 500.0 + PATIENCE
    world.now = 500.0 + PATIENCE - 0.1
    assert world.decide() == {}
    world.now = 500.0 + PATIENCE
    assert world.decide() == {1: "a2"}


@pytest.mark.parametrize(("queue", "priority"), [("b", 0), ("a", 1), ("a", -1)])
def test_each_who_waits_for_a_holder_has_patience(world_of: Callable[..., World], queue: str, priority: int) -> None:
    """Calls of another task or priority, that waited for a resource before it had a holder, wait no longer for him."""
    world = world_of(slaves=0)
    world.queue("a", "b")
    world.submit("a", resource="x")
    world.submit(queue, resource="x", priority=priority)
    first, second = sorted(world.calls, key=lambda name: -world.calls[name].priority)
    assert world.decide() == {}
    world.join()
    assert world.decide() == {1: first}
    world.join()
    assert world.decide() == {}
    world.wait(PATIENCE)
    assert world.decide() == {2: second}


@pytest.mark.parametrize("resource", [PLAIN, "y"], ids=str)
def test_nobody_is_woken_for_calls_that_wait_for_any_slave(world: World, resource: Hashable) -> None:
    """There is no deadline where time alone changes nothing."""
    world.submit("b")
    assert world.decide() == {1: "b1"}
    world.submit("a", resource=resource)
    assert (world.decide(), world.scheduler.deadline()) == ({}, inf)
    world.finish(1)
    assert world.decide() == {1: "a2"}


def test_a_call_that_comes_back_does_not_renew_the_patience(world_of: Callable[..., World]) -> None:
    """The oldest call waits from when it became the oldest, whatever comes back behind it."""
    world = world_of(slaves=2)
    world.queue("a")
    world.submit("a", resource="x")
    world.submit("a", resource="x", after=["a1"])
    world.submit("a", n=2, resource="x")
    assert world.decide() == {2: "a1"}
    world.finish(2)  # a2 comes in behind a3 and a4
    assert world.decide() == {2: "a3"}
    world.wait(20.0)
    assert world.decide() == {}
    world.join(3)
    world.wait(PATIENCE - 20.0)
    assert world.decide() == {3: "a4"}
    assert world.scheduler.deadline() == 2 * PATIENCE
    world.wait(20.0)
    world.lose(3)  # a4 comes back, behind a2
    assert world.decide() == {}
    world.wait(PATIENCE - 20.0)
    assert world.decide() == {1: "a2"}
    world.cancel("a4")


@pytest.mark.parametrize("resource", [PLAIN, "y"], ids=str)
def test_a_call_waits_behind_what_slaves_hold_for_patience(world_of: Callable[..., World], resource: Hashable) -> None:
    """However much work there is for what the slaves hold: an older call goes in between after `patience`."""
    world = world_of(slaves=1)
    world.queue("a")
    world.submit("a", n=10, resource="x")
    world.submit("a", resource=resource)
    world.submit("a", n=90, resource="x")
    world.run(60.0, lambda _: 1.0)
    at = {sent.name: sent.at for sent in world.sent}
    assert at["a11"] == pytest.approx(PATIENCE + 1.0, abs=1.1)
    world.cancel_all()


def test_what_has_waited_long_is_not_acquired_for_a_call_each(world_of: Callable[..., World]) -> None:
    """When all have waited for `patience`, a slave still stays with what it took up for as long."""
    world = world_of(slaves=1)
    world.queue("a")
    for number in range(200):
        world.submit("a", resource=number % 10)
    world.run(1000.0, lambda _: 1.0, acquiring=2.0)
    assert (world.unfinished(), max(world.loads.values())) == ([], 1)


def test_a_holder_that_is_lost_keeps_nobody_waiting(world: World) -> None:
    """With the last holder goes the wait for it."""
    world.submit("a", n=2, resource="x")
    assert world.decide() == {}
    world.lose(2)  # and with it a1, which could take the last slave
    assert world.decide() == {1: "a2"}


def test_a_holder_that_gives_the_resource_up_keeps_nobody_waiting(world_of: Callable[..., World]) -> None:
    """When a slave drops a resource, the calls that waited for it may go anywhere."""
    world = world_of(slaves=2)
    world.queue("a", "b")
    world.submit("a", resource="x")
    assert world.decide() == {2: "a1"}
    world.submit("a", resource="x")
    world.submit("b", resource="y", priority=1)
    world.submit("b", n=2, priority=2)
    assert world.decide() == {1: "b2"}
    world.finish(2)
    assert world.decide() == {2: "b3"}
    world.finish(2)
    assert world.decide() == {2: "b1"}
    world.finish(1)
    assert world.decide() == {1: "a2"}


# -------------------------------------------------------------------- in a window


def test_a_late_slave_is_asked_for_what_it_has_not_begun(world_of: Callable[..., World]) -> None:
    """Calls behind a long one in a window are asked for after `late`, once, while a slave idles; then they go there."""
    world = world_of(slaves=1)
    world.queue("a")
    world.submit("a", n=3, chunk=3)
    assert world.decide() == {1: "a1 a2 a3"}
    world.wait(LATE)
    assert world.decide() == {}
    world.join()
    assert world.decide() == {1: "back"}
    world.wait(LATE)
    assert (world.decide(), world.scheduler.deadline()) == ({}, inf)
    world.give_back(1)
    assert world.decide() == {2: "a2 a3"}
    world.wait(LATE)
    assert world.decide() == {}


def test_a_late_slave_is_asked_too_while_none_is_idle(world_of: Callable[..., World]) -> None:
    """Short calls wait behind no long one: whoever ends first comes to them sooner."""
    world = world_of(slaves=1)
    world.queue("a")
    world.submit("a")
    assert world.decide() == {1: "a1"}
    world.finish(1, seconds=0.002)
    world.submit("a", n=12)
    assert world.decide() == {1: "a2 a3 a4 a5 a6"}
    world.join()
    assert world.decide() == {2: "a7 a8 a9 a10"}
    world.wait(LATE / 2)
    world.finish(2, 2, seconds=0.002)
    assert world.decide() == {2: "a11 a12"}
    assert world.wait_for_deadline() >= LATE
    assert world.decide() == {1: "back"}
    world.give_back(1)
    world.finish(2, 2, 2, 2, seconds=0.002)
    assert world.decide() == {2: "a3 a4 a5"}


def test_a_slave_that_was_asked_gets_no_more_before_it_has_answered(world_of: Callable[..., World]) -> None:
    """Outcomes that come before the answer do not bring the slave new calls."""
    world = world_of(slaves=1)
    world.queue("a", max_slaves=2)
    world.submit("a", n=4, chunk=4)
    assert world.decide() == {1: "a1 a2 a3 a4"}
    world.join(2)
    world.wait(LATE)
    assert world.decide() == {1: "back"}
    world.submit("a", n=6, chunk=4)
    assert world.decide() == {2: "a5 a6 a7 a8"}
    world.finish(1, 1)
    assert world.decide() == {}
    world.give_back(1)
    assert world.decide() == {}
    world.finish(2, 2, 2, 2)
    assert world.decide() == {2: "a4 a9 a10"}


def test_a_slave_may_answer_when_it_is_idle(world_of: Callable[..., World]) -> None:
    """The outcomes can be faster than the question: then there is nothing to give back, and nothing happens."""
    world = world_of(slaves=2)
    world.queue("a")
    world.submit("a", n=2, chunk=2)
    assert world.decide() == {2: "a1 a2"}
    world.wait(LATE)
    assert world.decide() == {2: "back"}
    world.finish(2, 2)
    world.give_back(2)
    world.submit("a")
    assert world.decide() == {2: "a3"}


@pytest.mark.parametrize("start", [1 / 3, 47.11, *rounded_down(TIMES, LATE, 3)])
def test_a_slave_is_late_at_the_deadline(world_of: Callable[..., World], start: float) -> None:
    """At the very moment that `deadline` named, the slave is asked."""
    world = world_of(slaves=2)
    world.queue("a")
    world.wait(start)
    world.submit("a", n=2, chunk=2)
    assert world.decide() == {2: "a1 a2"}
    assert world.wait_for_deadline() == start + LATE
    assert world.decide() == {2: "back"}


def test_a_slave_that_makes_progress_is_not_late(world_of: Callable[..., World]) -> None:
    """An outcome shows that the window moves on."""
    world = world_of(slaves=2)
    world.queue("a")
    world.submit("a", n=3, chunk=3)
    assert world.decide() == {2: "a1 a2 a3"}
    world.wait(0.02)
    world.finish(2, seconds=0.02)
    world.wait(0.02)
    assert world.decide() == {}
    world.wait(0.02)
    assert world.decide() == {2: "back"}


def test_the_last_call_of_a_window_is_not_asked_for(world_of: Callable[..., World]) -> None:
    """A slave that has only the call that it runs has nothing to give back, however late it is."""
    world = world_of(slaves=2)
    world.queue("a")
    world.submit("a", n=2, chunk=2)
    assert world.decide() == {2: "a1 a2"}
    world.finish(2)
    world.wait(1000.0)
    assert (world.decide(), world.scheduler.deadline()) == ({}, inf)


def test_a_slave_is_asked_again_in_its_next_window(world_of: Callable[..., World]) -> None:
    """An answer ends a question, and the next late window is the next."""
    world = world_of(slaves=2)
    world.queue("a")
    world.submit("a", n=2, chunk=2)
    assert world.decide() == {2: "a1 a2"}
    world.wait(LATE)
    assert world.decide() == {2: "back"}
    world.give_back(2)
    assert world.decide() == {1: "a2"}
    world.finish(1, 2)
    world.submit("a", n=2, chunk=2)
    assert world.decide() == {2: "a3 a4"}
    world.wait(LATE)
    assert world.decide() == {2: "back"}


def test_what_is_at_its_limit_stays_where_it_is(world_of: Callable[..., World]) -> None:
    """Nobody is asked for calls that no other slave may run."""
    world = world_of(slaves=2)
    world.queue("a", max_slaves=1)
    world.submit("a", n=3, chunk=3)
    assert world.decide() == {2: "a1 a2 a3"}
    world.wait(1000.0)
    assert (world.decide(), world.scheduler.deadline()) == ({}, inf)


@pytest.mark.parametrize("others", [0, 7, 8, 20])
@pytest.mark.parametrize("limit", [None, 20])
def test_a_late_slave_is_found_among_many(world_of: Callable[..., World], others: int, limit: int | None) -> None:
    """However many slaves have been silent for longer, in long calls or at their limit, a late window is found."""
    world = world_of(slaves=others)
    world.queue("long", max_slaves=limit and max(1, others))
    world.queue("a")
    world.submit("long", n=2 * others if limit else others, chunk=2 if limit else 1)
    world.obey()
    world.wait(1.0)
    rank = world.join()
    world.submit("a", n=2, chunk=2)
    world.obey()
    world.join()
    world.wait(LATE)
    assert world.decide().asked_back() == [rank]


@pytest.mark.parametrize(("holds_too", "seconds"), [(True, LATE), (False, PATIENCE)])
def test_calls_for_a_resource_do_not_wait_in_a_window_for_ever(
    world_of: Callable[..., World], holds_too: bool, seconds: float
) -> None:
    """Behind a long call, those for its resource are asked for once another idle slave holds it, else after `patience`."""
    world = world_of(slaves=2)
    world.queue("a")
    world.submit("a", n=2 if holds_too else 1, resource="x")
    assert world.decide() == {2: "a1"}
    world.wait(PATIENCE)
    assert world.decide() == ({1: "a2"} if holds_too else {})
    world.finish(*((1, 2) if holds_too else (2,)))
    world.submit("a", n=2, chunk=2, resource="x")
    assert world.decide() == {2: "a3 a4" if holds_too else "a2 a3"}
    assert world.wait_for_deadline() == PATIENCE + seconds
    assert world.decide() == {2: "back"}
