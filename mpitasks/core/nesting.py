"""Who waits for calls of its own, and what runs meanwhile.

::

    Nest of a call ──parent──► Nest of the call that submitted it ──► ... ──► of one that main submitted
      └─ runnable: its children that wait in queues, by what may keep them there

    slave: window                     runs now
           waits: Frame, Frame, ...   calls that wait, the lowest first; each is an ancestor of all above it

A waiting slave runs descendants of its top frame, and nothing else: any other call could bury the waiter under work that
has nothing to do with it. Whether one call descends from another is found by jump pointers (Myers 1983) in O(log depth),
so that nothing grows with the depth of a recursion.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from ..ids import CallId, Rank
from .calls import BLOCKED, PLAIN, SENT, WAITING, Call, Provided, chain_of

if TYPE_CHECKING:
    from .backlog import Queue
    from .slaves import Slave

ShutBy = Callable[["Slave | None", Call], Hashable]

LOOKS = 8
"""Others that are looked at in the hot path, so that a decision stays cheap; all of them before a deadlock is told."""

Key = tuple[str, Hashable]
"""What keeps calls waiting: their queue, and a resource that few slaves may hold."""
Entry = tuple[int, float, CallId, Call]
"""Priority downwards, cost downwards, age."""


class Nest:
    """The place of a call among those that submit calls."""

    __slots__ = ("depth", "entries", "joins", "jump", "most", "offered", "parent", "runnable", "slave")

    def __init__(self, parent: Nest | None) -> None:
        self.parent = parent
        """Of the call that submitted it; None: main did."""
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.jump: Nest | None = None if parent is None else _jump(parent)
        """An ancestor further up."""
        self.runnable: dict[Key, list[Entry]] = {}
        """Heaps of its children that wait in queues; those that do so no longer are dropped when they come up."""
        self.entries, self.most = 0, 64
        """In these heaps, and how many there may be before they are swept."""
        self.offered = False
        """Whether its call is in a heap of its parent."""
        self.slave: Slave | None = None
        """On which its call waits."""
        self.joins: Call | None = None
        """The call by whose outcome its call ends."""

    def offer(self, call: Call, child: Nest) -> None:
        """A child waits in its queue."""
        if not child.offered:
            child.offered = True
            heappush(self.runnable.setdefault(key_of(call), []), (-call.priority, -call.cost, call.id, call))
            self.entries += 1
            if self.entries > self.most:
                self.sweep()

    def sweep(self) -> bool:
        """Drop what waits no longer. Whether anything is left."""
        for key in list(self.runnable):
            heap = self.runnable[key]
            left = [entry for entry in heap if entry[3].state == WAITING]
            for gone in heap:
                _is_offered(gone[3], now=gone[3].state == WAITING)
            heapify(left)
            self.runnable[key] = left
            if not left:
                del self.runnable[key]
        self.entries = sum(map(len, self.runnable.values()))
        self.most = max(64, 2 * self.entries)  # by doubling, so that each entry is swept over twice at most
        return bool(self.runnable)

    def first(self, key: Key) -> Call | None:
        """The next child of that kind."""
        heap = self.runnable.get(key, [])
        while heap:
            if heap[0][3].state == WAITING:
                return heap[0][3]
            self._pop(heap)
        self.runnable.pop(key, None)
        return None

    def take(self, key: Key, most: int) -> list[Call]:
        """Remove and return the next child of that kind, and others that may travel with it."""
        taken: list[Call] = []
        while len(taken) < most and (call := self.first(key)) is not None:
            if taken and (call.resource != taken[0].resource or call.chunk != taken[0].chunk):
                break
            self._pop(self.runnable[key])
            taken.append(call)
        return taken

    def _pop(self, heap: list[Entry]) -> None:
        _is_offered(heappop(heap)[3], now=False)
        self.entries -= 1

    def is_within(self, other: Nest) -> bool:
        """Whether its call descends from that of the other, or is that."""
        here: Nest = self
        while here.depth > other.depth:
            here = here.jump if here.jump is not None and here.jump.depth >= other.depth else here.parent  # type: ignore[assignment]  # deeper than another, it has a parent
        return here is other


def _is_offered(call: Call, *, now: bool) -> None:
    if call.nest is not None:
        call.nest.offered = now


def _jump(parent: Nest) -> Nest:
    """How far the jump of a child goes: as far as two equal jumps of its ancestors, else to the parent."""
    first = parent.jump
    second = None if first is None else first.jump
    if first is not None and second is not None and parent.depth - first.depth == first.depth - second.depth:
        return second
    return parent


def needs_of(call: Call) -> Sequence[Call]:
    """The calls that have to end before this one can: by whose outcome it ends, or those that it comes after."""
    if call.nest is not None and call.nest.joins is not None:
        return [call.nest.joins]
    return call.needs() if call.state == BLOCKED and call.blockers else ()


def ends_after(call: Call, other: Call) -> bool:
    """Whether a call can end only after the other one has."""
    known: set[CallId] = set()
    todo = [call]
    while todo:
        here = todo.pop()
        if here is other:
            return True
        if here.id not in known:
            known.add(here.id)
            todo += needs_of(here)
    return False


def key_of(call: Call) -> Key:
    """What may keep a call waiting."""
    limited = any(isinstance(one, Provided) and one.kind.max_holders is not None for one in chain_of(call.resource))
    return call.queue, call.resource if limited else PLAIN


class Frame(NamedTuple):
    """A call that waits on a slave, and what is to be restored when it goes on."""

    call: Call
    number: int
    """Of the wait: a slave counts its own."""
    queue: Queue
    resource: Hashable
    taking: bool
    first: tuple[Queue, Hashable, float] | None


class Waits:
    """What a slave has under the call that it runs."""

    __slots__ = ("astray", "buried", "frames", "levels", "pinned", "proven")

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.buried = 0
        """How many of these, from the lowest on, were given up: what runs on top of them can't be interrupted."""
        self.levels: dict[Queue, int] = {}
        """How many frames are of each queue: a limit counts slaves, so it counts this one once."""
        self.pinned: dict[Hashable, int] = {}
        """What waiting calls use, so that it can't be dropped."""
        self.astray: dict[CallId, Call] = {}
        """Calls that reached the slave too late: it will not begin them, and has not said so yet. They count for no limit."""
        self.proven = False
        """Nothing but other calls can end the wait of the top frame, and nothing is on its way to it."""

    def push(self, frame: Frame) -> None:
        """A call waits."""
        self.frames.append(frame)
        self.levels[frame.queue] = self.levels.get(frame.queue, 0) + 1
        for one in chain_of(frame.resource):
            self.pinned[one] = self.pinned.get(one, 0) + 1
        self.proven = False

    def pop(self) -> Frame:
        """The top one goes on."""
        frame = self.frames.pop()
        self.buried = min(self.buried, len(self.frames))
        for counts, keys in ((self.levels, [frame.queue]), (self.pinned, chain_of(frame.resource))):
            for key in keys:
                counts[key] -= 1  # type: ignore[index]  # each in the keys of its own
                if not counts[key]:  # type: ignore[index]  # as above
                    del counts[key]  # type: ignore[arg-type]  # as above
        self.proven = False
        return frame

    @property
    def is_buried(self) -> bool:
        """Whether the top one waits in vain: it was given up."""
        return 0 < self.buried == len(self.frames)

    def calls(self) -> list[Call]:
        """Those that wait, the lowest first, but for those that were given up."""
        return [frame.call for frame in self.frames[self.buried :]]

    def bury(self) -> list[Call]:
        """All of them are given up. Which were not before, the top one first."""
        calls = self.calls()[::-1]
        self.buried = len(self.frames)
        for call in calls:
            if call.nest is not None:
                call.nest.slave = None
        return calls


