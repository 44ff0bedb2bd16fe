"""Calls that submit calls: who runs them, on whose stack, and when no way is left. DESIGN: "Nested."."""

from __future__ import annotations

from random import Random

import pytest

from mpitasks.core import nesting
from mpitasks.core.calls import WAITING, Call
from mpitasks.core.nesting import Nest
from mpitasks.core.scheduler import Scheduler, Send
from mpitasks.ids import CallId, Rank
from tests.core.nested_world import Body, Program, World

ONE, TWO = Rank(1), Rank(2)


def dice_of(seed: int) -> Random:
    """The same numbers each time."""
    return Random(seed)  # noqa: S311  no secret


class Farm:
    """A scheduler with slaves, whose orders are told in short."""

    def __init__(self, slaves: int, **limits: int | None) -> None:
        self.scheduler = Scheduler()
        for name, limit in limits.items():
            self.scheduler.queue_defined(name, max_slaves=limit)
        for rank in range(1, slaves + 1):
            self.scheduler.slave_joined(Rank(rank))
        self.count = 0

    def submit(self, queue: str, parent: Call | None = None, rank: int = 1, *, priority: int = 0) -> Call:
        """Main, or a call on that slave, submits a call."""
        self.count += 1
        call = Call(CallId(self.count), queue, priority)
        if parent is not None:
            self.scheduler.nested(call, parent, Rank(rank))
        self.scheduler.submitted(call)
        return call

    def follow(self, queue: str, parent: Call, other: Call, rank: int = 1) -> None:
        """A call on that slave submits one that is to end as another does."""
        self.count += 1
        call = Call(CallId(self.count), queue)
        self.scheduler.nested(call, parent, Rank(rank))
        self.scheduler.joined(call, other)

    def decide(self) -> dict[int, tuple[list[int], int]]:
        """To which slave which calls went, and on top of which wait."""
        orders = self.scheduler.decide(0.0)
        return {one.rank: ([call.id for call in one.calls], one.above) for one in orders if isinstance(one, Send)}

    def wait(self, call: Call, number: int = 1, rank: int = 1, back: tuple[Call, ...] = ()) -> None:
        """A call waits."""
        self.scheduler.call_waits(Rank(rank), call.id, number, [one.id for one in back], 0.0)

    def finish(self, call: Call, rank: int = 1) -> None:
        """A call has ended."""
        self.scheduler.calls_finished(Rank(rank), [(call.id, 1.0)], 0.0)

    def running(self, name: str) -> int:
        """Slaves that run that task."""
        return self.scheduler.looks().queues[name].running


# ---------------------------------------------------------------- what a waiting slave runs


def test_a_waiting_slave_runs_its_own_descendants() -> None:
    """And nothing else, whatever waits."""
    farm = Farm(1, a=None, b=None)
    parent = farm.submit("a")
    assert farm.decide() == {1: ([1], 0)}
    farm.submit("b", priority=9)
    child = farm.submit("b", parent)
    assert farm.decide() == {}
    farm.wait(parent, 7)
    assert farm.decide() == {1: ([child.id], 7)}
    farm.finish(child)
    assert farm.decide() == {}
    farm.scheduler.call_goes_on(ONE, [], 0.0)
    farm.finish(parent)
    assert farm.decide() == {1: ([2], 0)}


def test_an_idle_slave_takes_a_child_first() -> None:
    """Waiting slaves run what others can't."""
    farm = Farm(2, a=None)
    parent = farm.submit("a")
    assert farm.decide() == {2: ([1], 0)}
    farm.submit("a", parent, 2)
    farm.wait(parent, rank=2)
    assert farm.decide() == {1: ([2], 0)}


def test_a_waiting_slave_helps_the_children_of_its_children() -> None:
    """Of a child that runs elsewhere, and has submitted more than its slave can run."""
    farm = Farm(2, a=None)
    parent = farm.submit("a")
    farm.decide()
    child = farm.submit("a", parent, 2)
    farm.decide()
    farm.wait(parent, 3, rank=2)
    assert farm.decide() == {}
    grandchild = farm.submit("a", child, 1)
    assert farm.decide() == {2: ([grandchild.id], 3)}


