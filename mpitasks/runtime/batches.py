"""Maps on the master: many calls are taken, sent and ended together.

::

    map() ──block of items──► Batch ◄──── Items: those that wait ──cut──► Items, or one call: sent ──MANY──► values
                                │                                                                              │
                                └── futures, made one by one for those who ask ◄───────────────────────────────┘

A call leaves its batch and is as every other from then on: if it is sent alone, if its slave was still in it when the others
had ended, if its slave has died, or if it has failed. All but the decoding of values happens under the master's lock.
"""

from __future__ import annotations

import threading
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from itertools import chain, count, islice
from typing import Any, NamedTuple, Protocol, cast

from typing_extensions import override

from ..core.calls import ENDED, PLAIN, WAITING, Call
from ..core.many import Many
from ..core.scheduler import Scheduler
from ..errors import farm_ended
from ..farm import Farm
from ..futures import Future
from ..ids import CallId, Rank
from ..options import Plan
from ..retries import Failure
from ..transport import wire
from .loop import LONGEST_TEXT, PLAIN_VALUES, TEXTS
from .messages import ALL_ARGUMENTS, EACH_PICKLED, ONE_ARGUMENT, STOP, OutcomesOfMany, SentMany

NUMBER_BYTES = 10
"""Of a number as it travels, about."""


class ItemCall(Protocol):
    """What is needed of the master's calls."""

    id: CallId
    state: int
    attempt: int
    size: int
    payload: wire.Payload
    future: Future[Any]
    is_unwanted: bool


class _Host(Protocol):
    """What is needed of the master."""

    isolates: bool
    left: int
    _lock: Any  # threading.RLock, of which typeshed makes a function
    _ids: count[int]
    _scheduler: Scheduler
    _closing: bool
    _draining: bool
    _announcements: deque[Any]

    def takes_many(self, plan: Plan) -> bool: ...
    def new_call(self, call_id: CallId, plan: Plan, payload: wire.Payload, future: Future[Any]) -> Any: ...  # noqa: ANN401  a call of the master's own kind
    def _accept(self, call: Any, claims: list[Any]) -> None: ...  # noqa: ANN401  as above
    def _failed(self, call: Any, failure: Failure, payload: wire.Payload, now: float) -> None: ...  # noqa: ANN401  as above
    def _finish(self, call: Any, payload: wire.Payload, *, returned: bool) -> None: ...  # noqa: ANN401  as above
    def _cancelled(self, call: Any) -> None: ...  # noqa: ANN401  as above
    def _lose(self, call: Any, why: BaseException) -> None: ...  # noqa: ANN401  as above
    def _cancel_waiting(self) -> int: ...
    def _send(self, rank: Rank, message: tuple[Any, ...]) -> None: ...
    def announce(self) -> None: ...


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

    known = None
    """No outcome of these is kept."""

    def __init__(self, batch: Batch, first: CallId, items: int) -> None:
        plan = batch.plan
        super().__init__(first, items, plan.queue, priority=plan.priority, chunk=plan.chunk, each=batch.each)
        self.batch = batch
        self.plan = plan
        self.rank: Rank | None = None
        """Of the slave that has them."""
        batch.parts.append(self)

    @override
    def cut(self, most: int) -> Call:
        taken = super().cut(1 if self.batch.alone else most)
        if not self.items:
            self.batch.parts.remove(self)
        return taken

    @override
    def part(self, first: CallId, items: int) -> Many:
        return Items(self.batch, first, items)

    @override
    def single(self, call_id: CallId) -> Call:
        return cast("Call", self.batch.leave(call_id - self.batch.first))

    @override
    def singles(self) -> list[Call]:
        self.batch.parts.remove(self)
        return super().singles()

    @override
    def inside(self) -> list[Call]:
        return cast("list[Call]", self.batch.inside(self.id, self.width))


