"""`python -m mpitasks bench`: what it takes, and what it does."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterable, Sequence

from .. import launch, surroundings
from ..errors import MpiTasksError
from ..session import run
from ..version import __version__
from . import bulk, idle, memory, short_calls, sleeping, starting, table, uneven, wire
from .figures import Figure, NotHere, Report
from .scale import FULL, QUICK, Scale

SECTIONS: dict[str, Callable[[Scale], Iterable[Figure]]] = {
    "memory": memory.memory,  # first: what other sections leave free would be taken again, and not be seen
    "trip": short_calls.trip,
    "await": short_calls.awaited,
    "calls": short_calls.calls,
    "chunks": short_calls.chunks,
    "stream": short_calls.stream,
    "bulk": bulk.bulk,
    "constant": bulk.constant,
    "tail": uneven.tail,
    "busy": uneven.busy,
    "sleep": sleeping.sleep,
    "idle": idle.idle,
    "start": starting.start,
}
_EPILOG = """\
value: the median of several repetitions, after one to warm up; spread: the least and the most of them.
beside: the same by bare mpi4py messages, in the same processes and in turn with the calls, or what the line says.
ratio: value / beside, the median of those of the repetitions.
goal: what mpitasks is meant to reach with that number of ranks on an ordinary machine.
"""


def main(arguments: Sequence[str]) -> int:
    """What `python -m mpitasks bench ARGUMENTS` does; returns the exit code, on rank 0."""
    given = _parser().parse_args(arguments)
    if surroundings.promised_size() is None and surroundings.STARTED not in os.environ:
        try:
            return launch.start(["-m", "mpitasks", "bench", *arguments], given.n)
        except MpiTasksError as error:
            print(f"mpitasks: {error}", file=sys.stderr)
            return 1
    report = run(_measure, given.section or list(SECTIONS), QUICK if given.quick else FULL, backend="mpi")
    print(table.document(report) if given.json else table.table(report))
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
    parser.add_argument("--json", action="store_true", help="print one JSON document, with all repetitions, instead of a table")
    parser.add_argument("--quick", action="store_true", help="less of everything; ends within about 20 s")
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


def _measure(sections: Iterable[str], scale: Scale) -> Report:
    """Measure these sections; the main of the run."""
    figures: dict[str, list[Figure]] = {}
    left_out: dict[str, str] = {}
    for section in sections:
        print(f"mpitasks: measuring {section!r}", file=sys.stderr)
        try:
            figures[section] = list(SECTIONS[section](scale))
        except NotHere as reason:
            left_out[section] = str(reason)
    return Report(_setting(), figures, left_out)


def _setting() -> dict[str, str | int | None]:
    """What this runs on; to be asked while MPI runs."""
    return {
        "mpitasks": __version__,
        "python": platform.python_version(),
        "mpi": wire.library(),
        "ranks": wire.slaves() + 1,
        "cores": os.cpu_count(),
    }
