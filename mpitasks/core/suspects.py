"""Calls of dead slaves, to be tried alone.

::

    window of a dead slave ──► group: waits ──► one of it on trial ──► outcome: the next of the group
                                  ▲                    │
                                  └──── its slave dies ┘ a strike; with too many of them, it is given up
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..ids import CallId
from .calls import BLOCKED, WAITING, Call


class Trial(NamedTuple):
    """A suspect that was let go on."""

    call: Call
    rest: deque[Call]
    """Of the window that it was in: they wait for its outcome."""


class Suspects:
    """Who is suspected, who is on trial, and how many strikes there are."""

    def __init__(self) -> None:
        self.groups: deque[deque[Call]] = deque()
        """Those that wait for their trial, by the window that they were in."""
        self.on_trial: dict[CallId, Trial] = {}
        """Those that were let go on."""
        self.strikes: dict[CallId, int] = {}
        """How often a slave died that had this call alone."""

    def add(self, calls: Iterable[Call]) -> None:
        """These were together with a slave that died."""
        group = deque(calls)
        for call in list(group):
            # One that was on trial goes last: those that wait behind it may be innocent.
            trial = self.on_trial.pop(call.id, None)
            group.extendleft(reversed(trial.rest if trial is not None else ()))
        if group:
            self.groups.append(group)

    def acquitted(self, call: Call) -> None:
        """A call has its outcome, or is not wanted any more: the next of its group may be tried."""
        self.strikes.pop(call.id, None)
        trial = self.on_trial.pop(call.id, None)
        if trial is not None and trial.rest:
            self.groups.append(trial.rest)

    def next(self) -> Call | None:
        """Put one on trial, of the highest priority there is; None if nobody waits for that."""
        self.groups = deque(group for group in self.groups if any(call.state == BLOCKED for call in group))
        if not self.groups:
            return None
        group = max(self.groups, key=lambda group: group[0].priority)
        self.groups.remove(group)
        while group[0].state != BLOCKED:  # it was cancelled
            group.popleft()
        call = group.popleft()
        self.on_trial[call.id] = Trial(call, group)
        return call

    def recall(self, most: int) -> Iterator[Call]:
        """Put off the trials that have not begun, the latest first, while there are more than so many."""
        for trial in reversed(list(self.on_trial.values())):
            if len(self.on_trial) <= most:
                return
            if trial.call.state == WAITING:
                del self.on_trial[trial.call.id]
                self.groups.append(deque([trial.call, *trial.rest]))
                yield trial.call

    def try_now(self, call: Call) -> None:
        """Put this one on trial out of its turn."""
        for group in self._all():
            if call in group:
                group.remove(call)
        self.on_trial[call.id] = Trial(call, deque())

    def withheld(self) -> Iterator[Call]:
        """Those that are not on trial, but will be."""
        for group in self._all():
            yield from (call for call in group if call.state == BLOCKED)

    def _all(self) -> list[deque[Call]]:
        return [*self.groups, *(trial.rest for trial in self.on_trial.values())]