def test_a_slave_that_runs_a_task_twice_counts_once() -> None:
    """A limit counts slaves: a recursion needs no second one."""
    farm = Farm(2, a=1)
    parent = farm.submit("a")
    assert farm.decide() == {2: ([1], 0)}
    child = farm.submit("a", parent, 2)
    assert farm.decide() == {}
    farm.wait(parent, rank=2)
    assert (farm.decide(), farm.running("a")) == ({2: ([2], 1)}, 1)
    farm.finish(child, 2)
    assert farm.running("a") == 1
    farm.scheduler.call_goes_on(TWO, [], 0.0)
    farm.finish(parent, 2)
    assert farm.running("a") == 0


def test_a_waiting_slave_hears_of_a_limit_that_is_free() -> None:
    """What it could not run before, it runs then."""
    farm = Farm(2, a=None, b=1)
    other, parent = farm.submit("a"), farm.submit("a")
    assert farm.decide() == {2: ([1], 0), 1: ([2], 0)}
    busy = farm.submit("b", other, 2)
    farm.wait(other, rank=2)
    assert farm.decide() == {2: ([busy.id], 1)}
    child = farm.submit("b", parent)
    farm.wait(parent)
    assert farm.decide() == {}
    farm.finish(busy, 2)
    assert farm.decide() == {1: ([child.id], 1)}
    assert farm.running("b") == 1


def test_what_came_behind_a_waiting_call_runs_elsewhere() -> None:
    """The slave gives it back as it begins to wait."""
    farm = Farm(1, a=None)
    first, second = farm.submit("a"), farm.submit("a")
    farm.scheduler._queues["a"].mean = 0.0001
    assert farm.decide() == {1: ([1, 2], 0)}
    child = farm.submit("a", first)
    farm.wait(first, back=(second,))
    assert farm.decide() == {1: ([child.id], 1)}
    assert (second.attempt, second.state) == (0, 1)


def test_calls_that_reach_a_slave_too_late_come_back() -> None:
    """They were on their way when a wait ended: nobody else runs them before the slave has said so."""
    farm = Farm(1, a=None)
    parent = farm.submit("a")
    farm.decide()
    child = farm.submit("a", parent)
    farm.wait(parent)
    assert farm.decide() == {1: ([child.id], 1)}
    farm.scheduler.call_goes_on(ONE, [], 0.0)
    farm.finish(parent)
    assert farm.decide() == {}
    farm.scheduler.given_back(ONE, [child.id], 0.0)
    assert farm.decide() == {1: ([child.id], 0)}


def test_a_step_that_is_impossible_changes_nothing() -> None:
    """A call waits that the slave has not, or goes on where none waits."""
    farm = Farm(1, a=None)
    parent = farm.submit("a")
    farm.decide()
    with pytest.raises(KeyError):
        farm.scheduler.call_waits(ONE, CallId(99), 1, [], 0.0)
    with pytest.raises(KeyError):
        farm.scheduler.call_goes_on(ONE, [], 0.0)
    farm.finish(parent)
    assert farm.scheduler.unfinished == 0


def test_a_lost_slave_gives_up_all_that_it_has() -> None:
    """What waits there too; and its limits are free."""
    farm = Farm(1, a=1, b=1)
    parent = farm.submit("a")
    farm.decide()
    child = farm.submit("b", parent)
    farm.wait(parent)
    farm.decide()
    assert sorted(call.id for call in farm.scheduler.slave_lost(ONE).calls) == [1, 2]
    assert (farm.running("a"), farm.running("b")) == (0, 0)
    farm.scheduler.slave_joined(ONE)
    assert farm.decide() in ({1: ([parent.id], 0)}, {1: ([child.id], 0)})


# ---------------------------------------------------------------- what can't be interrupted


def come_back(farm: Farm, waiting: Call, rank: int = 1) -> None:
    """What is on top has ended after all: the call below goes on, and ends."""
    assert farm.decide() == {}
    farm.scheduler.call_goes_on(Rank(rank), [], 0.0)
    assert farm.scheduler.left_in_calls() == [(rank, waiting.id)]
    assert farm.scheduler.calls_finished(Rank(rank), [(waiting.id, 1.0)], 0.0) == []


