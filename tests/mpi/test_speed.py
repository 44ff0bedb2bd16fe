"""How far calls are behind the wire, as far as a busy machine lets it be tested.

Limits are on ratios to bare messages, which the same processes send in turn with the calls, never on times; and both are the
best of many short turns, since whoever else uses the machine spoils most of them and not all. They are several times what is
reached: they find what costs a multiple, such as a nap in each call or a copy too many, and nothing smaller.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.mpi.launcher import Mpiexec

MEASURE = """
    import json
    from mpitasks import run
    from mpitasks.bench import bulk, memory, short_calls
    from mpitasks.bench.scale import QUICK

    def main():
        scale = QUICK._replace(repetitions=15, rounds=40, calls=2_000, bulk_rounds=2)
        measured = [*memory.memory(scale), *short_calls.trip(scale), *short_calls.calls(scale), *bulk.bulk(scale)]
        print(json.dumps([figure._replace(goal=None)._asdict() for figure in measured]))

    if __name__ == "__main__":
        run(main, backend="mpi")
"""

TIMES_THE_WIRE = {
    "one call there and back": 100,
    "no-op calls by delay and result": 12,
    "no-op calls by map": 12,
    "no-op calls by imap": 12,
    "1 MB as argument": 12,
    "1 MB as result": 12,
    "16 MB as argument": 6,
    "16 MB as result": 6,
    "64 MB as argument": 6,
    "64 MB as result": 6,
}
"""How often the bare message may go into the call. A nap of a millisecond would be 400, a pickled array 20."""
BYTES = 600
"""A waiting call may take at the master."""


@pytest.mark.mpi
def test_calls_are_not_far_behind_the_wire(mpiexec: Mpiexec) -> None:
    """One call, many calls, and arrays; and a waiting call takes little memory, however busy the machine."""
    ended = mpiexec(2, MEASURE, timeout=90)
    assert ended.returncode == 0, ended.stderr
    waiting, *figures = json.loads(ended.stdout)
    assert {figure["what"] for figure in figures} == set(TIMES_THE_WIRE)
    behind = {figure["what"]: times_the_wire(**figure) for figure in figures}
    assert {what: times for what, times in behind.items() if times > TIMES_THE_WIRE[what]} == {}
    assert waiting["values"][0] < BYTES


def times_the_wire(values: list[float], besides: list[float], unit: str, **_: object) -> float:
    """How often the best bare figure goes into the best of ours."""
    return max(besides) / max(values) if unit.endswith("/s") else min(values) / min(besides)
