"""What ranks cost while nothing happens, and how soon they wake."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from time import perf_counter

from ..tasks import task
from .figures import Figure, Goal
from .scale import LONG_SILENCE, Scale
from .slaves import nap, nothing

SLACK = 0.2
"""Seconds by which a silence outlasts what is measured in it."""
MOMENT = 0.05
"""Seconds of silence after which a rank should be back at once."""


# Of one resource, so that both go to the same slave.
@task(resource="what was watched")
def watch(silence: float, span: float) -> None:
    """Measure this process in the silence that comes now."""
    _Watch.latest = _Watch(silence, span)


@task(resource="what was watched")
def watched() -> float:
    """What `watch` has measured here, in % of a core."""
    return _Watch.latest.share()


class _Watch:
    """Measures the CPU time of this process, from a thread that costs none itself."""

    latest: _Watch

    def __init__(self, silence: float, span: float) -> None:
        self._silence, self._span = silence, span
        self._share = 0.0
        self._thread = threading.Thread(target=self._measure, name="mpitasks-bench-watch")
        self._thread.start()

    def share(self) -> float:
        """Wait for the end, and tell in % of a core."""
        self._thread.join()
        return self._share

    def _measure(self) -> None:
        time.sleep(self._silence)
        began, used = perf_counter(), time.process_time()
        time.sleep(self._span)
        self._share = 100 * (time.process_time() - used) / (perf_counter() - began)


def idle(scale: Scale) -> Iterator[Figure]:
    """The costs of silence, and of its end."""
    after = f"after {scale.silence:g} s of silence"
    is_long = scale.silence >= LONG_SILENCE
    cost, soon = (Goal("<=", 1, "% of a core"), Goal("<=", 12, "ms")) if is_long else (None, None)
    cpu, woken = zip(*(_silent_slave(scale) for _ in range(scale.few)), strict=True)
    yield Figure(f"CPU of an idle slave {after}", cpu, "% of a core", goal=cost)
    yield Figure("then the first call there and back", woken, "ms", goal=soon)
    cpu, woken = zip(*(_silent_master(scale) for _ in range(scale.few)), strict=True)
    yield Figure(f"CPU of a waiting master {after}", cpu, "% of a core", goal=cost)
    yield Figure("then until it has the result", woken, "ms", goal=soon)
    after = f"one call after {1e3 * MOMENT:g} ms of silence"
    yield Figure(after, [_after_a_moment() for _ in range(scale.wakes)], "µs", goal=Goal("<=", 250, "µs"))


def _silent_slave(scale: Scale) -> tuple[float, float]:
    """CPU of a slave in silence, and the milliseconds of the first call afterwards."""
    watch.delay(scale.silence, scale.span).result()
    time.sleep(scale.silence + scale.span + SLACK)
    began = perf_counter()
    nothing.delay().result()
    woken = perf_counter() - began
    return watched.delay().result(), 1e3 * woken


def _silent_master(scale: Scale) -> tuple[float, float]:
    """CPU of the master while main waits in silence, and the milliseconds between the end of the call and its result."""
    watcher = _Watch(scale.silence, scale.span)
    began = perf_counter()
    held = nap.delay(scale.silence + scale.span + SLACK).result()
    return watcher.share(), 1e3 * (perf_counter() - began - held.seconds)


def _after_a_moment() -> float:
    """Microseconds of a call, a moment after another."""
    nothing.delay().result()
    time.sleep(MOMENT)
    began = perf_counter()
    nothing.delay().result()
    return 1e6 * (perf_counter() - began)
