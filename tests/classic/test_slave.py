"""What a slave tells of the work it did."""

from __future__ import annotations

import pytest

from mpitasks.classic import slave
from mpitasks.ids import CallId
from mpitasks.transport import wire
from mpitasks.transport.local import local_world


@pytest.mark.parametrize("fails", [False, True])
def test_seconds_are_those_of_do_work(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    """The scheduler learns from them what work and resources cost: also of work that raised."""
    now = [100.0]
    monkeypatch.setattr(slave, "perf_counter", lambda: now[0])

    def do_work(data: float) -> float:
        now[0] += data
        if fails:
            raise OSError
        return data

    _, transport = local_world(2)
    number, failure, seconds, _ = slave._outcome(do_work, transport, CallId(7), wire.encode(1.5))
    assert (number, failure is not None, seconds) == (7, fails, 1.5)