class Batch:
    """A block of a map: its arguments, and what became of them."""

    is_unwanted = is_forgiven = alone = False
    """Whether nobody wants the outcomes; whether failures are nobody's; whether they had better be sent one by one."""

    def __init__(self, host: _Host, farm: Farm, plan: Plan, given: _Given) -> None:
        self.plan = plan
        self.items, self.shape, self.each = given
        self.count = self.left = len(self.items)
        """The second: of those that have not ended."""
        self.unlike = 0
        """Of those that have ended, but did not return."""
        last: int = deque(islice(host._ids, self.count), maxlen=1)[0]  # in one step: other threads take numbers too
        self.first = last - self.count + 1
        self.parts: list[Items] = []
        """Those that the scheduler has, waiting or sent."""
        self.early: set[CallId] = set()
        """Those which know that they should stop: what they return may be half of it."""
        self.fresh: deque[tuple[int, int]] | None = None
        """Who wants to know finds here what has ended: the place of the first, and how many."""
        self._host = host
        self._farm = farm
        self._event: threading.Event | None = None
        self._ended: list[_Ended] = []
        """By place."""
        self._inside: dict[int, ItemCall] = {}
        """Those of which somebody has the future, and which are not calls of their own."""
        self._futures: dict[int, ItemFuture] = {}

    # ---------------------------------------------------------------- for who has the futures

    def future(self, place: int) -> ItemFuture:
        """The future of one."""
        found = self._futures.get(place)
        if found is None:
            with self._host._lock:
                found = self._futures.get(place) or self._made(place)
        return found

    def _made(self, place: int) -> ItemFuture:
        future = self._futures[place] = ItemFuture(self._farm, self, place)
        future._retrieved = self.is_forgiven
        ended = self._ended_at(place)
        if ended is not None:
            _end_like(future, ended)
            return future
        part = next(part for part in self.parts if part.has(CallId(self.first + place)))
        call = self._inside[place] = self._new_call(place, b"", future)
        call.state = WAITING
        if part.rank is not None:
            future._state, future.rank, future.attempts = RUNNING, part.rank, part.attempt
        return future

    def has_ended(self, place: int) -> bool:
        """Whether that one has."""
        future = self._futures.get(place)
        return future.done() if future is not None else self._ended_at(place) is not None

    def values_from(self, place: int) -> list[Any]:
        """The values of some of those that have ended, from this one on; at least one.

        Raises:
            Exception: What the first has raised.
        """
        future, ended = self._futures.get(place), self._ended_at(place)
        if future is not None or ended is None or not ended.values or not _decode(ended):
            return [self.future(place).result()]
        most = ended.first + ended.width
        with self._host._lock:
            stop = min((other for other in self._futures if place < other < most), default=most)
        return ended.values[place - ended.first : stop - ended.first]

    def values(self) -> list[Any] | None:
        """All values, once all have ended; None: one has not returned, or can't be decoded."""
        if self.unlike or not all(map(_decode, self._ended)):
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
        with self._host._lock:
            self._event = self._event or threading.Event()
        return self._event

    def cancel(self) -> bool:
        """Cancel them all: True if all of them were cancelled in time."""
        host = self._host
        with host._lock:
            self.is_unwanted = True
            before = self.left
            for part in list(self.parts):
                if host._scheduler.cancelled(part):
                    host._cancelled(part)
                elif part.rank is not None:
                    host._send(part.rank, (STOP, part.id, part.items))
            gone = before - self.left
        host.announce()
        others = [future.cancel() for future in list(self._futures.values()) if not future.cancelled()]
        return all(others) and (gone == before or not self.left)

    def forgive(self) -> None:
        """Nobody can ask for these any more, so that their failures are nobody's."""
        self.is_forgiven = True
        for future in list(self._futures.values()):
            future._retrieved = True

    # ---------------------------------------------------------------- for the scheduler

    def leave(self, place: int) -> ItemCall:
        """One becomes a call of its own."""
        call = self._inside.pop(place, None)
        item = self.items[place]
        payload = item if self.shape == EACH_PICKLED else wire.encode(((item,) if self.shape == ONE_ARGUMENT else item, {}))
        if call is None:
            future = self._futures[place] = ItemFuture(self._farm, self, place)
            future._retrieved = self.is_forgiven
            call = self._new_call(place, payload, future)
            call.is_unwanted = self.is_unwanted
        call.payload, call.size, call.attempt = payload, self.each, 0
        call.future._state = PENDING
        return call

    def _new_call(self, place: int, payload: wire.Payload, future: ItemFuture) -> ItemCall:
        call = self._host.new_call(CallId(self.first + place), self.plan, payload, future)
        future._call = call
        return cast("ItemCall", call)

    def inside(self, first: CallId, width: int) -> list[ItemCall]:
        """The calls of those from `first` on of which somebody has the future."""
        if len(self._inside) < width:
            return [call for call in self._inside.values() if first <= call.id < first + width]
        start = first - self.first
        return [self._inside[place] for place in range(start, start + width) if place in self._inside]

    # ---------------------------------------------------------------- for the master

    def sent(self, part: Items, rank: Rank) -> tuple[SentMany, list[CallId]]:
        """What leaves; and which of it nobody wants any more."""
        start = part.id - self.first
        part.rank = rank
        calls = self.inside(part.id, part.items)
        for call in calls:
            future = call.future
            future._state, future.rank, future.attempts = RUNNING, rank, part.attempt
        name, items = self.plan.name, self.items[start : start + part.items]
        unwanted = [call.id for call in calls if call.is_unwanted]
        return (part.id, name, name, part.attempt, None, items, (), None, None, self.shape), unwanted

    def give_up(self, future: ItemFuture) -> bool | None:
        """Whether one was cancelled in time; None: it is a call of its own."""
        call = self._inside.get(future.place)
        if call is None:
            return None
        part = next(part for part in self.parts if part.has(call.id))
        if part.state != WAITING:
            return False
        self._host._scheduler.one_cancelled(part, call.id)
        call.state = ENDED
        del self._inside[future.place]
        if not part.items:
            self.parts.remove(part)
        return True

    def goes_on(self, call_id: CallId, rank: Rank, attempt: int) -> None:
        """That one runs on, as a call of its own."""
        future = self._futures[call_id - self.first]
        future._state, future.rank, future.attempts = RUNNING, rank, attempt

    def ended(self, part: Items, outcomes: OutcomesOfMany, now: float) -> None:
        """These were sent, and the first of them have ended."""
        first, done, _, _, values, encoded, failures, alone = outcomes
        self.parts.remove(part)
        self.alone = self.alone or alone
        start, begin = first - self.first, 0
        singly = sorted({*failures, *(call.id - first for call in self.inside(part.id, done))})
        for place in [*singly, done]:
            some = {at - begin: payload for at, payload in encoded.items() if begin <= at < place} if encoded else {}
            self._ended_together(_Ended(start + begin, place - begin, list(values[begin:place]), some, part.rank))
            begin = place + 1
        self._host.left -= self._host._draining and done - len(self.early)
        for place in singly:
            failure, payload = failures.get(place) or (None, encoded.get(place) or wire.encode(values[place]))
            self._one_is_told(start + place, part, failure, payload, now)

    def _one_is_told(self, place: int, part: Items, failure: Failure | None, payload: wire.Payload, now: float) -> None:
        """One has ended that somebody waits for, or that has failed."""
        call = self.leave(place)
        call.state, call.attempt = ENDED, part.attempt
        call.future.rank, call.future.attempts = part.rank, part.attempt
        if failure is None:
            self._host._finish(call, payload, returned=True)
        else:
            self._host._failed(call, failure, payload, now)

    def cancelled(self, part: Items) -> None:
        """These will not run."""
        for call in self._unsent(part, None):
            self._host._cancelled(call)

    def lost(self, part: Items, why: BaseException) -> None:
        """No outcome of these will come any more."""
        if part not in self.parts:  # that has been said before
            return
        for call in self._unsent(part, farm_ended(why)):
            self._host._lose(call, why)

    def _unsent(self, part: Items, error: BaseException | None) -> list[ItemCall]:
        """These end so; but for those, given back, of which somebody has the future."""
        self.parts.remove(part)
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
        if self.fresh is not None:
            self.fresh.append((place, count))
        if self._event is not None:
            self._host._announcements.append(self)

    def _announce(self) -> None:
        """Wake who waits."""
        if self._event is not None:
            self._event.set()

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


