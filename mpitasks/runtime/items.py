"""Blocks of a map, as the master keeps them.

::

    Batch ◄──── Items: those that wait ──cut──► Items, or one call: sent ──MANY──► values
      │                                                                              │
      └── futures, made one by one for those who ask ◄───────────────────────────────┘

A call leaves its batch and is as every other from then on: if it is sent alone, if its slave was still in it when the others
had ended, if its slave has died, or if it has failed. All but the decoding of values happens under the master's lock.
"""

from __future__ import annotations

import threading
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Sequence
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from typing import Any, NamedTuple, Protocol, cast

from ..backports import override
from ..core.calls import ENDED, PLAIN, WAITING, Call
from ..core.many import Many
from ..core.scheduler import Scheduler
from ..errors import farm_ended
from ..farm import Farm
from ..futures import Future, Watcher
from ..ids import CallId, Rank
from ..many import Wait
from ..plans import Plan
from ..retries import Failure
from ..transport import wire
from .calls import FarmCall, ours
from .functions import Functions
from .messages import EACH_PICKLED, ONE_ARGUMENT, STOP, OutcomesOfMany, SentMany, Target


class _Endings(Protocol):
    """How calls end that are known by themselves."""

    draining: bool
    left: int

    def finish(self, call: FarmCall, payload: wire.Payload, *, returned: bool) -> None: ...
    def failed(self, call: FarmCall, failure: Failure, payload: wire.Payload, now: float) -> None: ...
    def cancelled(self, call: FarmCall | Items) -> None: ...
    def lose(self, call: FarmCall, why: BaseException) -> None: ...


class _Running(Farm, Protocol):
    """What is needed of the master."""

    def accept(self, call: FarmCall | Items, claims: list[Any]) -> None: ...
    def withdraw_many(self, batch: Batch) -> bool: ...
    def withdraw_unsent(self, batch: Batch) -> None: ...


class Parts(NamedTuple):
    """The parts of the master that a batch works with."""

    farm: _Running
    lock: Any  # threading.RLock, of which typeshed makes a function
    scheduler: Scheduler
    endings: _Endings
    ended: deque[Future[Any] | Batch]
    """What is to be announced."""
    send: Any
    alone: set[str]
    """Queues of calls that had better be sent one by one."""
    functions: Functions


class Given(NamedTuple):
    """Items as they will travel."""

    items: Sequence[Any]
    shape: int
    each: int
    """Bytes of one, about."""


class ItemFuture(Future[Any]):
    """The outcome of one of many calls."""

    def __init__(self, farm: Farm, batch: Batch, place: int) -> None:
        super().__init__(farm, batch.plan.name)
        self.batch: Batch | None = batch
        """None once it has ended: they would keep each other alive."""
        self.place = place

    @override
    def _end(self, state: str) -> bool:
        must_announce = super()._end(state)
        batch, self.batch = self.batch, None
        if batch is not None:
            batch.one_ended(self, returned=state == FINISHED and not self._is_failure())
        return must_announce


class _Ended(NamedTuple):
    """Some that have ended alike."""

    first: int
    width: int
    values: list[Any]
    """None where a value is in `encoded`. Empty: they have not returned."""
    encoded: dict[int, bytes]
    """By place in `values`."""
    rank: Rank | None
    error: BaseException | None = None
    """Why no outcome has come; None without values: they were cancelled."""


class Items(Many):
    """Some of a batch, as the scheduler sees them."""

    __slots__ = ("batch", "plan", "rank")

    rare = None
    """What they have beside their arguments is their batch's."""

    def __init__(self, batch: Batch, first: CallId, items: int) -> None:
        plan = batch.plan
        super().__init__(first, items, plan.queue, priority=plan.priority, chunk=plan.chunk, each=batch.each)
        self.batch = batch
        self.plan = plan
        self.rank: Rank | None = None
        """Of the slave that has them."""
        batch.there.append(self)

    @override
    def cut(self, most: int) -> Call:
        taken = super().cut(1 if self.batch.goes_alone else most)
        if not self.items:
            self.batch.there.remove(self)
        return taken

    @override
    def part(self, first: CallId, items: int) -> Many:
        return Items(self.batch, first, items)

    @override
    def single(self, call_id: CallId) -> Call:
        return self.batch.leave(call_id - self.batch.first)

    @override
    def singles(self) -> list[Call]:
        self.batch.there.remove(self)
        return super().singles()

    @override
    def inside(self) -> Sequence[Call]:
        return self.batch.inside(self.id, self.width)


