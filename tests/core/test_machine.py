"""The scheduler under random events: after each, every promise of DESIGN.md holds."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mpitasks.core.calls import PLAIN, SENT, Call, Kind, Provided, chain_of
from mpitasks.ids import CallId, Rank

from .promises import Book, backlogs_of, judge
from .world import World, provided

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

QUEUES = ["a", "b", "c", "d"]
ANY = st.integers(0, 10_000)
"""Which of those that are there; modulo their number."""
SELDOM = st.integers(-30_000, 10_000)
"""The same, and below 0 for nobody."""
MORE = st.sampled_from([False, False, True])
"""Whether more happens before the next decision."""
FILE, PAGE = Kind("file"), Kind("page", max_holders=1, keep=2)
LICENSE, MESH = Kind("license", max_holders=2), Kind("mesh", keep=2)
FILES = [provided(FILE, number) for number in range(2)]
LICENSED = provided(LICENSE)
PROVIDED = [
    *FILES,
    LICENSED,
    provided(PAGE, 1),
    provided(PAGE, 2, inner=FILES[0]),
    provided(MESH, 1, inner=LICENSED),
    provided(MESH, 2, inner=LICENSED),
    provided(PAGE, 3, inner=provided(MESH, 1, inner=LICENSED)),
]
PLAIN_IDS = ["x", "y", "z", None]
RESOURCES = st.sampled_from([PLAIN, PLAIN, PLAIN, *PLAIN_IDS, *PROVIDED])
PRIORITIES = st.sampled_from([0, 0, 0, 0, 1, -1, 5])
SECONDS = st.sampled_from([0.0, 0.001, 0.004, 0.02, 1.0])

UNKNOWN = CallId(10_000_000)


def _give_up_more(world: World, rank: Rank) -> None:
    """A slave that is left in one call can't be in the next one too; of another there is nothing to give up."""
    names = world.windows[rank]
    attempts = [(world.calls[name].id, world.calls[name].attempt) for name in names[1:]] if rank in world.stuck else []
    for call_id, attempt in [*attempts, (UNKNOWN, 1)]:
        assert world.scheduler.given_up(rank, call_id, attempt, world.now) == []
    raise KeyError(rank)


ILLEGAL: dict[str, Callable[[World, Rank], object]] = {
    "outcome": lambda world, rank: world.scheduler.calls_finished(rank, [(UNKNOWN, 1.0)], world.now),
    "give back": lambda world, rank: world.scheduler.given_back(rank, [*world.ids(rank), UNKNOWN], world.now),
    "join": lambda world, rank: world.scheduler.slave_joined(rank),
    "submit what has no hash": lambda world, _: world.scheduler.submitted(
        Call(UNKNOWN, "a", resource=["x"]),
        world.calls.values(),  # type: ignore[arg-type]
    ),
    "submit": lambda world, _: world.scheduler.submitted(Call(UNKNOWN, "no such task"), world.calls.values()),
    "give up a second call": _give_up_more,
    "lose": lambda world, _: world.scheduler.slave_lost(Rank(99)),
}


