"""Many calls that travel as one: sent together, taken apart, and ended each by itself."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpitasks
from mpitasks import Done, Executor, Failed, RemoteError, as_completed, current, task, wait
from mpitasks.errors import EncodeError
from mpitasks.futures import Future, _watching
from mpitasks.runtime.batches import is_simple
from mpitasks.runtime.loop import Loop
from tests.runtime.world import World, echo

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.runtime.world import Clock

    NewWorld = Callable[..., World]

ran: Counter[int] = Counter()
pickled: Counter[int] = Counter()
meanwhile: dict[int, Callable[[], Any]] = {}
"""What happens while the call with that number runs; its value, if there is one."""


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ran.clear()
    pickled.clear()
    meanwhile.clear()


@task
def count(number: int) -> Any:
    """Count that it was run, and do what the test wants meanwhile."""
    ran[number] += 1
    return meanwhile.pop(number)() if number in meanwhile else number


@task
def grow(some: list[int]) -> list[int]:
    """Change what it is given."""
    some.append(len(some))
    return some


@task(bind=True)
def where(ctx: mpitasks.Context, number: int) -> tuple[int, str, int, int]:
    """What a bound call knows of itself."""
    return number, ctx.task_name, ctx.rank, ctx._call


def divided(x: int) -> int:
    """No task."""
    return 60 // x


def missing() -> None:
    """Fail to be there."""
    raise LookupError("not here")


class Unloadable:
    """Can be pickled, and not unpickled."""

    def __call__(self, x: int) -> int:
        return x

    def __reduce__(self) -> Any:
        return missing, ()


def told(world: World) -> list[tuple[int, int, int]]:
    """Of each report of many: the first, how many have ended, and whether one was left."""
    return [(first, done, left) for _, _, _, first, done, left, *_ in world.messages("MANY")]


def stopped(world: World) -> bool:
    """Whether the call that asks should stop, once the listener has looked for messages."""
    while world.slaves[1].receive():
        pass
    return current().should_stop()


def listen(world: World, rank: int = 1) -> None:
    """What the listener thread does when a call lasts."""
    world.slaves[rank].receive()
    world.slaves[rank]._let_others_go_on()


# ---------------------------------------------------------------- together


def test_a_chunk_is_one_message_each_way(new_world: NewWorld) -> None:
    """Its values come back in one, and no future was made."""
    world = new_world(1)
    many = count.map(range(7), chunksize=7)
    world.finish()
    assert (world.windows(), told(world)) == ([(1, list(range(1, 8)))], [(1, 7, 0)])
    assert many.results() == list(range(7))
    assert many._parts[0]._futures == {}  # type: ignore[attr-defined]  # it is a map's
    assert world.messages("REPORT") == []


def test_futures_of_a_map_are_made_as_they_end(new_world: NewWorld) -> None:
    """For all who watch it, each once; and the calls go together, as if nobody did."""
    world = new_world(1)
    meanwhile[3] = lambda: 1 // 0
    many = count.map(range(7), chunksize=7)
    batch = many._parts[0]  # type: ignore[attr-defined]  # it is a map's
    with _watching(many) as one, _watching(many) as other:
        assert (len(batch._watchers), batch._futures) == (2, {})
        world.finish()
        assert list(batch._futures) == [3]
        ended = [list(one.until(None)), list(other.until(None))]
    assert [len(ended[0]), set(ended[0])] == [7, set(many)]
    assert (ended[1], batch._watchers) == (ended[0], ())
    assert [len(list(as_completed(many))), len(wait(many).done), told(world)] == [7, 7, [(1, 7, 0)]]
    assert many[3].exception() is not None


def test_a_watcher_is_told_once_of_each(new_world: NewWorld) -> None:
    """Of one whose future was made after its end, too, however early that was."""
    world = new_world(1)
    meanwhile[5] = lambda: world.master.step() or many[0].done()
    meanwhile[6] = lambda: 1 // 0
    many = count.map(range(8), chunksize=4)
    world.finish()
    assert many[5].result() is True
    assert set(as_completed(many)) == set(many)


def test_three_items_go_to_three_slaves(new_world: NewWorld) -> None:
    """However short they are: nobody waits behind another while a slave idles."""
    world = new_world(3)
    count.map(range(100), chunksize=100)
    world.finish()
    before = len(world.windows())
    count.map(range(3))
    assert [len(ids) for _, ids in world.windows()[before:]] == [1, 1, 1]
    assert len({rank for rank, _ in world.windows()[before:]}) == 3
    world.finish()


def test_an_unknown_task_is_tried_first(new_world: NewWorld, clock: Clock) -> None:
    """One call tells how long they are; long ones are never sent together."""
    world = new_world(1)

    def take_long() -> None:
        clock.now += 1.0

    meanwhile.update(dict.fromkeys(range(20), take_long))
    many = count.map(range(20))
    world.finish()
    assert {len(ids) for _, ids in world.windows()} == {1}
    assert many.results() == [None] * 20


def test_short_calls_fill_two_halves_of_a_window(new_world: NewWorld, clock: Clock) -> None:
    """So that one is under way while the other is run."""
    world = new_world(1)

    def take(seconds: float) -> None:
        clock.now += seconds

    meanwhile.update({number: lambda: take(0.001) for number in range(41)})
    many = count.map(range(41))
    world.turn()
    _, _, _, _, _, calls = world.messages("WINDOW")[1]
    assert [len(call[5]) for call in calls if len(call) > 9] == [2, 4, 4]
    world.finish()
    assert len(many.results()) == 41


@pytest.mark.parametrize("kind", ["numbers", "texts", "lists", "pairs"])
def test_arguments_of_every_kind(new_world: NewWorld, kind: str) -> None:
    """Those that can't change travel together, others each by itself."""
    items: dict[str, list[Any]] = {
        "numbers": [1, 2.5, None, True, 3j],
        "texts": ["a", b"b", "c" * 1000, 4, "e"],
        "lists": [[1], [2], {"a": [3]}, {4}, (5, [6])],
        "pairs": [(1, "a"), (None, 2), (3, b"b"), (4, 5.5), ("x", True)],
    }
    world = new_world(1)
    many = echo.starmap([(one,) for one in items[kind]], chunksize=5)
    world.finish()
    assert (many.results(), told(world)) == (items[kind], [(1, 5, 0)])


