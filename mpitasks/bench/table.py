"""How it is shown: as a table or as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from .figures import Figure, Report

_COLUMNS = ("what", "value", "spread", "unit", "beside", "ratio", "goal", "reached")
_NUMBERS = ("value", "beside", "ratio")


def document(report: Report) -> str:
    """The report as JSON."""
    lines = [{"section": section, **_plain(figure)} for section, figures in report.figures.items() for figure in figures]
    return json.dumps({**report.setting, "left out": report.left_out, "figures": lines}, indent=2)


def _plain(figure: Figure) -> dict[str, object]:
    return {
        "what": figure.what,
        "value": figure.value,
        "values": list(figure.values),
        "unit": figure.unit,
        "beside": figure.beside,
        "besides": list(figure.besides),
        "ratio": figure.ratio,
        "ratios": figure.ratios,
        "goal": figure.goal and str(figure.goal),
        "reached": figure.reached,
    }


def table(report: Report) -> str:
    """The report in aligned columns."""
    rows = [_COLUMNS, *(_row(figure) for figures in report.figures.values() for figure in figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    setting = ", ".join(f"{name} {value}" for name, value in report.setting.items())
    left_out = [f"{section}: {why}" for section, why in report.left_out.items()]
    return "\n".join([setting, "", *(_line(row, widths) for row in rows), *([""] if left_out else []), *left_out])


def _row(figure: Figure) -> tuple[str, ...]:
    reached = {None: "", True: "yes", False: "no"}[figure.reached]
    goal = "" if figure.goal is None else str(figure.goal)
    value, beside, ratio = _number(figure.value), _number(figure.beside), _number(figure.ratio)
    return figure.what, value, _spread(figure.values), figure.unit, beside, ratio, goal, reached


def _spread(values: Sequence[float]) -> str:
    """From the least to the most; empty for a single one."""
    return f"{_number(min(values))}..{_number(max(values))}" if len(values) > 1 else ""


def _number(value: float | None) -> str:
    """Three digits that matter, or all before the point."""
    if value is None:
        return ""
    return f"{value:,.{max(0, 2 - int(math.log10(max(value, 1))))}f}"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = zip(_COLUMNS, row, widths, strict=True)
    return "  ".join(cell.rjust(width) if name in _NUMBERS else cell.ljust(width) for name, cell, width in cells).rstrip()
