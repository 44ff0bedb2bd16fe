"""`python -m mpitasks simulate`: try a farm without one."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from math import inf
from pathlib import Path

from ..command_line import number_of
from ..core.prices import Prices
from ..errors import MpiTasksError
from .builtin import BUILTIN
from .farm import Costs
from .gantt import check_drawable, draw
from .report import Report, as_json, as_table
from .simulation import simulate, simulate_seed
from .workload import Workload, WorkloadError, read

_EPILOG = """\
columns:
  run           1 knows nothing; 2 knows the prices of acquisitions and calls that 1 has learned; seed: the rule of
                mpi-master-slave, where that knows such workloads
  makespan      seconds until the last outcome; bound: no schedule ends sooner; ratio: makespan / bound
  busy          part of the slaves' time in calls and acquisitions; could be: the same at the bound
  loads         acquisitions of resources; least: without which no schedule ends at the bound
  longest wait  seconds from submission until a call began
  moves         how often a slave came from one task to another
  core/call     the scheduler's own time to submit, assign and finish a call, on this machine

examples:
  python -m mpitasks simulate                        a list of what is built in
  python -m mpitasks simulate example5 --slaves 8
  python -m mpitasks simulate hot --gantt hot.png    a picture of the last run
  python -m mpitasks simulate mine.json --slaves 100 1000 --prices learned.json

A file describes queues, resources and calls:

  {"queues":    {"render": {"max_slaves": 4}, "store": {}},
   "resources": {"scene": {"acquire": 12}},
   "calls":     [{"queue": "render", "n": 200, "seconds": [1, 3], "resource": "scene", "keys": 5},
                 {"queue": "store", "n": 200, "seconds": 0.1, "at": 60}]}
"""


def main(arguments: Sequence[str]) -> int:
    """What `python -m mpitasks simulate ARGUMENTS` does; returns the exit code."""
    given = _parser().parse_args(arguments)
    if given.workload is None and arguments:
        _parser().error("which workload? Options need one: a JSON file, or the name of a built-in one; alone, these are listed")
    if given.workload is None:
        print("\n".join(f"{name:15} {make().about}" for name, make in BUILTIN.items()))
        return 0
    try:
        _simulate(given)
    except (MpiTasksError, OSError) as error:
        print(f"mpitasks: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mpitasks simulate",
        description="Run a workload on virtual slaves, in virtual time, by the scheduler of real runs: no MPI, no waiting.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("workload", nargs="?", metavar="WORKLOAD", help="a JSON file, or the name of a built-in one")
    parser.add_argument(
        "--slaves",
        type=partial(number_of, "slaves"),
        nargs="+",
        metavar="N",
        help="with how many slaves; default: the workload's own",
    )
    parser.add_argument(
        "--runs",
        type=partial(number_of, "runs"),
        default=2,
        metavar="N",
        help="runs, each with what those before it learned (2)",
    )
    parser.add_argument(
        "--prices", type=Path, metavar="FILE", help="begin with the prices in this file, if it is there; write it"
    )
    parser.add_argument(
        "--costs",
        type=_microseconds,
        nargs=2,
        default=(0.0, 0.0),
        metavar=("MESSAGE", "CALL"),
        help="microseconds that the master needs for a message, and for a call besides; default: none",
    )
    parser.add_argument("--gantt", type=Path, metavar="FILE", help="draw the last run, as PNG or SVG; needs matplotlib")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--no-time", action="store_true", help="leave out core/call, which alone differs from run to run")
    return parser


def _microseconds(text: str) -> float:
    """Such a number as seconds."""
    try:
        seconds = float(text) * 1e-6
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < inf:
        msg = f"microseconds are a number, 0 or more, and not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return seconds


def _simulate(given: argparse.Namespace) -> None:
    workload = _workload(given.workload)
    _check_files(given)
    reports = list(_reports(workload, given))
    show = as_json if given.json else as_table
    if not given.json:
        print(f"{workload.name}: {workload.about}" if workload.about else workload.name)
    print(show(reports, with_time=not given.no_time))
    if given.prices is not None and reports[-1].prices is not None:
        given.prices.write_text(json.dumps(reports[-1].prices.plain(), indent=1) + "\n")
    if given.gantt is not None:
        draw(reports[-1], given.gantt)


def _check_files(given: argparse.Namespace) -> None:
    """Whether all that is to be written can be: the runs may take minutes."""
    for option, path in (("--prices", given.prices), ("--gantt", given.gantt)):
        if path is not None and not _is_writable(path):
            msg = f"{option} can't write {str(path)!r}; it must be a file in a folder that is there and that you may write to"
            raise WorkloadError(msg)
    if given.gantt is not None:
        check_drawable(given.gantt)


def _is_writable(path: Path) -> bool:
    if path.exists():
        return path.is_file() and os.access(path, os.W_OK)
    return path.parent.is_dir() and os.access(path.parent, os.W_OK)


def _workload(name: str) -> Workload:
    if name in BUILTIN:
        return BUILTIN[name]()
    if not Path(name).is_file():
        msg = f"there is no file {name!r}, and no such workload is built in; those are: {', '.join(BUILTIN)}"
        raise WorkloadError(msg)
    return read(Path(name))


def _reports(workload: Workload, given: argparse.Namespace) -> Iterator[Report]:
    """All runs, by number of slaves; each number begins with what the file of prices says."""
    for slaves in given.slaves or workload.slaves:
        seeds = simulate_seed(workload, slaves)
        if seeds is not None:
            yield seeds
        prices = _prices(given.prices)
        for run in range(1, given.runs + 1):
            costs, record = Costs(*given.costs), given.gantt is not None
            report = simulate(workload, slaves, prices=prices, run=run, costs=costs, record=record)
            prices = report.prices
            yield report


def _prices(path: Path | None) -> Prices | None:
    if path is None or not path.is_file():
        return None
    try:
        return Prices.from_plain(json.loads(path.read_text()))
    except (ValueError, TypeError, KeyError) as error:
        msg = f"{path} holds no prices that a simulation has written: {error}"
        raise WorkloadError(msg) from error
