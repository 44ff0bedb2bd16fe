"""`python -m mpitasks stacks`: where a running program is.

::

    rank 0 answers ──────► what waits, where the slaves are, where main is
    it does not ─────────► the stacks of all ranks on this host, by a signal: C code holds its interpreter, or it is stopped
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence

from . import control
from .control import NoAnswer, Run
from .runtime import stacks
from .runtime.places import Place

PATIENCE = 10.0
"""Seconds for an answer: rank 0 itself waits for its slaves up to 1.5, and asks others by a signal."""


def main(arguments: Sequence[str]) -> int:
    """What `python -m mpitasks stacks ARGUMENTS` does; returns the exit code."""
    pid = _parser().parse_args(arguments).pid
    runs = [run for run in control.running() if pid in (None, run.pid, run.starter)]
    if len(runs) == 1:
        return _tell(runs[0])
    print(_which(pid, runs), file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mpitasks stacks",
        description="Show what a running program waits for, and where main and each slave are. Ask on the host of rank 0.",
    )
    parser.add_argument(
        "pid",
        nargs="?",
        type=int,
        metavar="PID",
        help="process number of rank 0, or of `python -m mpitasks`; needed where several programs of yours run on this host",
    )
    return parser


def _which(pid: int | None, runs: Sequence[Run]) -> str:
    """No program is meant, or none for sure."""
    known = runs if pid is None else control.running()
    listed = [
        f"  {run.pid}  since {time.strftime('%H:%M:%S', time.localtime(run.since))}  {' '.join(run.command)}" for run in known
    ]
    if not listed:
        return "mpitasks: no program of yours runs with mpitasks on this host; ask on the host of rank 0, with its TMPDIR"
    problem = "several programs run here, so say which" if pid is None else f"process {pid} is not rank 0 of a program"
    return "\n".join([f"mpitasks: {problem}: python -m mpitasks stacks PID", *listed])


def _tell(run: Run) -> int:
    try:
        print(control.ask(run.folder, "stacks", PATIENCE))
    except NoAnswer as error:
        print(f"mpitasks: {error}", file=sys.stderr)
        places = _places(run)
        if not places:
            return 1
        print("mpitasks: the ranks on this host, asked by a signal:")
        for rank, place in places:
            print(f"rank {rank} (process {place.pid}):\n{stacks.dump(place) or 'in code of mpitasks'}")
    return 0


def _places(run: Run) -> list[tuple[int, Place]]:
    """The ranks of a run that are on this host."""
    try:
        said = json.loads((run.folder / control.RUN).read_text()).get("places", [])
    except (OSError, ValueError):  # it has ended
        return []
    places = [Place(*place) for place in said]
    return [(rank, place) for rank, place in enumerate(places) if place.host == places[0].host]