def test_what_waits_below_a_call_that_is_given_up_ends_too() -> None:
    """It can't go on; the slave gets nothing, not even for what waits there, until all of these have ended after all."""
    farm = Farm(1, a=1, b=1, c=1)
    low = farm.submit("a")
    farm.decide()
    middle = farm.submit("b", low)
    farm.wait(low, 1)
    farm.decide()
    top, other = farm.submit("c", middle), farm.submit("b", middle)
    farm.wait(middle, 2)
    assert farm.decide() == {1: ([top.id], 2)}
    assert farm.scheduler.given_up(ONE, top.id, 1, 0.0) == [top, middle, low]
    assert (farm.scheduler.unfinished, farm.scheduler.sent(), farm.scheduler.call_on(ONE, low.id)) == (1, [], None)
    assert [farm.running(name) for name in "abc"] == [1, 1, 1], "limits count the slave as before"
    assert farm.scheduler.still_waits(ONE, 2) is None
    assert farm.decide() == {}
    assert farm.scheduler.calls_finished(ONE, [(top.id, 1.0)], 0.0) == []
    come_back(farm, middle)
    come_back(farm, low)
    assert ([farm.running(name) for name in "abc"], farm.scheduler.left_in_calls()) == ([0, 0, 0], [])
    assert farm.decide() == {1: ([other.id], 0)}


def test_a_call_that_waits_is_given_up_with_all_on_top_of_it() -> None:
    """That descends from it, and keeps it from going on; also what has ended there without a word, and what has not begun."""
    farm = Farm(1, a=None, b=None)
    low = farm.submit("a")
    farm.decide()
    waits = farm.submit("a", low)
    farm.wait(low, 1)
    farm.decide()
    in_one_window(farm, "b")
    first, second, third = (farm.submit("b", waits) for _ in range(3))
    farm.wait(waits, 2)
    assert farm.decide() == {1: ([first.id, second.id, third.id], 2)}
    assert farm.scheduler.given_up(ONE, waits.id, 1, 0.0) == [third, second, first, waits, low]
    assert farm.scheduler.unfinished == 0
    assert farm.scheduler.calls_finished(ONE, [(first.id, 1.0), (second.id, 1.0)], 0.0) == []
    farm.scheduler.call_goes_on(ONE, [third.id], 0.0)
    assert farm.scheduler.calls_finished(ONE, [(waits.id, 1.0)], 0.0) == []
    come_back(farm, low)
    fresh = farm.submit("a")
    assert farm.decide() == {1: ([fresh.id], 0)}


def test_what_is_given_up_may_run_again_while_its_slave_is_left_in_it() -> None:
    """Elsewhere; what becomes of the first attempt, its slave's death too, does not touch the second."""
    farm = Farm(2, a=None, b=None)
    waits = farm.submit("a")
    farm.decide()
    farm.submit("a")
    farm.decide()
    top = farm.submit("b", waits, 2)
    farm.wait(waits, 1, rank=2)
    farm.decide()
    farm.scheduler.given_up(TWO, top.id, 1, 0.0)
    farm.scheduler.postponed(waits)
    farm.scheduler.resumed(waits)
    farm.finish(farm.scheduler.sent()[0][1])
    assert farm.decide() == {1: ([waits.id], 0)}
    again = farm.submit("b", waits)
    farm.wait(waits, 1)
    assert farm.decide() == {1: ([again.id], 1)}
    assert farm.scheduler.slave_lost(TWO).calls == []
    farm.finish(again)
    farm.scheduler.call_goes_on(ONE, [], 0.0)
    farm.finish(waits)
    assert (farm.scheduler.unfinished, farm.running("a"), farm.running("b")) == (0, 0, 0)


def test_a_slave_that_is_lost_while_calls_come_back_from_it_is_gone() -> None:
    """It was idle, but for calls that had reached it too late."""
    farm = Farm(2, a=None)
    parent = farm.submit("a")
    farm.decide()
    child, other = farm.submit("a", parent, 2), farm.submit("a")
    assert farm.decide() == {1: ([child.id], 0)}
    farm.wait(parent, rank=2)
    below = farm.submit("a", parent, 2)
    assert farm.decide() == {2: ([below.id], 1)}
    farm.scheduler.call_goes_on(TWO, [], 0.0)
    farm.scheduler.cancelled(other)
    farm.finish(parent, 2)
    farm.scheduler.slave_lost(TWO)
    farm.finish(child)
    more = [farm.submit("a"), farm.submit("a")]
    assert set(farm.decide()) == {1}
    assert more[1].state == WAITING


# ---------------------------------------------------------------- suspects that calls wait for


def in_one_window(farm: Farm, name: str) -> None:
    """Calls of that task, whose limit is one slave, travel together."""
    farm.scheduler._queues[name].mean = 0.0001