class Nesting:
    """Slaves that wait with nothing to run, and the calls that some of them may run."""

    def __init__(self) -> None:
        self.free: dict[Rank, Slave] = {}
        """Slaves whose top call waits, and that run nothing on top of it."""
        self.looking: dict[Rank, Call | None] = {}
        """Those of them for which there may be something new, and what that is, if it is known."""
        self.shut: dict[Hashable, dict[Rank, None]] = {}
        """Those of them that would run something, but for the limit of this queue, or but for who holds this resource."""
        self._offering: dict[Nest, None] = {}
        """Whose children wait in queues."""
        self._most_offering = 64

    def waits(self, slave: Slave) -> None:
        """A slave has nothing to run but descendants of the call that waits there."""
        self.free[slave.rank] = slave
        self.looking[slave.rank] = None

    def goes_on(self, slave: Slave) -> None:
        """A slave has something to run, or is gone."""
        self.free.pop(slave.rank, None)
        self.looking.pop(slave.rank, None)

    def offer(self, call: Call, child: Nest) -> None:
        """A call that another one submitted waits in its queue."""
        parent = child.parent
        if parent is None:
            return
        parent.offer(call, child)
        self._offering[parent] = None
        if len(self._offering) > self._most_offering:
            self._offering = {nest: None for nest in self._offering if nest.sweep()}
            self._most_offering = max(64, 2 * len(self._offering))
        if parent.slave is not None and parent.slave.rank in self.free and top_of(parent.slave) is parent:
            self.looking[parent.slave.rank] = call
            return
        for slave in islice(self.free.values(), LOOKS):
            if parent.is_within(top_of(slave)):
                self.looking[slave.rank] = call
                return

    def opened(self, what: Hashable) -> None:
        """A slave less runs calls of that queue, or holds that resource."""
        for rank in self.shut.pop(what, {}):
            if rank in self.free:
                self.looking[rank] = None

    def next_for(self, slave: Slave, shut_by: ShutBy) -> tuple[Nest, Key] | None:
        """Which children of which call this waiting slave may run best.

        Args:
            slave: The slave.
            shut_by: What keeps it from running a call; None: nothing.
        """
        hint = self.looking.pop(slave.rank, None)
        if hint is not None and hint.nest is not None and hint.nest.parent is not None:
            nest, key = hint.nest.parent, key_of(hint)
            call = nest.first(key)
            if call is not None and shut_by(slave, call) is None:
                return nest, key
        for nest in self._families(top_of(slave)):
            best = self._best(nest, slave, shut_by)
            if best is not None:
                return nest, key_of(best)
        return None

    def _best(self, nest: Nest, slave: Slave, shut_by: ShutBy) -> Call | None:
        """The child of that call that this slave may run best."""
        best: Call | None = None
        for key in list(islice(nest.runnable, LOOKS)):
            call = nest.first(key)
            why = None if call is None else shut_by(slave, call)
            if why is not None:
                self.shut.setdefault(why, {})[slave.rank] = None
            elif call is not None and (best is None or _turn(call) < _turn(best)):
                best = call
        return best

    def _families(self, top: Nest) -> Iterator[Nest]:
        """Whose children to look at: the waiting call's own first, and then of some others that descend from it."""
        yield top
        for nest in list(islice(self._offering, LOOKS)):
            if not nest.runnable:
                del self._offering[nest]
            elif nest is not top and nest.is_within(top):
                yield nest