def test_what_two_items_share_two_calls_do_not(new_world: NewWorld) -> None:
    """As if each was submitted alone: neither arguments nor values are the same object."""
    world, shared = new_world(1), [0]

    many = grow.map([shared] * 3, chunksize=3)
    world.finish()
    first, second, _ = many.results()
    assert (first, first is not second, shared) == ([0, 1], True, [0])


@pytest.mark.parametrize(
    "options", [{"retries": 1}, {"timeout": 9.0}, {"isolate": True}, {"memo": True}, {"id": 1}, {"cost": 1.0}, {"resource": 1}]
)
def test_what_needs_more_goes_by_itself(options: dict[str, Any]) -> None:
    """Whatever is looked after for each call."""
    assert (is_simple(count._plan), is_simple(count.options(**options)._plan)) == (True, False)


class Hooked:
    """Counts how often it was pickled."""

    def __init__(self, number: int, size: int = 0) -> None:
        self.number, self.content = number, b"x" * size

    def __getstate__(self) -> dict[str, Any]:
        pickled[self.number] += 1
        return vars(self)


def test_hooks_run_once_for_each_item(new_world: NewWorld) -> None:
    """But for the one that can't go with the others; what comes after it goes alone."""
    world = new_world(1)
    sizes = {3: 1 << 17, 5: 1 << 17}
    many = echo.map([Hooked(number, sizes.get(number, 0)) for number in range(7)], chunksize=7)
    assert pickled == Counter({number: 1 + (number == 3) for number in range(7)})
    world.finish()
    assert [value.number for value in many.results()] == list(range(7))
    assert told(world) == [(1, 3, 0)]


def test_large_or_futures_among_the_arguments(new_world: NewWorld) -> None:
    """They are submitted one by one."""
    world = new_world(1)
    first = echo.delay(5)
    assert [block.count for block in echo._calls(world.master).submit([1, first], tuples=False)] == [2]
    many = echo.map([np.zeros(1 << 14), first, 7], chunksize=3)
    world.finish()
    assert many[1].result() == 5
    assert told(world) == []


