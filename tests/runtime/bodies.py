"""What the calls of a program do on their slaves, and what must hold there."""

from __future__ import annotations

from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mpitasks import current, resource, task
from mpitasks.errors import Deadlock, FarmBroken, TaskTimeout
from mpitasks.runtime.alarm import TimeUp

from .programs import ALWAYS, LIMITS, RESOURCES, Again, Call, Nest, Pool, Program, TaskKind
from .verdict import DEADLOCK, KID_FAILED, Attempt, Due, Made, Seen, Token, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mpitasks import Task

    from .stage import Actor, Stage

MOST_HOLDERS = {"license": 1, "page": 2}
KEPT = {"file": 1, "license": 1, "page": 2}

playing: list[Bodies] = []
"""The play that is on."""


# ---------------------------------------------------------------- what slaves run


def body(number: int, key: int, inputs: list[Any], ballast: bytearray | None) -> Any:
    """What every task and function does: as its call says."""
    return playing[0].body(number, key, inputs, ballast)


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


# ---------------------------------------------------------------- inside: assertions go to `wrong`


class Bodies(Verdict):
    """Makes calls, and is what they do."""

    times_up = 0
    is_calling_back = False
    """Whether a callback submits a call just now."""

    def __init__(self, program: Program, tasks: dict[TaskKind, Task[..., Any]], stage: Stage) -> None:
        super().__init__(program, Seen())
        self.tasks, self.stage = tasks, stage

    # ---------------------------------------------------------------- making calls

    def make(
        self,
        call: Call,
        earlier: list[Made],
        *,
        pool: Pool | None = None,
        name: str | None = None,
        parent: Attempt | None = None,
    ) -> Made:
        """A call to come, of main or of another call; it takes the futures of earlier ones."""
        if call.task.memo:
            call = replace(call, after=(), retries=0, fails=ALWAYS if call.fails else 0)
            earlier = [made for made in earlier if made.call.task.memo]  # others have no identity
        take = [[earlier[-1 - back % len(earlier)] for back in backs if earlier] for backs in (call.inputs, call.after)]
        limit = call.task.limit if pool is None else pool.limit
        made = Made(len(self.numbered), call, name or call.task.name, limit, take[0], take[1], pool, parent)
        self.numbered.append(made)
        return made

    def call_back(self, made: Made) -> None:
        """Have a callback submit what comes when that call has ended."""
        if made.call.then is not None:
            assert made.future is not None
            due, then = Due(made, made.parent), made.call.then
            self.due.append(due)
            made.future.add_done_callback(lambda _: self._called_back(due, then))

    def _called_back(self, due: Due, then: Call) -> None:
        with self._noting():
            due.count += 1
            made = self.make(then, [], parent=due.parent)
            made.is_called_back = True
            is_inside, self.is_calling_back = self.is_calling_back, True
            try:
                made.future = self.options(made).delay(*self.arguments(made))
            except FarmBroken:
                assert self.has_raised
                return
            finally:
                self.is_calling_back = is_inside
            self.kids.append(made)
            self.call_back(made)

    def options(self, made: Made) -> Task[..., Any]:
        """Its task, as it is to be called."""
        call = made.call
        options: dict[str, Any] = {"priority": call.priority, "cost": call.cost, "timeout": call.timeout}
        if made.after:
            options["after"] = [other.future for other in made.after]
        if call.retries:
            options |= {"retries": call.retries, "retry_for": (OSError, TaskTimeout), "backoff": call.backoff}
        return self.tasks[call.task].options(**options)

    def arguments(self, made: Made) -> tuple[Any, ...]:
        """What it is called with."""
        # None, so that a map of such calls is one of plain values, which travel otherwise.
        return made.number, made.call.key, [other.future for other in made.inputs] or None, self._ballast(made)

    def _ballast(self, made: Made) -> bytearray | None:
        return bytearray([made.number % 256]) * made.call.size if made.call.size else None

    def dies(self, actor: Actor) -> None:
        """What the slave holds is gone with it."""
        self.deaths += 1
        for tokens in (self.seen.held, self.seen.using):
            for token in [token for token in tokens if token[0] == actor.rank]:
                del tokens[token]

    # ---------------------------------------------------------------- bodies

    def body(self, number: int, key: int, inputs: list[Any] | None, ballast: bytearray | None) -> Any:
        """What a call does on its slave."""
        inputs = inputs or []
        made, actor = self.numbered[number], self.stage.here()
        assert key == made.call.key
        attempt = Attempt(made, actor, self._upsets())
        self.seen.attempts[number].append(attempt)
        with self._inside(attempt):
            begun = self.seen.begun[number]
            with self._noting():
                self._check_begin(made, actor, inputs)
                self._check_stack(attempt)
            self._submit_and_sleep(attempt)
            self._misbehave(attempt, begun)
            if made.call.nest is not None and made.call.nest.how == "join" and attempt.kids:
                attempt.joined = attempt.kids[-1]
                return attempt.joined.future
            attempt.value = 7 * number + sum(value[0] for value in inputs) % 1000, ballast
            return attempt.value

    def _misbehave(self, attempt: Attempt, begun: int) -> None:
        """Take its slave with it, or fail, if it is to."""
        call = attempt.made.call
        if begun <= call.kills:
            self.dies(attempt.actor)
            self.stage.mark_dead(attempt.actor)
            attempt.actor.sleep(0.0)
        if begun <= call.fails:
            if call.asks:
                current().retry()
            raise call.error(attempt.made.number)

    def _upsets(self) -> int:
        """How often anything has happened that nobody waits for: slaves died, time was up."""
        return self.deaths + self.times_up + sum(actor.given_up for actor in self.stage.actors)

    @contextmanager
    def _inside(self, attempt: Attempt) -> Iterator[None]:
        """Count who is in which body, and what that uses."""
        made, rank, seen = attempt.made, int(attempt.actor.rank), self.seen
        tokens = self._tokens(made, rank)
        seen.inside[made.queue][rank] += 1
        seen.begun[made.number] += 1
        seen.using.update(tokens)
        seen.stacks[rank].append(attempt)
        try:
            yield
        except TimeUp:
            self.times_up += 1
            raise
        finally:
            attempt.is_inside = False
            seen.stacks[rank].remove(attempt)
            seen.inside[made.queue][rank] -= 1
            seen.using.subtract(tokens)

    def _submit_and_sleep(self, attempt: Attempt) -> None:
        call = attempt.made.call
        nest = call.nest
        if nest is None or nest.late:
            attempt.actor.sleep(call.seconds)
        if nest is None:
            return
        self._submit(attempt, nest)
        if not nest.late:
            attempt.actor.sleep(call.seconds)
        if nest.how in {"wait", "try"}:
            self._wait(attempt, nest)
            with self._noting():
                self._check_resource(attempt.made, attempt.actor)

    def _submit(self, attempt: Attempt, nest: Nest) -> None:
        """Make the calls that this one makes."""
        for call in nest.calls:
            kid = self._kid(attempt, call)
            if kid is not None:
                kid.future = self.options(kid).delay(*self.arguments(kid))
                attempt.kids.append(kid)
                self.kids.append(kid)
                self.call_back(kid)
        for which in nest.regrets if attempt.kids else ():
            kid = attempt.kids[which % len(attempt.kids)]
            assert kid.future is not None
            kid.asked = kid.asked or not kid.future.done()
            kid.cancelled = kid.future.cancel()

    def _kid(self, attempt: Attempt, call: Call | Again) -> Made | None:
        """A call to come; an earlier one of anybody once more, if there is one of a task with `memo`."""
        if isinstance(call, Call):
            return self.make(call, attempt.kids, parent=attempt)
        shared = [made for made in self.numbered if made.call.task.memo and not made.inputs]
        if attempt.made.call.nest is not None and attempt.made.call.nest.regrets:
            # One that gives back what it has cancelled is cancelled too, and the next of its equals runs, for ever; so do two.
            mine = {made.number for made in attempt.ancestors()}
            shared = [made for made in shared if made.number not in mine and not (made.call.nest and made.call.nest.regrets)]
        first = shared[-1 - call.which % len(shared)] if shared else None
        return None if first is None else replace(first, parent=attempt, future=None, asked=False, cancelled=False)

    def _wait(self, attempt: Attempt, nest: Nest) -> None:
        """For all that was submitted."""
        for kid in attempt.kids:
            assert kid.future is not None
            attempt.waits = True
            try:
                value = kid.future.result()
                with self._noting():
                    assert value in self.values(kid), f"{kid} gave {value}"
            except (Exception, CancelledError) as error:
                if isinstance(error, Deadlock) and not kid.future.done():
                    self._deadlocked(attempt, kid)
                    raise
                if nest.how == "wait":
                    attempt.raised = KID_FAILED
                    raise LookupError(kid.number) from None
            finally:
                attempt.waits = False

    def _deadlocked(self, attempt: Attempt, kid: Made) -> None:
        attempt.raised = DEADLOCK
        with self._noting():
            self._check_deadlock(attempt, kid)

    # ---------------------------------------------------------------- what must hold

    def _check_begin(self, made: Made, actor: Actor, inputs: list[Any]) -> None:
        """What must hold when a body begins."""
        busy = self._busy(made.queue)
        assert made.limit is None or len(busy) <= made.limit, f"{made}: slaves {busy} are in it, of {made.limit}"
        early = [other for other in made.inputs + made.after if not self.values(other)]
        assert not early, f"{made} begins before {early} ended"
        for other, value in zip(made.inputs, inputs, strict=True):
            assert value in self.values(other), f"{made} gets {value} of {other}"
        self._check_resource(made, actor)

    def _check_stack(self, attempt: Attempt) -> None:
        """On top of a call that waits, nothing runs but what that has submitted, or they."""
        below = self.seen.stacks[int(attempt.actor.rank)][:-1]
        above = list(attempt.ancestors())
        if below and not any(made.call.task.memo for made in above):  # whose call is it that runs for equal ones?
            assert below[-1].waits, f"{attempt.made} runs on top of {below[-1].made}, which does not wait"
            assert below[-1].made in above, f"{attempt.made} runs on top of {below[-1].made}, and is none of its"

    def _busy(self, queue: str) -> set[int]:
        alive = {actor.rank for actor in self.stage.actors if not actor.is_dead}
        return {rank for rank, count in self.seen.inside[queue].items() if count and rank in alive}

    def _check_deadlock(self, attempt: Attempt, kid: Made) -> None:
        """That a call is told that it waits in vain is true: nobody runs what it waits for, and its slave could not."""
        if attempt.upsets != self._upsets():
            return  # something has changed since that was found out, perhaps
        attempts = [one for some in self.seen.attempts.values() for one in some]
        active = [one for one in attempts if one.is_inside and not one.waits and not one.is_called_back]
        helpers = [one for one in active if kid in one.ancestors()]
        assert not helpers, f"{attempt.made} does not wait for {kid} in vain: {[one.made for one in helpers]} runs"
        waits_for_others = kid.inputs or kid.after or kid.call.task.memo or self.seen.attempts[kid.number]
        assert waits_for_others or self._is_shut(kid, attempt.actor), f"{attempt.made} does not wait for {kid} in vain"

    def _is_shut(self, kid: Made, actor: Actor) -> bool:
        """Whether a limit keeps this slave from running it, or what others hold."""
        rank, busy = int(actor.rank), self._busy(kid.queue)
        if kid.limit is not None and rank not in busy and len(busy) >= kid.limit:
            return True
        for token in self._tokens(kid, rank):
            holders = [other[0] for other in +self.seen.held if other[1:] == token[1:]]
            if rank not in holders and len(holders) >= MOST_HOLDERS.get(token[1], ALWAYS):
                return True
        return False

    def _tokens(self, made: Made, rank: int) -> list[Token]:
        """What it needs to be held there."""
        name = str(made.call.task.resource)
        if name not in KEPT or made.pool is not None:
            return []
        chain = ["page", "file"] if name == "page" else [name]
        return [(rank, one, 0 if one == "license" else made.call.key) for one in chain]

    def _check_resource(self, made: Made, actor: Actor) -> None:
        for token in self._tokens(made, int(actor.rank)):
            assert current()._resources[token[1]] == token
            assert self.seen.held[token] == 1, f"{made} has {token}, which is released"

    def acquired(self, actor: Actor, token: Token) -> None:
        """A provider begins."""
        _, name, key = token
        with self._noting():
            self.seen.held[token] += 1
            held = +self.seen.held
            assert held[token] == 1, f"{token} is acquired twice"
            needed = {other[2] for other in held if other[:2] == (actor.rank, "page") and name == "file"}
            mine = [other for other in held if other[:2] == (actor.rank, name) and other[2] not in needed]
            unpinned = [other for other in mine if other == token or self.seen.using[other] <= 0]
            assert len(unpinned) <= KEPT[name], f"slave {actor.rank} keeps {mine}"
            everyones = [other for other in held if other[1:] == (name, key)]
            assert len(everyones) <= MOST_HOLDERS.get(name, ALWAYS), f"too many hold {everyones}"

    def released(self, token: Token) -> None:
        """A provider has come to its end."""
        with self._noting():
            assert self.seen.held[token] == 1, f"{token} is released and not held"
            assert self.seen.using[token] <= 0, f"{token} is released and in use"
            self.seen.held[token] -= 1

    def _noting(self) -> Noting:
        return Noting(self.stage.wrong.append)


class Noting:
    """A context: what is not as it must be is noted, in place of becoming the outcome of a call."""

    def __init__(self, note: Callable[[BaseException], None]) -> None:
        self._note = note

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, AssertionError):
            self._note(error)
