"""How much is measured: all of it, or less."""

from __future__ import annotations

from typing import NamedTuple

LONG_SILENCE = 5.0
"""Seconds of silence, after which ranks nap for as long as they ever do."""


class Scale(NamedTuple):
    """How much is measured."""

    repetitions: int
    """Of all that takes less than seconds; the figure is their median."""
    few: int
    """Repetitions of what takes seconds."""
    rounds: int
    """There and back, a repetition."""
    calls: int
    """In one rate."""
    streamed: float
    """Seconds of an endless `imap`."""
    bulk_rounds: int
    uses: int
    """Calls that use one constant."""
    silence: float
    """Seconds, after which a rank counts as idle."""
    span: float
    """Seconds for which its CPU time is then measured."""
    wakes: int
    """Single calls, each after a moment of silence."""
    uneven: int
    """Calls of a millisecond, but for the long ones among them."""
    long_ones: int
    long: float
    """Seconds that each of these takes."""
    computing: float
    """Seconds for which main computes."""
    sleeps: int
    """Calls of 50 ms, for each slave."""
    queued: int
    """Calls that wait at the master."""


FULL = Scale(
    repetitions=5, few=3, rounds=500, calls=100_000, streamed=10.0, bulk_rounds=5, uses=200, silence=LONG_SILENCE, span=1.0,
    wakes=50, uneven=10_000, long_ones=10, long=1.0, computing=2.0, sleeps=40, queued=1_000_000,
)  # fmt: skip
QUICK = Scale(
    repetitions=3, few=1, rounds=100, calls=5_000, streamed=0.5, bulk_rounds=2, uses=10, silence=1.2, span=0.3,
    wakes=10, uneven=600, long_ones=3, long=0.2, computing=0.5, sleeps=10, queued=100_000,
)  # fmt: skip