class Farm(RuleBasedStateMachine):
    """Two farms live through the same events; in the second the queues are defined in the opposite order."""

    world: World

    @initialize(
        slaves=st.integers(1, 5),
        keep=st.integers(1, 2),
        strikes=st.sampled_from([3, 3, 2, 1]),
        limits=st.lists(st.sampled_from([None, None, 1, 2, 3]), min_size=4, max_size=4),
        weights=st.lists(st.sampled_from([1.0, 1.0, 2.0, 0.5]), min_size=4, max_size=4),
    )
    def start(self, slaves: int, keep: int, strikes: int, limits: list[int | None], weights: list[float]) -> None:
        rules = {"keep": keep, "strikes": strikes, "patience": 3.0, "worth": 0.01, "most_calls": 8}
        self.world, self.mirror = (World(slaves, **rules) for _ in range(2))
        for world in (self.world, self.mirror):
            world.costs = {one: 0.02 * number for number, one in enumerate(PROVIDED)}
        for world, step in ((self.world, 1), (self.mirror, -1)):
            for queue, most, weight in list(zip(QUEUES, limits, weights, strict=True))[::step]:
                world.queue(queue, max_slaves=most, weight=weight)
        # In one of both, a slave that ended is always idle first: who goes on at once is given what it would have got so.
        self.mirror.scheduler._windows._its_next = lambda slave, queue: None
        self.book = Book(self.world, dict(zip(QUEUES, limits, strict=True)), dict(zip(QUEUES, weights, strict=True)))
        self.settled = True

    # ---------------------------------------------------------------- events

    def both(self, event: Callable[[World], Any], *, more: bool, came_back: bool = False) -> None:
        """The same happens in both farms."""
        told = [event(self.world), event(self.mirror)]
        assert told[0] == told[1]
        self.book.happened(came_back=came_back)
        self.settled = False
        if not more:
            self.decide()

    @rule()
    def decide(self) -> None:
        """Carry out what both say, which is the same, after holding it against the promises."""
        if self.world.withheld():
            for world in (self.world, self.mirror):
                world.scheduler._trials.try_suspects()  # as `decide` begins: the book sees what waits, and not why
            self.book.happened(came_back=True)
        self.book.begin()
        orders, mirrored = self.world.obey(), self.mirror.obey()
        self.neither_the_order_of_definition_nor_the_short_way_has_influence(orders, mirrored)
        for order in orders:
            self.book.let_go(order)
            judge(self.book, order)
            self.book.carry_out(order)
        self.settled = True

    @staticmethod
    def neither_the_order_of_definition_nor_the_short_way_has_influence(orders: list[Any], mirrored: list[Any]) -> None:
        """Queues defined in another order, nobody given more before it is idle, the same events: the same decisions."""
        assert str(orders) == str(mirrored)

    @rule(queue=st.sampled_from(QUEUES), n=st.integers(1, 6), resource=RESOURCES, priority=PRIORITIES, more=MORE)
    def submit(self, queue: str, n: int, resource: Hashable, priority: int, more: bool) -> None:
        self.both(lambda world: world.submit(queue, n, resource=resource, priority=priority), more=more)

    @rule(queue=st.sampled_from(QUEUES), n=st.integers(1, 3), resource=RESOURCES, cost=st.sampled_from([0.5, 2.0]), more=MORE)
    def submit_costly(self, queue: str, n: int, resource: Hashable, cost: float, more: bool) -> None:
        self.both(lambda world: world.submit(queue, n, resource=resource, cost=cost), more=more)

    @rule(queue=st.sampled_from(QUEUES), n=st.integers(1, 20), chunk=st.sampled_from([0, 2, 5]), more=MORE)
    def submit_many(self, queue: str, n: int, chunk: int, more: bool) -> None:
        self.both(lambda world: world.submit(queue, n, chunk=chunk), more=more)

    @rule(queue=st.sampled_from(QUEUES), resource=RESOURCES, which=st.lists(ANY, min_size=1, max_size=3), more=MORE)
    def submit_after(self, queue: str, resource: Hashable, which: list[int], more: bool) -> None:
        known = [name for name in self.world.calls if name not in self.world.failed]
        after = [known[one % len(known)] for one in which] if known else []
        self.both(lambda world: world.submit(queue, resource=resource, after=after), more=more)

    def busy(self, which: int) -> int:
        """One of the slaves that have calls."""
        ranks = [rank for rank, window in self.world.windows.items() if window]
        return ranks[which % len(ranks)]

    @precondition(lambda self: any(self.world.windows.values()))
    @rule(which=ANY, n=st.integers(1, 4), seconds=SECONDS, ok=st.sampled_from([True, True, True, False]), more=MORE)
    def finish(self, which: int, n: int, seconds: float, ok: bool, more: bool) -> None:
        rank = self.busy(which)
        outcomes = min(n, len(self.world.windows[rank]))
        self.answers(rank, outcomes, seconds)
        self.both(lambda world: [world.finish(rank, seconds=seconds, ok=ok) for _ in range(outcomes)], more=more)

    @precondition(lambda self: any(self.world.windows.values()))
    @rule(keeps_on=st.integers(0, 5), seconds=SECONDS, tells=st.booleans(), again=st.integers(1, 3))
    def work(self, keeps_on: int, seconds: float, tells: bool, again: int) -> None:
        """All busy slaves but one end a call, some times over: what happens mostly in a farm."""
        for _ in range(again):
            self.both(lambda world: world.wait(seconds), more=True)
            for rank in [rank for rank, window in self.world.windows.items() if window and rank != keeps_on]:
                self.answers(rank, 1, seconds)
                self.both(lambda world: world.finish(rank, seconds=seconds), more=True)  # noqa: B023  used at once
            if tells:
                self.tell(list(self.world.windows), more=True)
            self.decide()

    def answers(self, rank: int, outcomes: int, seconds: float) -> None:
        """The book takes in that a slave gave so many outcomes."""
        self.book.progress[rank] = self.world.now
        for name in self.world.windows[rank][:outcomes]:
            self.book.ledger.ended(rank, self.world.calls[name], seconds)

    @precondition(lambda self: any(window and r not in self.world.stuck for r, window in self.world.windows.items()))
    @rule(which=SELDOM, more=MORE)
    def give_up(self, which: int, more: bool) -> None:
        ranks = [rank for rank, window in self.world.windows.items() if window and rank not in self.world.stuck]
        if which < 0:
            return
        rank = ranks[which % len(ranks)]
        self.book.progress[rank] = self.world.now
        self.both(lambda world: world.give_up(rank), more=more)

    @precondition(lambda self: any(self.world.windows.values()))
    @rule(which=ANY)
    def begin(self, which: int) -> None:
        rank = self.busy(which)
        self.both(lambda world: world.begin(rank), more=True)

    @precondition(lambda self: any(window and not self.world.slaves[r].runs for r, window in self.world.windows.items()))
    @rule(which=SELDOM, more=MORE)
    def end_unbegun(self, which: int, more: bool) -> None:
        ranks = [rank for rank, window in self.world.windows.items() if window and not self.world.slaves[rank].runs]
        if which < 0:
            return
        rank = ranks[which % len(ranks)]
        self.book.progress[rank] = self.world.now
        self.both(lambda world: world.finish(rank, seconds=None, ok=False), more=more)

    @precondition(lambda self: self.world.windows)
    @rule(which=ANY, every=st.booleans(), more=MORE)
    def report(self, which: int, every: bool, more: bool) -> None:
        ranks = list(self.world.windows)
        self.tell(ranks if every else [ranks[which % len(ranks)]], more=more)

    def tell(self, ranks: list[int], *, more: bool) -> None:
        """Those slaves say what they hold, and all that they have said is known then."""
        for rank in ranks:
            for one, seconds in self.world.slaves[rank].acquired:
                self.book.ledger.acquired(one, seconds)
            self.retakes(rank)
        self.both(lambda world: world.report(*ranks), more=more)

    def retakes(self, rank: int) -> None:
        """What a slave has released it will acquire again, for its window."""
        window, slave = self.world.windows[rank], self.world.slaves[rank]
        resource = self.world.calls[window[0]].resource if window else PLAIN
        if isinstance(resource, Provided) and not slave.began:
            self.book.ledger.taking[rank] = resource not in slave.holds

    @precondition(lambda self: any(slave.holds and not slave.runs for slave in self.world.slaves.values()))
    @rule(which=ANY, every=st.booleans())
    def release(self, which: int, every: bool) -> None:
        ranks = [rank for rank, slave in self.world.slaves.items() if slave.holds and not slave.runs]
        rank = ranks[which % len(ranks)]
        held = self.world.slaves[rank].holds
        one = held[which % len(held)]
        gone = [] if every else [other for other in held if one in chain_of(other)]
        self.both(lambda world: world.release(rank, *gone), more=True)

    @rule(which=ANY, more=MORE)
    def cancel(self, which: int, more: bool) -> None:
        # Mostly one that waits: of those that were sent there are many, and it is too late for all of them.
        waiting = [name for names in backlogs_of(self.world).values() for name in names[:2]]
        names = waiting if waiting and which % 4 else self.world.unfinished()
        if names:
            name = names[which % len(names)]
            in_time = self.world.calls[name].state != SENT
            told: list[bool] = []
            self.both(lambda world: told.append(world.cancel(name) is not None), more=more)
            assert told == [in_time, in_time]

    @precondition(lambda self: any(self.world.windows.values()))
    @rule(which=ANY, n=st.sampled_from([None, None, 0, 1, 3]), more=MORE)
    def give_back(self, which: int, n: int | None, more: bool) -> None:
        rank = self.busy(which)
        self.book.asked.discard(rank)
        self.book.progress[rank] = self.world.now
        self.both(lambda world: world.give_back(rank, n), more=more, came_back=True)

    @precondition(lambda self: self.world.windows)
    @rule(which=SELDOM, more=MORE)
    def lose(self, which: int, more: bool) -> None:
        if which < 0:
            return
        rank = list(self.world.windows)[which % len(self.world.windows)]
        self.book.asked.discard(rank)
        self.both(lambda world: world.lose(rank), more=more, came_back=True)

    @precondition(lambda self: len(self.world.windows) < 6)
    @rule(more=MORE)
    def join(self, more: bool) -> None:
        rank = min(set(range(1, 8)) - set(self.world.windows))
        self.both(lambda world: world.join(rank), more=more)

    @rule(seconds=st.sampled_from([0.001, 0.03, 0.11, 1.0, 3.1]), more=MORE)
    def wait(self, seconds: float, more: bool) -> None:
        self.both(lambda world: world.wait(seconds), more=more)

    @precondition(lambda self: self.world.scheduler.deadline() < inf)
    @rule()
    def wait_for_deadline(self) -> None:
        self.both(lambda world: world.wait_for_deadline(), more=False)

    @precondition(lambda self: self.world.windows)
    @rule(which=ANY, step=st.sampled_from(sorted(ILLEGAL)))
    def an_illegal_step_changes_nothing(self, which: int, step: str) -> None:
        """What can't have happened is refused, and nothing is different after it."""
        before = self.world.snapshot()
        rank = list(self.world.windows)[which % len(self.world.windows)]
        with pytest.raises((KeyError, TypeError, ValueError)):
            ILLEGAL[step](self.world, Rank(rank))
        assert self.world.snapshot() == before

    # ---------------------------------------------------------------- what holds at any time

    @invariant()
    def at_any_time(self) -> None:
        self.never_more_slaves_than_the_limit()
        self.every_call_ends_at_most_once()
        self.no_call_is_lost()
        self.nothing_runs_before_what_it_waits_for()
        self.what_waited_for_a_failed_call_ends()
        self.a_slave_keeps_what_it_used_last()
        self.never_more_holders_than_may()
        self.who_has_said_all_is_known()

    def never_more_slaves_than_the_limit(self) -> None:
        """A slave counts from the first send until its last outcome, or until it has given everything back."""
        running = {queue: self.world.running(queue) for queue in QUEUES}
        assert [queue for queue, limit in self.book.limits.items() if running[queue] > (limit or inf)] == []

    def every_call_ends_at_most_once(self) -> None:
        """No call is reported twice."""
        assert len(self.world.ended) == len(set(self.world.ended))

    def no_call_is_lost(self) -> None:
        """Every call that has not ended is with a slave, or waits, or waits for another call that has not ended."""
        world, scheduler = self.world, self.world.scheduler
        waiting = {name for names in backlogs_of(world).values() for name in names} | set(world.withheld())
        left = set(world.stuck.items())
        sent = {(rank, name) for rank, window in world.windows.items() for name in window} - left
        assert {str(call) for call in scheduler.waiting()} == waiting
        assert {(int(rank), str(call)) for rank, call in scheduler.sent()} == sent
        assert set(scheduler.left_in_calls()) == {(rank, world.calls[name].id) for rank, name in left}
        assert scheduler.unfinished == len(world.calls) - len(world.ended)

    def nothing_runs_before_what_it_waits_for(self) -> None:
        """A call is sent only after all that it depends on have ended well."""
        well = set(self.world.ended) - self.world.failed
        early = [
            name for window in self.world.windows.values() for name in window if not well.issuperset(self.world.after[name])
        ]
        assert early == []

    def what_waited_for_a_failed_call_ends(self) -> None:
        """A failed or cancelled call takes with it all that waited for it, and what waited for that."""
        world = self.world
        assert [name for name in world.unfinished() if not world.failed.isdisjoint(world.after[name])] == []

    def a_slave_keeps_what_it_used_last(self) -> None:
        """A slave holds the last `keep` resources; calls without one change nothing about that."""
        known = {int(rank): list(slave.holds) for rank, slave in self.world.scheduler._slaves.items()}
        assert known == self.world.holds

    def never_more_holders_than_may(self) -> None:
        """Those that hold a resource in truth, and those that will by calls on the way, are no more than `max_holders`."""
        limits = {one: one.kind.max_holders for one in PROVIDED if one.kind.max_holders is not None}
        assert [one for one, most in limits.items() if len(self.world.may_hold(one)) > most] == []

    def who_has_said_all_is_known(self) -> None:
        """Of a resource with `max_holders`, those count that hold it as far as they have said, or will by their windows."""
        for rank, slave in self.world.scheduler._slaves.items():
            limited = {one for one in self.world.slaves[rank].occupies if one in PROVIDED and one.kind.max_holders}  # type: ignore[attr-defined]
            assert set(slave.occupies) == limited

    # ---------------------------------------------------------------- what holds after a decision

    @precondition(lambda self: self.settled and self.world.idle())
    @invariant()
    def while_slaves_idle(self) -> None:
        self.no_slave_idles_while_it_may_run_a_call()
        self.every_wait_for_a_holder_has_an_end()
        self.every_wait_in_a_window_has_an_end()
        self.every_suspect_is_tried()

    def no_slave_idles_while_it_may_run_a_call(self) -> None:
        """No slave idles while a queue below its limit has a call it may run, but for a busy holder within patience."""
        self.book.windows = self.world.windows
        self.book.holds = self.world.holds
        self.book.occupies = {rank: slave.occupies for rank, slave in self.world.slaves.items()}
        assert not self.book.idle() or self.book.runnable() == []

    def every_wait_for_a_holder_has_an_end(self) -> None:
        """While a slave idles, the scheduler wants to be asked again before any call has waited longer than `patience`."""
        due = self.world.scheduler.deadline()
        keys = [key for key in self.book.backlogs if not self.book.is_full(key.queue)]
        waits = [key for key in keys if not self.book.exhausted(key.resource)]
        assert [key for key in waits if self.book.quiet[key] + self.world.rules.patience < due] == []

    def every_wait_in_a_window_has_an_end(self) -> None:
        """While a slave idles, calls that wait behind a long one in a window are asked for in time."""
        book, world = self.book, self.world
        due = world.scheduler.deadline()
        deep = [
            rank
            for rank, window in world.windows.items()
            if len(window) > 1
            and rank not in book.asked
            and rank not in world.stuck
            and not book.is_full(world.calls[window[0]].queue)
        ]
        assert [rank for rank in deep if book.progress[rank] + world.rules.patience < due] == []

    def every_suspect_is_tried(self) -> None:
        """A suspect waits for one of its window, while as many as may be are tried, and on the last slave for all else."""
        world = self.world
        withheld = world.withheld()
        tried = {world.together[name] for name in world.suspected if name not in withheld}
        if len(world.windows) > 1 and len(tried) < len(world.windows) - 1:
            assert [name for name in withheld if world.together[name] not in tried] == []
        elif len(world.windows) == 1 and world.idle() and not self.book.backlogs:
            assert withheld == []

    def teardown(self) -> None:
        """Every call that was submitted ends exactly once, if slaves go on to answer."""
        if not hasattr(self, "world"):
            return
        if not self.world.windows:
            self.join(more=False)
        for _ in range(10 * len(self.world.calls) + 100):
            self.decide()
            self.no_slave_idles_while_it_may_run_a_call()
            busy = [rank for rank, window in self.world.windows.items() if window]
            if busy:
                self.answers(busy[0], 1, 0.01)
                self.both(lambda world: world.finish(busy[0], seconds=0.01), more=False)  # noqa: B023  used at once
            elif any(slave.occupies != set(slave.holds) for slave in self.world.slaves.values()):
                self.tell(list(self.world.windows), more=True)
            elif self.world.unfinished():
                self.wait_for_deadline()
            else:
                break
        assert (sorted(self.world.ended), self.world.scheduler.unfinished) == (sorted(self.world.calls), 0)


def run_farm(examples: int, steps: int, *phases: Phase) -> None:
    """Play so many random histories."""
    run_state_machine_as_test(
        Farm,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.generate, *phases),
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_every_promise_holds_under_random_events() -> None:
    """Whatever happens, in whatever order: every promise in `promises.py`, and every invariant of `Farm`."""
    # A failure is shown as it was found: to shorten it can take minutes. The long form does.
    run_farm(examples=100, steps=50)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_every_promise_holds_for_long() -> None:
    """The same, for 2,000 histories."""
    run_farm(2_000, 80, Phase.shrink)
