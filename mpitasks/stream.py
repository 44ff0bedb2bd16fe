"""Values of calls as they come, boundedly many under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from .futures import Future, Watcher

if TYPE_CHECKING:
    from .farm import Farm

T = TypeVar("T")

CALLS_A_SLAVE = 128
"""Drawn by default: enough that windows of short calls stay full, few enough that inputs of a megabyte fit."""


def stream(calls: Iterator[Future[T]], farm: Farm, *, buffersize: int | None, ordered: bool) -> Iterator[T]:
    """The values of these calls, of which at most `buffersize` are drawn and not returned.

    Raises:
        ValueError: `buffersize` is below 1.
    """
    if buffersize is None:
        buffersize = CALLS_A_SLAVE * farm.slaves
    if not _is_count(buffersize):
        msg = f"buffersize={buffersize!r} must be a whole number above 0: the calls drawn and not yet returned"
        raise ValueError(msg)
    return _in_order(calls, buffersize) if ordered else _as_they_come(calls, buffersize, farm)


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
