"""How far calls are behind the wire, as far as a busy machine lets it be tested.

Limits are on ratios to bare messages, which the same processes send in turn with the calls, never on times alone: of CPU time
where many calls are made, since whoever else uses the machine takes none of it; else of the best of many short turns, since
that spoils most of them and not all. They are several times what is reached: they find what costs a multiple, such as a nap in
each call or a copy too many, and nothing smaller.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.mpi.launcher import Mpiexec

MEASURE = """
    import json
    import time
    from mpitasks import run, task
    from mpitasks.bench import bulk, memory, short_calls
    from mpitasks.bench.figures import Figure
    from mpitasks.bench.scale import QUICK
    from mpitasks.bench.slaves import nothing
    from mpitasks.bench.timing import in_turn
    from mpitasks.bench.wire import stream

    CALLS = 2_000

    @task
    def used():
        return time.process_time()

    def cpu(work):
        before = used.delay().result() + time.process_time()
        work()
        return used.delay().result() + time.process_time() - before

    def by_delay():
        for future in [nothing.delay() for _ in range(CALLS)]:
            future.result()

    def by_map():
        nothing.map(range(CALLS)).results()

    def by_imap():
        for _ in nothing.imap(range(CALLS)):
            pass

    def main():
        one_by_one = QUICK._replace(repetitions=150, rounds=1)
        arrays = QUICK._replace(repetitions=15, bulk_rounds=1)
        measured = [*memory.memory(QUICK), *short_calls.trip(one_by_one), *bulk.bulk(arrays)]
        for work in (by_delay, by_map, by_imap):
            ours, bare = in_turn(lambda: cpu(work), lambda: cpu(lambda: stream(0, CALLS)), 10)
            measured.append(Figure(work.__name__, ours, "s", bare))
        print(json.dumps([figure._replace(goal=None)._asdict() for figure in measured]))

    if __name__ == "__main__":
        run(main, backend="mpi")
"""

TIMES_THE_WIRE = {
    "one call there and back": 100,
    "by_delay": 10,
    "by_map": 10,
    "by_imap": 10,
    "16 MB as argument": 6,
    "16 MB as result": 6,
    "64 MB as argument": 6,
    "64 MB as result": 6,
}
"""How often the bare message may go into the call: 15, 2 and 1 are usual. A nap of a millisecond would make it 400, an array
that is pickled 20. A megabyte is over too soon to be tested."""
BYTES = 600
"""A waiting call may take at the master."""


@pytest.mark.mpi
def test_calls_are_not_far_behind_the_wire(mpiexec: Mpiexec) -> None:
    """One call, many calls, and arrays; and a waiting call takes little memory, however busy the machine."""
    ended = mpiexec(2, MEASURE, timeout=90)
    assert ended.returncode == 0, ended.stderr
    waiting, *figures = json.loads(ended.stdout)
    behind = {figure["what"]: times_the_wire(**figure) for figure in figures}
    assert {what: behind[what] for what, limit in TIMES_THE_WIRE.items() if behind[what] > limit} == {}
    assert waiting["values"][0] < BYTES


APART = """
    import json
    import time
    from mpitasks import run, task

    ENOUGH, AT_LEAST, AT_MOST = 120e-6, 2.0, 30.0

    @task
    def nothing(): ...

    def seconds(kind):
        began = time.perf_counter()
        kind.delay().result()
        return time.perf_counter() - began

    def main():
        kinds = [nothing, nothing.options(isolate=True)]
        for kind in kinds * 20:
            seconds(kind)
        best, began = [1.0, 1.0], time.perf_counter()
        while (taken := time.perf_counter() - began) < AT_LEAST or (best[1] - best[0] > ENOUGH and taken < AT_MOST):
            best = [min(known, seconds(kind)) for known, kind in zip(best, kinds)]
        print(json.dumps(best))

    if __name__ == "__main__":
        run(main, backend="mpi")
"""
MORE_ISOLATED = 120e-6
"""Seconds that an isolated call may take more than another; 25 to 70 µs is usual on an idle machine."""
TIMES_MORE = 4
"""Or so many times what the other takes, where others want the cores: each switch to the child and back waits for one then, and
twice is usual. A nap of a millisecond would make it 6 to 40."""


@pytest.mark.mpi
def test_an_isolated_call_takes_little_more(mpiexec: Mpiexec) -> None:
    """The best of one kind to the best of the other, in turns; where that is too much, of more turns."""
    ended = mpiexec(2, APART, timeout=90)
    assert ended.returncode == 0, ended.stderr
    plain, isolated = json.loads(ended.stdout)
    assert isolated - plain < max(MORE_ISOLATED, TIMES_MORE * plain)


def times_the_wire(values: list[float], besides: list[float], unit: str, **_: object) -> float:
    """How often the best bare figure goes into the best of ours."""
    return max(besides) / max(values) if unit.endswith("/s") else min(values) / min(besides)
