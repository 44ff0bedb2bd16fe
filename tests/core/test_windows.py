"""Windows: how many calls a slave has at a time, and which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mpitasks.core.calls import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from .world import World


@pytest.fixture
def world(world_of: Callable[..., World]) -> World:
    """One slave, and a task whose calls take 2 ms; a window is worth 10 ms."""
    made = world_of(slaves=1)
    made.queue("a", "b")
    made.submit("a")
    assert made.decide() == {1: "a1"}
    made.finish(1, seconds=0.002)
    return made


def test_the_first_window_is_one_call(world_of: Callable[..., World]) -> None:
    """While nothing is known of a task, a slave has one call of it."""
    world = world_of(slaves=1)
    world.queue("a")
    world.submit("a", n=3)
    assert world.decide() == {1: "a1"}
    world.finish(1)
    assert world.decide() == {1: "a2"}
    world.finish(1)
    assert world.decide() == {1: "a3"}


def test_a_window_is_worth_some_milliseconds(world: World) -> None:
    """Of short calls a slave has as many as fill the worth of a window."""
    world.submit("a", n=9)
    assert world.decide() == {1: "a2 a3 a4 a5 a6"}
    world.finish(1, 1, seconds=0.002)
    assert world.decide() == {}
    world.finish(1, seconds=0.002)  # half of it is done
    assert world.decide() == {1: "a7 a8 a9"}
    world.finish(1, 1, 1, seconds=0.002)
    assert world.decide() == {1: "a10"}


def test_a_window_covers_the_gap_between_two_decisions(world: World) -> None:
    """While main computes, nobody refills it for so long; and when somebody does again, windows are as they were."""
    world.submit("a", n=40)
    world.scheduler.seldom_driven(0.010)
    assert world.decide() == {1: " ".join(f"a{number}" for number in range(2, 22))}
    world.finish(1, *[1] * 19, seconds=0.002)
    world.scheduler.seldom_driven(0.001)
    assert world.decide() == {1: "a22 a23 a24 a25 a26"}


def test_long_calls_are_kept_apart_however_long_the_gaps(world_of: Callable[..., World]) -> None:
    """With a journal: what has ended in a slave's hands, and nobody has written down, runs again."""
    world = world_of(slaves=1)
    world.queue("a")
    world.submit("a", n=20)
    assert world.decide() == {1: "a1"}
    world.finish(1, seconds=0.03)
    world.scheduler.seldom_driven(0.05)
    assert world.decide() == {1: "a2 a3 a4 a5 a6 a7"}
    world.scheduler.keep_apart(0.02)
    world.finish(1, *[1] * 5, seconds=0.03)
    assert world.decide() == {1: "a8"}


def test_short_calls_share_windows_where_long_ones_are_kept_apart(world: World) -> None:
    """There are too many of them."""
    world.scheduler.keep_apart(0.02)
    world.submit("a", n=20)
    assert world.decide() == {1: "a2 a3 a4 a5 a6"}


@pytest.mark.parametrize(
    ("seconds", "lag", "window"),
    [
        (0.05, 0.001, "a2"),
        (0.05, 0.05, "a2 a3"),  # what is learned is a fifth of that
        (0.05, 0.3, "a2 a3 a4 a5"),  # no more than last for 0.2 seconds
        (0.3, 0.3, "a2"),
    ],
)
def test_a_slave_that_would_wait_has_its_next_call_before(
    world_of: Callable[..., World], seconds: float, lag: float, window: str
) -> None:
    """What passes besides a call that was sent alone is what its slave would wait: a window lasts for that."""
    world = world_of(slaves=1)
    world.queue("a")
    world.submit("a")
    assert world.decide() == {1: "a1"}
    world.now += seconds + lag
    world.finish(1, seconds=seconds)
    world.submit("a", n=9)
    assert world.decide() == {1: window}


def test_nobody_has_a_call_ahead_that_is_kept_apart(world_of: Callable[..., World]) -> None:
    """With a journal, as above."""
    world = world_of(slaves=1)
    world.queue("a")
    world.scheduler.keep_apart(0.02)
    world.submit("a")
    assert world.decide() == {1: "a1"}
    world.now += 0.1
    world.finish(1, seconds=0.05)
    world.submit("a", n=9)
    assert world.decide() == {1: "a2"}


