"""`python -m mpitasks bench`: how fast calls are on this machine.

::

    bench -n 4 ──► mpiexec -n 4 python -m mpitasks bench ──┬─ rank 0: measures, prints a table or JSON
                                                           └─ others: slaves

What can be compared with bare mpi4py is: the same processes take turns at calls and at bare messages, whose other end
runs inside a task. On a shared machine the absolute figures wander, and the ratios stay.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from pickle import PickleBuffer
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Literal, NamedTuple

from typing_extensions import Buffer

from . import launch
from .errors import MpiTasksError
from .futures import Future
from .session import run
from .tasks import task
from .version import __version__

if TYPE_CHECKING:
    from mpi4py import MPI

MEGABYTES, MEGABYTES_OF_GOAL = (1, 16, 64), 16
LONG_SILENCE = 5.0
"""Seconds of silence, after which ranks nap for as long as they ever do."""
SLACK = 0.2
"""Seconds by which a silence outlasts what is measured in it."""
_EPILOG = """\
beside: the same by bare mpi4py messages, in the same processes and in turn with the calls.
ratio: value / beside. goal: what mpitasks is meant to reach with that number of ranks on an ordinary machine.
"""


class Goal(NamedTuple):
    """What a figure should reach."""

    relation: Literal["<=", ">="]
    bound: float
    unit: str
    """The figure's unit; "x": the bound is one of the ratio."""
    ranks: int | None = None
    """With how many ranks; None: with any."""

    def holds(self, figure: Figure) -> bool:
        """Whether the figure reaches it."""
        measured = figure.ratio if self.unit == "x" else figure.value
        if measured is None:
            return False
        return measured <= self.bound if self.relation == "<=" else measured >= self.bound

    def __str__(self) -> str:
        return f"{self.relation} {self.bound:,g} {self.unit}"


class Figure(NamedTuple):
    """One line of the table."""

    what: str
    value: float
    unit: str
    beside: float | None = None
    """The bare figure, in the same unit."""
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        """How often the bare figure goes into the value."""
        return None if self.beside is None else self.value / self.beside

    @property
    def reached(self) -> bool | None:
        """Whether it reaches its goal; None if it has none."""
        return None if self.goal is None else self.goal.holds(self)


class Report(NamedTuple):
    """All that was measured."""

    setting: dict[str, str | int | None]
    """Where it was measured."""
    figures: dict[str, list[Figure]]
    """By section."""


class Scale(NamedTuple):
    """How much is measured."""

    calls: int
    """In one rate."""
    repetitions: int
    """Of everything but silences; the figure is their median."""
    rounds: int
    """There and back, a repetition."""
    bulk_rounds: int
    silence: float
    """Seconds, after which a rank counts as idle."""
    span: float
    """Seconds for which its CPU time is then measured."""
    silences: int


FULL = Scale(calls=100_000, repetitions=5, rounds=500, bulk_rounds=5, silence=LONG_SILENCE, span=1.0, silences=3)
QUICK = Scale(calls=5_000, repetitions=3, rounds=100, bulk_rounds=2, silence=1.2, span=0.3, silences=1)


def main(arguments: Sequence[str]) -> int:
    """What `python -m mpitasks bench ARGUMENTS` does; returns the exit code, on rank 0."""
    given = _parser().parse_args(arguments)
    if launch.promised_size() is None and launch.STARTED not in os.environ:
        try:
            return launch.start(["-m", "mpitasks", "bench", *arguments], given.n)
        except MpiTasksError as error:
            print(f"mpitasks: {error}", file=sys.stderr)
            return 1
    report = run(_measure, given.section or list(SECTIONS), QUICK if given.quick else FULL, backend="mpi")
    print(_document(report) if given.json else _table(report))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mpitasks bench",
        description="Measure how fast calls are on this machine, or in this job.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-n", type=_ranks, default=2, metavar="N", help="ranks: the master and N-1 slaves; default: 2")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    parser.add_argument("--quick", action="store_true", help="less of everything; ends within about 10 s")
    parser.add_argument(
        "section", type=_section, nargs="*", help=f"what to measure: {', '.join(SECTIONS)}; default: all of these"
    )
    return parser


def _ranks(text: str) -> int:
    if not text.isdigit() or int(text) < 2:  # noqa: PLR2004  a master and a slave
        msg = f"{text!r} is no number of ranks to measure; it must be 2 or more: a master and a slave"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _section(text: str) -> str:
    if text not in SECTIONS:
        msg = f"no section named {text!r}; known: {', '.join(SECTIONS)}"
        raise argparse.ArgumentTypeError(msg)
    return text


