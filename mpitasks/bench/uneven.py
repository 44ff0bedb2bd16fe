"""Calls of a millisecond: uneven ones, and beside a computing main."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from time import perf_counter
from typing import NamedTuple

from ..futures import Futures
from . import slaves, wire
from .figures import Figure, Goal, NotHere
from .scale import Scale
from .slaves import Nap, nap

SHORT = 0.001
FEWEST = 3
"""Slaves, so that some are free while a long call runs."""
EARLY = 0.9
"""The part of the calls among which the long ones are: what nobody can know must not begin last."""


class _Tail(NamedTuple):
    """One run of uneven calls."""

    makespan: float
    bound: float
    """Seconds that no schedule can beat, with calls as long as they were."""
    wait: float
    """The longest time by which a short call began after one that was submitted later."""
    bodies: int


def tail(scale: Scale) -> Iterator[Figure]:
    """A heavy tail: a few calls take as long as a thousand others.

    Raises:
        NotHere: There are too few slaves, or several clocks.
    """
    if wire.slaves() < FEWEST:
        msg = f"it needs {FEWEST} slaves, and there are {wire.slaves()}: -n {FEWEST + 1}"
        raise NotHere(msg)
    slaves.check_one_clock()
    durations = _durations(scale)
    for way, submit in (("delay", _by_delay), ("map", nap.map)):
        runs = [_run(durations, submit) for _ in range(scale.few)]
        what = f"{scale.uneven:,} uneven calls by {way}"
        bounds = [run.bound for run in runs]
        yield Figure(f"{what}, beside the least possible", [run.makespan for run in runs], "s", bounds, Goal("<=", 1.1, "x"))
        waits = [1e3 * run.wait for run in runs]
        yield Figure(f"longest wait of a short one by {way}", waits, "ms", goal=Goal("<=", 150, "ms"))
        yield Figure(f"bodies run by {way}", [run.bodies for run in runs], "", goal=Goal("==", scale.uneven, ""))


def _by_delay(durations: Sequence[float]) -> Futures[Nap]:
    return Futures([nap.delay(seconds) for seconds in durations])


def _durations(scale: Scale) -> list[float]:
    """The same in every run."""
    durations = [SHORT] * scale.uneven
    for place in Random(5).sample(range(int(EARLY * scale.uneven)), scale.long_ones):  # noqa: S311  no secret
        durations[place] = scale.long
    return durations


def _run(durations: Sequence[float], submit: Callable[[Sequence[float]], Futures[Nap]]) -> _Tail:
    before = slaves.bodies()
    began = perf_counter()
    naps = submit(durations).results()
    makespan = perf_counter() - began
    taken = [one.seconds for one in naps]
    bound = max(sum(taken) / wire.slaves(), *taken)
    return _Tail(makespan, bound, longest_wait(durations, naps), slaves.bodies() - before)


def longest_wait(durations: Sequence[float], naps: Sequence[Nap]) -> float:
    """The longest time by which a short call began after one that was submitted later."""
    began = [one.began for one, seconds in zip(naps, durations, strict=True) if seconds == SHORT]
    waits, first_later = [0.0], float("inf")
    for this in reversed(began):
        waits.append(this - first_later)
        first_later = min(this, first_later)
    return max(waits)


def busy(scale: Scale) -> Iterator[Figure]:
    """Slaves at short calls, while main computes in pure Python.

    Raises:
        NotHere: There are several clocks.
    """
    slaves.check_one_clock()
    shares = [_busy(scale.computing) for _ in range(scale.few)]
    yield Figure(f"slaves busy while main computes for {scale.computing:g} s", shares, "%", goal=Goal(">=", 85, "%"))


def _busy(computing: float) -> float:
    """The part of their time that slaves spend in calls meanwhile, in %; half as many calls again are queued as fit."""
    for future in [nap.delay(SHORT) for _ in range(100)]:  # the farm learns how short they are
        future.result()
    futures = [nap.delay(SHORT) for _ in range(int(1.5 * wire.slaves() * computing / SHORT))]
    began = perf_counter()
    _compute_until(began + computing)
    ended = perf_counter()
    naps = [future.result() for future in futures]
    inside = sum(max(0.0, min(one.ended, ended) - max(one.began, began)) for one in naps)
    return 100 * inside / (ended - began) / wire.slaves()


def _compute_until(end: float) -> None:
    """In Python, without a pause."""
    while perf_counter() < end:
        sum(number * number for number in range(1000))
