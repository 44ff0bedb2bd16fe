"""Play a program, write down what happens, and judge it by a model.

The model knows no scheduler: what a call gives follows from the program and from how its dependencies ended; what may happen
while it runs, from the limits.
"""

from __future__ import annotations

import concurrent.futures
import random
from collections import Counter, defaultdict
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import singledispatchmethod
from itertools import islice
from typing import TYPE_CHECKING, Any

from mpitasks import DependencyFailed, Executor, current, farm, resource, task
from mpitasks.errors import InitializerFailed, MpiTasksError, RemoteError
from mpitasks.runtime.master import Master

from .programs import (
    ALWAYS,
    LIMITS,
    RESOURCES,
    Again,
    Call,
    Cancel,
    Compute,
    Delay,
    Kill,
    Map,
    Pool,
    Program,
    Stream,
    TaskKind,
    Twins,
    Wait,
)
from .stage import Actor, Clock, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mpitasks import Future, Task

LONG = 1e6
"""Seconds of grace: on this clock they cost nothing."""
LATE_BY = 3.0
"""Seconds of a call that takes much longer than the others like it."""
CANCELLED, VALUE, LOST = "cancelled", "value", "SlaveLost"
STRIKES = 3
"""Of a call, until it counts as the one that kills."""
MOST_HOLDERS = {"license": 1, "page": 2}
KEPT = {"file": 1, "license": 1, "page": 2}

playing: list[Play] = []
"""The play that is on."""


# ---------------------------------------------------------------- what slaves run


def body(number: int, key: int, inputs: list[int], ballast: bytearray | None) -> tuple[int, bytearray | None]:
    """What every task and function does: as its call says."""
    return playing[0].body(number, key, inputs), ballast


def set_up(ends: str) -> None:
    """The initializer of an executor."""
    playing[0].stage.here().sleep(0.001)
    if ends == "bad":
        msg = "bad"
        raise ValueError(msg)


def provide(name: str, key: int) -> Iterator[tuple[int, str, int]]:
    """What every provider does."""
    play, actor = playing[0], playing[0].stage.here()
    if key < 0:
        raise ConnectionError(name)
    token = (int(actor.rank), name, key)
    play.acquired(actor, token)
    actor.sleep(0.001 * key)
    yield token
    actor.sleep(0.001 * key)
    play.released(token)


def define() -> dict[TaskKind, Task[..., Any]]:
    """All tasks and resources there are."""

    @resource("file")
    def file(key: int) -> Iterator[tuple[int, str, int]]:
        yield from provide("file", key)

    @resource("license", max_holders=MOST_HOLDERS["license"], idle_timeout=0.5)
    def licensed() -> Iterator[tuple[int, str, int]]:
        yield from provide("license", 0)

    @resource("page", max_holders=MOST_HOLDERS["page"], keep=KEPT["page"], resource=file, key="key")
    def page(key: int) -> Iterator[tuple[int, str, int]]:
        assert file.get()[2] == key
        yield from provide("page", key)

    tasks = {}
    for kind in [TaskKind(limit, needs, memo) for limit in LIMITS for needs in RESOURCES for memo in (False, True)]:
        needs = {"file": file, "license": licensed, "page": page}.get(str(kind.resource), kind.resource)
        options: dict[str, Any] = {} if needs is None else {"resource": needs}
        if kind.resource in {"plain", "file", "page"}:
            options["key"] = "key"
        tasks[kind] = task(kind.name, max_slaves=kind.limit, memo=kind.memo, **options)(body)
    return tasks


# ---------------------------------------------------------------- what main does


@dataclass(eq=False)
class Made:
    """A call that was made."""

    number: int
    """Equal calls, of a task with `memo`, have one number."""
    call: Call
    queue: str
    limit: int | None
    inputs: list[Made]
    after: list[Made]
    pool: Pool | None = None
    future: Future[Any] | None = None
    asked: bool = False
    """Whether somebody asked to cancel it."""
    cancelled: bool = False
    """Whether it was told that this came in time."""

    def __repr__(self) -> str:
        return f"call {self.number} of {self.queue!r}"


@dataclass
class Seen:
    """What the bodies have seen."""

    begun: Counter[int] = field(default_factory=Counter)
    ended: set[int] = field(default_factory=set)
    inside: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    """The slaves that are in a queue's bodies."""
    held: Counter[tuple[int, str, int]] = field(default_factory=Counter)
    """Slave, resource, key."""


