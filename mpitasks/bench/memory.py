"""What a waiting call takes at the master."""

from __future__ import annotations

from collections.abc import Iterator

from . import slaves
from .figures import Figure, Goal
from .scale import Scale
from .slaves import nothing
from .timing import resident


def memory(scale: Scale) -> Iterator[Figure]:
    """Memory a call, while all slaves are kept from running any. Its future is in it."""
    kept = slaves.keep_all()
    before = resident()
    futures = [nothing.delay(number) for number in range(scale.queued)]
    taken = (resident() - before) / scale.queued
    for one in kept:
        one.cancel()
    for future in futures:
        future.result()
    yield Figure(f"a call at the master, {scale.queued:,} queued", [taken], "bytes", goal=Goal("<=", 600, "bytes"))
