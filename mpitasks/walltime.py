"""When a run has to end.

::

    --walltime 55m, MPITASKS_WALLTIME ──► so long after the first run() has begun ─┐
    SLURM_JOB_END_TIME, with a journal ─► the end of the job, less a margin ───────┴──► the earlier one: drain
"""

from __future__ import annotations

import os
import re
import time
from functools import cache
from typing import NamedTuple

VARIABLE = "MPITASKS_WALLTIME"
"""Environment variable: how long this process may hand out calls."""
SLURM = "SLURM_JOB_END_TIME"
"""Environment variable of Slurm: when it ends the job, in seconds since 1970."""
MARGIN = 30.0
"""Seconds, beside the grace, between the drain and the end of a job: slaves leave, resources are released."""
NEVER = "none"
OVER = "the walltime is over"

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PART = r"(\d+(?:\.\d+)?)([smhd])"
_CLOCK = r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)"


class Limit(NamedTuple):
    """When to hand out nothing more."""

    at: float
    """By `time.monotonic`."""
    why: str


def seconds_of(text: str) -> float:
    """How long that is.

    Raises:
        ValueError: It is no length of time.
    """
    if clock := re.fullmatch(_CLOCK, text):
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return float(((24 * days + hours) * 60 + minutes) * 60 + seconds)
    parts = re.findall(_PART, text)
    if parts and "".join(map("".join, parts)) == text:
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    msg = (
        f"{text!r} is no walltime; it is a number with s, m, h or d, such as 90s, 55m, 1h30m, 2d, or h:mm:ss, such as 1:30:00, "
        f"or d-h:mm:ss; {NEVER!r}: no end, whatever Slurm says"
    )
    raise ValueError(msg)


def checked(text: str) -> str:
    """The text, if it is a walltime.

    Raises:
        ValueError: It is none.
    """
    if text != NEVER:
        seconds_of(text)
    return text


def wanted() -> str | None:
    """The walltime that the environment names."""
    return os.environ.get(VARIABLE) or None


def chosen(grace: float, *, keeps: bool) -> Limit | None:
    """When this run has to end, as far as anybody has said.

    Args:
        grace: Seconds that running calls get then.
        keeps: Whether there is a journal. Without one, a run that ends early has done nothing, so Slurm is not asked.

    Raises:
        ValueError: The environment names no walltime.
    """
    text, began = _by_environment()
    if text == NEVER:
        return None
    limits: list[Limit] = []
    if text is not None:
        limits.append(Limit(began + seconds_of(text), OVER))
    if keeps and (left := _left_by_slurm()) > 0:
        limits.append(Limit(time.monotonic() + left - grace - MARGIN, "Slurm's end of the job is near"))
    return min(limits, default=None)


@cache
def _by_environment() -> tuple[str | None, float]:
    """What the environment names, and since when it counts; once: programs that a task starts have their own time."""
    text = wanted()
    os.environ.pop(VARIABLE, None)
    return text, time.monotonic()


def _left_by_slurm() -> float:
    """Seconds until Slurm ends the job; negative if it does not say, or has ended it: a shell may outlive its job."""
    try:
        return float(os.environ[SLURM]) - time.time()
    except (KeyError, ValueError):
        return -1.0
