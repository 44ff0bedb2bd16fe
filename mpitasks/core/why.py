"""Why calls wait: for what, and where that is.

::

    explain(state) ──► Waits, for each queue: its next call, and the one reason why that does not run now
                   └─► Doing, for each slave: in which call, for how long

Nothing here is called while calls come and go: it looks at all queues and slaves, and at calls where some are blocked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from math import inf
from typing import NamedTuple

from ..ids import CallId, Rank
from .backlog import Backlog, Queue
from .calls import BLOCKED, PLAIN, SENT, Call, Provided, chain_of
from .slaves import Slave
from .tally import Tally

NO_SLAVE = "no slave"
LIMIT = "limit"
HOLDERS = "holders"
HOLDER = "holder"
BUSY = "busy"
IDLE = "idle"
BLOCKED_BY = "blocked"
LATER = "later"

MOST_NAMED = 3
"""Calls or queues that are named where there are many."""
MOST_LOOKS = 20_000
"""Waiting calls that are looked at for others that need them: it must not take long."""


UNITS = ((9.95, 1, 1, "s"), (600, 1, 0, "s"), (7200, 60, 0, "min"), (inf, 3600, 1, "h"))
"""Up to how many seconds a time is told in which unit, of how many seconds, with how many digits."""


class State(NamedTuple):
    """The scheduler's state, to be read and not to be changed."""

    now: float
    unfinished: int
    queues: Mapping[str, Queue]
    slaves: Mapping[Rank, Slave]
    holders: Mapping[Hashable, Mapping[Rank, Slave]]
    occupied: Mapping[Provided, Mapping[Rank, Slave]]
    tally: Tally
    patience: Callable[[Backlog], float]
    """Seconds that a call waits for a holder."""


class Waits(NamedTuple):
    """Why the next call of a queue does not run now."""

    queue: str
    calls: int
    """That wait in this queue: in turn, blocked, or to run again later."""
    next: CallId
    reason: str
    """`NO_SLAVE`, `LIMIT`, `HOLDERS`: of a resource with `max_holders`; `HOLDER`: others may acquire it, but it is cheaper to
    wait; `BUSY`, `IDLE`: a slave is about to take it; `BLOCKED_BY` other calls; `LATER`: it has failed, and runs again."""
    ranks: tuple[Rank, ...]
    """The slaves that it waits for."""
    words: str

    def __str__(self) -> str:
        many = f"{self.calls} calls wait, the next is call {self.next}" if self.calls > 1 else f"call {self.next} waits"
        return f"{self.queue}: {many}: {self.words}"


class Doing(NamedTuple):
    """What a slave does."""

    rank: Rank
    queue: str
    """Of its call; empty: it is idle."""
    calls: tuple[CallId, ...]
    """That it has been sent and has not answered: it is in the first."""
    seconds: float
    """Since it last took calls or gave an outcome; of an idle one, 0."""
    usual: float | None
    """Seconds that calls of its task take, as far as is known."""
    holds: tuple[Hashable, ...]

    def __str__(self) -> str:
        if not self.queue:
            return "idle"
        usual = f" (usually {lasting(self.usual)})" if self.usual is not None else ""
        behind = f", with {len(self.calls) - 1} more behind it" if len(self.calls) > 1 else ""
        return f"in call {self.calls[0]} of {self.queue} for {lasting(self.seconds)}{usual}{behind}"


class Explanation(NamedTuple):
    """What waits, the causes before what follows from them; and what the slaves do."""

    waits: list[Waits]
    slaves: list[Doing]
    others: int
    """Calls that need others and are not among `waits`: too many calls wait to look at each."""


def explain(state: State, postponed: Sequence[tuple[float, Call]]) -> Explanation:
    """Why calls wait.

    Args:
        state: Of the scheduler.
        postponed: Calls that failed and are to run again, and when.
    """
    postponed = [(at, call) for at, call in postponed if call.state == BLOCKED]  # and was not cancelled meanwhile
    turns = [_of_queue(state, queue) for queue in state.queues.values() if queue.waiting]
    blocked, others = _blocked(state, {call: at for at, call in postponed})
    waits = [*sorted(turns, key=_by_age), *sorted([*blocked, *_later(state, postponed)], key=_by_age)]
    slaves = [_doing(slave, state.now) for _, slave in sorted(state.slaves.items())]
    return Explanation(waits, slaves, others)


