"""Futures of a map, made one by one for who asks.

::

    items ──drawn in blocks──► the farm takes a block at once ──► Batch ──┐
                          └──► or call by call ──► Future, Future, ... ───┴──► ManyFutures
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures._base import PENDING
from dataclasses import dataclass
from itertools import accumulate, islice
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, overload

from .backports import override
from .futures import Future, Futures, Watcher, _left

if TYPE_CHECKING:
    from .farm import Farm
    from .plans import Plan

T_co = TypeVar("T_co", covariant=True)

MOST_TOGETHER = 16_384
DRAWN_WITHIN = 1e-3
"""Seconds that drawing a block may take: slaves had better begin with what is there."""


Wait = Callable[[Callable[[], bool], Callable[[], threading.Event]], bool]
"""Waits until it is done, given that and how to watch it; False if the time ran out."""


class Batch(Protocol):
    """A block of a map, as the farm keeps it."""

    count: int

    def ended(self) -> int:
        """How many have ended."""

    def future(self, place: int) -> Future[Any]:
        """The future of one."""

    def values(self, wait: Wait) -> list[Any] | None:
        """All values, once all have ended; None: the time ran out, one has not returned, or one can't be decoded."""

    def event(self) -> threading.Event:
        """An event that is set whenever some have ended."""

    def cancel(self) -> bool:
        """Cancel them all: True if all of them were cancelled in time."""

    def cancel_unsent(self) -> None:
        """Cancel those that have not been sent to a slave."""

    def has_ended(self, place: int) -> bool:
        """Whether that one has."""

    def values_from(self, place: int, most: int) -> list[Any]:
        """Hand over values of some that have ended, from this one on; one at least, so many at most. They are not kept."""

    def tell(self, watcher: Watcher) -> None:
        """Let the watcher know what ends, and what has: this batch, the place of the first, and how many."""

    def tell_no_more(self, watcher: Watcher) -> None:
        """The watcher need not know any more."""

    def forgive(self) -> None:
        """Nobody can ask for these any more, so that their failures are nobody's."""


class OneByOne:
    """A block of which each call was submitted by itself."""

    def __init__(self, futures: Sequence[Future[Any]]) -> None:
        self._futures = dict(enumerate(futures))
        """By place; without those whose values were handed over."""
        self.count = len(futures)

    def _left(self) -> list[Future[Any]]:
        return list(self._futures.values())  # in one step: another thread may take values

    def ended(self) -> int:
        """How many have ended."""
        return self.count - sum(not future.done() for future in self._left())

    def future(self, place: int) -> Future[Any]:
        """The future of one."""
        return self._futures[place]

    def values(self, wait: Wait) -> list[Any] | None:
        """All values, once all have ended; None: the time ran out, one has not returned, or one can't be decoded."""
        for future in self._left():
            if not wait(future.done, future._event) or future.cancelled() or future.exception() is not None:
                return None
        return [future.result() for future in self._left()]

    def event(self) -> threading.Event:
        """An event that is set when the first has ended that has not yet."""
        for future in self._left():
            if not future.done():
                return future._event()
        none_left = threading.Event()
        none_left.set()
        return none_left

    def cancel(self) -> bool:
        """Cancel them all: True if all of them were cancelled in time."""
        cancelled = [future.cancel() for future in self._left()]
        return all(cancelled)

    def cancel_unsent(self) -> None:
        """Cancel those that have not been sent to a slave."""
        for future in self._left():
            if future._state == PENDING:
                future.cancel()

    def has_ended(self, place: int) -> bool:
        """Whether that one has."""
        return self._futures[place].done()

    def values_from(self, place: int, most: int) -> list[Any]:  # noqa: ARG002  as in the protocol
        """Hand over the value of that one."""
        return [self._futures.pop(place).result()]

    def tell(self, watcher: Watcher) -> None:
        """Let the watcher know what ends, and what has: this block, the place, and 1."""
        for place, future in self._futures.items():
            future._watch(cast("Watcher", _Place(self, place, watcher)))

    def tell_no_more(self, watcher: Watcher) -> None:
        """The watcher need not know any more."""
        for place, future in self._futures.items():
            future._unwatch(cast("Watcher", _Place(self, place, watcher)))

    def forgive(self) -> None:
        """Nobody can ask for these any more, so that their failures are nobody's."""
        for future in self._left():
            future._retrieved = True


@dataclass(frozen=True, slots=True)  # equal to another that tells the same
class _Place:
    """Tells a watcher which of a block has ended. Speaks the protocol of the standard library's waiters."""

    block: OneByOne
    place: int
    watcher: Watcher

    def add_result(self, _: object) -> None:
        """It has."""
        self.watcher.ended.append(cast("Any", (self.block, self.place, 1)))
        self.watcher.event.set()

    add_exception = add_cancelled = add_result


