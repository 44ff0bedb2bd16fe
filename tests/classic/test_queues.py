"""`WorkQueue` and `MultiWorkQueue`: who gets what, and that nothing is lost."""

from __future__ import annotations

import threading
from collections import Counter
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mpitasks.classic import Master, MultiWorkQueue, WorkQueue
from mpitasks.errors import EncodeError
from tests.classic.conftest import IDLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tests.classic.conftest import Farm, Hand

    NewFarm = Callable[[int], Farm]
    Limits = Mapping[Any, int | None]

Kind = IntEnum("Kind", "ONE TWO THREE")
LIMITS = {Kind.ONE: 2, Kind.TWO: None, Kind.THREE: 1}
"""Those of example 5."""


class Tagging(Master):
    """Wraps and unwraps, as the masters of example 5 do."""

    def __init__(self, kind: object) -> None:
        super().__init__()
        self.kind = kind

    def run(self, slave: int, data: Any) -> None:
        super().run(slave, (self.kind, data))

    def get_data(self, completed_slave: int) -> Any:
        kind, result = super().get_data(completed_slave)
        assert kind == self.kind
        return result


def queue_of(farm: Farm, limits: Limits) -> tuple[MultiWorkQueue, dict[Any, Tagging]]:
    """A MultiWorkQueue over all slaves of that farm."""
    masters = {kind: Tagging(kind) for kind in limits}
    slaves = range(1, len(farm.transports))
    return MultiWorkQueue(slaves, [(kind, masters[kind], limit) for kind, limit in limits.items()]), masters


def doing(hands: Mapping[int, Hand]) -> Counter[Any]:
    """How many slaves do work of each kind."""
    return Counter(hand.data[0] for hand in hands.values() if hand.look().data is not IDLE)


def collected(queue: MultiWorkQueue, kinds: Iterable[Any]) -> list[Any]:
    """All results that are there."""
    return [result for kind in kinds for result in queue.get_completed_work(kind)]


def collect_all(farm: Farm, queue: WorkQueue) -> list[Any]:
    """Work until everything is done; the results."""
    results: list[Any] = []

    def goes_on() -> bool:
        queue.do_work()
        results.extend(queue.get_completed_work())
        return queue.done()

    farm.until(goes_on)
    return results


# ---------------------------------------------------------------- one queue


def test_all_work_is_done_once(farm: NewFarm) -> None:
    """Also what is added while results come in; None is work like any other, and a result."""
    world = farm(4)
    seen: list[Any] = []
    queue = WorkQueue(Master(range(1, 4)))
    assert queue.done()
    for data in [None, *range(10), None]:
        queue.add_work(data)
    world.start_all(lambda _, data: seen.append(data))
    assert collect_all(world, queue) == [None] * 12
    queue.add_work("late")
    assert not queue.done()
    assert collect_all(world, queue) == [None]
    assert Counter(seen) == Counter({None: 2, "late": 1, **dict.fromkeys(range(10), 1)})


def test_a_resource_id_that_is_none_is_refused(farm: NewFarm) -> None:
    """Before anything changes: what was added is done, and the queue ends."""
    world = farm(3)
    queue = WorkQueue(Master([1]))
    several = MultiWorkQueue([2], [("a", Master(), None)])
    rule = r"add_work: resource_id=\[1\] must be hashable: it is an id, such as a string, .*; nothing was added"
    with pytest.raises(TypeError, match=rule):
        queue.add_work(1, [1])  # type: ignore[arg-type]  that is the test
    with pytest.raises(TypeError, match=rule):
        several.add_work("a", 1, resource_id=[1])  # type: ignore[arg-type]  as above
    assert (queue.done(), several.done()) == (True, True)
    queue.add_work(2, (1,))
    world.start_all(lambda _, data: data)
    assert collect_all(world, queue) == [2]


def test_do_work_fills_all_slaves_at_once(farm: NewFarm) -> None:
    """And gives no slave a second piece before the result of the first is collected."""
    world = farm(33)
    hands = world.hands()
    queue = WorkQueue(Master(range(1, 33)))
    for number in range(64):
        queue.add_work(number)
    queue.do_work()
    assert sorted(hand.look().data for hand in hands.values()) == list(range(32))
    hands[5].answer("five")
    queue.do_work()
    assert hands[5].look().data is IDLE
    assert list(queue.get_completed_work()) == ["five"]
    queue.do_work()
    assert hands[5].look().data == 32