def test_nobody_has_a_call_ahead_as_a_queue_runs_out(world_of: Callable[..., World]) -> None:
    """It is for the slave that ends first."""
    world = world_of(slaves=2)
    world.queue("a")
    world.submit("a")
    assert world.decide() == {2: "a1"}
    world.now += 0.1
    world.finish(2, seconds=0.05)
    world.submit("a", n=4)
    assert world.decide() == {2: "a2 a3", 1: "a4"}
    world.finish(2, seconds=0.05)
    assert world.decide() == {}
    world.finish(1, seconds=0.05)
    assert world.decide() == {1: "a5"}


def test_the_mean_follows_the_calls(world: World) -> None:
    """When calls get long, windows get short."""
    world.submit("a", n=2)
    assert world.decide() == {1: "a2 a3"}
    world.finish(1, 1, seconds=0.03)
    world.submit("a", n=2)
    assert world.decide() == {1: "a4"}
    world.finish(1)
    assert world.decide() == {1: "a5"}


def test_windows_shrink_as_a_queue_runs_out(world: World) -> None:
    """No slave gets more than its part of what waits, so that all end together."""
    world.join()
    world.join()
    world.submit("a", n=7)
    assert world.decide() == {3: "a2 a3 a4", 2: "a5 a6", 1: "a7"}
    world.finish(1, seconds=0.002)
    assert world.decide() == {1: "a8"}


def test_a_limited_queue_is_shared_by_the_slaves_it_may_have(world_of: Callable[..., World]) -> None:
    """The part of a slave is reckoned by the limit, where that is below the number of slaves."""
    world = world_of(slaves=4)
    world.queue("a", max_slaves=2)
    world.submit("a")
    assert world.decide() == {4: "a1"}
    world.finish(4, seconds=0.002)
    world.submit("a", n=8)
    assert world.decide() == {4: "a2 a3 a4 a5", 3: "a6 a7"}
    world.finish(4, 4, 4, 4, 3, 3, seconds=0.002)
    assert world.decide() == {3: "a8", 4: "a9"}


def test_chunks_are_as_the_user_wished(world_of: Callable[..., World]) -> None:
    """A chunk travels whole, whatever is known of the task."""
    world = world_of(slaves=2)
    world.queue("a")
    world.submit("a", n=6, chunk=3)
    assert world.decide() == {2: "a1 a2 a3", 1: "a4 a5 a6"}


