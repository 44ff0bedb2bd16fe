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
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from .futures import Done, Failed, Future, Futures, _deadline, _left

if TYPE_CHECKING:
    from .farm import Farm
    from .options import Plan

T_co = TypeVar("T_co", covariant=True)

MOST_TOGETHER = 16_384
DRAWN_WITHIN = 1e-3
"""Seconds that drawing a block may take: slaves had better begin with what is there."""


class Batch(Protocol):
    """A block of a map, as the farm keeps it."""

    count: int
    left: int
    """Calls of it that have not ended."""
    unlike: int
    """Calls of it that have ended, but did not return."""

    def future(self, place: int) -> Future[Any]:
        """The future of one."""

    def values(self) -> list[Any] | None:
        """All values, once all have ended; None: one has not returned, or can't be decoded."""

    def event(self) -> threading.Event:
        """An event that is set whenever some have ended."""

    def cancel(self) -> bool:
        """Cancel them all: True if all of them were cancelled in time."""


Part = Batch | Sequence[Future[Any]]


class ManyFutures(Futures[T_co]):
    """As every `Futures`; a million of them cost little, as long as nobody asks for each."""

    def __init__(self, farm: Farm, parts: Sequence[Part]) -> None:
        self._farm = farm
        self._parts = parts
        self._ends = list(accumulate(map(_count, parts)))
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
        return _future(self._parts[at], place - (self._ends[at - 1] if at else 0))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Future[T_co]]:
        return (_future(part, place) for part in self._parts for place in range(_count(part)))

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
        cancelled = [part.cancel() if not isinstance(part, Sequence) else _cancel_all(part) for part in self._parts]
        return all(cancelled)

    def __repr__(self) -> str:
        return f"<Futures: {sum(map(_ended, self._parts))} of {len(self)} ended>"

    def _values(self, deadline: float | None) -> list[T_co] | None:
        """All values; None: one by one, they tell better what is wrong."""
        values: list[T_co] = []
        for part in self._parts:
            some = self._values_of(part, deadline)
            if some is None:
                return None
            values += some
        return values

    def _values_of(self, part: Part, deadline: float | None) -> list[Any] | None:
        if isinstance(part, Sequence):
            futures = [future for future in part if self._wait(future.done, future._event, deadline)]
            is_well = len(futures) == len(part) and not any(_is_unlike(future) for future in futures)
            return [future.result() for future in futures] if is_well else None
        in_time = self._wait(lambda: not part.left or part.unlike > 0, part.event, deadline)
        return part.values() if in_time else None

    def _wait(self, done: Callable[[], bool], watch: Callable[[], threading.Event], deadline: float | None) -> bool:
        return done() or self._farm.wait(done, watch, _left(deadline))


def _count(part: Part) -> int:
    return len(part) if isinstance(part, Sequence) else part.count


def _cancel_all(futures: Iterable[Future[Any]]) -> bool:
    cancelled = [future.cancel() for future in futures]
    return all(cancelled)


def _ended(part: Part) -> int:
    return sum(future.done() for future in part) if isinstance(part, Sequence) else part.count - part.left


def _future(part: Part, place: int) -> Future[Any]:
    return part[place] if isinstance(part, Sequence) else part.future(place)


def _is_unlike(future: Future[Any]) -> bool:
    """Whether it did not return."""
    return future.cancelled() or future._is_failure()


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

    def submit(self, items: list[Any], *, tuples: bool) -> Part:
        """Submit them, in one if that can be."""
        if len(items) > 1 and all(map(self._fits, set(map(len, items)) if tuples else (1,))):
            batch = self.farm.submit_many(self._plan, items, tuples=tuples)
            if batch is not None:
                return batch
        return [self._one(item if tuples else (item,)) for item in items]


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
    """Blocks of what comes, first of that size, and larger ones where it comes fast.

    What was drawn before an error is given before that.
    """
    most = max(size, MOST_TOGETHER)
    while True:
        began, error = perf_counter(), None
        items: list[Any] = []
        try:
            items.extend(islice(iterator, size))
        except BaseException as raised:  # noqa: BLE001  the iterator is the user's
            error = raised
        if items:
            yield items
        if error is not None:
            raise error
        if len(items) < size:
            return
        size = min(2 * size, most) if perf_counter() - began < DRAWN_WITHIN else max(1, size // 2)