class Batch:
    """A block of a map: its arguments, and what became of them."""

    is_unwanted = is_forgiven = False
    """Whether nobody wants the outcomes; whether failures are nobody's."""

    def __init__(self, parts: Parts, plan: Plan, given: Given, first: CallId, function: bytes | None = None) -> None:
        self.plan = plan
        self.target: Target = plan.name if function is None else parts.functions.number_of(function)
        self.items, self.shape, self.each = given
        self.count = self.left = len(self.items)
        """The second: of those that have not ended."""
        self.unlike = 0
        """Of those that have ended, but did not return."""
        self.first = first
        self.there: list[Items] = []
        """Those that the scheduler has, waiting or sent."""
        self.early: set[CallId] = set()
        """Those which know that they should stop: what they return may be half of it."""
        self._watchers: tuple[Watcher, ...] = ()
        """Who wants to know what has ended."""
        self._parts = parts
        self._event: threading.Event | None = None
        self._ended: list[_Ended] = []
        """By place."""
        self._inside: dict[int, FarmCall] = {}
        """Those of which somebody has the future, and which are not calls of their own."""
        self._futures: dict[int, ItemFuture] = {}

    # ---------------------------------------------------------------- for who has the futures

    def future(self, place: int) -> ItemFuture:
        """The future of one."""
        found = self._futures.get(place)
        if found is None:
            with self._parts.lock:
                found = self._futures.get(place) or self._made(place)
        return found

    def _made(self, place: int) -> ItemFuture:
        future = self._futures[place] = ItemFuture(self._parts.farm, self, place)
        future._retrieved = self.is_forgiven
        ended = self._ended_at(place)
        if ended is not None:
            _end_like(future, ended)
            return future
        part = next(part for part in self.there if part.has(CallId(self.first + place)))
        call = self._inside[place] = self._new_call(place, b"", future)
        call.state = WAITING
        if part.rank is not None:
            future._state, future.rank, future.attempts = RUNNING, part.rank, part.attempt
        return future

    def has_ended(self, place: int) -> bool:
        """Whether that one has."""
        future = self._futures.get(place)
        return future.done() if future is not None else self._ended_at(place) is not None

    def values_from(self, place: int, most: int) -> list[Any]:
        """Hand over values of some that have ended, from this one on; one at least, so many at most. They are not kept.

        Raises:
            Exception: What the first has raised.
        """
        ended = None if place in self._futures else self._ended_at(place)
        if ended is not None and ended.values:
            stop = min(place + most, ended.first + ended.width)
            with self._parts.lock:
                stop = min((other for other in self._futures if place < other < stop), default=stop)
            values = _handed_over(ended, place - ended.first, stop - ended.first)
            if values:
                return values
        future = self.future(place)
        with self._parts.lock:
            del self._futures[place]
        return [future.result()]

    def ended(self) -> int:
        """How many have ended."""
        return self.count - self.left

    def values(self, wait: Wait) -> list[Any] | None:
        """All values, once all have ended; None: the time ran out, one has not returned, or one can't be decoded."""
        in_time = wait(lambda: not self.left or self.unlike > 0, self.event)
        if not in_time or self.unlike or not all(map(_decode, self._ended)):
            return None
        values: list[Any] = [None] * self.count
        for ended in self._ended:
            values[ended.first : ended.first + ended.width] = ended.values
        for place, future in list(self._futures.items()):
            if future.exception() is not None:
                return None
            values[place] = future.result()
        return values

    def event(self) -> threading.Event:
        """An event that is set whenever some have ended."""
        with self._parts.lock:
            self._event = self._event or threading.Event()
        return self._event

    def tell(self, watcher: Watcher) -> None:
        """Let the watcher know what ends, and what has: this batch, the place of the first, and how many."""
        with self._parts.lock:
            self._watchers += (watcher,)
            told = cast("deque[Any]", watcher.ended)
            told.extend((self, ended.first, ended.width) for ended in self._ended)
            told.extend(
                (self, place, 1) for place, future in self._futures.items() if future.done() and not self._ended_at(place)
            )

    def tell_no_more(self, watcher: Watcher) -> None:
        """The watcher need not know any more."""
        with self._parts.lock:
            self._watchers = tuple(other for other in self._watchers if other is not watcher)

    def cancel(self) -> bool:
        """Cancel them all: True if all of them were cancelled in time."""
        in_time = self._parts.farm.withdraw_many(self)
        others = [future.cancel() for future in list(self._futures.values())]
        return in_time and all(others)

    def cancel_unsent(self) -> None:
        """Cancel those that have not been sent to a slave."""
        self._parts.farm.withdraw_unsent(self)
        for future in list(self._futures.values()):
            if future._state == PENDING:
                future.cancel()

    def give_up_unsent(self) -> None:
        """Cancel those that have no future of their own, and have not been sent."""
        for part in list(self.there):
            if self._parts.scheduler.cancelled(part):
                self._parts.endings.cancelled(part)

    def give_up_all(self) -> bool:
        """Cancel those that have no future of their own, and tell those to stop that were sent; True if all were cancelled."""
        self.is_unwanted = True
        self.give_up_unsent()
        for part in self.there:
            if part.rank is not None:
                self._parts.send(part.rank, (STOP, part.id, part.items))
        return not self.there and not any(ended.values or ended.error is not None for ended in self._ended)

    def forgive(self) -> None:
        """Nobody can ask for these any more, so that their failures are nobody's."""
        self.is_forgiven = True
        for future in list(self._futures.values()):
            future._retrieved = True

    # ---------------------------------------------------------------- for the scheduler

    @property
    def goes_alone(self) -> bool:
        """Whether they had better be sent one by one."""
        return self.plan.queue in self._parts.alone

    def leave(self, place: int) -> FarmCall:
        """One becomes a call of its own."""
        call = self._inside.pop(place, None)
        item = self.items[place]
        payload = item if self.shape == EACH_PICKLED else wire.encode(((item,) if self.shape == ONE_ARGUMENT else item, {}))
        if call is None:
            future = self._futures[place] = ItemFuture(self._parts.farm, self, place)
            future._retrieved = self.is_forgiven
            call = self._new_call(place, payload, future)
        call.payload, call.size, call.attempt = payload, self.each, 0
        call.future._state = PENDING
        return call

    def _new_call(self, place: int, payload: wire.Payload, future: ItemFuture) -> FarmCall:
        call = future._call = FarmCall(CallId(self.first + place), self.plan, PLAIN, payload, future)
        call.own().is_unwanted = self.is_unwanted  # its own: the batch has to know how it ends, and not its future alone
        call.target = self.target
        if isinstance(self.target, int):
            self._parts.functions.use(self.target)  # `Endings` lets go of it
        return call

    def inside(self, first: CallId, width: int) -> list[FarmCall]:
        """The calls of those from `first` on of which somebody has the future."""
        if len(self._inside) < width:
            return [call for call in self._inside.values() if first <= call.id < first + width]
        start = first - self.first
        return [self._inside[place] for place in range(start, start + width) if place in self._inside]

    # ---------------------------------------------------------------- for the master

    def send(self, part: Items, rank: Rank) -> tuple[SentMany, list[tuple[int, ...]]]:
        """What leaves; and which of it nobody wants any more: ids, or the first and how many."""
        start = part.id - self.first
        part.rank = rank
        calls = self.inside(part.id, part.items)
        for call in calls:
            future = call.future
            future._state, future.rank, future.attempts = RUNNING, rank, part.attempt
        items = self.items[start : start + part.items]
        unwanted: list[tuple[int, ...]] = [(call.id,) for call in calls if call.rare.is_unwanted]
        if self.is_unwanted:  # these have come back
            unwanted = [(part.id, part.items)]
        return (part.id, self.plan.name, self.target, part.attempt, None, items, (), None, None, self.shape), unwanted

    def give_up(self, call_id: CallId) -> bool | None:
        """Whether one was cancelled in time; None: it is a call of its own."""
        call = self._inside.get(call_id - self.first)
        if call is None:
            return None
        part = next(part for part in self.there if part.has(call_id))
        if part.state != WAITING:
            return False
        self._parts.scheduler.one_cancelled(part, call_id)
        call.state = ENDED
        del self._inside[call_id - self.first]
        if not part.items:
            self.there.remove(part)
        return True

    def goes_on(self, call_id: CallId, rank: Rank, attempt: int) -> None:
        """That one runs on, as a call of its own."""
        future = self._futures[call_id - self.first]
        future._state, future.rank, future.attempts = RUNNING, rank, attempt
        if call_id in self.early and future._call is not None:
            ours(future._call).own().is_early = True

    def end(self, part: Items, outcomes: OutcomesOfMany, now: float) -> None:
        """These were sent, and the first of them have ended."""
        first, done, _, _, values, encoded, failures, _ = outcomes
        self.there.remove(part)
        start, begin = first - self.first, 0
        singly = sorted({*failures, *(call.id - first for call in self.inside(part.id, done))})
        for place in [*singly, done]:
            some = {at - begin: payload for at, payload in encoded.items() if begin <= at < place} if encoded else {}
            self._ended_together(_Ended(start + begin, place - begin, list(values[begin:place]), some, part.rank))
            begin = place + 1
        early = sum(first <= one < first + done and one - first not in failures for one in self.early) if self.early else 0
        self._parts.endings.left -= self._parts.endings.draining and done - len(failures) - early
        for place in singly:
            failure, payload = failures.get(place) or (None, encoded.get(place) or wire.encode(values[place]))
            self._one_is_told(start + place, part, failure, payload, now)

    def _one_is_told(self, place: int, part: Items, failure: Failure | None, payload: wire.Payload, now: float) -> None:
        """One has ended that somebody waits for, or that has failed."""
        call = self.leave(place)
        call.state, call.attempt = ENDED, part.attempt
        call.future.rank, call.future.attempts = part.rank, part.attempt
        if failure is None:
            self._parts.endings.finish(call, payload, returned=True)
        else:
            self._parts.endings.failed(call, failure, payload, now)

    def were_cancelled(self, part: Items) -> None:
        """These will not run."""
        for call in self._unsent(part, None):
            self._parts.endings.cancelled(call)

    def lose(self, part: Items, why: BaseException) -> None:
        """No outcome of these will come any more."""
        if part not in self.there:  # that has been said before
            return
        for call in self._unsent(part, farm_ended(why)):
            self._parts.endings.lose(call, why)

    def _unsent(self, part: Items, error: BaseException | None) -> list[FarmCall]:
        """These end so; but for those, given back, of which somebody has the future."""
        self.there.remove(part)
        calls = self.inside(part.id, part.width)
        begin = part.id
        for call in sorted(calls, key=lambda one: one.id):
            self._end_unsent(part, begin, call.id, error)
            call.state = ENDED
            del self._inside[call.id - self.first]
            begin = CallId(call.id + 1)
        self._end_unsent(part, begin, CallId(part.id + part.width), error)
        return calls

    def _end_unsent(self, part: Items, begin: CallId, end: CallId, error: BaseException | None) -> None:
        """Those from `begin` on, before `end`, end so; but for those that have ended before."""
        for gap in [call_id for call_id in range(begin, end) if not part.has(CallId(call_id))]:
            self._end_unlike(begin, CallId(gap), error)
            begin = CallId(gap + 1)
        self._end_unlike(begin, end, error)

    def _end_unlike(self, begin: CallId, end: CallId, error: BaseException | None) -> None:
        if end > begin:
            self.unlike += end - begin
            self._ended_together(_Ended(begin - self.first, end - begin, [], {}, None, error))

    def _ended_together(self, ended: _Ended) -> None:
        if ended.width:
            insort(self._ended, ended, key=_first)
            self._has_ended(ended.first, ended.width)

    def one_ended(self, future: ItemFuture, *, returned: bool) -> None:
        """One with a future of its own has ended."""
        self.unlike += not returned
        self._has_ended(future.place, 1)

    def _has_ended(self, place: int, count: int) -> None:
        self.left -= count
        if not self.left:
            self.items = ()  # nobody needs the arguments any more
            if isinstance(self.target, int):
                self._parts.functions.release(self.target)
        for watcher in self._watchers:
            watcher.ended.append(cast("Any", (self, place, count)))
        if self._event is not None or self._watchers:
            self._parts.ended.append(self)

    def _announce(self) -> None:
        """Wake who waits."""
        if self._event is not None:
            self._event.set()
        for watcher in self._watchers:
            watcher.event.set()

    def _ended_at(self, place: int) -> _Ended | None:
        """Those that have ended with that one."""
        at = bisect_right(self._ended, place, key=_first) - 1
        found = self._ended[at] if at >= 0 else None
        return found if found is not None and place < found.first + found.width else None