# ---------------------------------------------------------------- taking them


class _Given(NamedTuple):
    """Items as they will travel."""

    items: Sequence[Any]
    shape: int
    each: int
    """Bytes of one, about."""


class Batches:
    """Takes blocks of maps, and what slaves tell of them."""

    def __init__(self, host: _Host, farm: Farm) -> None:
        self._host = host
        self._farm = farm
        self._alone: set[str] = set()
        """Queues of calls that had better be sent one by one."""

    def take(self, plan: Plan, items: Sequence[Any], *, tuples: bool) -> Batch | None:
        """Take many calls at once; None: they are to be taken one by one."""
        given = _given(items, tuples=tuples) if self._host.takes_many(plan) else None
        if given is None:
            return None
        with self._host._lock:
            batch = Batch(self._host, self._farm, plan, given)
            self._host._accept(Items(batch, CallId(batch.first), batch.count), [])
        return batch

    def suit(self, plan: Plan) -> bool:
        """Whether it is worth while: calls of this plan can travel together."""
        return plan.queue not in self._alone and is_simple(plan)

    def take_in(self, rank: Rank, outcomes: OutcomesOfMany, now: float) -> None:
        """A slave tells of many calls that it was sent as one."""
        first, done, left, seconds, *_, alone = outcomes
        part = cast("Items", self._host._scheduler.many_ended(rank, first, done, left, seconds, now))
        if left:
            part.batch.goes_on(CallId(first + done), rank, part.attempt)
        if alone:
            self._alone.add(part.queue)
        part.batch.ended(part, outcomes, now)
        if self._host._closing:
            self._host._cancel_waiting()