# ---------------------------------------------------------------- each by itself


def test_a_failure_stays_with_its_item(new_world: NewWorld) -> None:
    """With its own note; the others have their values, and `results` says how many have failed."""
    world = new_world(1)

    def fail() -> None:
        raise ValueError("no")

    meanwhile.update({2: fail, 4: fail})
    many = count.map(range(6), chunksize=6)
    world.finish()
    assert [type(one) for one in many.outcomes()] == [Done, Done, Failed, Done, Failed, Done]
    with pytest.raises(ValueError, match="no") as caught:
        many.results()
    assert caught.value.__notes__ == [
        "task 'tests.runtime.test_batches.count', call 3, attempt 1, slave rank 1 on here",
        "and 1 more of these calls have failed",
    ]
    assert (many[2].rank, many[2].attempts, many[3].rank, many[3].attempts) == (1, 1, 1, 1)
    assert world.master.statistics().queues[count.name].failed == 2


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), StopIteration(), IndexError("pop")])
def test_whatever_is_raised_is_an_outcome(new_world: NewWorld, error: BaseException) -> None:
    """And the next of the same message runs."""

    def fail() -> None:
        raise error

    world = new_world(1)
    meanwhile[1] = fail
    many = count.map(range(3), chunksize=3)
    world.finish()
    assert [type(one) for one in many.outcomes()] == [Done, Failed, Done]


def test_a_value_that_cannot_be_pickled_fails_alone(new_world: NewWorld) -> None:
    """As it does without others beside it."""
    world = new_world(1)
    meanwhile[1] = lambda: lambda: None
    many = count.map(range(3), chunksize=3)
    world.finish()
    with pytest.raises(EncodeError, match="returned function, which can't be pickled"):
        many[1].result()
    assert (many[0].result(), many[2].result()) == (0, 2)


class Broken:
    """Can't be unpickled on the master."""

    def __reduce__(self) -> Any:
        return _break, ()


def _break() -> None:
    raise ValueError("broken")


def test_a_value_that_cannot_be_unpickled_fails_alone(new_world: NewWorld) -> None:
    """Where it is asked for."""
    world = new_world(1)
    meanwhile[1] = Broken
    many = count.map(range(3), chunksize=3)
    world.finish()
    with pytest.raises(RemoteError, match="can't be unpickled on the master: broken"):
        many.results()
    assert (many[0].result(), many[2].result()) == (0, 2)


def test_a_bound_task_knows_its_call(new_world: NewWorld) -> None:
    """Each its own number."""
    world = new_world(1)
    many = where.map(range(3), chunksize=3)
    world.finish()
    assert many.results() == [(number, where.name, 1, number + 1) for number in range(3)]


def test_current_is_that_of_the_item(new_world: NewWorld) -> None:
    """Asked once or twice, in whichever of them."""
    world = new_world(1)
    meanwhile.update({1: lambda: (current()._call, current() is current()), 2: lambda: (current()._call, True)})
    meanwhile[4] = lambda: (current()._call, True)
    many = count.map(range(6), chunksize=6)
    world.finish()
    assert many.results() == [0, (2, True), (3, True), 3, (5, True), 5]
    with pytest.raises(mpitasks.NotRunning):
        current()


def test_one_future_each_and_always_the_same(new_world: NewWorld) -> None:
    """However it is asked for; before and after its end."""
    world = new_world(1)
    many = count.map(range(5), chunksize=5)
    third = many[2]
    assert (third.done(), len(many), repr(many)) == (False, 5, "<Futures: 0 of 5 ended>")
    seen: list[Any] = []
    third.add_done_callback(lambda future: seen.append(future.result()))
    world.finish()
    assert (seen, list(many)[2] is third, many[2:4][0] is third, many[-3] is third) == ([2], True, True, True)
    assert (third.result(), many.results()) == (2, list(range(5)))


def test_items_are_arguments_of_other_calls(new_world: NewWorld) -> None:
    """One of them, or all."""
    world = new_world(1)
    many = count.map(range(4), chunksize=4)
    one, everything = echo.delay(many[1]), echo.delay(many.arg())
    world.finish()
    late = echo.delay([many[3]])
    world.finish()
    assert (one.result(), everything.result(), late.result()) == (1, [0, 1, 2, 3], [3])