class ManyFutures(Futures[T_co]):
    """As every `Futures`; a million of them cost little, as long as nobody asks for each."""

    def __init__(self, farm: Farm, parts: Sequence[Batch]) -> None:
        self._farm = farm
        self._parts = parts
        self._ends = list(accumulate(batch.count for batch in parts))
        self._all: tuple[Future[T_co], ...] | None = None

    @property
    def _futures(self) -> tuple[Future[T_co], ...]:  # type: ignore[override]  # it is never set
        if self._all is None:
            self._all = tuple(self)
        return self._all

    @overload
    def __getitem__(self, index: int) -> Future[T_co]: ...
    @overload
    def __getitem__(self, index: slice) -> Futures[T_co]: ...
    def __getitem__(self, index: int | slice) -> Future[T_co] | Futures[T_co]:
        """One future, or some."""
        if isinstance(index, slice):
            return Futures(self[place] for place in range(len(self))[index])
        place = range(len(self))[index]
        at = bisect_right(self._ends, place)
        return self._parts[at].future(place - (self._ends[at - 1] if at else 0))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Future[T_co]]:
        return (part.future(place) for part in self._parts for place in range(part.count))

    def cancel(self) -> bool:
        """Cancel them all: True if all of them were cancelled in time."""
        cancelled = [part.cancel() for part in self._parts]
        return all(cancelled)

    @override
    def _ended(self) -> int:
        return sum(part.ended() for part in self._parts)

    @override
    def _each_once(self) -> Futures[T_co]:
        return self

    @override
    def _watch(self, watcher: Watcher) -> None:
        for part in self._parts:
            part.tell(watcher)

    @override
    def _unwatch(self, watcher: Watcher) -> None:
        for part in self._parts:
            part.tell_no_more(watcher)

    @override
    def _all_values(self, deadline: float | None) -> list[T_co] | None:

        def wait(done: Callable[[], bool], watch: Callable[[], threading.Event]) -> bool:
            return done() or self._farm.wait(done, watch, _left(deadline))

        values: list[T_co] = []
        for part in self._parts:
            some = part.values(wait)
            if some is None:
                return None
            values += some
        return values


# ---------------------------------------------------------------- drawing


class Calls:
    """The calls that a map makes: of one task, with one plan.

    Args:
        farm: What runs them.
        plan: How they are to be run.
        one: Submits one, given its arguments; says what is wrong with these.
        fits: Whether the task takes so many arguments.
    """

    def __init__(
        self, farm: Farm, plan: Plan, one: Callable[[tuple[Any, ...]], Future[Any]], fits: Callable[[int], bool]
    ) -> None:
        self.farm = farm
        self.name = plan.name
        self.first = max(1, plan.chunk)
        """Of these, the first block: what had better begin at once, or is to travel together."""
        self._plan = plan
        self._one = one
        self._fits = fits

    def submit(self, items: list[Any], *, tuples: bool) -> Iterator[Batch]:
        """Submit them: those that can go together, and what is left from the first one that can't."""
        done = 0
        if len(items) > 1 and all(map(self._fits, set(map(len, items)) if tuples else (1,))):
            batch = self.farm.submit_many(self._plan, items, tuples=tuples)
            if batch is not None:
                yield batch
                done = batch.count
        if done < len(items):
            yield OneByOne([self._one(item if tuples else (item,)) for item in items[done:]])


def submit_all(calls: Calls, iterable: Iterable[Any], *, tuples: bool) -> Futures[Any]:
    """Submit all of these, as they come.

    Args:
        calls: What submits them.
        iterable: What to draw from.
        tuples: Whether an item is all arguments of a call, or the only one.
    """
    blocks = drawn(iter(iterable), calls.first)
    return ManyFutures(calls.farm, [part for items in blocks for part in calls.submit(items, tuples=tuples)])


def drawn(iterator: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Blocks of what comes, first of that size, and larger ones where it comes fast."""
    source = Source(iterator, size)
    while items := source.draw():
        yield items


class Source:
    """Draws blocks from an iterator: larger ones where it is fast, since slaves had better begin with what is there.

    What was drawn before an error is given before that is raised.
    """

    def __init__(self, iterator: Iterator[Any], size: int = 1) -> None:
        self._iterator = iterator
        self._size = size
        self._most = max(size, MOST_TOGETHER)
        self._error: BaseException | None = None
        self.is_over = False
        """Whether nothing more will come."""

    def draw(self, most: int | None = None) -> list[Any]:
        """The next block, of at most so many; empty: nothing more will come.

        Raises:
            BaseException: What the iterator raises.
        """
        if self._error is not None:
            raise self._error
        if self.is_over:
            return []
        began = perf_counter()
        items: list[Any] = []
        size = self._size if most is None else min(self._size, most)
        try:
            items.extend(islice(self._iterator, size))
        except BaseException as error:  # noqa: BLE001  the iterator is the user's
            self._error = error
        else:
            self.is_over = len(items) < size
        if not items and self._error is not None:
            raise self._error
        is_fast = perf_counter() - began < DRAWN_WITHIN
        self._size = min(2 * self._size, self._most) if is_fast else max(1, self._size // 2)
        return items