def _by_age(waits: Waits) -> CallId:
    return waits.next


def progress(state: State) -> tuple[int, ...]:
    """Numbers of which one changes with every call that is submitted, sent or ended, and with what slaves hold."""
    counts = state.tally
    return (
        state.unfinished,
        sum(one.ended for one in counts.queues.values()),
        sum(one.windows for one in counts.queues.values()),
        sum(one.acquisitions for one in counts.slaves.values()),
        sum(len(slave.holds) for slave in state.slaves.values()),
    )


# ---------------------------------------------------------------- in turn


def _of_queue(state: State, queue: Queue) -> Waits:
    """Why the next call of a queue with waiting calls does not run now."""
    backlog = _next_backlog(queue)
    reason, ranks, words = _reason(state, queue, backlog)
    return Waits(queue.name, queue.waiting, backlog.age(), reason, tuple(ranks), words)


def _next_backlog(queue: Queue) -> Backlog:
    """Where the next call waits: the highest priority, then the highest cost, then age."""
    level = next(queue.busy_levels())
    heads = ((head, backlog) for backlog in level.backlogs.values() if (head := backlog.head()) is not None)
    return min(heads, key=lambda one: (-one[0].cost, one[0].id))[1]


def _reason(state: State, queue: Queue, backlog: Backlog) -> tuple[str, Iterable[Rank], str]:
    """The reason, the slaves that the call waits for, and how to say it."""
    if not state.slaves:
        return NO_SLAVE, (), "no slave is left to run it"
    if queue.is_full:
        ranks = [slave.rank for slave in state.slaves.values() if slave.keeps_shut(queue)]
        return LIMIT, ranks, f"max_slaves={queue.max_slaves} is reached, by {_where(state, ranks)}"
    for resource in chain_of(backlog.resource):
        most = resource.kind.max_holders if isinstance(resource, Provided) else None
        holders = state.occupied.get(resource, {}) if isinstance(resource, Provided) else {}
        if most is not None and len(holders) >= most and all(slave.is_in_a_call for slave in holders.values()):
            return HOLDERS, holders, f"max_holders={most} of {resource!r} is reached, by {_where(state, holders)}"
    idle = [slave.rank for slave in state.slaves.values() if not slave.is_in_a_call]
    holding = state.holders.get(backlog.resource, {}) if backlog.resource is not PLAIN else {}
    if holding and not backlog.overdue and not any(rank in holding for rank in idle):
        left = lasting(backlog.since + state.patience(backlog) - state.now)
        words = f"{backlog.resource!r} is held by {_where(state, holding)}; any other slave takes it in {left} at the latest"
        return HOLDER, holding, words
    if idle:
        return IDLE, idle, f"{name_slaves(idle)} may run it, and will be sent it next"
    return BUSY, state.slaves, f"all slaves are in calls: {_at_work(state)}"


def _where(state: State, ranks: Iterable[Rank]) -> str:
    """What those slaves do; the first few, if there are many."""
    known = sorted(ranks)
    said = [f"slave {rank} {_doing(state.slaves[rank], state.now)}" for rank in known[:MOST_NAMED]]
    return "; ".join([*said, f"and {len(known) - MOST_NAMED} more"] if len(known) > MOST_NAMED else said)


def _at_work(state: State) -> str:
    """How many slaves are in calls of which task."""
    counts = Counter(doing.queue for slave in state.slaves.values() if (doing := _doing(slave, state.now)).queue)
    said = [f"{count} in {name}" for name, count in counts.most_common(MOST_NAMED)]
    return ", ".join([*said, f"{sum(counts.values())} in all"] if len(counts) > MOST_NAMED else said)


def _doing(slave: Slave, now: float) -> Doing:
    if slave.queue is None and slave.waits is not None and slave.waits.frames:
        call = slave.waits.frames[-1].call
        return Doing(slave.rank, call.queue, (call.id,), now - slave.progress_at, None, tuple(slave.holds))
    if slave.queue is None:
        return Doing(slave.rank, "", (), 0.0, None, tuple(slave.holds))
    queue = slave.queue
    ids = tuple(CallId(call.id + place) for call in slave.window.values() for place in range(call.items))
    return Doing(slave.rank, queue.name, ids, now - slave.progress_at, queue.mean, tuple(slave.holds))