# ---------------------------------------------------------------- cancelled


def test_an_item_is_cancelled_before_it_is_sent(new_world: NewWorld) -> None:
    """It never runs; those around it do."""
    world = new_world(1)
    blocker = echo.delay()
    many = count.map(range(6), chunksize=6)
    assert [many[place].cancel() for place in (0, 3, 5)] == [True, True, True]
    world.finish()
    assert (blocker.done(), sorted(ran)) == (True, [1, 2, 4])
    assert [many[place].cancelled() for place in range(6)] == [True, False, False, True, False, True]
    with pytest.raises(CancelledError):
        many.results()


def test_an_item_is_told_to_stop_when_it_is_too_late(new_world: NewWorld) -> None:
    """That one alone."""
    world = new_world(1)
    many = count.map(range(3), chunksize=3)
    assert many[1].cancel() is False
    meanwhile.update({0: lambda: stopped(world), 1: lambda: stopped(world)})
    world.finish()
    assert many.results() == [False, True, 2]


def test_all_are_cancelled(new_world: NewWorld) -> None:
    """True only if none was sent."""
    world = new_world(1)
    echo.delay()
    waiting = count.map(range(50), chunksize=50)
    assert (waiting.cancel(), waiting[7].cancelled()) == (True, True)
    world.finish()
    sent = count.map(range(5), chunksize=5)
    meanwhile[3] = lambda: stopped(world)
    assert sent.cancel() is False
    world.finish()
    assert (sent.results(), sum(ran.values())) == ([0, 1, 2, True, 4], 5)


def test_all_are_cancelled_though_some_were_before(new_world: NewWorld) -> None:
    """As of any other futures: one by one, together, and again."""
    world = new_world(1)
    blocker = echo.delay()
    many = count.map(range(9))
    assert (many[4].cancel(), many.cancel(), many.cancel()) == (True, True, True)
    world.finish()
    assert (blocker.done(), set(ran), many.cancel()) == (True, set(), True)


def test_not_all_are_cancelled_where_some_have_returned(new_world: NewWorld) -> None:
    """They have ended, but not so."""
    world = new_world(1)
    many = count.map(range(4), chunksize=4)
    world.finish()
    assert many.cancel() is False


def test_what_comes_back_is_told_to_stop_again(new_world: NewWorld) -> None:
    """Wherever it is sent then, with a future of its own or without."""
    world = new_world(2)

    def asks() -> bool:
        while world.slaves[2].receive():
            pass
        return current().should_stop()

    def long() -> None:
        listen(world)
        for _ in range(2):
            world.master.step()
            world.slaves[2].run_all()

    blocker = echo.delay()
    meanwhile.update({0: long, 1: asks, 2: asks, 3: asks})
    many = count.map(range(4), chunksize=4)
    assert many.cancel() is False
    asked_for = many[2]
    world.slaves[1].run_all()
    world.finish()
    assert (blocker.done(), many.results(), asked_for.rank) == (True, [None, True, True, True], 2)


def test_abandoned_items_are_cancelled(new_world: NewWorld) -> None:
    """What was not sent, and what comes back."""
    world = new_world(1)
    many = count.map(range(40), chunksize=4)
    first = many[0]
    assert world.master.abandon(0.0) == 36
    world.turn()
    assert (first.done(), many[39].cancelled(), world.master.is_busy) == (True, True, False)


def test_a_broken_farm_ends_all(new_world: NewWorld) -> None:
    """Sent or not, asked for before or after."""
    world = new_world(1)
    many = count.map(range(8), chunksize=4)
    first = many[1]
    world.master.end_all(RuntimeError("gone"))
    for future in (first, many[2], many[7]):
        with pytest.raises(mpitasks.FarmBroken, match="gone"):
            future.result()
    world.slaves[1].run_all()


# ---------------------------------------------------------------- functions that are no tasks


