"""Provided resources: who holds them, how many may, and what their holders do meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mpitasks.core.calls import Kind, surplus
from mpitasks.ids import Rank

from .world import World, provided

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = Kind("file")
LICENSE = provided(Kind("license", max_holders=1))
PAIR = provided(Kind("pair", max_holders=2))


@pytest.fixture
def world(world_of: Callable[..., World]) -> World:
    """Three slaves; the third is on top."""
    made = world_of(slaves=3)
    made.queue("a", "b")
    return made


def test_no_more_slaves_than_may_hold_a_resource(world: World) -> None:
    """However long a call waits, it waits for one of the holders."""
    world.submit("a", n=4, resource=PAIR)
    assert world.decide() == {3: "a1"}
    world.wait(world.rules.patience)
    assert world.decide() == {2: "a2"}
    world.wait(2 * world.rules.patience)
    assert world.decide() == {}
    world.finish(3)
    assert world.decide() == {3: "a3"}
    world.finish(2)
    assert world.decide() == {2: "a4"}


def test_holders_run_nothing_else_while_calls_wait_for_them(world: World) -> None:
    """The holder of an exhausted resource goes on with that, before older calls and higher priorities."""
    world.submit("a", n=2, resource=LICENSE)
    world.submit("b", n=9, priority=7)
    assert world.decide() == {3: "b1", 2: "b2", 1: "b3"}
    world.finish(3, 2, 1)
    world.submit("a", resource=LICENSE, priority=9)
    assert world.decide() == {1: "a3", 2: "b4", 3: "b5"}
    world.finish(1, 2, 3)
    assert world.decide() == {1: "a1", 3: "b6", 2: "b7"}
    world.finish(1)
    assert world.decide() == {1: "a2"}
    world.finish(1)
    assert world.decide() == {1: "b8"}
    world.cancel_all()


def test_an_idle_holder_is_bound_by_a_new_call(world: World) -> None:
    """It was idle long before the call came, and more urgent ones come with that."""
    world.submit("a", resource=LICENSE)
    assert world.decide() == {3: "a1"}
    world.finish(3)
    world.submit("b")
    assert world.decide() == {2: "b1"}
    world.submit("b", n=3, priority=9)
    world.submit("a", resource=LICENSE)
    assert world.decide() == {3: "a2", 1: "b2"}
    world.cancel_all()


def test_an_idle_holder_is_bound_when_the_last_other_one_acquires(world: World) -> None:
    """It could do other work until then, and its calls could not run because of their limit."""
    world.queue("c", max_slaves=1)
    one, two = (provided(Kind("mesh"), number, inner=PAIR) for number in range(2))
    world.submit("c")
    world.submit("a", resource=one)
    assert world.decide() == {3: "c1", 2: "a1"}
    world.submit("c", resource=one)
    world.finish(2)
    world.submit("a", resource=two)
    assert world.decide() == {1: "a2"}
    world.finish(3)
    world.submit("b", n=2, priority=9)
    assert world.decide() == {2: "c2", 3: "b1"}
    world.cancel_all()


def test_calls_that_may_not_run_bind_nobody(world_of: Callable[..., World]) -> None:
    """Where only a task at its limit wants it, the holder of an exhausted resource does other work."""
    world = world_of(slaves=2)
    world.queue("a")
    world.queue("c", max_slaves=1)
    world.submit("c", resource=LICENSE)
    assert world.decide() == {2: "c1"}
    world.finish(2)
    world.submit("c", priority=1)
    world.submit("a")
    assert world.decide() == {1: "c2", 2: "a1"}
    world.submit("c", resource=LICENSE)
    world.submit("a")
    world.finish(2)
    assert world.decide() == {2: "a2"}
    world.finish(1)
    assert world.decide() == {}
    world.finish(2)
    assert world.decide() == {2: "c3"}


def test_a_task_that_may_run_again_binds_the_holder_again(world_of: Callable[..., World]) -> None:
    """When its limit has room, the calls that wait for the holder go before others, though that was idle before."""
    world = world_of(slaves=2)
    world.queue("a")
    world.queue("c", max_slaves=1)
    world.submit("a", resource=LICENSE)
    world.submit("c")
    assert world.decide() == {2: "a1", 1: "c1"}
    world.finish(2)
    world.submit("c", resource=LICENSE)
    assert world.decide() == {}
    world.finish(1)
    world.submit("a", n=2, priority=9)
    assert world.decide() == {2: "c2", 1: "a2"}
    world.finish(2)
    assert world.decide() == {2: "a3"}


def test_who_released_a_resource_holds_it_no_longer(world: World) -> None:
    """An idle slave says that it has released it: another one may have it."""
    world.submit("a", resource=LICENSE)
    assert world.decide() == {3: "a1"}
    world.finish(3)
    world.submit("b", n=3)
    world.submit("a", resource=LICENSE)
    assert world.decide() == {3: "a2", 2: "b1", 1: "b2"}
    world.finish(3, 1)
    world.release(3)
    world.report(3)
    world.submit("a", resource=LICENSE)
    assert world.decide() == {1: "a3", 3: "b3"}
    assert world.may_hold(LICENSE) == [1]


def test_a_release_is_believed_only_when_it_is_said(world: World) -> None:
    """A resource that its holder will drop for another one counts until it says so."""
    page = Kind("page", max_holders=1)
    one, two = provided(page, 1), provided(page, 2)
    world.submit("a", resource=one)
    assert world.decide() == {3: "a1"}
    world.finish(3)
    world.report(3)
    world.submit("b", n=2)
    assert world.decide() == {2: "b1", 1: "b2"}
    world.submit("a", resource=two)
    assert world.decide() == {3: "a2"}
    world.submit("a", resource=one)
    world.finish(1)
    assert world.decide() == {}
    world.begin(3)
    world.report(3)
    assert world.decide() == {1: "a3"}


def test_a_release_may_cross_a_window(world: World) -> None:
    """A slave that released what is needed by calls on their way will acquire it again: it counts all the time."""
    world.submit("a", n=2, resource=LICENSE)
    assert world.decide() == {3: "a1"}
    world.finish(3)
    world.release(3)
    assert world.decide() == {3: "a2"}
    world.report(3)
    world.submit("a", resource=LICENSE)
    assert world.decide() == {}
    world.finish(3)
    assert world.decide() == {3: "a3"}
    world.finish(3)
    world.report(3)
    assert world.loads == {LICENSE: 2}


def test_a_report_from_before_a_window_does_not_undo_it(world_of: Callable[..., World]) -> None:
    """What a slave drops for its window it holds no longer, though it says, for the last time, that it does."""
    world = world_of(slaves=2)
    world.queue("a", "b")
    one, two = provided(FILE, 1), provided(FILE, 2)
    world.costs = {one: 99.0, two: 99.0}
    world.submit("a", resource=one)
    world.submit("b")
    assert world.decide() == {2: "a1", 1: "b1"}
    world.finish(2)
    world.submit("a", resource=two)
    assert world.decide() == {2: "a2"}
    world.report(2)
    world.submit("a", resource=one)
    world.finish(1)
    assert world.decide() == {1: "a3"}


def test_what_was_released_before_a_window_came_back_is_not_held(world_of: Callable[..., World]) -> None:
    """A slave that gives back its window holds what it held before, but for what it has said since."""
    world = world_of(slaves=2)
    world.queue("a", "b")
    one, two = provided(FILE, 1), provided(FILE, 2)
    world.costs = {one: 99.0, two: 99.0}
    world.submit("a", resource=one)
    world.submit("b")
    assert world.decide() == {2: "a1", 1: "b1"}
    world.finish(2)
    world.release(2)
    world.submit("a", resource=two)
    assert world.decide() == {2: "a2"}
    world.report(2)
    world.give_back(2, 1)
    world.cancel("a2")
    world.submit("b")
    assert world.decide() == {2: "b2"}
    world.submit("a", resource=one)
    world.finish(1)
    assert world.decide() == {1: "a3"}


def test_a_lost_slave_holds_nothing(world: World) -> None:
    """What it held another one may hold at once, and its calls go there."""
    world.submit("a", n=2, resource=LICENSE)
    assert world.decide() == {3: "a1"}
    world.begin(3)
    world.report(3)
    assert world.lose(3) == ["a1"]
    assert world.decide() == {2: "a1"}
    world.lose(2)  # a1 could take the last one: it is given up
    world.join(2)
    assert world.decide() == {2: "a2"}


def test_a_window_given_back_before_it_began_leaves_nothing(world: World) -> None:
    """The slave still holds what it held before, and not what it would have acquired."""
    one, two = provided(FILE, 1), provided(FILE, 2)
    world.submit("a", resource=one)
    assert world.decide() == {3: "a1"}
    world.finish(3)
    world.report(3)
    world.submit("b", n=2)
    assert world.decide() == {2: "b1", 1: "b2"}
    world.submit("a", resource=two)
    assert world.decide() == {3: "a2"}
    assert world.give_back(3, 1) == ["a2"]
    world.finish(2)
    world.submit("a", resource=one)
    assert world.decide() == {3: "a3", 2: "a2"}
    assert world.loads == {one: 1}


def test_a_limited_resource_is_free_when_its_window_came_back(world: World) -> None:
    """A slave that gave back the calls before it acquired does not count as a holder."""
    world.submit("a", resource=LICENSE)
    assert world.decide() == {3: "a1"}
    world.give_back(3, 1)
    world.submit("b", priority=1)
    assert world.decide() == {3: "b1", 2: "a1"}


def test_a_plain_id_is_not_taken_up_by_a_window_that_came_back(world: World) -> None:
    """That of a window that never began does not take the place of the one held before."""
    world.submit("a", resource="x")
    assert world.decide() == {3: "a1"}
    world.finish(3)
    world.submit("b", n=2)
    assert world.decide() == {2: "b1", 1: "b2"}
    world.submit("a", resource="y")
    assert world.decide() == {3: "a2"}
    world.give_back(3, 1)
    world.submit("a", resource="x")
    world.finish(1)
    assert world.decide() == {3: "a3", 1: "a2"}
    assert world.scheduler.tally.resources["y"].acquisitions == 1


def test_each_kind_keeps_its_own(world_of: Callable[..., World]) -> None:
    """What a slave drops depends on the kind: a new file takes the place of a file, and not of a mesh."""
    world = world_of(slaves=2)
    world.queue("a", "b")
    world.submit("b")
    assert world.decide() == {2: "b1"}
    mesh, files = provided(Kind("mesh")), [provided(FILE, number) for number in range(2)]
    for number, resource in enumerate([mesh, files[0], "x", files[1]]):
        world.submit("a", resource=resource, priority=-number)
    for number in range(4):
        assert world.decide() == {1: f"a{number + 1}"}
        world.finish(1)
        world.report(1)
    assert sorted(map(str, world.holds[1])) == ["file(1)", "mesh()", "x"]
    world.finish(2)
    world.submit("a", resource=mesh)
    world.submit("a", resource=files[0])
    assert world.decide() == {1: "a5", 2: "a6"}


def test_what_another_one_needs_stays() -> None:
    """An inner resource is kept as long as what needs it, however long ago it was used itself."""
    server = provided(Kind("server"))
    other = provided(server.kind, "other")
    mesh = provided(Kind("mesh", keep=2), 1, inner=server)
    assert surplus([server, other, mesh], 1) == []
    assert surplus([server, mesh, other, provided(server.kind, "third")], 1) == [other]
    assert surplus([mesh, "x", "y"], 1) == ["x"]
    assert surplus([provided(FILE, 1), server, provided(FILE, 2)], 1) == [provided(FILE, 1)]


@pytest.mark.parametrize("slaves", [3, 5])
def test_who_holds_the_inner_resource_runs_what_needs_it(slaves: int) -> None:
    """Where nobody further may hold the inner one, its holders run all that needs it; nothing waits for ever."""
    world = World(slaves, patience=5.0)
    world.queue("a")
    server = provided(Kind("server", max_holders=2))
    for number in range(40):
        world.submit("a", resource=provided(Kind("mesh"), number, inner=server))
    world.run(22.0, lambda _: 1.0)
    assert (world.unfinished(), world.loads[server]) == ([], 2)


def test_the_idle_holder_of_the_inner_resource_gets_the_call(world: World) -> None:
    """It is the only one that may run it, and it was idle before the inner one was exhausted."""
    one, two, three, four = (provided(Kind("mesh"), number, inner=PAIR) for number in range(4))
    world.queue("c", max_slaves=1)
    world.submit("c")
    world.submit("a", resource=one)
    assert world.decide() == {3: "c1", 2: "a1"}
    world.submit("c", resource=two)  # could run anywhere, but for the limit
    world.finish(2)
    world.submit("a", resource=one)
    world.submit("a", resource=three)
    assert world.decide() == {2: "a2", 1: "a3"}
    world.finish(2)
    assert world.decide() == {}
    world.finish(3)
    world.submit("b", n=2, priority=9)
    assert world.decide() == {2: "c2", 3: "b1"}
    world.submit("a", resource=four)
    assert world.decide() == {}
    world.finish(1)
    assert world.decide() == {1: "a4"}
    world.cancel_all()
    assert world.may_hold(PAIR) == [1, 2]


def test_holders_of_the_inner_resource_do_nothing_else(world: World) -> None:
    """Nor do they where calls wait for something that needs it, held by nobody or by them; whatever else there is."""
    one, two = (provided(Kind("mesh"), number, inner=LICENSE) for number in range(2))
    world.submit("a", resource=one)
    assert world.decide() == {3: "a1"}
    world.finish(3)
    world.submit("a", resource=two)
    world.submit("b", n=4, priority=9)
    assert world.decide() == {3: "a2", 2: "b1", 1: "b2"}
    world.finish(3)
    world.submit("a", resource=two)
    assert world.decide() == {3: "a3"}
    world.finish(3)
    assert world.decide() == {3: "b3"}
    world.cancel_all()


def test_who_holds_the_inner_resource_acquires_what_needs_it(world: World) -> None:
    """Of idle slaves that one is chosen for which there is less to acquire, unless calls wait for what it would drop."""
    server = provided(Kind("server"))
    one, two, three = (provided(Kind("mesh"), number, inner=server) for number in range(3))
    world.queue("c", max_slaves=1)
    world.submit("a", resource=one)
    world.submit("b")
    assert world.decide() == {3: "a1", 2: "b1"}
    world.finish(3, 2)
    world.submit("a", resource=two)
    assert world.decide() == {3: "a2"}
    world.finish(3)
    world.submit("c")
    assert world.decide() == {2: "c1"}
    world.submit("c", resource=two)
    world.submit("a", resource=three)
    assert world.decide() == {1: "a3"}
    world.finish(2)
    assert world.decide() == {3: "c2"}
    assert world.loads == {server: 1, one: 1, two: 1}


def test_the_holder_of_the_inner_resource_does_not_take_what_another_holds(world: World) -> None:
    """A call waits for the busy holder of its resource, also where an idle slave holds what that needs."""
    one, two = (provided(Kind("mesh"), number, inner=PAIR) for number in range(2))
    world.submit("a", resource=one)
    world.submit("a", resource=two)
    assert world.decide() == {3: "a1", 2: "a2"}
    world.submit("a", n=2, resource=two)
    world.finish(3)
    assert world.decide() == {}
    world.wait(world.rules.patience)
    assert world.decide() == {3: "a3"}
    world.finish(2)
    assert world.decide() == {2: "a4"}


def test_windows_of_an_exhausted_resource_are_filled_up(world_of: Callable[..., World]) -> None:
    """The holder goes on as others do: it is not drained before it gets more of the same."""
    world = world_of(slaves=2)
    world.queue("a", "b")
    mesh = provided(Kind("mesh"), 1, inner=LICENSE)
    world.submit("a", n=2, resource=mesh)
    assert world.decide() == {2: "a1"}
    world.finish(2, seconds=0.002)
    world.submit("a", n=20, resource=mesh)
    assert world.decide() == {2: "a2 a3 a4 a5 a6"}
    world.finish(2, 2, 2, seconds=0.002)
    assert world.decide() == {2: "a7 a8 a9"}
    world.submit("b", n=2, priority=3)
    assert world.decide() == {1: "b1"}
    world.finish(2, 2, 2, seconds=0.002)
    assert world.decide() == {2: "a10 a11 a12"}
    world.submit("b", resource=LICENSE, priority=5)
    world.finish(2, 2, 2, seconds=0.002)
    assert world.decide() == {}
    world.finish(2, 2, seconds=0.002)
    assert world.decide() == {2: "b3"}
    world.cancel_all()


def test_other_work_is_not_filled_up_while_the_holder_is_wanted(world_of: Callable[..., World]) -> None:
    """A busy holder of an exhausted resource gets no more of anything else while calls wait for that."""
    world = world_of(slaves=1)
    world.queue("a", "b")
    world.submit("b")
    world.submit("a", resource=LICENSE)
    world.one_by_one_lasting(0.002, 1.0)
    world.submit("b", n=20, priority=1)
    assert world.decide() == {1: "b2 b3 b4 b5 b6"}
    world.submit("a", resource=LICENSE, priority=-1)
    world.finish(1, 1, 1, seconds=0.002)
    assert world.decide() == {}
    world.finish(1, 1, seconds=0.002)
    assert world.decide() == {1: "a2"}
    world.cancel_all()


def test_words_of_a_stranger_change_nothing(world: World) -> None:
    """A report of a slave that is not there is refused."""
    before = world.snapshot()
    with pytest.raises(KeyError):
        world.scheduler.resources_held(Rank(9), [LICENSE], [(LICENSE, 1.0)], 1.0)
    assert world.snapshot() == before


def test_a_report_does_not_move_an_idle_slave(world: World) -> None:
    """Of equal idle slaves the one that ended last still goes first."""
    world.submit("a", n=3)
    assert world.decide() == {3: "a1", 2: "a2", 1: "a3"}
    world.finish(1, 2, 3)
    world.report(1)
    world.submit("a")
    assert world.decide() == {3: "a4"}
