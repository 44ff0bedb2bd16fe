"""Tables of what was measured, in Markdown, between two lines of a page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from catalogue import BARE, OURS, PEERS
from running import SEVERAL, Sample

NAME = "peers: written by tests/benchmarks/peers.py"
_MEGABYTES = (1, 16, 64)


class Results:
    """All samples, to be asked for cells."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self.peers = [peer.name for peer in PEERS if any(sample.peer == peer.name for sample in samples)]
        self._notes: list[str] = []

    def cell(self, peer: str, measure: str, workers: int, shape: str = "{:,.0f}", place: int | None = None) -> str:
        """The median with the least and the most; or a dash, with a note that says why."""
        found = [one for one in self._samples if (one.peer, one.measure, one.workers) == (peer, measure, workers)]
        values = sorted(_at(one.value, place) for one in found if one.value is not None)
        if not values:
            reasons = [one.reason for one in found if one.reason]
            return f"–{self._note(f'{peer}: {reasons[-1]}')}" if reasons else ""
        texts = [shape.format(value) for value in (median(values), values[0], values[-1])]
        return texts[0] if len(values) == 1 else f"{texts[0]} ({texts[1]}–{texts[2]})"

    def _note(self, text: str) -> str:
        text = _plain(text)
        if text not in self._notes:
            self._notes.append(text)
        return f" [{self._notes.index(text) + 1}]"

    def notes(self) -> list[str]:
        """Why there are dashes."""
        return [f"{number}. {text}" for number, text in enumerate(self._notes, 1)]


def _at(value: float | list[float], place: int | None) -> float:
    return value if isinstance(value, float | int) else value[place or 0]


def _plain(text: str) -> str:
    """In one line, without addresses and what would be markup."""
    return " ".join(re.sub(r"[|<>`*_\0]|0x[0-9a-f]+", " ", text).split()).rstrip(".")


def write(page: Path, samples: Sequence[Sample], about: str) -> None:
    """Put the tables in place of those on the page."""
    between(page, NAME, tables(samples, about))


def between(page: Path, name: str, text: str) -> None:
    """Put a text in place of what stands between two comments of that name on a page.

    Raises:
        ValueError: The page has no place for it.
    """
    begin, end = f"<!-- {name} -->", f"<!-- {name.partition(':')[0]}: end -->"
    there = page.read_text()
    if begin not in there or end not in there:
        msg = f"{page} has no place for the tables; they go between the lines {begin!r} and {end!r}"
        raise ValueError(msg)
    before, rest = there.split(begin, 1)
    after = rest.split(end, 1)[1]
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def tables(samples: Sequence[Sample], about: str) -> str:
    """All tables."""
    results = Results(samples)
    parts = [about, _calls(results), _arrays(results), _shares(results), *_because(results)]
    return "\n\n".join(part for part in parts if part)


def _because(results: Results) -> list[str]:
    notes = results.notes()
    return ["Not measured, because:\n\n" + "\n".join(notes)] if notes else []


def _calls(results: Results) -> str:
    several = f"{SEVERAL} workers"
    header = [
        "no-op calls/s",
        "singly, 1 worker",
        several,
        "in chunks, 1 worker",
        several,
        "one there and back, 1 worker",
        several,
    ]
    rows = [
        [
            _name(peer),
            *(results.cell(peer, measure, workers) for measure in ("submit", "chunks") for workers in (1, SEVERAL)),
            *(_with_unit(results.cell(peer, "latency", workers, "{:,.1f}"), "µs") for workers in (1, SEVERAL)),
        ]
        for peer in results.peers
    ]
    return table(header, rows)


def _arrays(results: Results) -> str:
    header = ["arrays, GB/s", *(f"{size} MB {way}" for way in ("in", "out") for size in _MEGABYTES)]
    rows = [
        [
            _name(peer),
            *(
                results.cell(peer, measure, 1, "{:.2f}", place)
                for measure in ("arguments", "results")
                for place in range(len(_MEGABYTES))
            ),
        ]
        for peer in results.peers
    ]
    return table(header, rows)


def _shares(results: Results) -> str:
    header = [f"{SEVERAL} workers", "100 calls of 10 ms", "uneven calls", "hello, start to end", "a queued call", "of so many"]
    rows = [
        [
            _name(peer),
            _with_unit(results.cell(peer, "tens", SEVERAL, "{:.2f}"), "x"),
            _with_unit(results.cell(peer, "uneven", SEVERAL, "{:.2f}"), "x"),
            _with_unit(results.cell(peer, "start", SEVERAL), "ms"),
            _with_unit(results.cell(peer, "memory", 1), "bytes"),
            "" if "–" in results.cell(peer, "memory", 1) else results.cell(peer, "memory", 1, place=1),
        ]
        for peer in results.peers
    ]
    return table(header, rows)


def _with_unit(cell: str, unit: str) -> str:
    return f"{cell} {unit}" if cell and not cell.startswith("–") else cell


def _name(peer: str) -> str:
    return f"**{peer}**" if peer == OURS.name else f"*{peer}*" if peer == BARE.name else peer


def table(header: list[str], rows: list[list[str]]) -> str:
    """Nothing, if every cell is empty."""
    if not any(cell for row in rows for cell in row[1:]):
        return ""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
