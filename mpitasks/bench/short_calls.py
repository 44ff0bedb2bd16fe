"""Calls that do nothing: one at a time, and many."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
from collections.abc import Generator, Iterator
from functools import partial
from statistics import median
from time import perf_counter
from typing import cast

from . import wire
from .figures import Figure, Goal
from .scale import Scale
from .slaves import nothing
from .timing import in_turn, rates, repeated, resident, scaled, seconds

CHUNK = 100
"""Calls that travel together, where that is said."""
BUFFER = 10_000
"""Calls of the endless `imap` that are drawn and not returned."""
POOL = 2
"""Processes of the standard library's pool."""


def trip(scale: Scale) -> Iterator[Figure]:
    """One call at a time, and nothing else."""
    ours, bare = in_turn(
        lambda: seconds(lambda: nothing.delay().result(), scale.rounds),
        lambda: _bare_trip(scale.rounds),
        scale.repetitions,
    )
    goal = wire.fitting(Goal("<=", 1.3, "x", ranks=2), Goal("<=", 250, "µs", ranks=4))
    yield Figure("one call there and back", scaled(1e6, ours), "µs", scaled(1e6, bare), goal)


def awaited(scale: Scale) -> Iterator[Figure]:
    """One awaited call at a time."""
    ours, bare = in_turn(
        lambda: asyncio.run(_seconds_awaited(scale.rounds)),
        lambda: _bare_trip(scale.rounds),
        scale.repetitions,
    )
    goal = wire.fitting(Goal("<=", 300, "µs", ranks=2))
    yield Figure("one awaited call", scaled(1e6, ours), "µs", scaled(1e6, bare), goal)


def _bare_trip(rounds: int) -> float:
    return wire.with_other_end(wire.bounce.delay(rounds), lambda rank: seconds(lambda: wire.there_and_back(rank), rounds))


async def _seconds_awaited(rounds: int) -> float:
    times: list[float] = []
    for _ in range(rounds):
        began = perf_counter()
        await nothing.delay()
        times.append(perf_counter() - began)
    return median(times)


def calls(scale: Scale) -> Iterator[Figure]:
    """Many calls at a time; beside: as many bare messages there and back."""
    goal = wire.fitting(Goal(">=", 250_000, "calls/s", ranks=2), Goal(">=", 120_000, "calls/s", ranks=4))
    bare = partial(wire.stream, 0, scale.calls)
    for name, make, fitting in (("delay and result", _by_delay, goal), ("map", _by_map, None), ("imap", _by_imap, None)):
        ours, beside = in_turn(partial(seconds, partial(make, scale.calls), 1), partial(seconds, bare, 1), scale.repetitions)
        what = f"no-op calls by {name}"
        yield Figure(what, rates(scale.calls, ours), "calls/s", rates(scale.calls, beside), fitting)


def _by_delay(count: int) -> None:
    for future in [nothing.delay() for _ in range(count)]:
        future.result()


def _by_map(count: int) -> None:
    nothing.map(range(count)).results()


def _by_imap(count: int) -> None:
    for _ in nothing.imap(range(count)):
        pass


def chunks(scale: Scale) -> Iterator[Figure]:
    """Calls that travel in chunks; beside: as many items in bare lists there and back, or by the pool of Python itself."""
    ours, bare = in_turn(
        lambda: seconds(lambda: nothing.map(range(scale.calls), chunksize=CHUNK).results(), 1),
        lambda: seconds(lambda: wire.stream(list(range(CHUNK)), scale.calls // CHUNK), 1),
        scale.repetitions,
    )
    yield Figure(f"no-op map in chunks of {CHUNK}", rates(scale.calls, ours), "calls/s", rates(scale.calls, bare))
    yield _beside_a_pool(scale)


def _beside_a_pool(scale: Scale) -> Figure:
    """Automatic chunks, beside those of the standard library; it takes no MPI, so that it can be had everywhere."""
    goal = wire.fitting(Goal(">=", 1.5, "x", ranks=2))
    pairs: list[tuple[float, float]] = []
    with multiprocessing.get_context("spawn").Pool(POOL) as pool:
        for _ in range(1 + scale.repetitions):
            ours = seconds(lambda: _by_map(scale.calls), 1)
            theirs = seconds(lambda: sum(1 for _ in pool.imap_unordered(_plainly_nothing, range(scale.calls), CHUNK)), 1)
            pairs.append((scale.calls / ours, scale.calls / theirs))
    values, besides = zip(*pairs[1:], strict=True)
    return Figure(f"no-op map, beside multiprocessing.Pool({POOL})", values, "calls/s", besides, goal)


def _plainly_nothing(_: int) -> None:
    """Do nothing, in a process of the pool."""


def stream(scale: Scale) -> Iterator[Figure]:
    """An endless input, of which a part is drawn at any time."""
    values = nothing.imap(itertools.count(), buffersize=BUFFER)
    _returned(values, scale.streamed / 10)
    before = resident()
    counted = repeated(partial(_returned, values, scale.streamed / 10), 10)
    grown = max(0, resident() - before)
    cast("Generator[None, None, None]", values).close()
    yield Figure("calls of an endless imap", counted, "calls/s", goal=wire.fitting(Goal(">=", 1_000_000, "calls/s", ranks=2)))
    yield Figure("then the master has grown by", [grown / 1e6], "MB", goal=Goal("<=", 8, "MB"))


def _returned(values: Iterator[None], span: float) -> float:
    """Values a second."""
    count, began = 0, perf_counter()
    while perf_counter() < began + span:
        count += sum(1 for _ in itertools.islice(values, CHUNK))
    return count / (perf_counter() - began)