def test_the_last_slave_tries_suspects_on_top_of_what_waits_for_them() -> None:
    """It is never idle: whoever waits there waits for just these."""
    farm = Farm(2, a=None, b=1)
    in_one_window(farm, "b")
    parent = farm.submit("a")
    assert farm.decide() == {2: ([1], 0)}
    first, second = farm.submit("b", parent, 2), farm.submit("b", parent, 2)
    assert farm.decide() == {1: ([2, 3], 0)}
    farm.wait(parent, 5, rank=2)
    farm.scheduler.slave_lost(ONE)
    assert farm.decide() == {2: ([2], 5)}
    farm.finish(first, 2)
    assert farm.decide() == {2: ([3], 5)}
    farm.finish(second, 2)
    farm.scheduler.call_goes_on(TWO, [], 0.0)
    farm.finish(parent, 2)
    assert farm.scheduler.unfinished == 0


def test_a_suspect_that_nobody_can_run_keeps_no_other_waiting() -> None:
    """The trial's places are full of main's calls, and every slave waits for suspects of its own."""
    farm = Farm(4, a=None, c=1)
    in_one_window(farm, "c")
    one, other, foreign = farm.submit("a"), farm.submit("a"), farm.submit("a")
    assert farm.decide() == {4: ([1], 0), 3: ([2], 0), 2: ([3], 0)}
    mine, its = farm.submit("c", one, 4), farm.submit("c", other, 3)
    assert farm.decide() == {1: ([4, 5], 0)}
    farm.wait(one, 5, rank=4)
    farm.wait(other, 6, rank=3)
    farm.scheduler.slave_lost(TWO)
    assert farm.decide() == {}
    farm.scheduler.slave_lost(ONE)
    assert farm.decide() == {4: ([mine.id], 5)}
    farm.finish(mine, 4)
    assert farm.decide() == {3: ([its.id], 6)}
    farm.finish(its, 3)
    farm.scheduler.call_goes_on(Rank(3), [], 0.0)
    farm.finish(other, 3)
    assert farm.decide() == {3: ([foreign.id], 0)}


def test_a_suspect_of_the_same_window_that_nobody_can_run_does_not_either() -> None:
    """It is on trial, and waits for a slave."""
    farm = Farm(3, a=None, b=1)
    in_one_window(farm, "b")
    parent = farm.submit("a")
    farm.submit("a")
    assert farm.decide() == {3: ([1], 0), 2: ([2], 0)}
    foreign, child = farm.submit("b"), farm.submit("b", parent, 3)
    assert farm.decide() == {1: ([3, 4], 0)}
    farm.scheduler.slave_lost(ONE)
    assert farm.decide() == {}
    farm.wait(parent, rank=3)
    farm.scheduler.slave_lost(TWO)
    assert farm.decide() == {3: ([child.id], 1)}
    farm.finish(child, 3)
    farm.scheduler.call_goes_on(Rank(3), [], 0.0)
    farm.finish(parent, 3)
    assert farm.decide() == {3: ([foreign.id], 0)}


def test_a_suspect_is_alone_on_top_of_a_call_too() -> None:
    """Others of the same call wait."""
    farm = Farm(3, a=None, b=None)
    in_one_window(farm, "b")
    parent = farm.submit("a")
    assert farm.decide() == {3: ([1], 0)}
    first = farm.submit("b", parent, 3)
    assert farm.decide() == {2: ([2], 0)}
    farm.submit("a")
    assert farm.decide() == {1: ([3], 0)}
    farm.scheduler.slave_lost(TWO)
    second, _ = farm.submit("b", parent, 3), farm.submit("b", parent, 3)
    farm.wait(parent, rank=3)
    assert farm.decide() == {3: ([first.id], 1)}
    farm.finish(first, 3)
    assert farm.decide() == {3: ([second.id], 1)}


def test_a_wait_for_a_suspect_that_nobody_can_run_is_a_deadlock() -> None:
    """The child is to end as a call of main's does, which the only slave can't run while its own call waits."""
    farm = Farm(2, a=None, b=1)
    in_one_window(farm, "b")
    parent = farm.submit("a")
    assert farm.decide() == {2: ([1], 0)}
    for _ in range(2):
        farm.submit("b")
    assert farm.decide() == {1: ([2, 3], 0)}
    other = farm.scheduler.sent()[1][1]
    child = Call(CallId(9), "b")
    farm.scheduler.nested(child, parent, TWO)
    farm.scheduler.joined(child, other)
    farm.wait(parent, 5, rank=2)
    farm.scheduler.slave_lost(ONE)
    assert farm.decide() == {}
    assert farm.scheduler.still_waits(TWO, 5) is None, "it goes on trial first"
    assert farm.decide() == {}
    stuck = farm.scheduler.still_waits(TWO, 5)
    assert stuck is not None
    assert stuck.call is parent