@pytest.mark.parametrize("function", [divided, lambda x: 60 // x], ids=["by name", "by value"])
def test_maps_of_executors_go_together(new_world: NewWorld, function: Callable[[int], int]) -> None:
    """As those of tasks; the function goes once to each slave."""
    world = new_world(1)
    values = Executor().map(function, range(1, 6), chunksize=5)
    more = Executor().map(function, range(6, 8), chunksize=2)
    world.finish()
    assert told(world) == [(1, 5, 0), (6, 2, 0)]
    assert [list(values), list(more)] == [[60, 30, 20, 15, 12], [10, 8]]
    assert [list(functions) for _, _, _, functions, _, _ in world.messages("WINDOW") if functions] == [[0]]


def test_a_function_is_let_go_of_when_all_have_ended(new_world: NewWorld) -> None:
    """Those that have failed, those that went alone, and those that were cancelled."""
    world = new_world(1)
    executor = Executor(max_workers=1)
    values = executor.map(divided, [3, 0, 5, 6, *range(1, 9)], chunksize=4)
    world.turn()
    dropped = executor.map(divided, range(1, 9), chunksize=4)
    executor.shutdown(wait=False, cancel_futures=True)
    world.finish()
    assert next(values) == 20
    with pytest.raises(ZeroDivisionError):
        next(values)
    with pytest.raises(CancelledError):
        next(dropped)
    assert world.master._functions._in_use == {0: 0}


def test_a_function_goes_where_the_calls_of_a_dead_slave_go(new_world: NewWorld) -> None:
    """Together with them, and once."""
    world = new_world(2)
    values = Executor().map(divided, [1, 2, 3], chunksize=3)
    assert [to for _, to, _, functions, _, _ in world.messages("WINDOW") if functions] == [2]
    world.kill(2)
    world.finish()
    assert list(values) == [60, 30, 20]
    assert [to for _, to, _, functions, _, _ in world.messages("WINDOW") if functions] == [2, 1]
    assert world.master._functions._in_use == {0: 0}


def test_a_function_that_can_not_be_loaded_fails_each_call(new_world: NewWorld) -> None:
    """At its place, as if it was submitted alone."""
    world = new_world(1)
    many = [Executor().map(Unloadable(), range(3), chunksize=3) for _ in range(2)]
    world.finish()
    for values in many:
        with pytest.raises(LookupError, match="not here"):
            next(values)


# ---------------------------------------------------------------- taken apart


def test_what_waits_behind_a_long_one_goes_elsewhere(new_world: NewWorld) -> None:
    """The slave gives it back while it is in that call, which is told as a call of its own; no body runs twice."""
    world = new_world(2)

    def long() -> str:
        listen(world)
        for _ in range(2):
            world.master.step()
            world.slaves[2].run_all()
        return "long"

    blocker = echo.delay()
    meanwhile[2] = long
    many = count.map(range(6), chunksize=6)
    assert world.windows()[0] == (2, [1])
    world.slaves[1].run_all()
    world.finish()
    assert (blocker.done(), many.results()) == (True, [0, 1, "long", 3, 4, 5])
    assert set(ran.values()) == {1}
    assert told(world)[0] == (2, 2, 1)
    assert [future.rank for future in many] == [1, 1, 1, 2, 2, 2]
    assert [future.attempts for future in many] == [1] * 6


def test_calls_before_a_long_one_took_as_long_as_others_of_their_task(new_world: NewWorld, clock: Clock) -> None:
    """Not as the slave's last ones of another task; the rest of the time is the long one's."""
    world = new_world(1)

    def take(seconds: float) -> None:
        clock.now += seconds

    def last() -> None:
        take(1.0)
        listen(world)

    meanwhile.update({number: lambda: take(0.25) for number in range(6)} | {6: last})
    count.map(range(4), chunksize=4)
    world.finish()
    echo.map(range(4), chunksize=4)
    world.finish()
    many = count.map(range(4, 8), chunksize=4)
    world.finish()
    assert [message[6] for message in world.messages("MANY")] == [1.0, 0.0, 0.5]
    assert many.results() == [None, None, None, 7]


def test_a_call_that_waits_for_its_own_stands_alone(new_world: NewWorld) -> None:
    """What was not begun goes back before it waits; later ones of that task go one by one."""
    world = new_world(1)

    def ask() -> Any:
        return echo.delay("child").result()

    meanwhile[1] = ask
    many = count.map(range(8), chunksize=4)
    slave = world.slaves[1]
    slave.backoff.pause = world.master.step  # type: ignore[assignment]  # the master's turn, while a call waits
    world.finish()
    assert many.results() == [0, "child", 2, 3, 4, 5, 6, 7]
    assert set(ran.values()) == {1}
    assert told(world) == [(1, 1, 1)]


def test_a_call_may_end_by_one_that_it_submits(new_world: NewWorld) -> None:
    """As every call."""
    world = new_world(1)
    meanwhile[1] = lambda: echo.delay("child")
    many = count.map(range(3), chunksize=3)
    world.finish()
    assert many.results() == [0, "child", 2]


def test_a_large_value_stands_alone(new_world: NewWorld) -> None:
    """It travels from where it lies, and is sent before the next call may change it."""
    world, array = new_world(1), np.zeros(1 << 14)

    def grow() -> Any:
        array[:] += 1
        return array

    meanwhile.update(dict.fromkeys(range(3), grow))
    many = count.map(range(3), chunksize=3)
    world.finish()
    assert [value[0] for value in many.results()] == [1.0, 2.0, 3.0]


def test_an_exception_in_the_call_that_stands_alone(new_world: NewWorld) -> None:
    """It is told as that of every call."""
    world = new_world(1)

    def long() -> None:
        listen(world)
        raise ValueError("late")

    meanwhile[1] = long
    many = count.map(range(3), chunksize=3)
    world.finish()
    assert [type(one) for one in many.outcomes()] == [Done, Failed, Done]
    assert set(ran.values()) == {1}


@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_dead_slave_loses_nothing(new_world: NewWorld, place: int) -> None:
    """All that it was sent together runs again, one by one, and each is reported once."""
    world = new_world(2)
    blocker = echo.delay()
    future = count.map(range(5), chunksize=5)
    followed = future[place]
    world.kill(1)
    world.finish()
    assert (blocker.done(), future.results(), followed.result()) == (True, list(range(5)), place)
    assert [one.attempts for one in future] == [2] * 5
    assert [len(ids) for rank, ids in world.windows() if rank == 2][1:] == [1] * 5


def test_with_no_slave_left_all_fail(new_world: NewWorld) -> None:
    """Sent or not."""
    world = new_world(1)
    many = count.map(range(6), chunksize=3)
    world.kill(1)
    world.master.step()
    assert [type(one.error).__name__ for one in many.outcomes() if isinstance(one, Failed)] == ["SlaveLost"] * 6


def test_drain_gives_back_what_has_not_begun(new_world: NewWorld) -> None:
    """And the one that runs learns that it should stop."""
    world = new_world(1)

    def drained() -> bool:
        world.slaves[1].receive()
        return current().should_stop()

    meanwhile[1] = drained
    many = count.map(range(9), chunksize=4)
    first = many[0]
    world.master.interrupts.drain("SIGUSR1")
    world.master.turn()
    world.slaves[1].run_all()
    world.master.turn()
    assert (first.done(), many[1].done(), sorted(ran)) == (True, True, [0, 1])
    assert world.master.left == 8  # the one that knew is counted as left
    world.master.abandon(0.0)
    assert many[5].cancelled()


@pytest.mark.parametrize(("fails", "splits", "left"), [(True, False, 6), (False, False, 6), (False, True, 8), (True, True, 8)])
def test_one_that_stops_early_is_counted_once(new_world: NewWorld, *, fails: bool, splits: bool, left: int) -> None:
    """As left: whether it fails or returns, and whether the others go back before it does."""
    world = new_world(1)

    def early() -> bool:
        world.slaves[1].receive()  # the word that it should stop
        is_stopped = current().should_stop()
        if splits:
            world.slaves[1].receive()  # that the run is drained
        if fails:
            raise KeyError
        return is_stopped

    meanwhile[1] = early
    many = count.map(range(9), chunksize=4)
    assert many[1].cancel() is False
    world.master.interrupts.drain("SIGUSR1")
    world.master.turn()
    world.slaves[1].run_all()
    world.master.turn()
    assert fails or many[1].result()
    assert (many[1].done(), isinstance(many[1].exception(), KeyError), world.master.left) == (True, fails, left)


# ---------------------------------------------------------------- among others


def test_a_higher_priority_overtakes_a_queued_map(new_world: NewWorld) -> None:
    """The next window is for it."""
    world = new_world(1)
    count.map(range(30), chunksize=10)
    urgent = echo.options(priority=5).delay("now")
    world.turn()
    assert [ids for _, ids in world.windows()][1] == [31]
    world.finish()
    assert urgent.result() == "now"


def test_a_limit_holds_for_maps(new_world: NewWorld) -> None:
    """No more slaves than that have items of it."""
    world = new_world(3)
    limited = count.options()
    limited._plan = replace(limited._plan, queue="limited", max_slaves=1)
    many = limited.map(range(9), chunksize=3)
    assert len(world.windows()) == 1
    world.finish()
    assert (len({rank for rank, _ in world.windows()}), many.results()) == (1, list(range(9)))


def test_statistics_count_items(new_world: NewWorld) -> None:
    """However they have travelled."""
    world = new_world(2)
    count.map(range(100), chunksize=30)
    assert world.master.statistics().queues[count.name].waiting == 40
    world.finish()
    statistics = world.master.statistics()
    assert (statistics.queues[count.name].ended, statistics.queues[count.name].sent) == (100, {"plain": 100})
    assert sum(one.calls for one in statistics.slaves.values()) == 100


def test_the_watchdog_names_items(new_world: NewWorld) -> None:
    """As if each had been sent."""
    world = new_world(1)
    count.map(range(10), chunksize=4)
    explained = world.master.explain()
    assert [(one.calls) for one in explained.slaves] == [(1, 2, 3, 4)]
    assert [(one.calls, one.next) for one in explained.waits] == [(6, 5)]
    world.finish()


def test_the_watchdog_knows_who_waits_for_an_item(new_world: NewWorld) -> None:
    """Whether that was sent or not."""
    world = new_world(1)
    many = count.map(range(10), chunksize=4)
    after = [echo.delay(many[1]), echo.delay(many[8])]
    explained = world.master.explain()
    said = [(one.calls, one.words) for one in explained.waits if one.queue == echo.name]
    assert (said, explained.others) == ([(2, f"it needs call 2 of {count.name}, which waits itself")], 0)
    world.finish()
    assert [future.result() for future in after] == [1, 8]


def test_a_finalizer_cancels_later(new_world: NewWorld) -> None:
    """The garbage collector may run one in the midst of a change to the scheduler."""
    world = new_world(1)
    echo.delay()
    many = count.map(range(5), chunksize=5)
    with world.master._lock:
        assert many.cancel() is False
        assert world.master.has_news()
    world.master.announce()
    assert many[0].cancelled()
    world.finish()


def test_two_threads_may_give_back_at_once(new_world: NewWorld) -> None:
    """The second finds nothing to do."""
    world = new_world(1)

    def twice() -> None:
        listen(world)
        listen(world)

    meanwhile[0] = twice
    many = count.map(range(3), chunksize=3)
    world.finish()
    assert (many.results(), set(ran.values())) == ([None, 1, 2], {1})


def test_nothing_runs_between_calls_of_a_slave(new_world: NewWorld) -> None:
    """To split what has ended does nothing."""
    world = new_world(1)
    loop: Loop = world.slaves[1]._loop
    loop.split()
    assert (loop.is_running, world.messages("MANY")) == (False, [])


def test_failures_that_nobody_asks_for_are_logged(new_world: NewWorld, caplog: pytest.LogCaptureFixture) -> None:
    """As those of single calls."""
    world = new_world(1)

    def fail() -> None:
        raise ValueError("unseen")

    meanwhile[1] = fail
    many = count.map(range(3), chunksize=3)
    world.finish()
    assert isinstance(many._parts[0]._futures[1], Future)  # type: ignore[attr-defined]  # as above
    del many
    mpitasks.futures.report_unretrieved()
    assert "a call of 'tests.runtime.test_batches.count' failed, and nobody asked for its result" in caplog.text
