"""The same calls for every library, and how they are timed.

A program beside this file says how one library runs calls, as a `Library`, and gives it to `measure`. It is started with the
measures it is to take, and prints one line of JSON for each. Nothing heavy is imported: start-up is measured, too.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import Any

QUICK = os.environ.get("BENCHMARK_QUICK") == "1"
WORKERS = int(os.environ.get("BENCHMARK_WORKERS", "1"))

CHUNK = 100
TARGET = 0.1 if QUICK else 0.7
"""Seconds that a rate is measured for."""
MOST = 20_000 if QUICK else 1_000_000
"""Calls in one rate, and queued."""
QUEUEING = 5.0 if QUICK else 20.0
"""Seconds for which calls are queued, at most."""
MEGABYTES = (1, 16, 64)
SHORT = 0.001
UNEVEN, LONG_ONES, LONG = (500, 2, 0.3) if QUICK else (10_000, 10, 1.0)


class NotOffered(Exception):
    """The library has nothing of that kind; the message says what it has."""


class Library:
    """How a library runs calls; `fn` is one of the functions below."""

    def submit(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Each item in a call of its own, all before the first value is asked for; the values."""
        raise NotImplementedError

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> None:
        """The items in chunks, as the library's users do it, to the last value."""
        raise NotOffered("has no chunks")

    def one(self, fn: Callable[[Any], Any], item: Any) -> Any:
        """A single call, there and back."""
        return self.submit(fn, [item])[0]

    def one_by_one(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> None:
        """Each item in a call and a message of its own, to the last value."""
        self.submit(fn, items)

    def look(self) -> None:
        """Ask each worker once whether it has something to say, where one is asked after the other for each call."""
        raise NotOffered("asks all workers at once")

    def queue(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Any:
        """Calls that wait; returns what a user would keep of them."""
        raise NotOffered("has no queue that could be looked at")


# ---------------------------------------------------------------- the calls


def nothing(_: int) -> None:
    """Do nothing."""


def hello(number: int) -> str:
    """Say it."""
    return f"hello {number}"


def nap(seconds: float) -> float:
    """Sleep; how long it took."""
    began = perf_counter()
    time.sleep(seconds)
    return perf_counter() - began


def size_of(array: Any) -> int:
    """The bytes that arrived."""
    return array.nbytes


def array_of(nbytes: int) -> Any:
    """So many bytes, made once."""
    return _array(nbytes)


FUNCTIONS = (nothing, hello, nap, size_of, array_of)
_arrays: dict[int, Any] = {}


def _array(nbytes: int) -> Any:
    import numpy as np  # noqa: PLC0415  it would weigh on the start-up of all

    if nbytes not in _arrays:
        _arrays[nbytes] = np.ones(nbytes // 8)
    return _arrays[nbytes]


# ---------------------------------------------------------------- what is measured


def submit(library: Library) -> float:
    """No-op calls a second by single submission."""
    return _rate(lambda count: library.submit(nothing, range(count)))


def chunks(library: Library) -> float:
    """No-op calls a second in chunks."""
    return _rate(lambda count: library.map(nothing, range(count)))


def latency(library: Library) -> float:
    """Microseconds of one call there and back."""
    return 1e6 * _seconds(lambda: library.one(nothing, 0), rounds=500)


def arguments(library: Library) -> list[float]:
    """GB/s of arrays as arguments."""
    return [_throughput(megabytes, lambda nbytes: library.one(size_of, _array(nbytes))) for megabytes in MEGABYTES]


def results(library: Library) -> list[float]:
    """GB/s of arrays as results."""
    return [_throughput(megabytes, lambda nbytes: library.one(array_of, nbytes)) for megabytes in MEGABYTES]


def tens(library: Library) -> float:
    """How many times longer 100 calls of 10 ms take than they must."""
    return _times_the_bound(library, [0.01] * 100)


def uneven(library: Library) -> float:
    """The same of 10,000 calls of a millisecond, among which ten take a second."""
    from random import Random  # noqa: PLC0415  as numpy

    durations = [SHORT] * UNEVEN
    for place in Random(5).sample(range(int(0.9 * UNEVEN)), LONG_ONES):  # noqa: S311  no secret
        durations[place] = LONG
    return _times_the_bound(library, durations)


def memory(library: Library) -> list[float]:
    """Bytes a waiting call at the master, and how many waited."""
    library.one(nothing, 0)
    kept = [library.queue(nap, [600.0] * 2 * WORKERS)]
    gc.collect()
    before, count, until = resident(), 0, perf_counter() + QUEUEING
    step = MOST // 20
    while count < MOST and perf_counter() < until:
        kept.append(library.queue(nothing, range(count, count + step)))
        count += step
    gc.collect()
    return [(resident() - before) / count, count]


def start(library: Library) -> float:
    """One call for each worker; whoever started this measures the whole."""
    said = library.submit(hello, range(WORKERS))
    return len(said)


def master(library: Library) -> list[float]:
    """Microseconds of the master's processor: for a call in a message of its own, for one of many, for a look at one worker.

    With many more workers than cores, a master that gets its core finds what some of them have sent in the meantime, so that
    hardly any of this is spent on waiting for them.
    """
    alone = _processor_seconds(lambda count: library.one_by_one(nothing, range(count)))
    among = _processor_seconds(lambda count: library.submit(nothing, range(count)))
    library.queue(nap, [6 * TARGET] * WORKERS)
    try:
        looking = _processor_seconds(lambda count: [library.look() for _ in range(count)]) / WORKERS
    except NotOffered:
        looking = 0.0
    return [1e6 * alone, 1e6 * among, 1e6 * looking]


MEASURES = {
    measure.__name__: measure for measure in (submit, chunks, latency, arguments, results, tens, uneven, memory, start, master)
}


def resident() -> int:
    """Bytes of memory that this process has in use."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  pathlib would weigh on the start-up of all
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _rate(make_calls: Callable[[int], object]) -> float:
    """Calls a second, of as many as take the target's time; the smaller numbers before warm up."""
    count = 2 * CHUNK
    while True:
        began = perf_counter()
        make_calls(count)
        taken = perf_counter() - began
        if taken > TARGET / 2 or count >= MOST:
            return count / taken
        count = int(min(MOST, count * min(10.0, max(2.0, TARGET / taken))))


def _processor_seconds(make_calls: Callable[[int], object]) -> float:
    """Seconds of the processor for a call in this process: as `_rate`."""
    count = 2 * CHUNK
    while True:
        began, before = perf_counter(), time.process_time()
        make_calls(count)
        taken = perf_counter() - began
        if taken > TARGET or count >= MOST:
            return (time.process_time() - before) / count
        count = int(min(MOST, count * min(10.0, max(2.0, 1.5 * TARGET / taken))))


def _seconds(once: Callable[[], object], rounds: int) -> float:
    """The median time of a round, of as many as there is time for."""
    times: list[float] = []
    until = perf_counter() + 3 * TARGET
    once()
    while not times or (len(times) < rounds and perf_counter() < until):
        began = perf_counter()
        once()
        times.append(perf_counter() - began)
    return sorted(times)[len(times) // 2]


def _throughput(megabytes: int, move: Callable[[int], object]) -> float:
    nbytes = megabytes * 1_000_000
    return nbytes / _seconds(lambda: move(nbytes), rounds=7) / 1e9


def _times_the_bound(library: Library, durations: list[float]) -> float:
    """The makespan, in those of the best schedule for calls that take as long as they took."""
    library.submit(nap, [0.0] * WORKERS)
    began = perf_counter()
    taken = library.submit(nap, durations)
    return (perf_counter() - began) / max(sum(taken) / WORKERS, *taken)


# ---------------------------------------------------------------- the program


def measure(library: Library) -> None:
    """Take the measures on the command line, and print each; the rest of them when one is not offered."""
    for name in sys.argv[1:]:
        try:
            line = {"measure": name, "value": MEASURES[name](library)}
        except NotOffered as reason:
            line = {"measure": name, "reason": str(reason)}
        except Exception as error:  # noqa: BLE001  whatever goes wrong in a library belongs in the table
            line = {"measure": name, "reason": f"{type(error).__name__}: {error}"[:200]}
        print("@" + json.dumps(line), flush=True)
        if name == "memory":
            os._exit(0)  # a million calls are not waited for