# ---------------------------------------------------------------- ancestors


@pytest.mark.parametrize("seed", range(5))
def test_a_jump_finds_the_ancestors_that_a_walk_finds(seed: int) -> None:
    """In a random forest."""
    dice = dice_of(seed)
    nests = [Nest(None), Nest(None)]
    for _ in range(300):
        nests.append(Nest(dice.choice(nests[-8:] + nests[:3])))
    for _ in range(2000):
        one, other = dice.choice(nests), dice.choice(nests)
        walk: Nest | None = one
        while walk is not None and walk is not other:
            walk = walk.parent
        assert one.is_within(other) == (walk is other)


def test_the_way_to_an_ancestor_is_short() -> None:
    """A logarithm of the depth: a recursion of 10,000 levels costs each level no more than one of 100."""
    nest = Nest(None)
    root = nest
    for _ in range(10_000):
        nest = Nest(nest)
    steps, here = 0, nest
    while here is not root:
        steps += 1
        assert here.jump is not None
        here = here.jump if here.jump.depth >= root.depth else here.parent or root
    assert steps <= 60


# ---------------------------------------------------------------- deadlocks


CROSS = Program({"a": 1, "b": 1}, {"a": Body(("b",)), "b": Body(("a",))}, ("a", "b"))
SELF = Program({"a": 1}, {"a": Body(("a",))}, ("a", "a"), depth=5)
TREE = Program({"a": None}, {"a": Body(("a", "a"))}, ("a",), depth=4)
RING = Program({"a": 1, "b": 1, "c": 1}, {"a": Body(("b",)), "b": Body(("c",)), "c": Body(("a",))}, ("a", "b", "c"))


@pytest.mark.parametrize("slaves", [1, 2, 3])
@pytest.mark.parametrize("program", [SELF, TREE], ids=["self", "tree"])
@pytest.mark.parametrize("seed", range(20))
def test_a_recursion_ends_without_deadlock(program: Program, slaves: int, seed: int) -> None:
    """On any number of slaves, under any limit of its own."""
    world = World(program, slaves)
    world.play(dice_of(seed), tell=False)
    assert (world.unended(), world.stuck) == ([], [])


def test_a_cycle_of_limits_is_told_to_the_youngest() -> None:
    """Each waits for a call that the other keeps from running; the message says so."""
    farm = Farm(2, a=1, b=1)
    a, b = farm.submit("a"), farm.submit("b")
    farm.decide()
    farm.submit("b", a, 2)
    farm.submit("a", b, 1)
    farm.wait(a, 1, rank=2)
    farm.wait(b, 5, rank=1)
    assert farm.decide() == {}
    assert farm.scheduler.still_waits(TWO, 1) is None, "the other has not yet said that it only waits"
    stuck = farm.scheduler.still_waits(ONE, 5)
    assert stuck is not None
    assert (stuck.rank, stuck.number, stuck.call) == (1, 5, b)
    assert stuck.why == (
        "call 2 of 'b' on slave 1 waits for call 4 of 'a', which can't run: its limit max_slaves is reached by slave 2; "
        "call 1 of 'a' on slave 2 waits for call 3 of 'b', which can't run: its limit max_slaves is reached by slave 1"
    )


def test_a_wait_for_an_equal_call_says_which_that_is() -> None:
    """One that is to end as the waiting call does never will."""
    farm = Farm(1, f=None)
    parent = farm.submit("f")
    farm.decide()
    farm.follow("f", parent, parent)
    farm.wait(parent)
    stuck = farm.scheduler.still_waits(ONE, 1)
    assert stuck is not None
    assert stuck.why == "call 1 of 'f' on slave 1 waits for call 2 of 'f', which ends only after call 1 of 'f'"


@pytest.mark.parametrize(
    ("slaves", "why"),
    [
        (1, "call 2 of 'g' on slave 1 waits for call 3 of 'f', which ends only after call 1 of 'f', which waits below it"),
        (
            2,
            (
                "call 2 of 'g' on slave 1 waits for call 3 of 'f', which ends only after call 1 of 'f', "
                "which waits on slave 2; "
                "call 1 of 'f' on slave 2 waits for call 2 of 'g', which waits on slave 1"
            ),
        ),
    ],
)
def test_a_circle_through_an_equal_call_is_told(slaves: int, why: str) -> None:
    """On one slave, and on two."""
    farm = Farm(slaves, f=None, g=None)
    first = farm.submit("f")
    farm.decide()
    second = farm.submit("g", first, slaves)
    if slaves == 2:
        farm.decide()
    farm.wait(first, 1, rank=slaves)
    farm.decide()
    farm.follow("f", second, first)
    farm.wait(second, 2)
    if slaves == 2:
        farm.scheduler.still_waits(TWO, 1)
    stuck = farm.scheduler.still_waits(ONE, 2)
    assert stuck is not None
    assert stuck.why == why