# ---------------------------------------------------------------- not in turn


def _blocked(state: State, postponed: Mapping[Call, float]) -> tuple[list[Waits], int]:
    """The calls that wait for others, by queue: the oldest of them, and for what; and how many more there are."""
    sent = {call: slave for slave in state.slaves.values() for call in slave.calls()}
    count = (
        state.unfinished
        - sum(call.items for call in sent)
        - sum(queue.waiting for queue in state.queues.values())
        - len(postponed)
    )
    roots = chain(sent, postponed, islice(_waiting(state), MOST_LOOKS))
    reasons = _reasons_for((one for call in roots for one in (call, *call.inside())), count)
    by_queue: dict[str, list[Call]] = {}
    for call in reasons:
        by_queue.setdefault(call.queue, []).append(call)
    waits = []
    for name, calls in by_queue.items():
        oldest = min(calls, key=lambda one: one.id)
        others = reasons[oldest]
        said = [f"call {one.id} of {one.queue}, {_place(state, one, sent, postponed)}" for one in others[:MOST_NAMED]]
        if len(others) > MOST_NAMED:
            said.append(f"and {len(others) - MOST_NAMED} more calls")
        ranks = tuple(dict.fromkeys(sent[one].rank for one in others if one in sent))
        waits.append(Waits(name, len(calls), oldest.id, BLOCKED_BY, ranks, f"it needs {'; '.join(said)}"))
    return waits, count - len(reasons)


def _waiting(state: State) -> Iterator[Call]:
    """The calls whose turn will come."""
    for queue in state.queues.values():
        for level in queue.busy_levels():
            for backlog in level.backlogs.values():
                yield from backlog.each()


def _reasons_for(roots: Iterable[Call], count: int) -> dict[Call, list[Call]]:
    """So many blocked calls, each with those that it needs, found from the calls that are not blocked."""
    reasons: dict[Call, list[Call]] = {}
    unknown = 0
    for root in roots:
        if len(reasons) >= count and not unknown:
            break
        found = [root]
        while found:
            needed = found.pop()
            for call in needed.dependents or ():
                if call.state != BLOCKED:
                    continue
                if call not in reasons:
                    reasons[call] = []
                    found.append(call)
                    unknown += call.blockers
                reasons[call].append(needed)
                unknown -= 1
    return reasons


def _place(state: State, call: Call, sent: Mapping[Call, Slave], postponed: Mapping[Call, float]) -> str:
    """Where a call is."""
    if call.state == SENT:
        slave = sent[call]
        if call.id not in slave.window:
            return f"which waits on slave {slave.rank}, for calls of its own"
        if next(iter(slave.window)) == call.id:
            return f"which slave {slave.rank} has been in for {lasting(state.now - slave.progress_at)}"
        return f"which slave {slave.rank} runs next"
    if call in postponed:
        return f"which failed and runs again in {lasting(postponed[call] - state.now)}"
    return "which waits itself"


def _later(state: State, postponed: Sequence[tuple[float, Call]]) -> Iterator[Waits]:
    """The calls that failed and run again, by queue."""
    by_queue: dict[str, list[tuple[float, CallId]]] = {}
    for at, call in postponed:
        by_queue.setdefault(call.queue, []).append((at, call.id))
    for name, calls in by_queue.items():
        at, first = min(calls)
        yield Waits(name, len(calls), first, LATER, (), f"it has failed, and runs again in {lasting(at - state.now)}")


# ---------------------------------------------------------------- words


def name_slaves(ranks: Iterable[int]) -> str:
    """Slaves by their ranks, as "slave 2" or "slaves 1-3, 7"."""
    parts: list[list[int]] = []
    for rank in sorted(ranks):
        if parts and rank == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], rank]
        else:
            parts.append([rank])
    said = ", ".join("-".join(map(str, part)) for part in parts)
    return f"slave {said}" if len(parts) == 1 and len(parts[0]) == 1 else f"slaves {said}"


def lasting(seconds: float) -> str:
    """A time in the unit that suits it."""
    return next(f"{max(seconds, 0.0) / size:.{digits}f} {unit}" for most, size, digits, unit in UNITS if seconds < most)
