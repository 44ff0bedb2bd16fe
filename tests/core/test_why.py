"""Why calls wait: the reason, the slaves, and the words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mpitasks.core import why
from mpitasks.core.calls import Kind
from mpitasks.core.why import BLOCKED_BY, BUSY, HOLDER, HOLDERS, IDLE, LATER, LIMIT, NO_SLAVE, Waits
from mpitasks.ids import Rank

from .world import World, provided

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpitasks.core.calls import Call

LICENSE = provided(Kind("license", max_holders=1), "a")


@pytest.fixture
def world(world_of: Callable[..., World]) -> World:
    """Three slaves; the third is on top. At most one runs c."""
    made = world_of(slaves=3)
    made.queue("a", "b")
    made.queue("c", max_slaves=1)
    return made


def waits(world: World, *postponed: tuple[float, Call]) -> list[Waits]:
    """What waits in this world, and it is over: nobody is to compare what was sent."""
    world.obey()
    found = why.explain(world.scheduler.state(world.now), postponed).waits
    world.cancel_all()
    return found


def test_nothing_waits(world: World) -> None:
    """Where calls run and none waits, there is nothing to explain."""
    world.submit("a", n=3)
    assert waits(world) == []


def test_the_limit_of_a_task(world: World) -> None:
    """By which slave, in which call, since when."""
    world.submit("c", n=4)
    world.obey()
    world.wait(12.5)
    (only,) = waits(world)
    assert only[:5] == ("c", 3, 2, LIMIT, (3,))
    assert str(only) == "c: 3 calls wait, the next is call 2: max_slaves=1 is reached, by slave 3 in call 1 of c for 12 s"


def test_all_that_may_hold_a_resource_are_busy(world: World) -> None:
    """The resource, and its holder."""
    world.submit("a", n=2, resource=LICENSE)
    world.obey()
    world.wait(3)
    (only,) = waits(world)
    assert only[:5] == ("a", 1, 2, HOLDERS, (3,))
    assert str(only) == "a: call 2 waits: max_holders=1 of license('a') is reached, by slave 3 in call 1 of a for 3.0 s"


def test_what_it_needs_of_another_resource_is_taken(world: World) -> None:
    """The innermost one is named: it is what keeps others from it."""
    mesh = provided(Kind("mesh"), 1, inner=LICENSE)
    world.submit("a", resource=LICENSE)
    world.obey()
    world.submit("b", resource=mesh)
    (only,) = waits(world)
    assert only[:5] == ("b", 1, 2, HOLDERS, (3,))
    assert "max_holders=1 of license('a')" in only.words


def test_it_is_cheaper_to_wait_for_the_holder(world: World) -> None:
    """How long still is told."""
    world.submit("a", n=2, resource="mesh")
    world.obey()
    world.wait(10)
    (only,) = waits(world)
    assert only[:5] == ("a", 1, 2, HOLDER, (3,))
    assert only.words == "'mesh' is held by slave 3 in call 1 of a for 10 s; any other slave takes it in 20 s at the latest"


def test_all_slaves_are_busy(world: World) -> None:
    """With what."""
    world.submit("a", n=2)
    world.submit("b", n=2)
    (only,) = waits(world)
    assert only[:5] == ("b", 1, 4, BUSY, (1, 2, 3))
    assert only.words == "all slaves are in calls: 2 in a, 1 in b"


def test_the_holder_of_what_waited_long_does_not_matter(world: World) -> None:
    """Once any slave may take it, it is the other slaves that it waits for."""
    world.submit("a", n=2, resource="mesh")
    world.submit("b", n=2)
    world.obey()
    world.wait(world.rules.patience)
    (only,) = waits(world)
    assert (only.queue, only.reason) == ("a", BUSY)


def test_no_slave_is_left(world: World) -> None:
    """All are lost."""
    world.submit("a")
    for rank in (1, 2, 3):
        world.lose(rank)
    (only,) = waits(world)
    assert str(only) == "a: call 1 waits: no slave is left to run it"
    assert only.reason == NO_SLAVE


def test_a_slave_is_about_to_take_it(world: World) -> None:
    """Between an event and the next decision."""
    world.submit("a")
    (only,) = why.explain(world.scheduler.state(world.now), ()).waits
    world.cancel_all()
    assert only[3:] == (IDLE, (1, 2, 3), "slaves 1-3 may run it, and will be sent it next")


def test_a_call_that_needs_others(world: World) -> None:
    """Each of those, and where it is."""
    world.submit("c", n=2)
    world.submit("a", after=["c1", "c2"])
    world.submit("a", after=["a1"])
    world.obey()
    world.wait(700)
    limited, blocked = waits(world)
    assert limited.reason == LIMIT
    assert blocked[:5] == ("a", 2, 3, BLOCKED_BY, (3,))
    assert blocked.words == "it needs call 1 of c, which slave 3 has been in for 12 min; call 2 of c, which waits itself"


def test_many_needed_calls_are_counted(world: World) -> None:
    """The first three are named."""
    world.submit("c", n=9)
    world.submit("a", after=[f"c{number}" for number in range(1, 10)])
    assert waits(world)[1].words.endswith("; call 3 of c, which waits itself; and 6 more calls")


def test_a_call_that_needs_one_of_very_many_is_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not all of a million calls are looked at."""
    monkeypatch.setattr(why, "MOST_LOOKS", 2)
    world.submit("c", n=6)
    world.submit("a", after=["c2"])
    world.submit("b", n=2, after=["c6"])
    world.obey()
    found = why.explain(world.scheduler.state(world.now), ())
    assert ([one.queue for one in found.waits], found.others) == (["c", "a"], 2)
    world.cancel_all()


