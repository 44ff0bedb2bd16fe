"""`python -m mpitasks journal FILE`: lists and checks a journal.

Nothing in it is unpickled here: a journal of anybody's can be looked at.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import JournalError
from . import records
from .frames import Damage, FrameFile

_COLUMNS = ("task", "arguments", "when", "seconds", "bytes", "rank", "attempts", "call")
_RIGHT = {"seconds", "bytes", "rank", "attempts"}


@dataclass
class Listing:
    """What a journal holds."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    """That have returned, in that order."""
    runs: list[dict[str, Any]] = field(default_factory=list)
    """When each began, by which command, and how it ended."""
    damages: list[Damage] = field(default_factory=list)
    """Bytes in the midst of the file that are no frame."""
    torn: int = 0
    """Bytes at its end that are no frame."""

    @property
    def complete(self) -> bool:
        """Whether the last run came to its end."""
        return bool(self.runs) and self.runs[-1]["end"] == records.COMPLETE


def main(arguments: Sequence[str]) -> int:
    """What `python -m mpitasks journal ARGUMENTS` does; returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        listing = read(given.file)
    except JournalError as error:
        print(f"mpitasks: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        why = f"journal {str(given.file)!r} can't be read: {error.strerror or error}"
        print(f"mpitasks: {why}; name the file that a run was given by --journal or run(journal=...)", file=sys.stderr)
        return 1
    try:
        _show(listing, given)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read this has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    whole = listing.complete and not listing.damages and not listing.torn
    return int(given.check and not whole)


def read(path: Path) -> Listing:
    """What the file holds; it may grow meanwhile.

    Raises:
        JournalError: It is no journal.
        OSError: It can't be read.
    """
    listing = Listing()
    with path.open("rb") as file:
        frames = FrameFile(file.fileno(), str(path))
        frames.read_head()
        for found in frames.scan():
            if isinstance(found, Damage):
                listing.damages.append(found)
            else:
                _add(listing, found.payload)
        size = path.stat().st_size
    if listing.damages and listing.damages[-1].end >= size:
        last = listing.damages.pop()
        listing.torn = last.end - last.begin
    return listing


def _add(listing: Listing, payload: bytes) -> None:
    facts = records.facts_of(payload)
    kind, when = facts.pop("kind"), _when(facts.pop("at"))
    if kind == records.DONE:
        listing.calls.append({**facts, "when": when, "bytes": records.size_of(payload)})
    elif kind == records.START:
        listing.runs.append({**facts, "began": when, "end": "", "why": "", "ended": ""})
    elif listing.runs:
        listing.runs[-1].update(end=kind, why=facts["why"], ended=when)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(sep=" ", timespec="seconds")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mpitasks journal",
        description="List the calls whose outcomes a journal holds, and say whether it is whole and its last run complete. "
        "Nothing in it is unpickled.",
        epilog="exit code: 0; 1 if the file can't be read; with --check also if bytes in it are damaged or its last run did "
        "not come to its end",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the journal; a run may be writing it")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true", help="don't list; say by the exit code too whether all is well")
    how.add_argument("--json", action="store_true", help="all of it as JSON: calls, runs, damages")
    how.add_argument("--csv", action="store_true", help="the calls as CSV")
    return parser


def _show(listing: Listing, given: argparse.Namespace) -> None:
    if given.json:
        print(json.dumps({**asdict(listing), "complete": listing.complete}, indent=1, ensure_ascii=False))
    elif given.csv:
        writer = csv.DictWriter(sys.stdout, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(listing.calls)
    else:
        lines = [] if given.check or not listing.calls else [*_table(listing.calls), ""]
        print("\n".join([*lines, *_summary(listing)]))


def _table(calls: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each call, in columns."""
    rows = [[_cell(call[column]) for column in _COLUMNS] for call in calls]
    widths = [max(map(len, cells)) for cells in zip(_COLUMNS, *rows, strict=True)]
    for row in [_COLUMNS, *rows]:
        cells = zip(_COLUMNS, row, widths, strict=True)
        yield "  ".join(cell.rjust(width) if name in _RIGHT else cell.ljust(width) for name, cell, width in cells).rstrip()


def _cell(value: object) -> str:
    if value is None:
        return "-"
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if text.isprintable() else repr(text)[1:-1]


def _summary(listing: Listing) -> Iterator[str]:
    """What there is, how the runs ended, and what is wrong."""
    calls, runs = listing.calls, listing.runs
    seconds, size = sum(call["seconds"] or 0.0 for call in calls), sum(call["bytes"] for call in calls)
    yield f"{len(calls):,} call{_s(calls)} in {seconds:,.3f} s, {size:,} bytes of values; {len(runs)} run{_s(runs)}"
    for run in runs:
        yield f"run of {run['began']}: {_how(run)}"
    for damage in listing.damages:
        yield f"damaged: bytes {damage.begin} to {damage.end}; calls that stood there run again"
    if listing.torn:
        yield f"torn: the last {listing.torn} bytes, written when it was cut off; the next run cuts them"


def _how(run: dict[str, Any]) -> str:
    """How that run has ended."""
    how = {
        "": "no end: it was cut off, or still runs",
        records.COMPLETE: f"complete at {run['ended']}",
        records.INTERRUPTED: f"interrupted at {run['ended']}: {run['why']}",
    }
    return how.get(run["end"]) or f"ended by {run['why']}"


def _s(many: Sequence[object]) -> str:
    return "" if len(many) == 1 else "s"
