"""How long nothing may end until the watchdog speaks."""

from __future__ import annotations

import os
from math import inf

STALL = "MPITASKS_STALL"
"""Environment variable: seconds, 0 for never; it has the last word over `run(stall=...)`."""
USUALLY = 300.0
"""Seconds without an outcome, after which the watchdog speaks."""


def stall_of(given: float | None) -> float:
    """Seconds without an outcome until the watchdog speaks; infinity: it never does.

    Raises:
        ValueError: It is no number of seconds.
    """
    text = os.environ.get(STALL, "").strip()
    try:
        seconds = float(text) if text else float(given or 0)
    except (TypeError, ValueError, OverflowError):
        seconds = -1.0
    if not seconds >= 0:
        said = f"{STALL}={text!r}" if text else f"stall={given!r}"
        msg = f"{said} must be a number of seconds without any outcome after which to say why; 0: never"
        raise ValueError(msg)
    return seconds or inf