def top_of(slave: Slave) -> Nest:
    """The nest of the call that waits there on top."""
    assert slave.waits is not None  # noqa: S101  callers ask of slaves that wait
    nest = slave.waits.frames[-1].call.nest
    assert nest is not None  # noqa: S101  every call that waits has one
    return nest


def _turn(call: Call) -> tuple[int, float, CallId]:
    return -call.priority, -call.cost, call.id


class Stuck(NamedTuple):
    """A wait that can't end."""

    rank: Rank
    number: int
    """Of the wait."""
    call: Call
    why: str


class Proof:
    """Whether a wait can end: follows whoever could help, and their helpers, until one of them can go on.

    ::

        slave that waits ──► calls submitted there, not ended ──► sent: its slave
                                                              ──► in a full queue: the slaves that run that
                                                              ──► needs what few may hold: the slaves that hold it
                                                              ──► else: whichever slave is free one day

    It holds only if every slave on the way waits too, for calls alone, and could run nothing more on top.

    Args:
        slaves: All there are.
        nesting: Which of them wait.
        shut_by: What keeps one from running a call.
        suspects: Calls that may not run yet, because a slave has died with them.
    """

    def __init__(self, slaves: dict[Rank, Slave], nesting: Nesting, shut_by: ShutBy, suspects: Iterator[Call]) -> None:
        self.withheld: list[Call] = []
        """Suspects among what is waited for: with these, nobody can help but by letting them go on."""
        self._suspects = {call.id for call in suspects}
        self._slaves = slaves
        self._nesting = nesting
        self._shut_by = shut_by
        self._reached: dict[Rank, Slave] = {}
        self._calls: set[CallId] = set()

    def of(self, slave: Slave) -> Stuck | None:
        """The youngest call of those whose waits can't end with this one; None if this one can."""
        self._reached[slave.rank] = slave
        todo = [slave]
        while todo:
            here = todo.pop()
            if not self._only_waits(here):
                return None
            for call in here.unended():
                helpers = self._helpers(call)
                if helpers is None:
                    return None
                for helper in helpers:
                    if helper.rank not in self._reached:
                        self._reached[helper.rank] = helper
                        todo.append(helper)
        return self._youngest()

    def _only_waits(self, slave: Slave) -> bool:
        waits = slave.waits
        if waits is None or not waits.frames or slave.window or slave.stuck:
            return False
        return waits.proven and not waits.astray

    def _helpers(self, call: Call) -> list[Slave] | None:
        """The slaves of which one must go on before this call can end; None: it may end as things are."""
        helpers: list[Slave] = []
        todo = [call]
        while todo:
            here = todo.pop()
            if here.id in self._calls:
                continue
            self._calls.add(here.id)
            needs = needs_of(here)
            found = [] if needs else self._movers(here)
            if found is None:
                return None
            todo += needs
            helpers += found
        return helpers

    def _movers(self, call: Call) -> list[Slave] | None:
        """As `_helpers`, of a call that needs no other to end before."""
        if call.state == WAITING:
            return self._runners(call)
        if call.state == SENT:
            buried = call.nest.slave if call.nest is not None else None
            return [slave for slave in self._slaves.values() if call.id in slave.window] if buried is None else [buried]
        if call.id in self._suspects:
            self.withheld.append(call)
            return []
        return None  # it is to run again later

    def _runners(self, call: Call) -> list[Slave] | None:
        """As `_helpers`, of a call in a queue."""
        waiting = [
            slave for slave in self._nesting.free.values() if call.nest is not None and call.nest.is_within(top_of(slave))
        ]
        for slave in waiting:
            if self._shut_by(slave, call) is None:
                self._nesting.looking[slave.rank] = call
                return None
        why = self._shut_by(None, call)
        if why is None:
            return list(self._slaves.values())
        return [slave for slave in self._slaves.values() if slave.keeps_shut(why)]

    def _youngest(self) -> Stuck:
        frames = {rank: slave.waits.frames[-1] for rank, slave in self._reached.items() if slave.waits is not None}
        rank, frame = max(frames.items(), key=lambda one: one[1].call.id)
        return Stuck(rank, frame.number, frame.call, "; ".join(self._story(rank)))

    def _story(self, rank: Rank) -> Iterator[str]:
        """What waits for what, from the youngest on."""
        told: set[Rank] = set()
        todo = [rank]
        while todo and len(told) < LOOKS:
            here = self._slaves[todo.pop(0)]
            if here.rank in told or here.waits is None:
                continue
            told.add(here.rank)
            waiter = here.waits.frames[-1].call
            own = [call for call in here.unended() if call.nest is not None and call.nest.parent is waiter.nest]
            for call in own[:3]:
                reason, keepers = self._reason(call, waiter)
                yield f"{_named(waiter)} on slave {here.rank} waits for {_named(call)}, which {reason}"
                todo += keepers

    def _reason(self, call: Call, waiter: Call) -> tuple[str, list[Rank]]:
        """Why a call can't end, and the slaves that keep it from that."""
        last = _last_needed(call)
        after = "" if last is call else f"ends only after {_named(last)}"
        if last is waiter or needs_of(last):
            return after, []
        buried = None if last.nest is None else last.nest.slave
        if last.state == SENT:
            keepers = [] if buried is None else [buried.rank]
            place = "waits below it" if keepers == [_rank_of(waiter)] else f"waits on {_slaves(keepers)}"
        else:
            why = self._shut_by(None, last)
            keepers = [slave.rank for slave in self._slaves.values() if why is not None and slave.keeps_shut(why)]
            place = _shut(why, keepers)
        return f"{after}, which {place}" if after else place, keepers


def _last_needed(call: Call) -> Call:
    """The call at the end of what has to end before this one; or one of a circle."""
    known = {call.id}
    while (needs := needs_of(call)) and needs[0].id not in known:
        call = needs[0]
        known.add(call.id)
    return call


def _rank_of(waiter: Call) -> Rank | None:
    """Of the slave on which a call waits."""
    return None if waiter.nest is None or waiter.nest.slave is None else waiter.nest.slave.rank


def _named(call: Call) -> str:
    return f"call {call.id} of {call.queue!r}"


def _slaves(ranks: list[Rank]) -> str:
    return f"slave{'s'[: len(ranks) > 1]} {', '.join(map(str, ranks))}"


def _shut(why: Hashable, keepers: list[Rank]) -> str:
    """What keeps a call in its queue."""
    if isinstance(why, Provided):
        return f"needs {why!r}, of which max_holders={why.kind.max_holders} and {_slaves(keepers)} holds it"
    if why is not None:
        return f"can't run: its limit max_slaves is reached by {_slaves(keepers)}"
    return "has no free slave"
