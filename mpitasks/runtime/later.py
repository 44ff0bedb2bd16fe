"""Calls that failed and will run again, by time."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from math import inf

from ..core.calls import Call


class Later:
    """Calls by the time at which they go on; some may have been cancelled meanwhile."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Call]] = []
        self._order = count()

    @property
    def due(self) -> float:
        """When the first call goes on; infinity if there is none."""
        return self._heap[0][0] if self._heap else inf

    def add(self, call: Call, at: float) -> None:
        """This call goes on at that time."""
        heappush(self._heap, (at, next(self._order), call))

    def take(self, now: float) -> list[Call]:
        """Remove and return the calls whose time has come."""
        taken: list[Call] = []
        while self._heap and self._heap[0][0] <= now:
            taken.append(heappop(self._heap)[2])
        return taken

    def calls(self) -> list[tuple[float, Call]]:
        """All calls, and when they go on."""
        return [(at, call) for at, _, call in self._heap]

    def take_all(self) -> list[Call]:
        """Remove and return all calls."""
        return self.take(inf)
