"""Calls that sleep: many slaves on few cores."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

from . import wire
from .figures import Figure, Goal
from .scale import Scale
from .slaves import nap
from .timing import repeated

LENGTH = 0.05
"""Seconds of a call: they need no core, so that any number of slaves can be had on one machine."""


def sleep(scale: Scale) -> Iterator[Figure]:
    """The part of all slaves' time that such calls take, from the first `delay` to the last result."""
    shares = repeated(lambda: _share(scale.sleeps), scale.few)
    yield Figure(f"slaves in calls of {1e3 * LENGTH:g} ms that sleep", shares, "%", goal=Goal(">=", 90, "%"))


def _share(calls: int) -> float:
    """In %, with so many calls for each slave."""
    began = perf_counter()
    for future in [nap.delay(LENGTH) for _ in range(calls * wire.slaves())]:
        future.result()
    return 100 * calls * LENGTH / (perf_counter() - began)