def _first(ended: _Ended) -> int:
    return ended.first


def _decode(ended: _Ended) -> bool:
    """Decode values where they came in bytes. False: there are none, or one can't be decoded."""
    for place, payload in list(ended.encoded.items()):
        try:
            ended.values[place] = wire.decode(payload)
        except Exception:  # noqa: BLE001  unpickling runs user code; who asks for this one alone hears of it
            return False
        ended.encoded.pop(place, None)
    return bool(ended.values)


def _handed_over(ended: _Ended, start: int, stop: int) -> list[Any]:
    """Some values, up to the first that can't be decoded; they are not kept."""
    values = ended.values[start:stop]
    for place in range(start, stop) if ended.encoded else ():
        if place in ended.encoded:
            try:
                values[place - start] = wire.decode(ended.encoded[place])
            except Exception:  # noqa: BLE001  as in `_decode`
                stop = place
                break
            del ended.encoded[place]
    ended.values[start:stop] = [None] * (stop - start)
    return values[: stop - start]


def _end_like(future: ItemFuture, ended: _Ended) -> None:
    """A future is made of a call that has ended."""
    future.batch = None
    place = future.place - ended.first
    if not ended.values:
        future._exception = ended.error
        future._state = FINISHED if ended.error is not None else CANCELLED_AND_NOTIFIED
        return
    future._payload = ended.encoded.get(place)
    if future._payload is None:
        future._result = ended.values[place]
    future._state, future.rank, future.attempts = FINISHED, ended.rank, 1
