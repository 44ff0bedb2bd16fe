"""Futures of a map, made one by one for who asks.

::

    items ──drawn in blocks──► the farm takes a block at once ──► Batch ──┐
                          └──► or call by call ──► Future, Future, ... ───┴──► ManyFutures
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, islice
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, overload

from .futures import Done, Failed, Future, Futures, Watcher, _deadline, _left

if TYPE_CHECKING:
    from .farm import Farm
    from .options import Plan

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

    def has_ended(self, place: int) -> bool:
        """Whether that one has."""

    def values_from(self, place: int) -> list[Any]:
        """The values of some of those that have ended, from this one on; at least one."""

    def tell(self, watcher: Watcher) -> None:
        """Let the watcher know what ends, and what has: this batch, the place of the first, and how many."""

    def forgive(self) -> None:
        """Nobody can ask for these any more, so that their failures are nobody's."""


class OneByOne:
    """A block of which each call was submitted by itself."""

    def __init__(self, futures: Sequence[Future[Any]]) -> None:
        self._futures = futures
        self.count = len(futures)

    def ended(self) -> int:
        """How many have ended."""
        return sum(future.done() for future in self._futures)

    def future(self, place: int) -> Future[Any]:
        """The future of one."""
        return self._futures[place]

    def values(self, wait: Wait) -> list[Any] | None:
        """All values, once all have ended; None: the time ran out, one has not returned, or one can't be decoded."""
        for future in self._futures:
            if not wait(future.done, future._event) or future.cancelled() or future.exception() is not None:
                return None
        return [future.result() for future in self._futures]

    def event(self) -> threading.Event:
        """An event that is set when the first has ended that has not yet."""
        waiting = (future for future in self._futures if not future.done())
        return next(waiting, self._futures[0])._event()

    def cancel(self) -> bool:
        """Cancel them all: True if all of them were cancelled in time."""
        cancelled = [future.cancel() for future in self._futures]
        return all(cancelled)

    def has_ended(self, place: int) -> bool:
        """Whether that one has."""
        return self._futures[place].done()

    def values_from(self, place: int) -> list[Any]:
        """The value of that one."""
        return [self._futures[place].result()]

    def tell(self, watcher: Watcher) -> None:
        """Let the watcher know what ends, and what has: this block, the place, and 1."""
        for place, future in enumerate(self._futures):
            future._watch(cast("Watcher", _Place(self, place, watcher)))

    def forgive(self) -> None:
        """Nobody can ask for these any more, so that their failures are nobody's."""
        for future in self._futures:
            future._retrieved = True


class _Place:
    """Tells a watcher which of a block has ended. Speaks the protocol of the standard library's waiters."""

    def __init__(self, block: OneByOne, place: int, watcher: Watcher) -> None:
        self._told = block, place, 1
        self._watcher = watcher

    def add_result(self, _: object) -> None:
        """It has."""
        self._watcher.ended.append(cast("Any", self._told))
        self._watcher.event.set()

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

    def results(self, timeout: float | None = None) -> list[T_co]:
        """All values, in the order of the calls.

        Args:
            timeout: Seconds to wait for all of them together.

        Raises:
            ResultTimeout: The time ran out.
            Exception: What the first failed call raised; a note says how many more have failed.
        """
        deadline = _deadline(timeout)
        values = self._values(deadline)
        return super().results(_left(deadline)) if values is None else values

    def outcomes(self, timeout: float | None = None) -> list[Done[T_co] | Failed]:
        """All outcomes, in the order of the calls; a cancelled call counts as failed.

        Raises:
            ResultTimeout: The time ran out.
        """
        deadline = _deadline(timeout)
        values = self._values(deadline)
        return super().outcomes(_left(deadline)) if values is None else list(map(Done, values))

    def cancel(self) -> bool:
        """Cancel them all: True if all of them were cancelled in time."""
        cancelled = [part.cancel() for part in self._parts]
        return all(cancelled)

    def __repr__(self) -> str:
        return f"<Futures: {sum(part.ended() for part in self._parts)} of {len(self)} ended>"

    def _values(self, deadline: float | None) -> list[T_co] | None:
        """All values; None: one by one, they tell better what is wrong."""

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
        self.first = max(1, plan.chunk)
        """Of these, the first block: what had better begin at once, or is to travel together."""
        self._plan = plan
        self._one = one
        self._fits = fits

    def submit(self, items: list[Any], *, tuples: bool) -> Batch:
        """Submit them, in one if that can be."""
        if len(items) > 1 and all(map(self._fits, set(map(len, items)) if tuples else (1,))):
            batch = self.farm.submit_many(self._plan, items, tuples=tuples)
            if batch is not None:
                return batch
        return OneByOne([self._one(item if tuples else (item,)) for item in items])


def submit_all(calls: Calls, iterable: Iterable[Any], *, tuples: bool) -> Futures[Any]:
    """Submit all of these, as they come.

    Args:
        calls: What submits them.
        iterable: What to draw from.
        tuples: Whether an item is all arguments of a call, or the only one.
    """
    blocks = drawn(iter(iterable), calls.first)
    return ManyFutures(calls.farm, [calls.submit(items, tuples=tuples) for items in blocks])


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