def test_a_failed_call_runs_again_later(world: World) -> None:
    """When; and what needs it is told so."""
    world.submit("a")
    world.submit("b", after=["a1"])
    world.obey()
    call = world.calls["a1"]
    world.scheduler.calls_finished(Rank(3), [(call.id, 1.0)], world.now)
    world.scheduler.postponed(call)
    later, blocked = why.explain(world.scheduler.state(world.now), [(world.now + 7, call)]).waits
    assert later[3:] == (LATER, (), "it has failed, and runs again in 7.0 s")
    assert blocked.words == "it needs call 1 of a, which failed and runs again in 7.0 s"


def test_a_cancelled_call_runs_never_again(world: World) -> None:
    """It is still on the list of those that would."""
    world.submit("a")
    world.obey()
    call = world.calls["a1"]
    world.scheduler.calls_finished(Rank(3), [(call.id, 1.0)], world.now)
    world.scheduler.postponed(call)
    world.cancel("a1")
    world.submit("c", n=2)
    world.submit("b", after=["c1"])
    world.obey()
    found = why.explain(world.scheduler.state(world.now), [(world.now + 7, call)])
    assert [one.queue for one in found.waits] == ["c", "b"]
    world.cancel_all()


def test_the_next_call_is_the_one_of_highest_priority_and_cost(world: World) -> None:
    """As the scheduler would choose."""
    world.submit("c", n=2)
    world.submit("c", priority=1)
    world.submit("c", priority=1, cost=3)
    world.submit("b", n=2)
    world.scheduler.decide(0)
    (only,) = waits(world)
    assert (only.queue, only.next) == ("c", 3)


def test_calls_in_a_window_are_told_with_their_slave(world_of: Callable[..., World]) -> None:
    """They are sent, and wait for no decision."""
    world = world_of(slaves=1)
    world.queue("a")
    world.submit("a", n=3, chunk=3)
    world.submit("a", after=["a2"])
    world.obey()
    world.wait(5)
    found = why.explain(world.scheduler.state(world.now), ())
    assert [str(slave) for slave in found.slaves] == ["in call 1 of a for 5.0 s, with 2 more behind it"]
    assert found.waits[0].words == "it needs call 2 of a, which slave 1 runs next"
    world.cancel_all()


def test_what_calls_usually_take_is_told(world_of: Callable[..., World]) -> None:
    """Once a call of that task has ended."""
    world = world_of(slaves=1)
    world.queue("a")
    world.submit("a", n=2)
    world.obey()
    world.finish(1, seconds=2.5)
    world.obey()
    world.wait(60)
    found = why.explain(world.scheduler.state(world.now), ())
    assert [str(slave) for slave in found.slaves] == ["in call 2 of a for 60 s (usually 2.5 s)"]


def test_every_event_is_progress(world: World) -> None:
    """A call is submitted, sent, ended; time alone is none."""
    seen = [why.progress(world.scheduler.state(world.now))]
    steps = [lambda: world.submit("a"), world.obey, lambda: world.finish(3)]
    for step in steps:
        step()
        seen.append(why.progress(world.scheduler.state(world.now)))
    world.wait(100)
    assert len(set(seen)) == 4
    assert why.progress(world.scheduler.state(world.now)) == seen[-1]


@pytest.mark.parametrize(
    ("ranks", "words"), [([2], "slave 2"), ([3, 1, 2, 7], "slaves 1-3, 7"), ([1, 3], "slaves 1, 3"), ([5, 4], "slaves 4-5")]
)
def test_slaves_are_named_in_short(ranks: list[int], words: str) -> None:
    """Neighbours as a range: there may be thousands."""
    assert why.name_slaves(ranks) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(-1, "0.0 s"), (2.34, "2.3 s"), (59.6, "60 s"), (601, "10 min"), (9000, "2.5 h")]
)
def test_times_have_the_unit_that_suits_them(seconds: float, words: str) -> None:
    """Nobody counts hours in seconds."""
    assert why.lasting(seconds) == words
