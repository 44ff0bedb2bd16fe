"""Runs `python -m mpitasks bench` on 2 and on 4 ranks, and writes the table of goals in docs/performance.md.

    python tests/benchmarks/goals.py                 all sections: six minutes
    python tests/benchmarks/goals.py --dry trip calls

With the Python that runs this, and the MPI of its mpi4py. No part of CI.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from running import CHECKOUT
from tables import between, table

NAME = "goals: written by tests/benchmarks/goals.py"
RANKS = (2, 4)
LIMIT = 900.0
"""Seconds for one bench."""
HEADER = ["", "2 ranks", "x bare", "4 ranks", "x bare", "goal"]
Lines = dict[str, dict[str, Any]]
"""What one bench has measured, by what that is."""


def main() -> int:
    """Measure and write; the exit code."""
    given = _parser().parse_args()
    load = [os.getloadavg()[0]]
    reports: list[dict[str, Any]] = []
    for ranks in RANKS:
        command = [sys.executable, "-m", "mpitasks", "bench", "-n", str(ranks), "--json", *given.section]
        said = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=LIMIT, check=True).stdout
        reports.append(json.loads(said))
        load.append(os.getloadavg()[0])
    text = f"{_about(reports[0], load)}\n\n{rows(*[_by_what(report) for report in reports])}"
    if given.dry:
        print(text)
    else:
        between(CHECKOUT / "docs" / "performance.md", NAME, text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", action="store_true", help="print the table, and leave docs/performance.md as it is")
    parser.add_argument("section", nargs="*", help="of the bench; all of them by default")
    return parser


def _about(report: dict[str, Any], load: Sequence[float]) -> str:
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {report['cores']} cores, Python {report['python']}, {report['mpi']}. The load of the "
        f"machine was {load[0]:.1f} at the beginning, and {', '.join(f'{one:.1f}' for one in load[1:])} with that of the bench."
    )


def _by_what(report: dict[str, Any]) -> Lines:
    return {line["what"]: line for line in report["figures"]}


def rows(few: Lines, many: Lines) -> str:
    """The table: what was measured on 2 ranks, on 4, and what it should be."""
    return table(HEADER, [_row(what, few.get(what, {}), many.get(what, {})) for what in {**few, **many}])


def _row(what: str, few: dict[str, Any], many: dict[str, Any]) -> list[str]:
    goals = [(ranks, line) for ranks, line in zip(RANKS, (few, many), strict=True) if line.get("goal")]
    same = len(goals) == len(RANKS) and few["goal"] == many["goal"]
    said = [_goal(line, "" if same else f"{ranks} ranks: ") for ranks, line in goals]
    return [what, _value(few), _ratio(few), _value(many), _ratio(many), "; ".join(dict.fromkeys(said))]


def _value(line: dict[str, Any]) -> str:
    """The median and its spread."""
    if not line:
        return ""
    least, most = min(line["values"]), max(line["values"])
    spread = "" if least == most else f" ({_number(least)}–{_number(most)})"
    return f"{_number(line['value'])}{spread} {line['unit']}".rstrip()


def _ratio(line: dict[str, Any]) -> str:
    return _number(line["ratio"]) if line.get("ratio") is not None else ""


def _goal(line: dict[str, Any], where: str) -> str:
    goal = line["goal"].replace("<=", "≤").replace(">=", "≥").replace("==", "=")
    return f"{where}{goal}{'' if line['reached'] else ': **missed**'}"


def _number(value: float) -> str:
    """Three digits that matter, or all before the point."""
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


if __name__ == "__main__":
    sys.exit(main())
