"""What each queue, slave and resource did, and why.

::

    core: Tally, queues, slaves ──take()──► Statistics ──str()──► tables
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ..core.calls import PLAIN
from ..core.scheduler import Scheduler
from ..core.tally import REASONS, Decision

MOST_ROWS = 20
"""Of a printed table."""


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """What the queue of a task did."""

    max_slaves: int | None
    waiting: int
    """Calls that could be sent now."""
    running: int
    """Slaves that run it now."""
    sent: Mapping[str, int]
    """Calls sent, by the reason for which they went where they went."""
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
    """Calls sent, by the reason for which they went where they went."""
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
        """Three tables, the largest rows first."""
        return "\n\n".join(table for table in (self._of_queues(), self._of_slaves(), self._of_resources()) if table)

    def _of_queues(self) -> str:
        rows = [
            [
                name,
                one.ended,
                one.failed,
                one.retried,
                one.waiting,
                one.running,
                _seconds(one.seconds),
                _seconds(one.mean),
                _counts(one.sent),
                _counts(one.lent_from),
            ]
            for name, one in self.queues.items()
        ]
        head = [
            "task",
            "ended",
            "failed",
            "retried",
            "waiting",
            "running",
            "seconds",
            "a call",
            "sent because",
            "slaves lent from",
        ]
        return _table(head, rows)

    def _of_slaves(self) -> str:
        rows = [
            [rank, one.calls, _seconds(one.seconds), one.acquisitions, _seconds(one.acquiring), one.moves, " ".join(one.holds)]
            for rank, one in self.slaves.items()
        ]
        return _table(["slave", "calls", "seconds", "acquired", "seconds", "moves", "holds"], rows)

    def _of_resources(self) -> str:
        rows = [
            [name, one.acquisitions, _seconds(one.acquiring), one.holders, _counts(one.sent)]
            for name, one in self.resources.items()
        ]
        return _table(["resource", "acquired", "seconds", "holders", "sent because"], rows) if rows else ""


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
            one.calls, one.seconds, one.acquisitions, one.acquiring, one.moves, tuple(map(str, looks.holds.get(rank, ())))
        )
        for rank, one in tally.slaves.items()
    }
    resources = {
        str(resource): ResourceStatistics(_frozen(one.calls), one.acquisitions, one.acquiring, looks.holders.get(resource, 0))
        for resource, one in tally.resources.items()
    }
    return Statistics(
        MappingProxyType(queues), MappingProxyType(slaves), MappingProxyType(resources), tuple(map(_in_words, tally.latest))
    )


def _frozen(counts: Mapping[str, int]) -> Mapping[str, int]:
    return MappingProxyType(dict(counts))


def _in_words(one: Decision) -> str:
    """One decision, as a sentence."""
    calls = f"call {one.first}" if one.calls == 1 else f"{one.calls} calls from {one.first} on"
    need = "" if one.resource is PLAIN else f", resource {one.resource}"
    lent = f"; lent from {one.lent_from!r}" if one.lent_from else ""
    return f"slave {one.rank} got {calls} of {one.queue!r}{need}: {one.reason}, {REASONS[one.reason]}{lent}"


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.3g}" if seconds < 1000 else f"{seconds:,.0f}"  # noqa: PLR2004  digits


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


def _table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Columns under their heads; numbers to the right."""
    lines = [list(map(str, row)) for row in rows]
    left = len(lines) - MOST_ROWS
    lines = [list(map(str, head)), *lines[:MOST_ROWS]]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    shown = [
        "  ".join(text.ljust(width) if place in (0, len(head) - 1) else text.rjust(width) for place, (text, width) in cells)
        for cells in (list(enumerate(zip(line, widths, strict=True))) for line in lines)
    ]
    return "\n".join([line.rstrip() for line in shown] + ([f"... and {left} more"] if left > 0 else []))