def test_a_deadlock_is_told_although_others_run() -> None:
    """What has nothing to do with it can't end it."""
    farm = Farm(3, a=1, b=1, c=None)
    a, b, _ = farm.submit("a"), farm.submit("b"), farm.submit("c")
    assert set(farm.decide()) == {1, 2, 3}
    farm.submit("b", a, 3)
    farm.submit("a", b, 2)
    farm.wait(a, 1, rank=3)
    farm.wait(b, 1, rank=2)
    farm.decide()
    farm.scheduler.still_waits(Rank(3), 1)
    assert farm.scheduler.still_waits(TWO, 1) is not None


def test_no_deadlock_is_told_while_an_answer_is_on_its_way() -> None:
    """It may end the wait."""
    farm = Farm(2, a=1, b=1)
    a, b = farm.submit("a"), farm.submit("b")
    farm.decide()
    farm.submit("b", a, 2)
    farm.submit("a", b, 1)
    farm.wait(a, 1, rank=2)
    farm.wait(b, 1, rank=1)
    farm.decide()
    farm.scheduler.still_waits(TWO, 1)
    farm.scheduler.answered(TWO)
    assert farm.scheduler.still_waits(ONE, 1) is None


def test_no_deadlock_is_told_of_a_call_that_will_run_again() -> None:
    """It failed, and its pause is not over."""
    farm = Farm(1, a=1)
    parent = farm.submit("a")
    farm.decide()
    child = farm.submit("a", parent)
    farm.wait(parent)
    farm.decide()
    farm.finish(child)
    farm.scheduler.postponed(child)
    assert farm.scheduler.still_waits(ONE, 1) is None


@pytest.mark.parametrize("slaves", [1, 2, 3, 4])
@pytest.mark.parametrize("program", [CROSS, RING], ids=["cross", "ring"])
@pytest.mark.parametrize("seed", range(20))
def test_a_cycle_of_limits_ends_or_is_told(program: Program, slaves: int, seed: int) -> None:
    """Whatever the order of events: nothing is left when nothing moves any more."""
    world = World(program, slaves)
    world.play(dice_of(seed), tell=True)
    assert world.unended() == []


def random_program(dice: Random) -> Program:
    """A few tasks that submit each other."""
    names = "abcd"[: dice.randint(1, 4)]
    limits = {name: dice.choice([None, 1, 1, 1, 2]) for name in names}
    bodies = {name: Body(tuple(dice.choice(names) for _ in range(dice.randint(0, 3))), dice.random() < 0.9) for name in names}
    return Program(limits, bodies, tuple(dice.choice(names) for _ in range(dice.randint(1, 4))), depth=dice.randint(1, 4))


@pytest.mark.parametrize("seed", range(300))
def test_whatever_calls_submit_all_ends_or_is_told(seed: int) -> None:
    """Random programs in random order: limits hold, each call is begun once, and no call is left."""
    dice = dice_of(seed)
    world = World(random_program(dice), dice.randint(1, 4))
    world.play(dice, tell=True)
    assert world.unended() == []


@pytest.mark.parametrize("seed", range(300))
def test_a_deadlock_is_told_only_where_no_move_is_left(seed: int) -> None:
    """Go on without telling: at the end, the call still waits, and brute force finds nothing that a slave could run."""
    dice = dice_of(seed)
    world = World(random_program(dice), dice.randint(1, 4))
    world.play(dice, tell=False)
    still = {run.call.id for slave in world.slaves.values() for run in slave.stack if run.wait is not None}
    assert {stuck.call.id for stuck in world.stuck} <= still
    assert world.could_run() == []
    assert bool(world.unended()) == bool(world.stuck)


@pytest.mark.parametrize("seed", range(50))
def test_what_quick_looks_miss_the_proof_finds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hot path looks at a few calls alone: here, at none but those of which it has just heard."""
    monkeypatch.setattr(nesting, "LOOKS", 0)
    dice = dice_of(seed)
    world = World(random_program(dice), dice.randint(1, 4))
    world.play(dice, tell=True)
    assert world.unended() == []
