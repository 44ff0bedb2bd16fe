"""Play a program: what main does."""

from __future__ import annotations

import concurrent.futures
import random
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import replace
from functools import singledispatchmethod
from itertools import islice
from typing import TYPE_CHECKING, Any

from mpitasks import Executor, farm
from mpitasks.errors import MpiTasksError
from mpitasks.runtime.master import Master

from .bodies import Bodies, body, playing, set_up
from .programs import Again, Call, Cancel, Compute, Delay, Kill, Map, Pool, Program, Stream, TaskKind, Twins, Wait
from .stage import Clock, Stage
from .verdict import Made

if TYPE_CHECKING:
    from mpitasks import Future, Task

LONG = 1e6
"""Seconds of grace: on this clock they cost nothing."""
LATE_BY = 3.0
"""Seconds of a call that takes much longer than the others like it."""


class Play(Bodies):
    """One program, on one stage."""

    def __init__(self, program: Program, tasks: dict[TaskKind, Task[..., Any]], clock: Clock) -> None:
        stage = Stage(program.slaves, program.seed, clock)
        super().__init__(program, tasks, stage)
        self.clock = clock
        self.master = Master(stage.master, backoff=stage.backoff)
        self.pools = 0
        self._note_answers()

    def _note_answers(self) -> None:
        """Keep how calls end that calls submit, whether their slaves hear of it or not."""
        submissions = self.master._submissions
        submit = submissions.submit_child

        def noting(child: Any, *args: Any, **kwargs: Any) -> Any:
            self.seen.answers[int(child.home), child.number] = child
            return submit(child, *args, **kwargs)

        submissions.submit_child = noting  # type: ignore[method-assign]  # nothing hands out these futures

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
            for made in [*self.made, *self.kids]:
                if made.future is not None:
                    made.future._retrieved = True  # else what a play has left that failed is logged, much later
        self.judge()

    def _end(self) -> None:
        if self.program.raises:
            self.has_raised = True
            for made in self.made:
                made.asked = made.asked or (made.future is not None and not made.future.done())
            self.master.abandon(LONG)
        else:
            self.master.finish()
        self.left = set(self.master.left_in_calls())
        assert self.master.close(LONG) == []

    def _check_end(self) -> None:
        """Nothing is left anywhere, but in slaves that have died or are left in a call."""
        scheduler = self.master._scheduler
        dead = self.left | {actor.rank for actor in self.stage.actors if actor.is_dead}
        assert (scheduler.unfinished, scheduler.waiting(), scheduler.sent()) == (0, [], [])
        assert (self.master._endings.later.take_all(), self.stage.wrong) == ([], [])
        unread = [(source, rank) for rank, boxes in enumerate(self.stage.mail) for source in boxes]
        assert [ends for ends in unread if dead.isdisjoint(ends)] == []
        assert [token for token in +self.seen.held if token[0] not in dead] == []

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
        kind = self.options(made[0])
        columns = zip(*map(self.arguments, made), strict=True)
        for one, future in zip(made, kind.map(*columns, chunksize=step.chunk), strict=True):
            one.future = future
            self.call_back(one)
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
            future = submit(*args)
            if not self.is_calling_back:
                drawn.append(future)
            return future

        submit_many = self.master.submit_many

        def noting_many(*args: Any, **how: Any) -> Any:
            batch = submit_many(*args, **how)
            if batch is not None:
                drawn.extend(batch.future(place) for place in range(batch.count))
            return batch

        self.master.submit = noting  # type: ignore[method-assign]  # imap hands out no futures
        self.master.submit_many = noting_many  # type: ignore[method-assign]  # as above
        columns = zip(*map(self.arguments, made), strict=True)
        values = self.options(made[0]).imap(*columns, buffersize=step.buffersize, ordered=step.ordered)
        came: list[Any] = []
        with suppress(ValueError, OSError, LookupError, MpiTasksError, CancelledError):
            for value in islice(values, step.leave_after):
                came.append(value)
                assert len(drawn) - len(came) <= step.buffersize
        values.close()  # type: ignore[attr-defined]  # it is a generator
        del self.master.submit, self.master.submit_many
        for one, future in zip(made, drawn, strict=False):
            one.future, one.asked = future, True
        del self.made[len(self.made) - (len(made) - len(drawn)) :]
        if step.ordered:
            assert [value in self.values(one) for one, value in zip(made, came, strict=False)] == [True] * len(came)
        else:
            assert len({value for value, _ in came}) == len(came)

    @do.register
    def _(self, step: Pool) -> None:
        self.pools += 1
        initializer = None if step.setup == "none" else set_up
        pool = Executor(step.limit, initializer=initializer, initargs=(step.setup,))
        for call in step.calls:
            made = self._make(replace(call, retries=0, after=()), 0, pool=step, name=f"pool {self.pools}")
            number, key, inputs, ballast = self.arguments(made)
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
            self.dies(actor)
            self.stage.kill(actor.rank, lost=step.lost)

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
        made = replace(first, parent=None, asked=False, cancelled=False)
        self.made.append(made)
        made.future = self.options(made).delay(*self.arguments(made))
        self.call_back(made)
        return made

    def _delay(self, call: Call) -> None:
        made = self._make(call, 0)
        made.future = self.options(made).delay(*self.arguments(made))
        self.call_back(made)

    def _make(self, call: Call, nth: int, *, pool: Pool | None = None, name: str = "") -> Made:
        """A call to come; those that are made together take the same futures."""
        made = self.make(call, self.made[: len(self.made) - nth], pool=pool, name=name)
        self.made.append(made)
        return made