def is_simple(plan: Plan) -> bool:
    """Whether calls of this plan need nothing that is looked after for each by itself."""
    by_itself = plan.memo or plan.isolate or plan.cost or plan.after or plan.id is not None
    travels = plan.function is not None or plan.setup is not None or plan.resource is not PLAIN
    return not (by_itself or travels or plan.retries is not None or plan.timeout is not None)


def _given(items: Sequence[Any], *, tuples: bool) -> _Given | None:
    """Items as they will travel; None: some can't travel with others."""
    kinds = set(map(type, chain.from_iterable(items) if tuples else items))
    if kinds <= PLAIN_VALUES:
        return _Given(items, ALL_ARGUMENTS if tuples else ONE_ARGUMENT, NUMBER_BYTES * (2 if tuples else 1))
    if kinds <= PLAIN_VALUES | TEXTS:
        each = len(wire.encode(items)) // len(items) + 1
        if each < LONGEST_TEXT:
            return _Given(items, ALL_ARGUMENTS if tuples else ONE_ARGUMENT, each)
    payloads = _pickled(items if tuples else ((item,) for item in items))
    return None if payloads is None else _Given(payloads, EACH_PICKLED, sum(map(len, payloads)) // len(payloads) + 1)


def _pickled(arguments: Iterable[tuple[Any, ...]]) -> list[bytes] | None:
    """Each by itself: what two of them share must not be shared by two calls. None: one has futures in it, or is large."""
    payloads: list[bytes] = []
    for one in arguments:
        try:
            payload, claims = wire.encode_arguments((one, {}))
        except Exception:  # noqa: BLE001  pickling runs user code; where they are taken one by one, the user hears of it
            return None
        if claims or not isinstance(payload, bytes) or len(payload) >= wire.INLINE:
            return None
        payloads.append(payload)
    return payloads
