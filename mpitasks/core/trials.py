"""When suspects may go on."""

from __future__ import annotations

from .above import Above
from .board import Board
from .busy import Busy
from .calls import BLOCKED, Call
from .choosing import Choosing
from .nesting import top_of
from .orders import Order
from .slaves import Slave
from .waiting import Waiting


class Trials:
    """Lets suspects go on, and calls them back."""

    def __init__(self, board: Board, busy: Busy, waiting: Waiting, choosing: Choosing, above: Above) -> None:
        self._busy = busy
        self._waiting = waiting
        self._choosing = choosing
        self._above = above
        self._slaves = board.slaves
        self._demand = board.demand
        self._idle = board.idle
        self._suspects = board.suspects
        self._queues = board.queues
        self._nesting = board.nesting
        self._stuck = board.stuck

    def try_suspects(self) -> None:
        """Let suspects go on, so many at a time that they can't take all slaves; on the last slave, after all else."""
        self._busy.free_ended()
        if len(self._slaves) <= 1 and (self._demand or not self._idle.count):
            return
        while len(self._suspects.on_trial) < max(1, len(self._slaves) - 1) and (call := self._suspects.next()) is not None:
            self._waiting.requeue([call])

    def recall_suspects(self) -> None:
        """With a slave less there are too many that were let go on: those that no slave has yet wait again."""
        for call in self._suspects.recall(max(0, len(self._slaves) - 1)):
            call.state = BLOCKED
            self._waiting.pull(self._queues[call.queue], [call])

    def try_in_need(self, orders: list[Order]) -> None:
        """Nothing runs, so that nothing may ever end: let one suspect more go on, which could be what all slaves wait for.

        Those on trial may have no slave that can run them: a slave with a call that waits runs descendants of that alone.
        """
        still = self._idle.count + len(self._nesting.free) + len(self._stuck)
        if still < len(self._slaves) or any(one.waits is not None and one.waits.astray for one in self._nesting.free.values()):
            return
        slaves = self._slaves.values()
        for call in sorted(self._suspects.withheld(), key=lambda one: -one.priority):
            slave = next((one for one in slaves if self._may_run(one, call)), None)
            if slave is None:
                continue
            self._suspects.try_now(call)
            self._waiting.requeue([call])
            if slave.rank in self._nesting.free:
                self._nesting.looking[slave.rank] = call
                orders.extend(self._above.fill_waits())
            else:
                self._choosing.assign_all(orders)
            return

    def _may_run(self, slave: Slave, call: Call) -> bool:
        """Whether a slave without a window could run this."""
        if slave.rank in self._nesting.free:
            fits = call.nest is not None and call.nest.is_within(top_of(slave))
        else:
            fits = slave.queue is None and not slave.stuck
        return fits and self._above.shut_by(slave, call) is None
