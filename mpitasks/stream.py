"""Values of calls as they come, boundedly many under way.

::

    items ──draw──► calls under way ──► values, in order or as they come
              ▲                            │
              └── room: a quarter of the buffer was returned
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .futures import Future, Watcher
from .many import Batch, Calls, Source

if TYPE_CHECKING:
    from .farm import Farm

T = TypeVar("T")

CALLS_A_SLAVE = 128
"""Drawn by default: enough that windows of short calls stay full, few enough that inputs of a megabyte fit."""
MOST_A_SLAVE = 16_384
"""Drawn by default where a quarter of them comes and goes within `TURN`, so that a message costs more than what it carries."""
TURN = 2e-3


def stream(calls: Iterator[Future[T]], farm: Farm, *, buffersize: int | None, ordered: bool) -> Iterator[T]:
    """The values of these calls, of which at most `buffersize` are drawn and not returned.

    Raises:
        ValueError: `buffersize` is below 1.
    """
    buffersize = _size_of(buffersize, farm)
    return _in_order(calls, buffersize) if ordered else _as_they_come(calls, buffersize, farm)


def stream_many(calls: Calls, iterable: Iterable[Any], *, tuples: bool, buffersize: int | None, ordered: bool) -> Iterator[Any]:
    """As `stream`, of calls that may travel together.

    Args:
        calls: What submits them.
        iterable: What to draw from.
        tuples: Whether an item is all arguments of a call, or the only one.
        buffersize: Calls drawn and not returned, at most; None: as many as fit for this farm.
        ordered: Whether the values come in the order of the items.

    Raises:
        ValueError: `buffersize` is below 1.
    """
    least = _size_of(buffersize, calls.farm)
    most = MOST_A_SLAVE * calls.farm.slaves if buffersize is None else least
    buffer = _Buffer(calls, iter(iterable), tuples=tuples, least=least, most=most)
    return _many_in_order(buffer) if ordered else _many_as_they_come(buffer)


def _size_of(buffersize: int | None, farm: Farm) -> int:
    if buffersize is None:
        return CALLS_A_SLAVE * farm.slaves
    if not _is_count(buffersize):
        msg = f"buffersize={buffersize!r} must be a whole number above 0: the calls drawn and not yet returned"
        raise ValueError(msg)
    return buffersize


def _is_count(buffersize: object) -> bool:
    return isinstance(buffersize, int) and buffersize > 0


def _give_up(drawn: Iterable[Future[T]]) -> None:
    """The iterator was left: nobody can ask for these any more, so that their failures are nobody's."""
    for future in drawn:
        future.cancel()
        future._retrieved = True


def _in_order(calls: Iterator[Future[T]], buffersize: int) -> Iterator[T]:
    drawn: deque[Future[T]] = deque()
    try:
        drawn.extend(islice(calls, buffersize))
        while drawn:
            yield drawn.popleft().result()
            drawn.extend(islice(calls, 1))
    finally:
        _give_up(drawn)


def _as_they_come(calls: Iterator[Future[T]], buffersize: int, farm: Farm) -> Iterator[T]:
    watcher = Watcher()
    drawn: set[Future[T]] = set()

    def draw(count: int) -> None:
        for future in islice(calls, count):
            drawn.add(future)
            future._watch(watcher)

    try:
        draw(buffersize)
        while drawn:
            farm.wait(lambda: bool(watcher.ended), lambda: watcher.event, None)
            future = watcher.ended.popleft()
            drawn.remove(future)  # type: ignore[arg-type]  # only our futures are watched
            yield future.result()
            draw(1)
    finally:
        _give_up(drawn)


# ---------------------------------------------------------------- many calls that travel together


class _Buffer:
    """What is drawn and not returned: from `least` calls to `most`, as fast as they come and go."""

    def __init__(self, calls: Calls, iterator: Iterator[Any], *, tuples: bool, least: int, most: int) -> None:
        self.farm = calls.farm
        self.left: dict[Batch, int] = {}
        """How many values each has that are not returned."""
        self._calls = calls
        self._source = Source(iterator, calls.first)
        self._tuples = tuples
        self._least, self._most = least, most
        self._size = self._room = least
        self._drawn_at = -TURN

    @property
    def step(self) -> int:
        """Values that are returned before more is drawn: a block that is drawn at once costs little for each."""
        return max(1, self._size // 4)

    def draw(self) -> list[Batch]:
        """Fill it. What was submitted."""
        submitted: list[Batch] = []
        before, self._drawn_at = self._drawn_at, perf_counter()
        if self._drawn_at - before < TURN:
            self._resize(2 * self._size)
        began = self._drawn_at
        while self._room > 0 and (items := self._source.draw(self._room)):
            for batch in self._calls.submit(items, tuples=self._tuples):
                self._room -= batch.count
                self.left[batch] = batch.count
                submitted.append(batch)
            before, began = began, perf_counter()
            if began - before > TURN:
                self._resize(self._size // 2)
        return submitted

    def _resize(self, size: int) -> None:
        size = max(self._least, min(size, self._most))
        self._room += size - self._size
        self._size = size

    def take(self, batch: Batch, place: int, most: int) -> list[Any]:
        """The values of calls that have ended, from that place on; some of them, at most so many.

        Raises:
            Exception: What the first has raised.
        """
        values = batch.values_from(place, min(most, self.step))
        self.left[batch] -= len(values)
        if not self.left[batch]:
            del self.left[batch]
        return values

    def returned(self, count: int) -> bool:
        """So many values were returned. Whether it is time to draw more."""
        self._room += count
        return self._room >= self.step or not self.left

    def give_up(self) -> None:
        """The iterator was left: nobody can ask for these any more, so that their failures are nobody's."""
        for batch in self.left:
            batch.cancel()
            batch.forgive()


def _many_in_order(buffer: _Buffer) -> Iterator[Any]:
    try:
        buffer.draw()
        while buffer.left:
            batch, place = next(iter(buffer.left)), 0
            while place < batch.count:
                if not batch.has_ended(place):
                    buffer.farm.wait(partial(batch.has_ended, place), batch.event, None)
                values = buffer.take(batch, place, batch.count)
                place += len(values)
                yield from values
                if buffer.returned(len(values)):
                    buffer.draw()
    finally:
        buffer.give_up()


def _many_as_they_come(buffer: _Buffer) -> Iterator[Any]:
    watcher = Watcher()
    ended = cast("deque[tuple[Batch, int, int]]", watcher.ended)  # this is what batches tell
    try:
        _watch(buffer.draw(), watcher)
        while buffer.left:
            buffer.farm.wait(lambda: bool(ended), lambda: watcher.event, None)
            batch, place, count = ended.popleft()
            while count:
                values = buffer.take(batch, place, count)
                place, count = place + len(values), count - len(values)
                yield from values
                if buffer.returned(len(values)):
                    _watch(buffer.draw(), watcher)
    finally:
        buffer.give_up()


def _watch(batches: Iterable[Batch], watcher: Watcher) -> None:
    for batch in batches:
        batch.tell(watcher)
