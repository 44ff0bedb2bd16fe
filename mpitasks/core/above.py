"""What runs on top of calls that wait."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from ..ids import CallId, Rank
from .board import Board
from .busy import Busy
from .calls import PLAIN, SENT, Call, Provided, chain_of
from .holding import Holding
from .nesting import Frame, Nest, Proof, Stuck, Waits
from .orders import Send
from .slaves import Slave
from .tally import NESTED, Decision
from .waiting import Waiting
from .windows import Windows


class Above:
    """Gives slaves whose call waits what descends from it."""

    def __init__(self, board: Board, holding: Holding, busy: Busy, waiting: Waiting, windows: Windows) -> None:
        self._board = board
        self._holding = holding
        self._busy = busy
        self._waiting = waiting
        self._windows = windows
        self._nesting = board.nesting
        self._slaves = board.slaves
        self._queues = board.queues
        self._suspects = board.suspects
        self._deep = busy.deep
        self._deep_held = busy.deep_held
        self._tally = board.tally

    def begins(self, slave: Slave, call: Call, number: int, given_back: Sequence[CallId], now: float) -> None:
        """A call waits there; what its slave has had behind it waits in queues again."""
        assert slave.queue is not None  # noqa: S101  it has a window
        self._busy.free_ended()
        waits = slave.waits = slave.waits or Waits()
        del slave.window[call.id]
        self._waiting.take_from(slave, given_back)
        self._busy.shallow(slave)
        self._busy.progressed.pop(slave.rank, None)
        waits.astray.update(slave.window)
        waits.push(Frame(call, number, slave.queue, slave.resource, slave.taking, slave.first))
        call.nest = call.nest or Nest(None)
        call.nest.slave = slave
        slave.window, slave.queue, slave.resource = {}, None, PLAIN
        slave.before, slave.taking, slave.first, slave.deep = None, False, None, {}
        slave.alone = False
        slave.progress_at = self._board.now = now
        self._nesting.waits(slave)

    def ends(self, slave: Slave, waits: Waits, given_back: Sequence[CallId], now: float) -> None:
        """The call that waits on top there goes on; what its slave has not begun of what runs above waits in queues again."""
        self._busy.free_ended()
        self._waiting.take_from(slave, given_back)
        self._busy.shallow(slave)
        waits.astray.update(slave.window)
        self._busy.progressed.pop(slave.rank, None)
        if slave.queue is not None:
            self._busy.left_by(slave, slave.queue)
        is_late = waits.is_buried
        call, _, slave.queue, slave.resource, slave.taking, slave.first = waits.pop()
        slave.window, slave.before = {} if is_late else {call.id: call}, None
        slave.stuck = {call.id: None} if is_late else {}
        if not is_late and call.nest is not None:
            call.nest.slave = None
        self._nesting.goes_on(slave)
        self._busy.progress(slave, now)
        slave.settle_waits()

    def lasts(self, slave: Slave, number: int) -> Stuck | None:
        """That slave has waited for a while for calls alone. Which call must be told, if this can never end."""
        self._busy.free_ended()
        frames = [] if slave.waits is None or slave.stuck or slave.window else slave.waits.frames
        if slave.waits is None or not frames or frames[-1].number != number:
            return None
        slave.waits.proven = True
        proof = Proof(self._slaves, self._nesting, self.shut_by, self._suspects.withheld())
        stuck = proof.of(slave)
        if stuck is not None and proof.withheld:
            for call in proof.withheld:
                self._suspects.try_now(call)
            self._waiting.requeue(proof.withheld)
            return None
        if stuck is not None:
            self.unproven(stuck.rank)
        return stuck

    def unproven(self, rank: Rank) -> None:
        """Something may end the wait on top there."""
        slave = self._slaves.get(rank)
        if slave is not None and slave.waits is not None:
            slave.waits.proven = False

    def fill_waits(self) -> Iterator[Send]:
        """Give slaves whose top call waits something to run meanwhile that descends from it."""
        for rank in list(self._nesting.looking):
            slave = self._slaves[rank]
            found = self._nesting.next_for(slave, self.shut_by)
            if found is not None:
                yield self._grant_above(slave, *found)

    def shut_by(self, slave: Slave | None, call: Call) -> Hashable:
        """What keeps that slave from running a call, or any slave: its queue is full, or a resource exhausted; else None."""
        queue = self._queues[call.queue]
        if queue.is_full and (slave is None or not slave.is_above(queue)):
            return queue
        if isinstance(call.resource, Provided):
            for one in chain_of(call.resource):
                if self._holding.is_exhausted(one) and (slave is None or one not in slave.occupies):
                    return one
        return None

    def _grant_above(self, slave: Slave, nest: Nest, key: tuple[str, Hashable]) -> Send:
        """Fill the window of a slave with children of that nest, on top of the call that waits there."""
        head, queue = nest.first(key), self._queues[key[0]]
        assert head is not None and slave.waits is not None  # noqa: S101, PT018  callers have found it
        backlog = queue.levels[head.priority].backlogs[head.resource]
        most = self._windows.window_size(queue, backlog)
        calls = nest.take(key, most if head.chunk else max(1, min(most, self._windows.even(queue))))
        if self._suspects.on_trial:
            calls = self._apart_above(nest, calls)
        for call in calls:
            call.state = SENT
            call.attempt += 1
            slave.window[call.id] = call
        self._waiting.pull(queue, calls)
        if not slave.is_above(queue):
            queue.running += 1
        slave.queue, slave.resource = queue, head.resource
        slave.deep = (self._deep if head.resource is PLAIN else self._deep_held).setdefault(queue, {})
        if head.resource is not PLAIN:
            self._holding.take_up(slave, head.resource)
        self._nesting.goes_on(slave)
        self._busy.progress(slave, self._board.now)
        decision = Decision(self._board.now, slave.rank, queue.name, head.resource, head.id, len(calls), NESTED, "")
        self._tally.decided(decision)
        return Send(slave.rank, calls, slave.waits.frames[-1].number)

    def _apart_above(self, nest: Nest, calls: list[Call]) -> list[Call]:
        """As `_apart`: which of these calls of that nest may be in one window; the others wait on."""
        most = self._windows.apart(calls)
        for call in calls[most:]:
            assert call.nest is not None  # noqa: S101  another one has submitted it
            nest.offer(call, call.nest)
        return calls[:most]
