"""How calls end, one by one and all at once.

::

    outcome ──► finished ──► its future ──► who waits
                   ├───────► what needs its value goes on, or fails too
                   └───────► equal calls that follow it end as it does

Everything here happens under the master's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from typing import Any, cast

from ..core.calls import Call
from ..core.scheduler import Scheduler
from ..errors import JournalError, TaskCrashed, farm_ended
from ..futures import Future, end_returned
from ..retries import CUT_SHORT, Failure, name_of
from ..transport import wire
from ..transport.failures import gist_of, with_earlier
from .calls import FarmCall, ours
from .drive import Drive
from .functions import Functions
from .items import ItemFuture, Items
from .later import Later
from .messages import Outcome
from .news import News
from .recall import Recall

_CRASHED = name_of(TaskCrashed)


def _with_crashes(call: FarmCall, failure: Failure, payload: wire.Payload) -> wire.Payload:
    """The failure as it is told; that of a call which has crashed before lists each time."""
    told = with_earlier(payload, call.rare.crashes) if call.rare.crashes else payload
    if failure[0][0] == _CRASHED:
        call.own().crashes += (gist_of(payload),)
    return told


class Endings:
    """Gives calls their outcomes, and lets those go on or end that depend on them."""

    closing = False
    """Nothing more is to begin."""
    draining = False
    """Slaves were told to give back what they have not begun, and the calls that are left were counted."""
    left = 0
    """Calls that had not ended when the run was drained, and have not since."""

    def __init__(  # noqa: PLR0913  the parts of the master that an end touches
        self,
        scheduler: Scheduler,
        recall: Recall,
        functions: Functions,
        *,
        news: News,
        drive: Drive,
        accept: Callable[[FarmCall, list[Any]], None],
    ) -> None:
        self.later = Later()
        """Calls that have failed and run again, after a pause."""
        self._scheduler = scheduler
        self._recall = recall
        self._functions = functions
        self._news = news
        self._drive = drive
        self._accept = accept
        """Takes in a call whose leader was cancelled, as if it was submitted now."""

    @property
    def is_over(self) -> bool:
        """Whether no call can be submitted any more."""
        return self.closing or self._drive.broken is not None

    @property
    def are_plain(self) -> bool:
        """Whether of calls that have returned, and on which nothing else depends, only their futures have to know."""
        return not (self.closing or self.draining)

    # ---------------------------------------------------------------- outcomes

    def returned(self, calls: list[FarmCall], outcomes: list[Outcome]) -> None:
        """Write down what calls have returned, before anybody hears of it; what can't be kept, nobody does."""
        book = self._recall.book
        if book is None:
            return
        from ..journal.book import Entry  # noqa: PLC0415  see `Recall.open`

        kept = {
            call: Entry(call.rare.known, payload, seconds, call.future.rank, call.attempt)
            for call, (_, failure, seconds, payload) in zip(calls, outcomes, strict=True)
            if failure is None and call.rare.known is not None and not call.future.done() and not call.rare.is_early
        }
        try:
            book.write(list(kept.values()))
        except JournalError as error:
            for call in kept:
                self.lose(call, error)

    def failed(self, call: FarmCall, failure: Failure, payload: wire.Payload, now: float) -> None:
        """A call has failed: it runs again, or ends."""
        # Who asked for an equal one has nothing to do with whose time was up, or who wants it no more, so that it runs no more.
        if CUT_SHORT in failure[0] or call.rare.is_unwanted:
            self._pass_on(call)
        told = _with_crashes(call, failure, payload)
        if not self._runs_again(call, failure, now):
            self.finish(call, told, returned=False)

    def _runs_again(self, call: FarmCall, failure: Failure, now: float) -> bool:
        """Have a failed call run again, after a pause. False if it does not."""
        rare = call.own()
        rare.failed += 1
        retries = call.plan.retries
        is_last = retries is None or self.closing or self.draining or rare.is_unwanted or call.future.done()
        pause = None if retries is None or is_last else retries.pause(rare.failed, failure)
        if pause is None:
            return False
        call.future._state, rare.is_early = PENDING, False
        self._scheduler.tally.queues[call.queue].retried += 1
        self._scheduler.postponed(call)
        self.later.add(call, now + pause)
        return True

    def finish_plain(self, ended: Iterable[tuple[Future[Any], wire.Payload]]) -> None:
        """Calls have returned of which only their futures have to know, in this order."""
        self._news.ended.extend(end_returned(ended))

    def finish(self, call: FarmCall, payload: wire.Payload, *, returned: bool) -> None:
        """A call has its outcome."""
        future = call.future
        if future.done():  # given up meanwhile, by `lose_all`
            return
        is_early = call.rare.is_early  # then this may be half of what others want who follow it
        followers = list(self._recall.followers(call)) if call.rare.known is not None and not is_early else ()
        if followers:
            future._lent = True
        future._payload = payload
        if not returned:
            future._failed = True
            self._scheduler.tally.queues[call.queue].failed += 1
        dependents = call.dependents
        # A failure that nobody holds is logged when it is forgotten; kept until then, it is so outside of the lock.
        if future._end(FINISHED) or not returned:
            self._news.ended.append(future)
        if dependents:
            self._tell_dependents(call, dependents, returned=returned)
        self._let_go(call)
        for follower in followers:
            follower.future._lent = True
            self.finish(follower, payload, returned=returned)
        if is_early:
            self._pass_on(call)

    def _tell_dependents(self, call: FarmCall, dependents: Iterable[Call], *, returned: bool) -> None:
        """What waited for this call goes on, or fails too."""
        if not returned:
            self._fail_dependents(call)
            return
        for dependent in dependents:
            self.take_value(ours(dependent), call.future)
        self._scheduler.call_succeeded(call)

    def take_value(self, call: FarmCall, future: Future[Any]) -> bool:
        """Put the value of an ended future where it goes. False if it has none: it failed."""
        if future._state != FINISHED or future._is_failure():
            return False
        payload = future._payload
        places = call.rare.places.get(future) if call.rare.places else None
        if places:
            future._lent = True
            if payload is None:  # somebody has decoded it since
                payload = wire.snapshot(wire.encode(future._result))
            values = list(call.rare.values)
            for place in places:
                values[place] = payload
            call.rare.values = values
        return True

    def _let_go(self, call: FarmCall) -> None:
        """Nobody needs the arguments any more."""
        if isinstance(call.target, int):
            self._functions.release(call.target)

    # ---------------------------------------------------------------- ends without an outcome

    def lose(self, call: FarmCall | Items, why: BaseException) -> None:
        """No outcome of this call will come any more."""
        if isinstance(call, Items):
            call.batch.lose(call, why)
            return
        future = call.future
        if not future.done():
            future._exception = farm_ended(why)
            future._end(FINISHED)
            self._news.ended.append(future)
            self._fail_dependents(call)
            for follower in self._recall.followers(call):
                self.lose(follower, why)

    def _fail_dependents(self, call: Call) -> None:
        """What waited for a failed call fails too."""
        for ended, because in self._scheduler.call_failed(call):
            self.end_because(ours(ended), ours(because).future)

    def end_because(self, call: FarmCall, other: Future[Any]) -> None:
        """A call will never run, because of another one that failed or was cancelled."""
        future = call.future
        if other._state == CANCELLED_AND_NOTIFIED:
            state = CANCELLED_AND_NOTIFIED
        else:
            state = FINISHED
            future._because = future._root = other._root or other
            other._retrieved = True  # it is told with this one
        future._end(state)
        self._news.ended.append(future)
        self._let_go(call)
        self._fail_dependents(call)  # the scheduler knows of none, if it ran, or followed another
        if state == CANCELLED_AND_NOTIFIED:
            self._pass_on(call)
        for follower in self._recall.followers(call):
            self.end_because(follower, other)

    def give_up(self, call: FarmCall) -> bool:
        """Take a call from the scheduler, if it has not been sent; then it is to end."""
        batch = call.future.batch if isinstance(call.future, ItemFuture) else None
        in_time = None if batch is None else batch.give_up(call.id)
        return self._recall.give_up(call) if in_time is None else in_time

    def cancelled(self, call: FarmCall | Items) -> None:
        """A call was cancelled, and with it what waited for it."""
        if isinstance(call, Items):
            call.batch.were_cancelled(call)
            return
        if call.future.done():  # it ended with a broken farm, before the run was abandoned
            return
        if call.future._end(CANCELLED_AND_NOTIFIED):
            self._news.ended.append(call.future)
        self._fail_dependents(call)
        self._let_go(call)
        self._pass_on(call)

    def _pass_on(self, call: FarmCall) -> None:
        """Let the first of those that followed a cancelled call run, and the others follow that."""
        for follower, claims in self._recall.left_alone(call):
            if self.is_over:
                self._scheduler.refused(follower)
                self.cancelled(follower)
            else:
                self._accept(follower, claims)

    # ---------------------------------------------------------------- all at once

    def count_left(self) -> None:
        """The run is drained: from now on, count what is left."""
        self.draining = True
        self.left = self._scheduler.unfinished

    def counted(self, call: FarmCall) -> None:
        """A call has returned: that is one less that is left, if it has done all of its work."""
        self.left -= self.draining and not call.rare.is_early

    def waiting(self) -> list[FarmCall | Items]:
        """All calls that are not with a slave."""
        return [cast("FarmCall | Items", call) for call in (*self.later.take_all(), *self._scheduler.waiting())]

    def cancel_waiting(self) -> int:
        """Cancel what has not been sent."""
        before = self._scheduler.unfinished
        for one in self.waiting():
            if self._scheduler.cancelled(one):
                self.cancelled(one)
        for _, sent in self._scheduler.sent():
            for call in (sent, *sent.inside()):
                for ended, _ in self._scheduler.call_failed(call):
                    self.cancelled(ours(ended))
        return before - self._scheduler.unfinished

    def lose_all(self, why: BaseException) -> None:
        """No outcome will come any more: end the calls that have none."""
        self.closing = True
        for call in [*self.waiting(), *(ours(call) for _, call in self._scheduler.sent())]:
            self.lose(call, why)
