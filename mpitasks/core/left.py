"""Slaves that are left in calls which were given up."""

from __future__ import annotations

from ..ids import CallId
from .board import Board
from .busy import Busy
from .calls import ENDED, Call
from .slaves import Slave


class Left:
    """What becomes of a slave whose call has ended for all others."""

    def __init__(self, board: Board, busy: Busy) -> None:
        self._busy = busy
        self._stuck = board.stuck
        self._suspects = board.suspects
        self._nesting = board.nesting

    def give_up(self, slave: Slave, call: Call, now: float) -> list[Call]:
        """A call of that slave has ended, and what waits below it, or runs on top. Which calls are that, the top one first."""
        tops = [call] if call.id in slave.window else list(reversed(slave.window.values()))
        buried = slave.waits.bury() if slave.waits is not None else []
        for one in tops:
            del slave.window[one.id]
        for one in (ended := tops + buried):
            one.state = ENDED
            self._suspects.acquitted(one)
        slave.stuck, slave.before = {one.id: None for one in tops or buried[:1]}, None
        self._stuck[slave.rank] = slave
        self._nesting.goes_on(slave)
        self._busy.progressed.pop(slave.rank, None)
        self._busy.progress(slave, now)
        return ended

    def finished(self, slave: Slave, took: dict[CallId, float | None], now: float) -> list[Call]:
        """Outcomes of a slave that was left in a call: perhaps that of this call is among them."""
        calls = [slave.window[call_id] for call_id in took if call_id not in slave.stuck]
        for call in calls:
            del slave.window[call.id]
            call.state = ENDED
            self._suspects.acquitted(call)
        if slave.queue is not None:
            self._busy.learn(slave, slave.queue, took.values())
        self._busy.progress(slave, now)
        for call_id in took:
            slave.stuck.pop(call_id, None)
        if not slave.stuck:
            self._busy.comes_back(slave)
        return calls
