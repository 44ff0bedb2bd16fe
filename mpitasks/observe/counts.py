"""What each queue, slave and resource did, and why.

::

    core: Tally, queues, slaves ──take()──► Statistics ──str()──► tables
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from ..core.calls import PLAIN
from ..core.scheduler import Scheduler
from ..core.tally import REASONS, Decision

MOST_ROWS = 20
"""Of a printed table."""
MOST_LETTERS = 41
"""Of a name in it."""
MOST_NAMES = 3
"""Of what a slave holds."""

_BLANK = ("", "-", "0")


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """What the queue of a task did."""

    max_slaves: int | None
    waiting: int
    """Calls that could be sent now."""
    running: int
    """Slaves that run it now."""
    sent: Mapping[str, int]
    """Calls sent, by the reason for which they went where they went; each time, where they came back before they had begun."""
    windows: int
    ended: int
    failed: int
    """After their last retry."""
    retried: int
    """How often a call was to run again."""
    seconds: float
    """Slave seconds in its calls, without providers."""
    mean: float | None
    """Expected seconds of a call; None: not known."""
    lent_from: Mapping[str, int]
    """How often a slave came from another queue, by that queue."""


@dataclass(frozen=True, slots=True)
class SlaveStatistics:
    """What a slave did."""

    calls: int
    seconds: float
    """In calls."""
    acquisitions: int
    """By providers."""
    acquiring: float
    """Seconds in providers."""
    moves: int
    """How often it came from one queue to another."""
    holds: Sequence[str]
    """What it holds now."""


@dataclass(frozen=True, slots=True)
class ResourceStatistics:
    """What became of a resource."""

    sent: Mapping[str, int]
    """Calls sent, by the reason for which they went where they went; each time, where they came back before they had begun."""
    acquisitions: int
    """How often a slave took it up."""
    acquiring: float
    """Seconds in its provider; 0 for a plain id."""
    holders: int
    """Slaves that hold it now."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts since the farm began, as they were at one moment; prints as tables."""

    queues: Mapping[str, QueueStatistics]
    slaves: Mapping[int, SlaveStatistics]
    resources: Mapping[str, ResourceStatistics]
    """The 10,000 used last."""
    latest: Sequence[str]
    """The last windows that were sent, and why each went where it went; the oldest first."""

    def __str__(self) -> str:
        """Three tables: tasks and resources that took longest first, slaves by rank. Columns without a number are left out."""
        return "\n\n".join(table for table in (self._of_queues(), self._of_slaves(), self._of_resources()) if table)

    def _of_queues(self) -> str:
        head = [
            "task",
            "ended",
            "failed",
            "retried",
            "waiting",
            "running",
            "in calls",
            "a call",
            "sent because",
            "slaves lent from",
        ]
        rows = [
            [
                _short(name),
                *(f"{count:,}" for count in (one.ended, one.failed, one.retried, one.waiting, one.running)),
                *(_seconds(one.seconds), _seconds(one.mean), _counts(one.sent), _counts(one.lent_from)),
            ]
            for name, one in sorted(self.queues.items(), key=lambda item: -item[1].seconds)
        ]
        return _table(head, rows, words=2)

    def _of_slaves(self) -> str:
        head = ["slave", "calls", "in calls", "acquired", "acquiring", "moves", "holds"]
        rows = [
            [
                *(str(rank), f"{one.calls:,}", _seconds(one.seconds), f"{one.acquisitions:,}", _seconds(one.acquiring)),
                *(f"{one.moves:,}", _listed(one.holds)),
            ]
            for rank, one in self.slaves.items()
        ]
        return _table(head, rows, words=1)

    def _of_resources(self) -> str:
        head = ["resource", "acquired", "acquiring", "holders", "calls sent because"]
        rows = [
            [_short(name), f"{one.acquisitions:,}", _seconds(one.acquiring), f"{one.holders:,}", _counts(one.sent)]
            for name, one in sorted(self.resources.items(), key=lambda item: (-item[1].acquiring, -sum(item[1].sent.values())))
        ]
        return _table(head, rows, words=1)


def take(scheduler: Scheduler) -> Statistics:
    """The statistics of this moment."""
    tally, looks = scheduler.tally, scheduler.looks()
    queues = {
        name: QueueStatistics(
            *looks.queues[name][:3], _frozen(one.calls), one.windows, one.ended, one.failed, one.retried,
            one.seconds, looks.queues[name].mean, _frozen(one.lent_from),
        )
        for name, one in tally.queues.items()
    }  # fmt: skip
    slaves = {
        int(rank): SlaveStatistics(
            one.calls, one.seconds, one.acquisitions, one.acquiring, one.moves, tuple(map(_text_of, looks.holds.get(rank, ())))
        )
        for rank, one in tally.slaves.items()
    }
    resources = {
        _text_of(resource): ResourceStatistics(
            _frozen(one.calls), one.acquisitions, one.acquiring, looks.holders.get(resource, 0)
        )
        for resource, one in tally.resources.items()
    }
    return Statistics(queues, slaves, resources, tuple(map(_in_words, tally.latest)))


def _text_of(resource: Hashable) -> str:
    """A resource, in the words of whoever wrote the class of its key."""
    try:
        return str(resource)
    except Exception:  # noqa: BLE001  `__str__` of a user's object; the end of a run takes statistics too
        return f"<{type(resource).__name__} without a text>"


def _frozen(counts: Mapping[str, int]) -> Mapping[str, int]:
    return dict(counts)


def _in_words(one: Decision) -> str:
    """One decision, as a sentence."""
    calls = f"call {one.first}" if one.calls == 1 else f"{one.calls} calls from {one.first} on"
    need = "" if one.resource is PLAIN else f", resource {_text_of(one.resource)}"
    lent = f"; lent from {one.lent_from!r}" if one.lent_from else ""
    return f"slave {one.rank} got {calls} of {one.queue!r}{need}: {one.reason}, {REASONS[one.reason]}{lent}"


def _seconds(seconds: float | None) -> str:
    """Three digits, and the unit in which they are easy to read."""
    if not seconds:
        return "-"
    for unit, factor in (("µs", 1e6), ("ms", 1e3)):
        if seconds * factor < 999.5:  # noqa: PLR2004  rounded, it has three digits
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s" if seconds < 999.5 else f"{seconds:,.0f} s"  # noqa: PLR2004  as above


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{_short(name)} {count:,}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


def _listed(names: Sequence[str]) -> str:
    """The last few."""
    return ", ".join(["…"] * (len(names) > MOST_NAMES) + list(map(_short, names[-MOST_NAMES:])))


def _short(name: str) -> str:
    """A long name without its middle: how it begins tells the kind, and how it ends which."""
    half = (MOST_LETTERS - 1) // 2
    return name if len(name) <= MOST_LETTERS else f"{name[:half]}…{name[-half:]}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, words: int) -> str:
    """Columns under their heads; numbers to the right, the first and the last `words` to the left. Nothing without rows."""
    places = [place for place in range(len(head)) if any(row[place] not in _BLANK for row in rows)]
    if not places:
        return ""
    lines = [[line[place] for place in places] for line in [head, *rows[:MOST_ROWS]]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = {0, *range(len(head) - words, len(head))}
    shown = [
        "  ".join(
            text.ljust(width) if place in left else text.rjust(width)
            for place, text, width in zip(places, line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]
    more = len(rows) - MOST_ROWS
    return "\n".join([*shown, f"... and {more:,} more"] if more > 0 else shown)