# ---------------------------------------------------------------- what slaves do


def _world() -> MPI.Comm:
    """The user's communicator, which mpitasks leaves alone."""
    from mpi4py import MPI  # noqa: PLC0415  starts MPI, which only a rank may do

    return MPI.COMM_WORLD


@cache
def _memory(nbytes: int) -> bytearray:
    """So many bytes, kept for later rounds, and written: unwritten pages would be read at the speed of the cache."""
    return bytearray(b"m") * nbytes


@task
def nothing(item: int = 0) -> None:
    """Do nothing."""


@task
def size_of(array: Buffer) -> int:
    """The bytes that arrived."""
    return memoryview(array).nbytes


@task
def array_of(nbytes: int) -> PickleBuffer:
    """So many bytes."""
    return PickleBuffer(_memory(nbytes))


@task
def hold(seconds: float) -> float:
    """Sleep, and tell for how long."""
    began = perf_counter()
    time.sleep(seconds)
    return perf_counter() - began


# Of one resource, so that both go to the same slave.
@task(resource="what was watched")
def watch(silence: float, span: float) -> None:
    """Measure this process in the silence that comes now."""
    _Watch.latest = _Watch(silence, span)


@task(resource="what was watched")
def watched() -> float:
    """What `watch` has measured here, in % of a core."""
    return _Watch.latest.share()


class _Watch:
    """Measures the CPU time of this process, from a thread that costs none itself."""

    latest: _Watch

    def __init__(self, silence: float, span: float) -> None:
        self._silence, self._span = silence, span
        self._share = 0.0
        self._thread = threading.Thread(target=self._measure, name="mpitasks-bench-watch")
        self._thread.start()

    def share(self) -> float:
        """Wait for the end, and tell in % of a core."""
        self._thread.join()
        return self._share

    def _measure(self) -> None:
        time.sleep(self._silence)
        began, used = perf_counter(), time.process_time()
        time.sleep(self._span)
        self._share = 100 * (time.process_time() - used) / (perf_counter() - began)


# The other ends of bare messages. Each first says where it runs.


@task
def bounce(rounds: int) -> None:
    """Send back what comes, pickled."""
    world = _world()
    world.send(world.Get_rank(), 0)
    for _ in range(rounds):
        world.send(world.recv(source=0), 0)


@task
def take_raw(nbytes: int, rounds: int) -> None:
    """Receive arrays as they lie, each with a small answer."""
    world, array, answer = _world(), _memory(nbytes), bytearray(1)
    world.send(world.Get_rank(), 0)
    for _ in range(rounds):
        world.Recv(array, 0)
        world.Send(answer, 0)


@task
def give_raw(nbytes: int, rounds: int) -> None:
    """Send an array as it lies, each time it is asked for."""
    world, array, request = _world(), _memory(nbytes), bytearray(1)
    world.send(world.Get_rank(), 0)
    for _ in range(rounds):
        world.Recv(request, 0)
        world.Send(array, 0)


# ---------------------------------------------------------------- what is measured


def _measure(sections: Iterable[str], scale: Scale) -> Report:
    """Measure these sections; the main of the run."""
    figures: dict[str, list[Figure]] = {}
    for section in sections:
        print(f"mpitasks: measuring {section!r}", file=sys.stderr)
        figures[section] = list(SECTIONS[section](scale))
    return Report(_setting(), figures)


def _trip(scale: Scale) -> Iterator[Figure]:
    """One call at a time, and nothing else."""
    ours, bare = _in_turn(_calls_one_by_one, _bare_round_trips, scale.repetitions, scale.rounds)
    goal = _fitting(Goal("<=", 2, "x", ranks=2), Goal("<=", 500, "µs", ranks=4))
    yield Figure("one call there and back", 1e6 * ours, "µs", bare and 1e6 * bare, goal)


def _calls_one_by_one(rounds: int) -> float:
    return _seconds(lambda: nothing.delay().result(), rounds)


def _bare_round_trips(rounds: int) -> float:
    world = _world()

    def there_and_back(rank: int) -> None:
        world.send(0, rank)
        world.recv(source=rank)

    return _seconds_with(bounce.delay(rounds), there_and_back, rounds)


def _await(scale: Scale) -> Iterator[Figure]:
    """One awaited call at a time."""
    asyncio.run(_seconds_awaited(scale.rounds))
    seconds = median(asyncio.run(_seconds_awaited(scale.rounds)) for _ in range(scale.repetitions))
    yield Figure("one awaited call", 1e6 * seconds, "µs", goal=_fitting(Goal("<=", 300, "µs", ranks=2)))


