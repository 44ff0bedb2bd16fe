"""What the calls of one resource need of their slaves."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

EPSILON = 1e-9
"""Seconds, and parts, that are rounding errors."""


class Demand(NamedTuple):
    """What the calls of one resource need."""

    work: float
    """Seconds of its calls."""
    price: float
    """Seconds to acquire it."""
    most: float
    """Slaves that may hold it; infinity for all."""
    calls: int
    each: float | None
    """Seconds of a call, if all take the same."""

    def loads(self, seconds: float) -> int | None:
        """How often it is acquired at least, to end within that time; None: that can't be."""
        room = seconds - self.price
        if self.calls and room < EPSILON:
            return None
        if self.each:
            fit = int(room / self.each + EPSILON)
            return ceil(self.calls / fit) if fit else None
        return max(1, ceil(self.work / room - EPSILON))
