"""How it is measured: warmed up, several times, in turn."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from statistics import median
from time import perf_counter

from . import wire


def seconds(once: Callable[[], object], rounds: int) -> float:
    """The median time of a round."""
    times: list[float] = []
    for _ in range(rounds):
        began = perf_counter()
        once()
        times.append(perf_counter() - began)
    return median(times)


def repeated(measure: Callable[[], float], repetitions: int) -> list[float]:
    """The same several times, after once to warm up."""
    measure()
    return [measure() for _ in range(repetitions)]


def in_turn(ours: Callable[[], float], bare: Callable[[], float], repetitions: int) -> tuple[list[float], list[float]]:
    """Both, measured in turn: what else the machine does slows down both. No bare figures where there can be none."""
    if not wire.lets_threads_in():
        return repeated(ours, repetitions), []
    ours()
    bare()
    pairs = [(ours(), bare()) for _ in range(repetitions)]
    return [one for one, _ in pairs], [other for _, other in pairs]


def scaled(factor: float, times: list[float]) -> list[float]:
    """In another unit."""
    return [factor * time for time in times]


def rates(amount: float, times: list[float]) -> list[float]:
    """What a second brings."""
    return [amount / time for time in times]


def resident() -> int:
    """Bytes of memory that this process has in use.

    Raises:
        OSError: The system does not tell.
    """
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  a file of the system, not of anybody's
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
