"""A farm whose calls submit calls, played with messages on their way: what slaves do, to the letter, without MPI.

::

    Program: for each task its limit, and what its calls submit and wait for
    World.play(dice) ──► until nothing can move: each step delivers one message, or lets one slave do one thing

The world checks at each step that limits hold and that no call is begun twice, and at the end that nothing is left which
could still have moved.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from mpitasks.core.calls import ENDED, PLAIN, WAITING, Call
from mpitasks.core.nesting import Stuck
from mpitasks.core.scheduler import Scheduler, Send
from mpitasks.ids import CallId, Rank

if TYPE_CHECKING:
    from collections.abc import Hashable
    from random import Random


@dataclass(frozen=True)
class Body:
    """What a call does: submit calls of these tasks, and wait for all of them, or for none."""

    children: tuple[str, ...] = ()
    waits: bool = True


@dataclass(frozen=True)
class Program:
    """Limits and bodies of tasks, and what main submits. A call below `depth` submits nothing."""

    limits: dict[str, int | None]
    bodies: dict[str, Body]
    main: tuple[str, ...]
    depth: int = 3
    resources: dict[str, Hashable] = field(default_factory=dict)


class Run:
    """A call that a slave has begun."""

    def __init__(self, call: Call, body: Body) -> None:
        self.call = call
        self.todo = list(body.children)
        self.waits = body.waits
        self.waiting_for: set[CallId] = set()
        self.wait: int | None = None
        self.fails = False


class Slave:
    """What is true on a slave."""

    def __init__(self) -> None:
        self.inbox: deque[Call] = deque()
        self.stack: list[Run] = []
        self.answers: set[CallId] = set()
        self.seen = 0
        self.numbers = count(1)
        self.said = -1
        """The answers that it had seen when it said that it still waits."""

    @property
    def waits(self) -> bool:
        """Its top call waits."""
        return bool(self.stack) and self.stack[-1].wait is not None


class World:
    """The scheduler, its slaves, and what is on its way."""

    def __init__(self, program: Program, slaves: int) -> None:
        self.program = program
        self.scheduler = Scheduler()
        self.slaves = {Rank(rank): Slave() for rank in range(1, slaves + 1)}
        self.to_slave: dict[Rank, deque[tuple[Any, ...]]] = {rank: deque() for rank in self.slaves}
        self.to_master: dict[Rank, deque[tuple[Any, ...]]] = {rank: deque() for rank in self.slaves}
        self.answers: dict[Rank, int] = dict.fromkeys(self.slaves, 0)
        self.homes: dict[CallId, Rank] = {}
        self.depths: dict[CallId, int] = {}
        self.parents: dict[CallId, CallId | None] = {}
        self.calls: dict[CallId, Call] = {}
        self.begun: set[CallId] = set()
        self.stuck: list[Stuck] = []
        self.ids = count(1)
        self.now = 0.0
        for name, limit in program.limits.items():
            self.scheduler.queue_defined(name, max_slaves=limit)
        for rank in self.slaves:
            self.scheduler.slave_joined(rank)
        for name in program.main:
            self.submit(name, None, None)
        self.decide()

    # ---------------------------------------------------------------- the master

    def submit(self, name: str, parent: CallId | None, rank: Rank | None) -> CallId:
        """Main or a call submits a call."""
        call = Call(CallId(next(self.ids)), name, resource=self.program.resources.get(name, PLAIN))
        self.calls[call.id], self.parents[call.id] = call, parent
        self.depths[call.id] = 0 if parent is None else self.depths[parent] + 1
        if rank is not None:
            self.homes[call.id] = rank
            assert parent is not None
            self.scheduler.nested(call, self.scheduler.call_on(rank, parent), rank)
        self.scheduler.submitted(call)
        return call.id

    def decide(self) -> None:
        """Send what the scheduler says."""
        for order in self.scheduler.decide(self.now):
            if isinstance(order, Send):
                self.to_slave[order.rank].append(("calls", order.above, list(order.calls)))
            else:
                self.to_slave[order.rank].append(("back",))
        for name, limit in self.program.limits.items():
            assert limit is None or len(self.running(name)) <= limit

    def running(self, name: str) -> set[Rank]:
        """The slaves that run a task, or may: not those that will give its calls back."""
        astray = {one for slave in self.scheduler._slaves.values() if slave.waits for one in slave.waits.astray}
        return {rank for rank, call in self.scheduler.sent() if call.queue == name and call.id not in astray}

    def hear(self, rank: Rank) -> None:
        """The master takes in the oldest message of a slave."""
        self.now += 0.001
        kind, *what = self.to_master[rank].popleft()
        getattr(self, f"_hear_{kind}")(rank, *what)
        self.decide()

    def _hear_submit(self, rank: Rank, parent: CallId, name: str, run: Run) -> None:
        self.scheduler.answered(rank)
        run.waiting_for.add(self.submit(name, parent, rank))

    def _hear_waits(self, rank: Rank, call: CallId, number: int, back: list[CallId]) -> None:
        self.scheduler.call_waits(rank, call, number, back, self.now)

    def _hear_goes_on(self, rank: Rank, back: list[CallId]) -> None:
        self.scheduler.call_goes_on(rank, back, self.now)

    def _hear_back(self, rank: Rank, back: list[CallId]) -> None:
        self.scheduler.given_back(rank, back, self.now)

    def _hear_still(self, rank: Rank, number: int, seen: int) -> None:
        if seen == self.answers[rank]:
            stuck = self.scheduler.still_waits(rank, number)
            if stuck is not None:
                self.stuck.append(stuck)

    def _hear_ended(self, rank: Rank, call_id: CallId, ok: bool) -> None:
        (call,) = self.scheduler.calls_finished(rank, [(call_id, 0.001)], self.now)
        self.answer(call)
        if not ok:
            for child in [one for one, parent in self.parents.items() if parent == call_id]:
                if self.scheduler.cancelled(self.calls[child]):
                    self.answer(self.calls[child])

    def answer(self, call: Call) -> None:
        """A call has ended: tell the slave that has submitted it."""
        rank = self.homes.get(call.id)
        if rank is not None:
            self.answers[rank] += 1
            self.scheduler.answered(rank)
            self.to_slave[rank].append(("answer", call.id))

    # ---------------------------------------------------------------- slaves

    def take(self, rank: Rank) -> None:
        """A slave takes in the oldest message of the master."""
        slave = self.slaves[rank]
        kind, *what = self.to_slave[rank].popleft()
        if kind == "answer":
            slave.answers.add(what[0])
            slave.seen += 1
        elif kind == "back":
            self.say(rank, "back", self.unbegun(slave))
        elif kind == "deadlock":
            top = slave.stack[-1] if slave.stack else None
            if top is not None and top.wait == what[0]:
                top.fails = True
        else:
            above, calls = what
            waits = [run.wait for run in slave.stack if run.wait is not None]
            if above == (waits[-1] if waits else 0):
                slave.inbox.extend(calls)
            else:
                self.say(rank, "back", [call.id for call in calls])

    def say(self, rank: Rank, *message: Any) -> None:
        """A slave sends something."""
        self.to_master[rank].append(message)

    @staticmethod
    def unbegun(slave: Slave) -> list[CallId]:
        """What has not begun."""
        ids = [call.id for call in slave.inbox]
        slave.inbox.clear()
        return ids

    def can_act(self, rank: Rank) -> bool:
        """Whether that slave has something to do by itself."""
        slave = self.slaves[rank]
        if not slave.stack:
            return bool(slave.inbox)
        top = slave.stack[-1]
        return top.wait is None or bool(slave.inbox) or self.is_done(slave, top) or slave.said != slave.seen

    @staticmethod
    def is_done(slave: Slave, run: Run) -> bool:
        """Whether what a call waits for is there, or never will be."""
        return run.fails or run.waiting_for <= slave.answers

    def act(self, rank: Rank) -> None:
        """A slave does one thing."""
        slave = self.slaves[rank]
        top = slave.stack[-1] if slave.stack else None
        if top is not None and top.wait is not None and self.is_done(slave, top):
            top.wait = None
            self.say(rank, "goes_on", self.unbegun(slave))
        elif top is None or top.wait is not None:
            self._begin_or_say(rank, slave, top)
        elif top.todo and not top.fails:
            self.say(rank, "submit", top.call.id, top.todo.pop(0), top)
            slave.said = -1
            while self.to_master[rank]:  # its children are known by id here, which the master gives
                self.hear(rank)
        elif top.waits and not self.is_done(slave, top):
            top.wait = next(slave.numbers)
            slave.said = -1
            self.say(rank, "waits", top.call.id, top.wait, self.unbegun(slave))
        else:
            slave.stack.pop()
            self.say(rank, "ended", top.call.id, not top.fails)

    def _begin_or_say(self, rank: Rank, slave: Slave, top: Run | None) -> None:
        if slave.inbox:
            call = slave.inbox.popleft()
            assert call.id not in self.begun
            assert top is None or self.descends(call.id, top.call.id)
            self.begun.add(call.id)
            body = self.program.bodies[call.queue] if self.depths[call.id] < self.program.depth else Body()
            slave.stack.append(Run(call, body))
            slave.said = -1
        else:
            assert top is not None
            slave.said = slave.seen
            self.say(rank, "still", top.wait, slave.seen)

    def descends(self, call: CallId, ancestor: CallId) -> bool:
        """Whether a call was submitted by that one, or by one that was."""
        here: CallId | None = call
        while here is not None and here != ancestor:
            here = self.parents[here]
        return here is not None

    # ---------------------------------------------------------------- all of it

    def moves(self) -> list[tuple[str, Rank]]:
        """What can happen next."""
        found = [("hear", rank) for rank in self.slaves if self.to_master[rank]]
        found += [("take", rank) for rank in self.slaves if self.to_slave[rank]]
        return found + [("act", rank) for rank in self.slaves if self.can_act(rank)]

    def play(self, dice: Random, *, tell: bool) -> None:
        """Let things happen until nothing can; those that wait in vain are told so, or not."""
        for _ in range(20_000):
            moves = self.moves()
            if moves:
                kind, rank = dice.choice(moves)
                getattr(self, kind)(rank)
                continue
            if not (tell and self.stuck):
                return
            for stuck in self.stuck:
                self.to_slave[stuck.rank].append(("deadlock", stuck.number))
            self.stuck.clear()
            for slave in self.slaves.values():
                slave.said = -1  # slaves say again that they wait, from time to time
        msg = "this does not end"
        raise AssertionError(msg)

    def unended(self) -> list[Call]:
        """The calls that have not ended."""
        return [call for call in self.calls.values() if call.state != ENDED]

    def could_run(self) -> list[tuple[CallId, Rank]]:
        """By brute force: each waiting call, and each slave that might run it now."""
        found: list[tuple[CallId, Rank]] = []
        for call in self.unended():
            limit = self.program.limits[call.queue]
            running = self.running(call.queue)
            for rank, slave in self.slaves.items():
                fits = not slave.stack or (slave.waits and self.descends(call.id, slave.stack[-1].call.id))
                if call.state == WAITING and fits and (limit is None or rank in running or len(running) < limit):
                    found.append((call.id, rank))
        return found
