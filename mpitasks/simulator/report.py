"""What a simulated run showed, beside what no schedule can beat."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.prices import Prices
from .farm import Span


@dataclass(frozen=True, slots=True)
class Report:
    """One run of a workload on so many slaves."""

    workload: str
    slaves: int
    rule: str
    """"core", or "seed" for that of mpi-master-slave, of which only makespan and loads are known."""
    run: int
    """The first knows nothing; each later one knows the prices that those before it learned."""
    calls: int
    makespan: float
    """Seconds until the last outcome."""
    bound: float
    """Seconds below which no schedule ends."""
    loads: int
    """Acquisitions of resources."""
    least_loads: int
    """Without which no schedule ends at the bound."""
    utilisation: float | None = None
    """Part of the slaves' time in calls and acquisitions."""
    possible_utilisation: float | None = None
    """The same of a schedule that reaches the bound."""
    longest_wait: float | None = None
    """Seconds from submission until a call began."""
    moves: int | None = None
    """How often a slave came from one queue to another."""
    decisions: int | None = None
    """How often the core was asked what to do."""
    core_seconds: float | None = None
    """In the core, by the real clock: the only figure that differs between two runs."""
    prices: Prices | None = None
    """What was learned so far."""
    spans: tuple[Span, ...] = ()
    """What each slave did; only if it was to be recorded."""

    @property
    def ratio(self) -> float:
        """The makespan beside its bound."""
        return self.makespan / self.bound if self.bound else 1.0

    @property
    def core_seconds_a_call(self) -> float | None:
        """To submit, assign and finish it."""
        return None if self.core_seconds is None else self.core_seconds / max(1, self.calls)


_FIGURES = (
    "slaves",
    "rule",
    "run",
    "calls",
    "makespan",
    "bound",
    "ratio",
    "utilisation",
    "possible_utilisation",
    "loads",
    "least_loads",
    "longest_wait",
    "moves",
    "decisions",
)


def as_json(reports: Sequence[Report], *, with_time: bool) -> str:
    """All figures; the core's own time apart from those that are the same each time."""
    data: dict[str, Any] = {
        "workload": reports[0].workload,
        "runs": [{name: _rounded(getattr(report, name)) for name in _FIGURES} for report in reports],
    }
    if with_time:
        data["core_seconds_a_call"] = [report.core_seconds_a_call for report in reports]
    return json.dumps(data, indent=2)


def _rounded(value: float | str | None) -> float | str | None:
    return round(value, 9) if isinstance(value, float) else value


_HEADS = (
    "slaves",
    "run",
    "makespan",
    "bound",
    "ratio",
    "busy",
    "could be",
    "loads",
    "least",
    "longest wait",
    "moves",
    "core/call",
)


def as_table(reports: Iterable[Report], *, with_time: bool) -> str:
    """The same for people, a line a run."""
    columns = len(_HEADS) if with_time else len(_HEADS) - 1
    rows = [_HEADS[:columns], *(_row(report)[:columns] for report in reports)]
    widths = [max(len(row[column]) for row in rows) for column in range(columns)]
    return "\n".join("  ".join(map(str.rjust, row, widths)) for row in rows)


def _row(report: Report) -> tuple[str, ...]:
    core = report.core_seconds_a_call
    return (
        str(report.slaves),
        str(report.run) if report.rule == "core" else report.rule,
        _seconds(report.makespan),
        _seconds(report.bound),
        f"{report.ratio:.3f}",
        _part(report.utilisation),
        _part(report.possible_utilisation),
        str(report.loads),
        str(report.least_loads),
        "" if report.longest_wait is None else _seconds(report.longest_wait),
        "" if report.moves is None else str(report.moves),
        "" if core is None else f"{core * 1e6:.1f} µs",
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:,.3g} s" if seconds < 10 else f"{seconds:,.1f} s"  # noqa: PLR2004  three digits


def _part(part: float | None) -> str:
    return "" if part is None else f"{part:.1%}"
