"""Takes in what slaves tell, and their deaths.

Everything here happens under the master's lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures._base import PENDING
from typing import Any, cast

from .. import registry
from ..core.calls import ENDED, Provided
from ..core.scheduler import Scheduler
from ..futures import Future
from ..ids import CallId, Rank
from ..transport import wire
from ..transport.base import Arrival, Death, Transport
from . import columns, logs
from .alarm import ENDED_FOR_ANOTHER, Limit
from .batches import Batches
from .calls import PLAINLY, FarmCall, ours
from .children import Children
from .endings import Endings
from .functions import Functions
from .items import Items
from .losses import Losses
from .messages import BYE, HAS, HEARD, LACKS, LIMIT, MANY, REPORT, STACKS, STOP, STUCK, Named, Outcome
from .news import News
from .overdue import Overdue, Stuck, along_with
from .post import Post


def _identity(named: Named) -> Provided:
    """The resource that a slave means."""
    name, args = named
    return registry.resource(name).identity(args)


class Intake:
    """Tells the scheduler what has happened on slaves, and ends calls by it."""

    def __init__(  # noqa: PLR0913  the parts of the master that a message may concern
        self,
        transport: Transport,
        scheduler: Scheduler,
        *,
        endings: Endings,
        batches: Batches,
        children: Children,
        post: Post,
        functions: Functions,
        overdue: Overdue,
        losses: Losses,
        news: News,
    ) -> None:
        self.stacks: dict[Rank, str] = {}
        """What slaves have said since they were asked where they are."""
        self.unretrieved = 0
        """Failures of calls that calls have submitted, and nobody has asked for, on the slaves that have left."""
        self._transport = transport
        self._scheduler = scheduler
        self._endings = endings
        self._batches = batches
        self._children = children
        self._post = post
        self._functions = functions
        self._overdue = overdue
        self._losses = losses
        self._news = news

    def look(self, now: float) -> bool:
        """Take in what has arrived."""
        arrival = self._transport.receive()
        if arrival is None:
            return False
        while arrival is not None:
            self._take_in(arrival, now)
            arrival = self._transport.receive()
        return True

    def _take_in(self, arrival: Arrival, now: float) -> None:
        """A slave's report, its goodbye, or another word of it."""
        message = wire.unpack(arrival.packet)
        if message[0] == REPORT:
            self._take_report(arrival.source, message, now)
        elif message[0] == MANY:
            self._batches.take_in(arrival.source, message[1:], now)
        elif message[0] == BYE:
            self._post.present.remove(arrival.source)
            self.unretrieved += message[1]
        elif message[0] == HEARD:
            self._hear(arrival.source, message[1])
        elif message[0] == STACKS:
            self.stacks[arrival.source] = message[1]
        elif message[0] == LIMIT:
            self._overdue.limited(arrival.source, None if message[1] is None else Limit(*message[1]), now)
        elif message[0] == STUCK:
            self.leave_behind(Stuck(arrival.source, *message[1:]), now)
        elif message[0] in (HAS, LACKS):
            self._post.shipping.take_in(arrival.source, *message)
        else:
            self._children.take_in(arrival.source, message, now)

    # ---------------------------------------------------------------- reports

    def _take_report(self, source: Rank, message: tuple[Any, ...], now: float) -> None:
        _, outcomes, given_back, records, holdings = message
        if type(outcomes) is tuple:
            self._take_values(source, outcomes, now)
        elif outcomes:
            ids, _, seconds, _ = zip(*outcomes, strict=True)
            self._end(source, self._finished(source, ids, seconds, now), outcomes, now)
        if given_back is not None:
            self._scheduler.given_back(source, given_back, now)
            if self._endings.closing:
                self._endings.cancel_waiting()
        if holdings is not None:
            held, acquired = holdings
            known = [(_identity(named), seconds) for named, seconds in acquired]
            self._scheduler.resources_held(source, map(_identity, held), known, now)
        self._news.records.extend(records)

    def _finished(self, source: Rank, ids: Sequence[CallId], seconds: Sequence[float | None], now: float) -> list[FarmCall]:
        """The calls that a slave has ended, each in so many seconds, but for what was given up before."""
        calls = self._scheduler.calls_finished(source, zip(ids, seconds, strict=True), now)
        self._overdue.answered(source, ids)
        return cast("list[FarmCall]", calls)

    def _take_values(self, source: Rank, values: columns.Outcomes, now: float) -> None:
        """Many calls have returned: mostly, only their futures have to know."""
        calls = self._finished(source, values[0], values[1], now)
        futures = [call.future for call in calls if call.rare is PLAINLY and call.dependents is None]
        if len(futures) == len(values[0]) and self._endings.are_plain:
            self._endings.finish_plain(zip(futures, columns.payloads_of(values), strict=True))
        else:
            self._end(source, calls, columns.outcomes_of(values), now)

    def _end(self, source: Rank, calls: list[FarmCall], outcomes: list[Outcome], now: float) -> None:
        """End these calls."""
        if len(calls) < len(outcomes):
            outcomes = self._without_late(source, calls, outcomes)
        self._take_outcomes(calls, outcomes, now)

    def _take_outcomes(self, calls: list[FarmCall], outcomes: list[Outcome], now: float) -> None:
        endings = self._endings
        endings.returned(calls, outcomes)
        are_plain = endings.are_plain
        plain: list[tuple[Future[Any], wire.Payload]] = []
        for call, (_, failure, _, payload) in zip(calls, outcomes, strict=True):
            if failure is None and call.rare is PLAINLY and call.dependents is None and are_plain:
                plain.append((call.future, payload))
                continue
            endings.finish_plain(plain)  # in the order in which they ended
            plain.clear()
            if failure is None:
                endings.counted(call)
                endings.finish(call, payload, returned=True)
            else:
                self._attempt_is_over(call)
                endings.failed(call, failure, payload, now)
        endings.finish_plain(plain)

    def _attempt_is_over(self, call: FarmCall) -> None:
        """A call failed, or its slave was lost: nobody will ask for what it has submitted."""
        if call.nest is not None:
            self._children.attempt_is_over(call)

    def _hear(self, source: Rank, call_id: CallId) -> None:
        """That call knows that it should stop. One that was given up may run again elsewhere, and knows nothing there."""
        for rank, call in self._scheduler.sent():
            if isinstance(call, Items) and rank == source and call.has(call_id):
                call.batch.early.add(call_id)
            elif call.id == call_id and rank == source:
                ours(call).own().is_early = True

    # ---------------------------------------------------------------- calls that outlast their limits

    def minds_a_child(self, rank: Rank) -> bool:
        """Whether what that slave runs does so in a process of its own."""
        return any(on == rank and (self._post.isolates or ours(call).plan.isolate) for on, call in self._scheduler.sent())

    def leave_behind(self, stuck: Stuck, now: float) -> None:
        """A call ends that goes on, and so do those below it there: the slave gets nothing more until all have ended."""
        rank, attempt, (call_id, failure, _, payload) = stuck
        calls = [ours(call) for call in self._scheduler.given_up(rank, call_id, attempt, now)]
        if not calls or failure is None:  # it has just ended
            return
        name = self._overdue.left[rank] = next(call.plan.name for call in calls if call.id == call_id)
        self._news.records.append(logs.warning(f"slave {rank} is left in a call of {name!r} that has outlasted its timeout"))
        for call in calls:
            self._post.send(rank, (STOP, call.id))
            self._attempt_is_over(call)
            if call.id == call_id:
                self._endings.failed(call, failure, payload, now)
            else:
                self._endings.failed(call, ENDED_FOR_ANOTHER, along_with(call.plan.name, payload), now)

    def _without_late(self, rank: Rank, calls: list[FarmCall], outcomes: list[Outcome]) -> list[Outcome]:
        """The outcomes of these calls. Others were given up; with the last of them, its slave works again."""
        if rank not in dict(self._scheduler.left_in_calls()):
            name = self._overdue.left.pop(rank)
            text = f"slave {rank} has ended the call of {name!r} that had outlasted its timeout, and works again"
            self._news.records.append(logs.warning(text))
        ids = {call.id for call in calls}
        return [one for one in outcomes if one[0] in ids]

    def note_end(self, rank: Rank, call_id: CallId, *, was_given_up: bool) -> None:
        """A slave has ended a call without an outcome."""
        self._overdue.answered(rank, [call_id])
        if was_given_up:
            self._without_late(rank, [], [])

    # ---------------------------------------------------------------- deaths

    def bury(self) -> None:
        """Slaves have died; what they had sent is taken in."""
        while self._transport.deaths:
            death = self._transport.deaths.popleft()
            self._transport.drop(death.rank)
            self._post.shipping.lost(death.rank)
            if death.rank in self._post.present:
                self._post.present.remove(death.rank)
                if not self._post.dismissed or any(rank == death.rank for rank, _ in self._scheduler.sent()):
                    self._slave_lost(death)
                else:
                    self._losses.note(death, ())

    def _slave_lost(self, death: Death) -> None:
        """A slave has died, and its calls are to run elsewhere."""
        self._functions.forget(death.rank)
        lost = self._scheduler.slave_lost(death.rank)
        self._losses.note(death, lost.calls)
        self._news.records.append(logs.record_of(self._losses.line(lost)))
        for call in map(ours, lost.calls):
            self._attempt_is_over(call)
            if not call.future.done():
                call.future._state = PENDING
                if call.rare is not PLAINLY:
                    call.rare.is_early = False
        for call in map(ours, lost.given_up):
            self._end_lost(call)
        if self._losses.nobody_left:
            for waiting in self._endings.waiting():
                if self._scheduler.cancelled(waiting):
                    self._end_lost(waiting)
        elif self._endings.closing:
            self._endings.cancel_waiting()

    def _end_lost(self, call: FarmCall | Items) -> None:
        """A call fails, because its slave has died."""
        if isinstance(call, Items):
            for one in call.singles():
                one.state = ENDED
                self._end_lost(ours(one))
            return
        self._endings.finish(call, self._losses.failure(call, call.plan.name), returned=False)
