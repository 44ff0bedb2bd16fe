"""What the master knows of calls that outlast their limits.

::

    LIMIT ──► ... no outcome, no STUCK: C code keeps the whole slave ──► its stack, by a signal ──► given up
    STUCK ─────────────────────────────────────────────────────────────────────────────────────► given up
    given up ──► the outcome comes after all ──► dropped; the slave works again

A slave tells `LIMIT` before each call that has one, since afterwards it may not be able to.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from math import inf
from typing import NamedTuple

from ..errors import RemoteTraceback, TaskTimeout
from ..ids import CallId, Rank
from ..transport.failures import decode_failure, encode_failure
from ..transport.wire import Payload
from .alarm import PATIENCE, TIMED_OUT, Limit, ended_with_its_waiter, timed_out
from .messages import Outcome
from .places import Place

SILENCE = PATIENCE + 1.0
"""Seconds beyond the limit, after which a slave that says nothing counts as one that can't."""
LEAVE_WITHIN = 1.0
"""Seconds that slaves get at the end to leave from the midst of a call; those that can need about 0.1."""


class Stuck(NamedTuple):
    """A call that goes on, and how it ends for everybody else."""

    rank: Rank
    attempt: int
    outcome: Outcome


class _Begun(NamedTuple):
    """What a slave has begun."""

    rank: Rank
    limit: Limit
    due: float


class Overdue:
    """Knows what runs under a limit, and which slaves are left in calls that were given up."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._due = inf
        self.left: dict[Rank, str] = {}
        """The slaves that are still in a call that was given up, and of which task."""
        self._places = places
        self._begun: dict[Rank, list[_Begun]] = {}
        """The last of a slave's runs on top of the others, which wait."""
        self._found: deque[tuple[_Begun, str]] = deque()

    @property
    def due(self) -> float:
        """When to look again: at once if a stack was found. Asked, not told: a thread finds it, and another one counts here."""
        return -inf if self._found else self._due

    def limited(self, rank: Rank, limit: Limit | None, now: float) -> None:
        """A slave begins what may take so long; None: what it has told last has ended, and what follows may take any time."""
        some = self._begun.setdefault(rank, [])
        if limit is not None:
            some.append(begun := _Begun(rank, limit, now + limit.seconds + SILENCE))
            self._due = min(self._due, begun.due)
        elif some:
            some.pop()

    def answered(self, rank: Rank, call_ids: Collection[CallId]) -> None:
        """A slave has given the outcomes of these calls."""
        if begun := self._begun.get(rank):
            begun[:] = [one for one in begun if one.limit.call_id not in call_ids]

    def look(self, now: float, minds_a_child: Callable[[Rank], bool]) -> list[Stuck]:
        """Those that have said nothing for too long; their stacks are fetched first, by a thread, since that takes a while.

        Args:
            now: By the master's clock.
            minds_a_child: Whether what that slave runs does so in a process of its own, which the slave ends in time.
        """
        for begun in [one for some in self._begun.values() for one in some if one.due <= now]:
            some = self._begun[begun.rank]
            if minds_a_child(begun.rank):
                some[some.index(begun)] = begun._replace(due=now + SILENCE)
                continue
            some.remove(begun)
            threading.Thread(target=self._find, args=(begun,), name="mpitasks-stack", daemon=True).start()
        self._due = min((one.due for some in self._begun.values() for one in some), default=inf)
        stuck: list[Stuck] = []
        while self._found:
            stuck.append(self._stuck(*self._found.popleft()))
        return stuck

    def _find(self, begun: _Begun) -> None:
        place = self._places[begun.rank] if begun.rank < len(self._places) else None
        from . import stacks  # noqa: PLC0415  3 ms, for what seldom happens

        stack = "its stack can't be read: it is no process of its own" if place is None else stacks.dump(place)
        self._found.append((begun, stack))

    def _stuck(self, begun: _Begun, stack: str) -> Stuck:
        rank, (call_id, task, attempt, *_) = begun.rank, begun.limit
        error = timed_out(begun.limit, f"can't be interrupted, and keeps all of slave {rank}, which is left in it", stack)
        error.__cause__ = RemoteTraceback(stack)
        host = self._places[rank].host if rank < len(self._places) else "this host"
        note = f"task {task!r}, call {call_id}, attempt {attempt}, slave rank {rank} on {host}"
        return Stuck(rank, attempt, (call_id, TIMED_OUT, None, encode_failure(error, note)))


def ended_elsewhere(limit: Limit, payload: Payload) -> Payload:
    """How an isolated call ends that outlasted the time of a call that waited for it, and failed like this in its process."""
    error = decode_failure(payload)
    stack = error.stack if isinstance(error, TaskTimeout) else ""
    told = ended_with_its_waiter(limit, stack)
    told.__cause__ = RemoteTraceback(stack)
    return encode_failure(told, *getattr(error, "__notes__", [""])[:1])


def along_with(task: str, payload: Payload) -> Payload:
    """How a call ends that can't go on before another one does on the same slave, which was given up and failed like this."""
    error = decode_failure(payload)
    seconds, stack = (error.seconds, error.stack) if isinstance(error, TaskTimeout) else (0.0, "")
    told = TaskTimeout(f"a call of {task!r} can't go on, on the stack of the same slave: {error}", seconds, stack)
    told.__cause__ = RemoteTraceback(stack)
    return encode_failure(told, *getattr(error, "__notes__", [""])[:1])
