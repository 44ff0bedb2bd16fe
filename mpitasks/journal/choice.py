"""Which journal a run keeps, if any."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FILE = "MPITASKS_JOURNAL"
"""Environment variable: the file; it has the last word over `run(journal=...)`."""

Named = str | os.PathLike[str]


def chosen(named: Named | None) -> Path | None:
    """The file in which this run keeps its journal; None: in none."""
    path = _by_environment() or named
    if path is None:
        return None
    from pathlib import Path  # noqa: PLC0415  4 ms, for those that keep a journal

    return Path(path).absolute()


def wanted() -> str | None:
    """The file that the environment names."""
    return os.environ.get(FILE) or None


@cache
def _by_environment() -> str | None:
    """The same, once: programs that a task starts are not to write into it."""
    path = wanted()
    os.environ.pop(FILE, None)
    return path
