"""Arrays one way, with something small the other way.

Out of and into memory that was used before.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pickle import PickleBuffer

from typing_extensions import Buffer

from ..broadcasts import broadcast
from ..futures import Future
from ..tasks import task
from . import wire
from .figures import Figure, Goal
from .scale import Scale
from .timing import in_turn, rates, seconds

MEGABYTES, WITH_A_GOAL = (1, 16, 64), 16
CONSTANT = 64
PAGE = 4096
"""Bytes of memory that the system maps as one."""


@task
def size_of(array: Buffer) -> int:
    """The bytes that arrived."""
    return memoryview(array).nbytes


@task
def read_part(array: Buffer, place: int, parts: int) -> int:
    """Read a byte of each page in one of so many parts: memory that nobody has touched is not there yet."""
    view = memoryview(array).cast("B")
    part = view.nbytes // parts
    return sum(view[place * part : (place + 1) * part : PAGE])


@task
def array_of(nbytes: int) -> PickleBuffer:
    """So many bytes."""
    return PickleBuffer(wire.memory(nbytes))


def bulk(scale: Scale) -> Iterator[Figure]:
    """Arrays as arguments and as results, beside bare `Send` and `Recv`."""
    for megabytes in MEGABYTES:
        goal = wire.fitting(Goal(">=", 0.85, "x", ranks=2)) if megabytes >= WITH_A_GOAL else None
        yield _throughput("argument", megabytes, scale, goal)
        yield _throughput("result", megabytes, scale, goal)


def _throughput(way: str, megabytes: int, scale: Scale, goal: Goal | None) -> Figure:
    nbytes, rounds = megabytes * 1_000_000, scale.bulk_rounds
    ours, bare = (_argument, _bare_arguments) if way == "argument" else (_result, _bare_results)
    times, besides = in_turn(lambda: seconds(partial(ours, nbytes), rounds), partial(bare, nbytes, rounds), scale.repetitions)
    return Figure(f"{megabytes} MB as {way}", rates(nbytes / 1e9, times), "GB/s", rates(nbytes / 1e9, besides), goal)


def _argument(nbytes: int) -> None:
    size_of.delay(PickleBuffer(wire.memory(nbytes))).result()


def _result(nbytes: int) -> None:
    array_of.delay(nbytes).result()


def _bare_arguments(nbytes: int, rounds: int) -> float:
    return _bare(wire.take_raw.delay(nbytes, rounds), partial(wire.array_there, nbytes), rounds)


def _bare_results(nbytes: int, rounds: int) -> float:
    return _bare(wire.give_raw.delay(nbytes, rounds), partial(wire.array_back, nbytes), rounds)


def _bare(other_end: Future[None], move: partial[None], rounds: int) -> float:
    return wire.with_other_end(other_end, lambda rank: seconds(lambda: move(rank), rounds))


def constant(scale: Scale) -> Iterator[Figure]:
    """One large value that many calls use, by `broadcast`; beside: sent to each slave once."""
    nbytes = CONSTANT * 1_000_000
    ours, bare = in_turn(
        lambda: seconds(partial(_used, nbytes, scale.uses), 1),
        lambda: sum(_bare_arguments(nbytes, 1) for _ in range(wire.slaves())),
        scale.few,
    )
    what = f"{CONSTANT} MB used by {scale.uses} calls"
    yield Figure(what, [1e3 * time for time in ours], "ms", [1e3 * time for time in bare], Goal("<=", 2, "x"))


def _used(nbytes: int, uses: int) -> None:
    table = broadcast(PickleBuffer(wire.memory(nbytes)))
    for future in [read_part.delay(table.arg(), place, uses) for place in range(uses)]:
        future.result()
