"""The queues in the order of what they deserve.

A heap of entries (priority, share, service so far, age), each at least as good as its queue deserves. A queue that comes
to deserve more is entered anew; one that comes to deserve less is found out when its entry is on top, and set back.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush, heapreplace

from .backlog import Entry, Level, Queue


class Ranking:
    """Finds the most deserving queue in O(log queues)."""

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._most = 64

    def improved(self, queue: Queue, priority: int) -> None:
        """That queue may deserve more than it did: for a call of that priority, or a slave less."""
        entry: Entry = (-priority, queue.running / queue.weight, queue.served, 0, queue.number, queue)
        if queue.ranked is None or entry < queue.ranked:
            queue.ranked = entry
            heappush(self._heap, entry)
            if len(self._heap) > self._most:
                self._sweep()

    def first(
        self, runnable: Callable[[Queue], Level | None], age: Callable[[Level], int], without: Queue | None = None
    ) -> Level | None:
        """The level whose turn it is, among those that are runnable; ages are asked for where all else is equal."""
        heap, aside, found = self._heap, None, None
        while heap and found is None:
            entry = heap[0]
            queue = entry[5]
            if queue.ranked is not entry:
                heappop(heap)
            elif queue is without:
                aside = heappop(heap)
            elif entry[1] != (share := queue.running / queue.weight) or entry[2] != queue.served:  # before the costly look
                self._set_back((entry[0], share, queue.served, 0, entry[4], queue))
            elif (level := runnable(queue)) is None:
                heappop(heap)
                queue.ranked = None
            elif (true := self._true(entry, level, age)) != entry:
                self._set_back(true)
            else:
                found = level
        if aside is not None:
            heappush(heap, aside)
        return found

    def leads(self, queue: Queue, priority: int, turn: float) -> bool:
        """Whether that queue, with a slave less, surely deserves one before all others, or is ahead by a turn at most."""
        # Entries are bounds. Half a turn, so that rounding tells it from no other difference.
        heap, mine = self._heap, (-priority, (queue.running - 1) / queue.weight, queue.served - turn / 2)
        if not heap or heap[0] >= mine:
            return True
        below = heap[1:3]  # one of them is the next best
        return heap[0][5] is queue and (not below or min(below) >= mine)

    def _set_back(self, entry: Entry) -> None:
        """The queue on top deserves this instead."""
        entry[5].ranked = entry
        heapreplace(self._heap, entry)

    def _true(self, entry: Entry, level: Level, age: Callable[[Level], int]) -> Entry:
        """What the queue of the top entry deserves, by the priority of its level and, where others equal it, by age."""
        if entry[0] != -level.priority:
            return -level.priority, entry[1], entry[2], 0, entry[4], entry[5]
        is_tied = any(other[:3] == entry[:3] for other in self._heap[1:3])
        return (*entry[:3], age(level), entry[4], entry[5]) if is_tied else entry

    def _sweep(self) -> None:
        """Drop the entries of which there are newer ones."""
        self._heap = [entry for entry in self._heap if entry[5].ranked is entry]
        heapify(self._heap)
        self._most = max(64, 2 * len(self._heap))