async def _seconds_awaited(rounds: int) -> float:
    times: list[float] = []
    for _ in range(rounds):
        began = perf_counter()
        await nothing.delay()
        times.append(perf_counter() - began)
    return median(times)


def _calls(scale: Scale) -> Iterator[Figure]:
    """Many calls at a time."""
    goal = _fitting(Goal(">=", 100_000, "calls/s", ranks=2))
    yield Figure("no-op calls by delay and result", _rate(_by_delay, scale), "calls/s", goal=goal)
    yield Figure("no-op calls by map", _rate(_by_map, scale), "calls/s")
    yield Figure("no-op calls by imap", _rate(_by_imap, scale), "calls/s")


def _by_delay(calls: int) -> None:
    for future in [nothing.delay() for _ in range(calls)]:
        future.result()


def _by_map(calls: int) -> None:
    nothing.map(range(calls)).results()


def _by_imap(calls: int) -> None:
    for _ in nothing.imap(range(calls)):
        pass


def _rate(make_calls: Callable[[int], None], scale: Scale) -> float:
    """Calls a second."""
    make_calls(scale.calls // 10)  # the farm learns how short they are
    return scale.calls / _seconds(lambda: make_calls(scale.calls), scale.repetitions)


def _bulk(scale: Scale) -> Iterator[Figure]:
    """Arrays one way, with something small the other way; out of and into memory that was used before."""
    for megabytes in MEGABYTES:
        goal = _fitting(Goal(">=", 0.5, "x", ranks=2)) if megabytes == MEGABYTES_OF_GOAL else None
        yield _throughput("argument", megabytes, scale, goal)
        yield _throughput("result", megabytes, scale, None)


def _throughput(way: str, megabytes: int, scale: Scale, goal: Goal | None) -> Figure:
    nbytes = megabytes * 1_000_000
    ours, bare = (_arguments, _bare_arguments) if way == "argument" else (_results, _bare_results)
    seconds, bare_seconds = _in_turn(partial(ours, nbytes), partial(bare, nbytes), scale.repetitions, scale.bulk_rounds)
    beside = bare_seconds and nbytes / bare_seconds / 1e9
    return Figure(f"{megabytes} MB as {way}", nbytes / seconds / 1e9, "GB/s", beside, goal)


def _arguments(nbytes: int, rounds: int) -> float:
    return _seconds(lambda: size_of.delay(PickleBuffer(_memory(nbytes))).result(), rounds)


def _results(nbytes: int, rounds: int) -> float:
    return _seconds(lambda: array_of.delay(nbytes).result(), rounds)


def _bare_arguments(nbytes: int, rounds: int) -> float:
    world, array, answer = _world(), _memory(nbytes), bytearray(1)

    def move(rank: int) -> None:
        world.Send(array, rank)
        world.Recv(answer, rank)

    return _seconds_with(take_raw.delay(nbytes, rounds), move, rounds)


def _bare_results(nbytes: int, rounds: int) -> float:
    world, array, request = _world(), _memory(nbytes), bytearray(1)

    def move(rank: int) -> None:
        world.Send(request, rank)
        world.Recv(array, rank)

    return _seconds_with(give_raw.delay(nbytes, rounds), move, rounds)


def _idle(scale: Scale) -> Iterator[Figure]:
    """What ranks cost while nothing happens, and how soon they are back."""
    after = f"after {scale.silence:g} s of silence"
    is_long = scale.silence >= LONG_SILENCE
    cost, soon = (Goal("<=", 3, "% of a core"), Goal("<=", 12, "ms")) if is_long else (None, None)
    cpu, woken = zip(*(_silent_slave(scale) for _ in range(scale.silences)), strict=True)
    yield Figure(f"CPU of an idle slave {after}", median(cpu), "% of a core", goal=cost)
    yield Figure("then the first call there and back, at worst", 1e3 * max(woken), "ms", goal=soon)
    cpu, woken = zip(*(_silent_master(scale) for _ in range(scale.silences)), strict=True)
    yield Figure(f"CPU of a waiting master {after}", median(cpu), "% of a core", goal=cost)
    yield Figure("then until it has the result, at worst", 1e3 * max(woken), "ms", goal=soon)


def _silent_slave(scale: Scale) -> tuple[float, float]:
    """CPU of a slave in silence, and the seconds of the first call afterwards."""
    watch.delay(scale.silence, scale.span).result()
    time.sleep(scale.silence + scale.span + SLACK)
    began = perf_counter()
    nothing.delay().result()
    woken = perf_counter() - began
    return watched.delay().result(), woken


def _silent_master(scale: Scale) -> tuple[float, float]:
    """CPU of the master while main waits in silence, and the seconds between the end of the call and its result."""
    watcher = _Watch(scale.silence, scale.span)
    began = perf_counter()
    held = hold.delay(scale.silence + scale.span + SLACK).result()
    return watcher.share(), perf_counter() - began - held


SECTIONS: dict[str, Callable[[Scale], Iterable[Figure]]] = {
    "trip": _trip,
    "await": _await,
    "calls": _calls,
    "bulk": _bulk,
    "idle": _idle,
}


# ---------------------------------------------------------------- how it is measured


def _seconds(once: Callable[[], object], rounds: int) -> float:
    """The median time of a round."""
    times: list[float] = []
    for _ in range(rounds):
        began = perf_counter()
        once()
        times.append(perf_counter() - began)
    return median(times)


def _seconds_with(other_end: Future[None], once: Callable[[int], object], rounds: int) -> float:
    """The median time of a round of bare messages, with the rank on which that call runs."""
    rank = _world().recv()
    seconds = _seconds(lambda: once(rank), rounds)
    other_end.result()
    return seconds


def _in_turn(
    ours: Callable[[int], float], bare: Callable[[int], float], repetitions: int, rounds: int
) -> tuple[float, float | None]:
    """The medians of both, measured in turn: what else the machine does slows down both."""
    ours(rounds)
    if not _lets_threads_in():
        return median(ours(rounds) for _ in range(repetitions)), None
    bare(rounds)
    pairs = [(ours(rounds), bare(rounds)) for _ in range(repetitions)]
    return median(one for one, _ in pairs), median(other for _, other in pairs)


def _lets_threads_in() -> bool:
    """Whether bare messages may wait inside MPI, while the farm's background threads look for theirs."""
    from mpi4py import MPI  # noqa: PLC0415  as in `_world`

    return MPI.Query_thread() == MPI.THREAD_MULTIPLE


def _fitting(*goals: Goal) -> Goal | None:
    """The goal for this number of ranks."""
    ranks = _world().Get_size()
    return next((goal for goal in goals if goal.ranks in (None, ranks)), None)


# ---------------------------------------------------------------- how it is shown


def _setting() -> dict[str, str | int | None]:
    """What this runs on; to be asked while MPI runs."""
    from mpi4py import MPI  # noqa: PLC0415  as in `_world`

    return {
        "mpitasks": __version__,
        "python": platform.python_version(),
        "mpi": MPI.Get_library_version().partition("\n")[0].strip("\0 ").replace("\t", " "),
        "ranks": _world().Get_size(),
        "cores": os.cpu_count(),
    }


def _document(report: Report) -> str:
    """The report as JSON."""
    lines = [
        {
            "section": section,
            **figure._asdict(),
            "ratio": figure.ratio,
            "goal": figure.goal and str(figure.goal),
            "reached": figure.reached,
        }
        for section, figures in report.figures.items()
        for figure in figures
    ]
    return json.dumps({**report.setting, "figures": lines}, indent=2)


def _table(report: Report) -> str:
    """The report in aligned columns."""
    rows = [_COLUMNS, *(_row(figure) for figures in report.figures.values() for figure in figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    setting = ", ".join(f"{name} {value}" for name, value in report.setting.items())
    return "\n".join([setting, "", *(_line(row, widths) for row in rows)])


_COLUMNS = ("what", "value", "unit", "beside", "ratio", "goal", "reached")
_NUMBERS = ("value", "beside", "ratio")


def _row(figure: Figure) -> tuple[str, ...]:
    reached = {None: "", True: "yes", False: "no"}[figure.reached]
    goal = "" if figure.goal is None else str(figure.goal)
    return figure.what, _number(figure.value), figure.unit, _number(figure.beside), _number(figure.ratio), goal, reached


def _number(value: float | None) -> str:
    """Three digits that matter, or all before the point."""
    if value is None:
        return ""
    return f"{value:,.{max(0, 2 - int(math.log10(max(value, 1))))}f}"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = zip(_COLUMNS, row, widths, strict=True)
    return "  ".join(cell.rjust(width) if name in _NUMBERS else cell.ljust(width) for name, cell, width in cells).rstrip()