def test_large_arguments_make_short_windows(world: World) -> None:
    """A window holds no more bytes than `most_bytes`, and a single call may be larger."""
    world.submit("a", n=3, size=world.rules.most_bytes // 2)
    world.submit("a", n=2, size=2 * world.rules.most_bytes)
    assert world.one_by_one() == "a2 a3 a4 a5 a6"
    assert [sent.at for sent in world.sent] == [0.0] * 6


def test_bytes_are_counted_a_window(world: World) -> None:
    """The window is full with the call that reaches the limit."""
    world.submit("a", n=4, size=world.rules.most_bytes // 2)
    assert world.decide() == {1: "a2 a3"}
    world.finish(1, 1)
    assert world.decide() == {1: "a4"}
    world.finish(1)
    assert world.decide() == {1: "a5"}


def test_a_window_holds_one_task(world: World) -> None:
    """Calls of another task wait until the window is done."""
    world.submit("a", n=2)
    world.submit("b", n=2)
    assert world.decide() == {1: "a2 a3"}
    world.finish(1, seconds=0.002)
    assert world.decide() == {}
    world.finish(1, seconds=0.002)
    assert world.decide() == {1: "b1"}
    world.finish(1)
    assert world.decide() == {1: "b2"}


def test_a_window_holds_one_resource(world: World) -> None:
    """Calls for another resource, or for none, wait until the window is done."""
    world.submit("a", n=2, resource="x")
    world.submit("a", n=2)
    assert world.decide() == {1: "a2 a3"}
    world.finish(1, seconds=0.002)
    assert world.decide() == {}
    world.finish(1, seconds=0.002)
    assert world.decide() == {1: "a4 a5"}


def test_a_refill_ends_when_another_queue_has_the_better_claim(world: World) -> None:
    """A slave that runs short calls of one task is given to the other when its turn is over, not when its work is."""
    world.submit("a", n=500)
    world.submit("b", n=2)
    used = world.run(0.5, lambda name: 0.002 if name.startswith("a") else 0.05)
    first = next(sent.at for sent in world.sent if sent.name == "b1")
    assert first <= world.rules.turn + 2 * world.rules.worth
    assert used["b"] == pytest.approx(0.1)
    world.cancel_all()


def test_a_slave_is_topped_up_during_its_turn(world: World) -> None:
    """While another queue has no better claim, a slave goes on with its task without a break, for a turn."""
    world.submit("b")
    world.submit("a", n=20)
    assert world.decide() == {1: "a2 a3 a4 a5 a6"}
    world.finish(1, 1, 1, seconds=0.002)
    assert world.decide() == {1: "a7 a8 a9"}
    world.finish(1, 1, 1, seconds=0.002)
    assert world.decide() == {1: "a10 a11 a12"}
    world.finish(1, 1, 1, 1, 1, seconds=0.03)
    assert world.decide() == {1: "b1"}
    world.cancel_all()
    world.finish(1)


def test_a_slave_is_topped_up_while_its_queue_would_get_it_again(world_of: Callable[..., World]) -> None:
    """Whether another queue has the better claim is asked as if the slave had left: three slaves, two and one."""
    world = world_of(slaves=3)
    world.queue("a", "b")
    world.submit("a", n=12, chunk=4)
    world.submit("b", n=12, chunk=4)
    assert world.decide() == {3: "a1 a2 a3 a4", 2: "b1 b2 b3 b4", 1: "a5 a6 a7 a8"}
    world.finish(1, 1, seconds=0.002)
    assert world.decide() == {1: "a9 a10"}
    world.finish(2, 2, seconds=0.002)
    assert world.decide() == {2: "b5 b6"}
    world.cancel_all()


def test_a_refill_does_not_come_before_what_the_slave_holds(world: World) -> None:
    """A slave that runs short calls without resource ends its window, and takes one for what it holds."""
    world.submit("a", resource="x")
    assert world.decide() == {1: "a2"}
    world.finish(1, seconds=0.002)
    world.submit("a", n=12)
    assert world.decide() == {1: "a3 a4 a5 a6 a7"}
    world.submit("a", resource="x")
    world.finish(1, 1, 1, 1, seconds=0.002)
    assert world.decide() == {}
    world.finish(1, seconds=0.002)
    assert world.decide() == {1: "a15"}
    world.finish(1, seconds=0.002)
    assert world.decide() == {1: "a8 a9 a10 a11 a12"}
    world.finish(1, 1, 1, 1, 1, seconds=0.002)
    assert world.decide() == {1: "a13 a14"}


@pytest.mark.parametrize("resource", [PLAIN, "y"], ids=str)
def test_refills_end_for_an_older_call(world_of: Callable[..., World], resource: Hashable) -> None:
    """However short the calls for what a slave holds: an older call goes in between after `patience`."""
    world = world_of(slaves=1, patience=1.0)
    world.queue("a")
    world.submit("a", n=10, resource="x")
    world.submit("a", resource=resource)
    world.submit("a", n=990, resource="x")
    world.run(1.8, lambda _: 0.002)
    at = next(sent.at for sent in world.sent if sent.name == "a11")
    assert at == pytest.approx(1.0 + world.rules.worth, abs=2 * world.rules.worth)
    world.cancel_all()


def test_a_refill_does_not_starve_new_resources(world: World) -> None:
    """A slave that runs short calls without resource takes an older one with a new resource before more of them."""
    world.submit("a", n=6)
    assert world.decide() == {1: "a2 a3 a4 a5 a6"}
    world.submit("a", resource="x")
    world.submit("a", n=6)
    world.finish(1, 1, 1, 1, seconds=0.002)
    assert world.decide() == {1: "a7 a9 a10 a11"}  # the oldest waits in front: one more window
    world.finish(1, 1, 1, 1, seconds=0.002)
    assert world.decide() == {}
    world.finish(1, seconds=0.002)
    assert world.decide() == {1: "a8"}
    world.finish(1, seconds=0.002)
    assert world.decide() == {1: "a12 a13 a14"}