def test_what_do_work_raises_comes_with_the_results(farm: NewFarm) -> None:
    """Once; whoever asks again gets the rest, and the slaves go on."""
    world = farm(3)
    queue = WorkQueue(Master([1, 2]))
    for number in range(-3, 4):
        queue.add_work(number)
    world.start_all(lambda _, number: 6 // number)
    results: list[int] = []
    errors: list[BaseException] = []

    def goes_on() -> bool:
        queue.do_work()
        try:
            results.extend(queue.get_completed_work())
        except ZeroDivisionError as error:
            errors.append(error)
        return queue.done()

    world.until(goes_on)
    assert (sorted(results), len(errors)) == ([-6, -3, -2, 2, 3, 6], 1)


def test_a_result_after_an_error_is_not_lost(farm: NewFarm) -> None:
    """Even if both came in at the same look."""
    world = farm(3)
    master = Master([1, 2])
    queue = WorkQueue(master)
    queue.add_work(0)
    queue.add_work(2)
    world.start(1, lambda number: 6 // number)
    world.until(lambda: world.is_ready(1))
    queue.do_work()
    world.start(2, lambda number: 6 // number)
    world.until(lambda: world.is_ready(2))
    queue.do_work()
    world.until(lambda: len(master.get_completed_slaves()) == 2)
    with pytest.raises(ZeroDivisionError):
        list(queue.get_completed_work())
    assert (list(queue.get_completed_work()), queue.done()) == ([3], True)


def test_work_that_cannot_be_pickled_is_dropped_with_an_error(farm: NewFarm) -> None:
    """All other work is done, and the slave for which it was meant gets some of it."""
    world = farm(3)
    hands = world.hands()
    queue = WorkQueue(Master([1, 2]))
    for data in (threading.Lock(), "one", "two"):
        queue.add_work(data)
    with pytest.raises(EncodeError, match="a lock, can't be pickled"):
        queue.do_work()
    queue.do_work()
    assert {hand.look().data for hand in hands.values()} == {"one", "two"}
    for hand in hands.values():
        hand.answer()
    assert list(queue.get_completed_work()) == [None, None]
    assert queue.done()


def test_work_waits_again_when_an_overridden_run_raises(farm: NewFarm) -> None:
    """The program's own mistake costs nothing; nor does it stop what was to go to other slaves."""

    class Moody(Master):
        moods = 2

        def run(self, slave: int, data: Any) -> None:
            self.moods -= 1
            if self.moods == 1:
                raise LookupError("not now")
            super().run(slave, data)

    world = farm(4)
    hands = world.hands()
    queue = WorkQueue(Moody([1, 2, 3]))
    for data in ("one", "two", "three"):
        queue.add_work(data)
    with pytest.raises(LookupError, match="not now"):
        queue.do_work()
    queue.do_work()
    assert sorted(hand.look().data for hand in hands.values()) == ["one", "three", "two"]


def test_work_that_run_never_takes_does_not_block_its_queue(farm: NewFarm) -> None:
    """What other slaves get is given out before that is raised; it is tried again at each do_work."""

    class Picky(Master):
        tries = 0

        def run(self, slave: int, data: Any) -> None:
            if data == "bad":
                self.tries += 1
                raise LookupError("never")
            super().run(slave, data)

    world = farm(4)
    hands = world.hands()
    master = Picky([1, 2, 3])
    queue = WorkQueue(master)
    for data in ("bad", 1, 2, 3, 4, 5, 6):
        queue.add_work(data)
    for turn in range(1, 5):
        with pytest.raises(LookupError, match="never"):
            queue.do_work()
        assert master.tries == turn
        for hand in hands.values():
            if hand.look().data is not IDLE:
                hand.answer()
        list(queue.get_completed_work())
    assert sorted(data for hand in hands.values() for data in hand.got) == [1, 2, 3, 4, 5, 6]
    assert not queue.done()


def test_data_that_cannot_be_pickled_is_told_beside_a_run_that_raises(farm: NewFarm) -> None:
    """It is dropped, so this is the one time; the other is raised again."""

    class Picky(Master):
        def run(self, slave: int, data: Any) -> None:
            if data == "bad":
                raise LookupError("never")
            super().run(slave, data)

    world = farm(3)
    world.hands()
    queue = WorkQueue(Picky([1, 2]))
    queue.add_work("bad")
    queue.add_work(threading.Lock())
    with pytest.raises(EncodeError):
        queue.do_work()
    with pytest.raises(LookupError, match="never"):
        queue.do_work()


def test_an_overridden_run_may_keep_the_work_to_itself(farm: NewFarm) -> None:
    """Then it is done with, and the slave is free."""

    class Cached(Master):
        def run(self, slave: int, data: Any) -> None:
            if data != "known":
                super().run(slave, data)

    world = farm(2)
    hands = world.hands()
    queue = WorkQueue(Cached([1]))
    queue.add_work("known")
    queue.add_work("new")
    queue.do_work()
    queue.do_work()
    assert hands[1].look().data == "new"
    hands[1].answer()
    assert (list(queue.get_completed_work()), queue.done()) == ([None], True)


def test_overrides_are_called_in_the_users_thread(farm: NewFarm) -> None:
    """`run` within `do_work`, `get_data` within `get_completed_work`, and nowhere else."""
    calls: list[tuple[str, str, threading.Thread]] = []
    inside = ""

    class Noting(Master):
        def run(self, slave: int, data: Any) -> None:
            calls.append(("run", inside, threading.current_thread()))
            super().run(slave, data)

        def get_data(self, completed_slave: int) -> Any:
            calls.append(("get_data", inside, threading.current_thread()))
            return super().get_data(completed_slave)

    world = farm(3)
    queue = WorkQueue(Noting([1, 2]))
    world.start_all(lambda _, data: data)
    for number in range(6):
        queue.add_work(number)
    results: list[int] = []
    while len(results) < 6:
        inside = "do_work"
        queue.do_work()
        inside = "get_completed_work"
        results.extend(queue.get_completed_work())
        inside = "done"
        queue.done()
        inside = ""
    me = threading.current_thread()
    assert Counter(calls) == {("run", "do_work", me): 6, ("get_data", "get_completed_work", me): 6}


# ---------------------------------------------------------------- by hand, beside a queue


def test_a_slave_taken_by_hand_is_left_alone(farm: NewFarm) -> None:
    """Until its result is collected; that comes with the others."""
    world = farm(3)
    hands = world.hands()
    master = Master([1, 2])
    queue = WorkQueue(master)
    master.get_ready_slaves()
    master.run(1, "by hand")
    for data in ("one", "two"):
        queue.add_work(data)
    queue.do_work()
    assert [hand.look().data for hand in hands.values()] == ["by hand", "one"]
    hands[1].answer("from hand")
    queue.do_work()
    assert hands[1].look().data is IDLE
    assert list(queue.get_completed_work()) == ["from hand"]
    queue.do_work()
    assert hands[1].look().data == "two"


def test_a_result_collected_by_hand_is_collected(farm: NewFarm) -> None:
    """Its work is done, and its slave is free."""
    world = farm(2)
    hands = world.hands()
    master = Master([1])
    queue = WorkQueue(master)
    for data in ("one", "two"):
        queue.add_work(data)
    queue.do_work()
    hands[1].look().answer("result")
    assert master.get_completed_slaves() == {1}
    assert master.get_data(1) == "result"
    queue.do_work()
    assert hands[1].look().data == "two"


def test_slaves_come_and_go_by_hand(farm: NewFarm) -> None:
    """A queue works with those that its master has now."""
    world = farm(4)
    hands = world.hands()
    master, other = Master([1, 2]), Master()
    queue = WorkQueue(master)
    queue.do_work()
    assert master.move_slave(other, 1) == 1
    master.add_slave(3, ready=True)
    for data in range(9):
        queue.add_work(data)
    queue.do_work()
    assert [rank for rank, hand in hands.items() if hand.look().data is not IDLE] == [2, 3]


# ---------------------------------------------------------------- resources


def loads_of(farm: Farm, slaves: int, work: list[tuple[int, Any]]) -> Counter[Any]:
    """How often each resource is loaded, if a slave keeps the last one; loading takes 10 s, and the rest 0.1."""
    hands, queue = farm.hands(), WorkQueue(Master(range(1, slaves + 1)))
    held: dict[int, Any] = {}
    loads: Counter[Any] = Counter()
    for number, resource in work:
        queue.add_work((number, resource), resource_id=resource)
    while not queue.done():
        queue.do_work()
        for rank, hand in hands.items():
            if hand.look().data is IDLE:
                continue
            resource = hand.data[1]
            is_new = resource is not None and held.get(rank) != resource
            if is_new:
                loads[resource] += 1
                held[rank] = resource
            hand.answer(seconds=10 if is_new else 0.1)
        list(queue.get_completed_work())
    return loads


@pytest.mark.parametrize("slaves", [1, 2, 3, 5, 7])
def test_a_slave_stays_with_its_resource(farm: NewFarm, slaves: int) -> None:
    """Example 3, with 3 resources in any order: each is loaded once. The seed's queue loads them up to 13 times."""
    work = [(number, number * 7 % 10 % 3) for number in range(100)]
    assert loads_of(farm(slaves + 1), slaves, work) == {0: 1, 1: 1, 2: 1}


def test_work_without_resource_does_not_make_a_slave_forget(farm: NewFarm) -> None:
    """It keeps what it holds."""
    work = [(number, None if number % 3 else "mesh") for number in range(30)]
    assert loads_of(farm(2), 1, work) == {"mesh": 1}


# ---------------------------------------------------------------- several masters


def test_limits_are_kept_and_the_rest_takes_what_is_left(farm: NewFarm) -> None:
    """Example 5: 8 slaves with limits 2, none and 1; at every moment, and as slaves the masters own what they use."""
    world = farm(9)
    hands = world.hands()
    queue, masters = queue_of(world, LIMITS)
    for number in range(40):
        for kind in Kind:
            queue.add_work(kind, number)
    seen: list[Counter[Any]] = []
    results: list[Any] = []
    while not queue.done():
        queue.do_work()
        seen.append(doing(hands))
        owned = {kind: master.num_slaves() for kind, master in masters.items()}
        assert [kind for kind in Kind if not seen[-1][kind] <= owned[kind] <= (LIMITS[kind] or 8)] == []
        for hand in list(hands.values())[len(seen) % 2 :: 2]:
            if hand.data is not IDLE:
                hand.answer(hand.data)
        results += collected(queue, Kind)
    assert (max(one[Kind.ONE] for one in seen), max(one[Kind.THREE] for one in seen)) == (2, 1)
    assert [one for one in seen[:10] if one != {Kind.ONE: 2, Kind.TWO: 5, Kind.THREE: 1}] == []
    assert sorted(results) == sorted([*range(40)] * 3)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_lent_slaves_come_back(farm: NewFarm, order: list[int]) -> None:
    """As soon as their calls end, whatever the order of definition; no queue is stripped to none."""
    world = farm(5)
    hands = world.hands()
    limits = list({"limited": 2, "unlimited": None}.items())
    queue, _ = queue_of(world, dict(limits[one] for one in order))
    for number in range(20):
        queue.add_work("unlimited", number)
    queue.do_work()
    assert doing(hands) == {"unlimited": 4}
    for number in range(20):
        queue.add_work("limited", number)
    for hand in hands.values():
        hand.answer(("unlimited", 0))
    collected(queue, ["unlimited"])
    queue.do_work()
    assert doing(hands) == {"limited": 2, "unlimited": 2}


def test_one_running_call_holds_no_other_slave(farm: NewFarm) -> None:
    """Neither does a limited queue hoard: 16 slaves, of which one has a long call."""
    world = farm(17)
    hands = world.hands()
    queue, _ = queue_of(world, {"long": 8, "short": None})
    queue.add_work("long", 0)
    queue.do_work()
    for number in range(100):
        queue.add_work("short", number)
    queue.do_work()
    assert doing(hands) == {"long": 1, "short": 15}


def test_fewer_slaves_than_masters_serve_all(farm: NewFarm) -> None:
    """Two slaves, three masters: nobody waits for another one's last piece of work."""
    world = farm(3)
    hands = world.hands()
    queue, _ = queue_of(world, dict.fromkeys("abc"))
    for number in range(20):
        for kind in "abc":
            queue.add_work(kind, number)
    seen: Counter[Any] = Counter()
    for _ in range(9):
        queue.do_work()
        seen += doing(hands)
        for hand in hands.values():
            hand.answer((hand.data[0], 0))
        collected(queue, "abc")
    assert (seen.total(), min(seen.values()) >= 5) == (18, True)  # a turn apart at most


def test_limits_may_sum_to_less_than_the_slaves(farm: NewFarm, caplog: pytest.LogCaptureFixture) -> None:
    """The others are idle, belong to no master, and leave with the first that terminates."""
    world = farm(7)
    hands = world.hands()
    queue, masters = queue_of(world, {"a": 1, "b": 2})
    assert [master.num_slaves() for master in masters.values()] == [1, 2]
    for number in range(20):
        queue.add_work("a", number)
        queue.add_work("b", number)
    queue.do_work()
    assert doing(hands) == {"a": 1, "b": 2}
    assert [master.num_slaves() for master in masters.values()] == [1, 2]
    threads = [world.start(rank, lambda data: data) for rank in hands if hands[rank].data is IDLE]
    for hand in hands.values():
        if hand.data is not IDLE:
            hand.answer((hand.data[0], 0))
    busy = [rank for rank in hands if rank in masters["a"].slaves | masters["b"].slaves]
    threads += [world.start(rank, lambda data: data) for rank in busy]
    for master in masters.values():
        master.terminate_slaves()
    for thread in threads:
        thread.join(5)
    assert ([thread.is_alive() for thread in threads], len(threads)) == ([False] * 6, 6)
    assert caplog.messages == []  # nobody was waited for in vain


def test_a_master_keeps_its_own_slaves(farm: NewFarm) -> None:
    """Those that it had before are shared too, and dealt to nobody else."""
    world = farm(4)
    hands = world.hands()
    one, other = Master([1, 2]), Master()
    queue = MultiWorkQueue([1, 2, 3], [("one", one, None), ("other", other, None)])
    assert (one.slaves | other.slaves, one.slaves & other.slaves) == ({1, 2, 3}, set())
    for number in range(3):
        queue.add_work("other", number)
    queue.do_work()
    assert sum(hand.look().data is not IDLE for hand in hands.values()) == 3
    assert (one.slaves, other.slaves) == (set(), {1, 2, 3})


def test_slaves_beside_take_part_in_every_phase(farm: NewFarm) -> None:
    """Those that no master has leave, come again and leave again with the others."""
    world = farm(4)
    queue, masters = queue_of(world, {"a": 1, "b": 1})
    for phase in range(3):
        threads = [world.start(rank, lambda work: work) for rank in (1, 2, 3)]
        world.until(lambda: all(world.is_ready(rank) for rank in (1, 2, 3)))
        for number in range(20):
            queue.add_work("ab"[number % 2], (phase, number))
        results: list[Any] = []
        while not queue.done():
            queue.do_work()
            results += collected(queue, "ab")
        assert sorted(results) == [(phase, number) for number in range(20)]
        masters["a"].terminate_slaves()
        masters["b"].terminate_slaves()
        for thread in threads:
            thread.join(5)
        assert [thread.is_alive() for thread in threads] == [False] * 3


MISTAKES = {
    "id": (lambda one, other: [("a", one, None), ("a", other, 1)], "masters_details has the id 'a' twice"),
    "master": (lambda one, _: [("a", one, None), ("b", one, 1)], "masters_details has the same master for 'a' and 'b'"),
    "limit": (lambda one, _: [("a", one, 0)], "the limit 0 of 'a' must be 1 or more, or None for no limit"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_details_that_make_no_sense_are_refused(farm: NewFarm, mistake: str) -> None:
    """Before anything waits for ever."""
    farm(3)
    details, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message):
        MultiWorkQueue([1, 2], details(Master(), Master()))


def test_an_unknown_id_is_refused(farm: NewFarm) -> None:
    """At once, and with those that are known."""
    world = farm(2)
    queue, _ = queue_of(world, {"a": None, 2: None})
    for use in (lambda: queue.add_work("b", 1), lambda: queue.get_completed_work("b")):
        with pytest.raises(KeyError, match="no work has the id 'b'; known: 'a', 2"):
            use()


NO_DETAILS = {
    "a fraction": (("a", "one", 1.5), r"the limit 1\.5 of 'a' must be a whole number, 1 or more, or None for no limit"),
    "a bool": (("a", "one", True), "the limit True of 'a' must be a whole number, 1 or more, or None for no limit"),
    "a string": (("a", "one", "2"), "the limit '2' of 'a' must be a whole number, 1 or more, or None for no limit"),
    "two": (("a", 1), r"masters_details has \('a', 1\), which must be \(id, master, limit\); the limit is None for no limit"),
    "nothing": (None, r"masters_details has None, which must be \(id, master, limit\); the limit is None for no limit"),
    "no master": (
        ("a", None, 1),
        "masters_details has None as the master of 'a', which must be a Master; make one for each id",
    ),
}


@pytest.mark.parametrize("what", NO_DETAILS)
def test_details_of_a_wrong_type_are_refused(farm: NewFarm, what: str) -> None:
    """Before any master has a slave."""
    farm(2)
    detail, rule = NO_DETAILS[what]
    master = Master()
    given: Any = tuple(master if part == "one" else part for part in detail) if detail else detail
    with pytest.raises(TypeError, match=rule):
        MultiWorkQueue([1], [given])
    assert master.num_slaves() == 0


def test_a_limit_may_be_any_whole_number(farm: NewFarm) -> None:
    """Numpy's too: programs compute them."""
    world = farm(3)
    world.hands()
    _, masters = queue_of(world, {"a": np.int64(1)})  # type: ignore[dict-item]  it is one, for Python
    assert masters["a"].num_slaves() == 1