class Play:
    """One program, on one stage."""

    def __init__(self, program: Program, tasks: dict[TaskKind, Task[..., Any]], clock: Clock) -> None:
        self.program, self.tasks, self.clock = program, tasks, clock
        self.stage = Stage(program.slaves, program.seed, clock)
        self.master = Master(self.stage.master, backoff=self.stage.backoff)
        self.made: list[Made] = []
        self.seen = Seen()
        self.pools = self.deaths = 0
        self.has_raised = False

    def run(self) -> None:
        """Play it to its end, and judge."""
        random.seed(self.program.seed)
        playing[:] = [self]
        farm.bind(self.master)
        try:
            for step in self.program.steps:
                self.do(step)
            self._end()
            self._check_end()
        finally:
            self.stage.close()
            farm.unbind()
            playing.clear()
            for made in self.made:
                if made.future is not None:
                    made.future._retrieved = True  # else what a play has left that failed is logged, much later
        for made in self.made:
            self._judge(made)

    def _end(self) -> None:
        if self.program.raises:
            self.has_raised = True
            for made in self.made:
                made.asked = made.asked or (made.future is not None and not made.future.done())
            self.master.abandon(LONG)
        else:
            self.master.finish()
        assert self.master.close(LONG) == []

    def _check_end(self) -> None:
        """Nothing is left anywhere."""
        scheduler, dead = self.master._scheduler, {actor.rank for actor in self.stage.actors if actor.is_dead}
        assert (scheduler.unfinished, scheduler.waiting(), scheduler.sent()) == (0, [], [])
        assert (self.master._later.take_all(), self.stage.wrong) == ([], [])
        unread = [(source, rank) for rank, boxes in enumerate(self.stage.mail) for source in boxes]
        assert [ends for ends in unread if dead.isdisjoint(ends)] == []
        assert +self.seen.held == {}

    @singledispatchmethod
    def do(self, step: object) -> None:
        """One step of main."""
        raise NotImplementedError(step)

    @do.register
    def _(self, step: Delay) -> None:
        self._delay(step.call)

    @do.register
    def _(self, step: Map) -> None:
        made = [self._make(step.call, number) for number in range(step.count)]
        if 0 <= step.slow < step.count:
            made[step.slow].call = replace(made[step.slow].call, seconds=LATE_BY)
        kind = self._options(made[0])
        columns = zip(*map(self._arguments, made), strict=True)
        for one, future in zip(made, kind.map(*columns, chunksize=step.chunk), strict=True):
            one.future = future
        self._regret(made, step.regrets)

    @do.register
    def _(self, step: Twins) -> None:
        self._delay(step.call)
        first = self.made[-1]
        others = [self._once_more(first) for _ in range(1, step.count)]
        self._regret([first, *others], step.regrets)

    @do.register
    def _(self, step: Stream) -> None:
        made = [self._make(step.call, 0) for _ in range(step.count)]
        drawn: list[Future[Any]] = []
        submit = self.master.submit

        def noting(*args: Any) -> Future[Any]:
            drawn.append(submit(*args))
            return drawn[-1]

        self.master.submit = noting  # type: ignore[method-assign]  # imap hands out no futures
        columns = zip(*map(self._arguments, made), strict=True)
        values = self._options(made[0]).imap(*columns, buffersize=step.buffersize, ordered=step.ordered)
        came: list[Any] = []
        with suppress(ValueError, OSError, MpiTasksError):
            for value in islice(values, step.leave_after):
                came.append(value)
                assert len(drawn) - len(came) <= step.buffersize
        values.close()  # type: ignore[attr-defined]  # it is a generator
        del self.master.submit
        for one, future in zip(made, drawn, strict=False):
            one.future, one.asked = future, True
        del self.made[len(self.made) - (len(made) - len(drawn)) :]
        expected = [(self._value(one), self._ballast(one)) for one in made[: len(came)]]
        if step.ordered:
            assert came == expected
        else:
            assert len({value for value, _ in came}) == len(came)

    @do.register
    def _(self, step: Pool) -> None:
        self.pools += 1
        initializer = None if step.setup == "none" else set_up
        pool = Executor(step.limit, initializer=initializer, initargs=(step.setup,))
        for call in step.calls:
            made = self._make(replace(call, retries=0, after=()), 0, pool=step, name=f"pool {self.pools}")
            number, key, inputs, ballast = self._arguments(made)
            with suppress(concurrent.futures.BrokenExecutor):
                made.future = pool.submit(body, number, key, inputs, ballast)
            if made.future is None:
                assert step.setup == "bad"
                del self.made[-1]
        pool.shutdown()

    @do.register
    def _(self, step: Again) -> None:
        shared = [made for made in self.made if made.call.task.memo]
        if shared:
            self._once_more(shared[-1 - step.which % len(shared)])

    @do.register
    def _(self, step: Cancel) -> None:
        if self.made:
            self._cancel(self._back(step.which))

    @do.register
    def _(self, step: Wait) -> None:
        if self.made and (future := self._back(step.which).future) is not None:
            with suppress(Exception, CancelledError):
                future.result()
            assert future.done()

    @do.register
    def _(self, step: Compute) -> None:
        self.clock.now += step.seconds
        for _ in range(step.turns):
            self.stage.pause()
            self.master.step()

    @do.register
    def _(self, step: Kill) -> None:
        actor = self.stage.actors[step.which % self.program.slaves]
        if not actor.is_dead:
            self._dies(actor)
            self.stage.kill(actor.rank, lost=step.lost)

    def _dies(self, actor: Actor) -> None:
        """What the slave holds is gone with it."""
        self.deaths += 1
        for token in [token for token in self.seen.held if token[0] == actor.rank]:
            del self.seen.held[token]

    def _back(self, which: int) -> Made:
        return self.made[-1 - which % len(self.made)]

    def _regret(self, made: list[Made], regrets: tuple[int, ...]) -> None:
        for which in regrets:
            self._cancel(made[which % len(made)])

    def _cancel(self, made: Made) -> None:
        assert made.future is not None
        made.asked = made.asked or not made.future.done()
        made.cancelled = made.future.cancel()
        assert made.future.done() >= made.cancelled

    # ---------------------------------------------------------------- making calls

    def _once_more(self, first: Made) -> Made:
        """The same call again, of a task with `memo`."""
        made = replace(first, asked=False, cancelled=False)
        self.made.append(made)
        made.future = self._options(made).delay(*self._arguments(made))
        return made

    def _delay(self, call: Call) -> None:
        made = self._make(call, 0)
        made.future = self._options(made).delay(*self._arguments(made))

    def _make(self, call: Call, nth: int, *, pool: Pool | None = None, name: str | None = None) -> Made:
        """A call to come; those that are made together take the same futures."""
        earlier = self.made[: len(self.made) - nth]
        if call.task.memo:
            call = replace(call, inputs=(), after=(), retries=0, fails=ALWAYS if call.fails else 0)
        take = [[earlier[-1 - back % len(earlier)] for back in backs if earlier] for backs in (call.inputs, call.after)]
        limit = call.task.limit if pool is None else pool.limit
        made = Made(len(self.made), call, name or call.task.name, limit, take[0], take[1], pool)
        self.made.append(made)
        return made

    def _options(self, made: Made) -> Task[..., Any]:
        call = made.call
        options: dict[str, Any] = {"priority": call.priority, "cost": call.cost}
        if made.after:
            options["after"] = [other.future for other in made.after]
        if call.retries:
            options |= {"retries": call.retries, "retry_for": OSError, "backoff": call.backoff}
        return self.tasks[call.task].options(**options)

    def _arguments(self, made: Made) -> tuple[Any, ...]:
        return made.number, made.call.key, [other.future for other in made.inputs], self._ballast(made)

    def _ballast(self, made: Made) -> bytearray | None:
        return bytearray([made.number % 256]) * made.call.size if made.call.size else None

    # ---------------------------------------------------------------- inside bodies: assertions go to `wrong`

    def body(self, number: int, key: int, inputs: list[Any]) -> int:
        """What a call does on its slave."""
        made, actor, seen = self.made[number], self.stage.here(), self.seen
        inside = seen.inside[made.queue]
        inside[actor.rank] += 1
        seen.begun[number] += 1
        try:
            with self._noting():
                self._check_begin(made, actor, inputs)
            actor.sleep(made.call.seconds)
            if seen.begun[number] <= made.call.kills:
                self._dies(actor)
                self.stage.mark_dead(actor)
                actor.sleep(0.0)
            if seen.begun[number] <= made.call.fails:
                if made.call.asks:
                    current().retry()
                raise made.call.error(number)
            seen.ended.add(number)
            return self._value(made)
        finally:
            inside[actor.rank] -= 1

    def _check_begin(self, made: Made, actor: Actor, inputs: list[Any]) -> None:
        """What must hold when a body begins."""
        alive = {actor.rank for actor in self.stage.actors if not actor.is_dead}
        busy = [rank for rank, count in self.seen.inside[made.queue].items() if count and rank in alive]
        assert made.limit is None or len(busy) <= made.limit, f"{made}: slaves {busy} are in it, of {made.limit}"
        early = [other for other in made.inputs + made.after if other.number not in self.seen.ended]
        assert not early, f"{made} begins before {early} ended"
        assert [value[0] for value in inputs] == [self._value(other) for other in made.inputs]
        if made.call.task.resource in KEPT and made.pool is None:
            self._check_resource(made, actor)

    def _check_resource(self, made: Made, actor: Actor) -> None:
        name = str(made.call.task.resource)
        chain = ["page", "file"] if name == "page" else [name]
        for one in chain:
            token = (int(actor.rank), one, 0 if one == "license" else made.call.key)
            assert current()._resources[one] == token
            assert self.seen.held[token] == 1, f"{made} gets {token}, which is released"

    def acquired(self, actor: Actor, token: tuple[int, str, int]) -> None:
        """A provider begins."""
        _, name, key = token
        with self._noting():
            self.seen.held[token] += 1
            assert self.seen.held[token] == 1, f"{token} is acquired twice"
            needed = {other[2] for other in +self.seen.held if other[:2] == (actor.rank, "page") and name == "file"}
            mine = [other for other in +self.seen.held if other[:2] == (actor.rank, name) and other[2] not in needed]
            assert len(mine) <= KEPT[name], f"slave {actor.rank} keeps {mine}"
            everyones = [other for other in +self.seen.held if other[1:] == (name, key)]
            assert len(everyones) <= MOST_HOLDERS.get(name, ALWAYS), f"too many hold {everyones}"

    def released(self, token: tuple[int, str, int]) -> None:
        """A provider has come to its end."""
        with self._noting():
            assert self.seen.held[token] == 1, f"{token} is released and not held"
            self.seen.held[token] -= 1

    def _noting(self) -> Noting:
        return Noting(self.stage.wrong.append)

    # ---------------------------------------------------------------- the model

    def _value(self, made: Made) -> int:
        return 7 * made.number + sum(self._value(other) for other in made.inputs) % 1000

    def _judge(self, made: Made) -> None:
        """The outcome is one that a serial run gives, and the bodies ran as often as there."""
        ended = outcome_of(made.future)
        assert ended in self._permitted(made), f"{made} ended by {ended}, and might by {self._permitted(made)}"
        if made.cancelled:
            assert ended == CANCELLED, f"{made} was cancelled in time and ended by {ended}"
        if ended == VALUE:
            assert made.future is not None
            assert made.future.result() == (self._value(made), self._ballast(made))
        least, most = self._runs(made, ended)
        assert least <= self.seen.begun[made.number] <= most, f"{made} ended by {ended}, after {self.seen.begun} runs"

    def _permitted(self, made: Made) -> set[str]:
        """How it may end, in view of how its dependencies have."""
        permitted: set[str] = set()
        for other in made.inputs + made.after:
            ended = outcome_of(other.future)
            if ended != VALUE:
                permitted.add(CANCELLED if ended == CANCELLED else DependencyFailed.__name__)
        if not permitted:
            permitted = self._own(made)
        if made.pool is not None and made.pool.setup == "bad":
            permitted.add(InitializerFailed.__name__)
        if self.deaths >= STRIKES or self.deaths >= self.program.slaves - 1 > 0 or self.deaths == self.program.slaves:
            permitted.add(LOST)
        if made.asked or (made.call.task.memo and self.has_raised):
            permitted.add(CANCELLED)
        return permitted

    def _own(self, made: Made) -> set[str]:
        """How it may end by itself."""
        call = made.call
        if made.pool is not None and made.pool.setup == "bad":
            return {InitializerFailed.__name__}
        if self._needs_what_fails(made):
            return {ConnectionError.__name__}
        failure = RemoteError.__name__ if call.asks else call.error.__name__
        if call.fails == 0:
            return {VALUE}
        if call.fails > self._tries(made) - 1:
            return {VALUE, failure} if self.deaths and call.fails != ALWAYS else {failure}
        return {VALUE, failure} if self.has_raised else {VALUE}

    def _needs_what_fails(self, made: Made) -> bool:
        return made.pool is None and made.call.key < 0 and made.call.task.resource in {"file", "page"}

    def _tries(self, made: Made) -> int:
        """How often it runs at most."""
        call = made.call
        return 1 + call.retries if call.asks or call.error is OSError else 1

    def _runs(self, made: Made, ended: str) -> tuple[int, int]:
        """How often the body ran, at least and at most."""
        if ended in {DependencyFailed.__name__, InitializerFailed.__name__} or self._needs_what_fails(made):
            return 0, self.deaths
        most = min(self._tries(made), made.call.fails + 1)
        if made.call.task.memo:
            together = [outcome_of(other.future) for other in self.made if other.number == made.number]
            return int(ended not in {CANCELLED, LOST}), self.deaths + (len(together) if made.call.fails else 1)
        if ended in {CANCELLED, LOST}:
            return 0, most - 1 + self.deaths
        return (1 if self.has_raised or self.deaths else most), most + self.deaths


class Noting:
    """A context: what is not as it must be is noted, in place of becoming the outcome of a call."""

    def __init__(self, note: Callable[[BaseException], None]) -> None:
        self._note = note

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, AssertionError):
            self._note(error)


def outcome_of(future: Future[Any] | None) -> str:
    """How a call has ended, in a word."""
    assert future is not None
    assert future.done(), f"{future} has not ended"
    if future.cancelled():
        return CANCELLED
    error = future.exception()
    return VALUE if error is None else type(error).__name__
