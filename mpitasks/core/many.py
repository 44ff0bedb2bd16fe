"""Many calls that wait and travel together: items of a map.

::

    Many, ids 7 to 1006 ──cut(3)──► Many 7-9: sent       ──after(done=1, left=1)──► 8: a call of its own, that runs
                        └─ stays: 10 to 1006, waits                              └─► 9: waits again

They have consecutive ids, so each has its age; nothing is made for a single one before it goes its own way.
"""

from __future__ import annotations

from collections.abc import Hashable

from ..ids import CallId
from .calls import ENDED, PLAIN, Call


class Many(Call):
    """Calls with consecutive ids, that need no resource. As one call, it has the id of its first."""

    __slots__ = ("_dropped", "each", "items")

    is_many = True

    def __init__(  # noqa: PLR0913  as a call has
        self,
        first: CallId,
        items: int,
        queue: str,
        *,
        priority: int = 0,
        resource: Hashable = PLAIN,
        chunk: int = 0,
        each: int = 0,
    ) -> None:
        super().__init__(first, queue, priority, resource, chunk, each * items)
        self.items = items
        """How many there are still."""
        self.each = each
        """Bytes of the arguments of one."""
        self._dropped: set[CallId] = set()
        """Those behind the first that are not wanted any more."""

    @property
    def width(self) -> int:
        """How many ids it spans, with those that were dropped."""
        return self.items + len(self._dropped)

    def has(self, call_id: CallId) -> bool:
        """Whether that one is among them."""
        return self.id <= call_id < self.id + self.width and call_id not in self._dropped

    def cut(self, most: int) -> Call:
        """Take the first out of these, at most so many, without a gap; one alone as a call of its own."""
        count = min(most, self.items)
        if self._dropped:
            count = next((gap for gap in range(count) if CallId(self.id + gap) in self._dropped), count)
        taken = self.single(self.id) if count == 1 else self.part(self.id, count)
        taken.state = self.state
        self._begin_at(CallId(self.id + count), self.items - count)
        return taken

    def drop(self, call_id: CallId) -> None:
        """One of them is not wanted any more."""
        if call_id == self.id:
            self._begin_at(CallId(call_id + 1), self.items - 1)
        else:
            self._dropped.add(call_id)
            self._begin_at(self.id, self.items - 1)

    def after(self, done: int, left: int) -> tuple[Call | None, Call | None]:
        """What stays when the first `done` have ended: the next, if one is `left` that runs; and those that have not begun."""
        running = self.single(CallId(self.id + done)) if left else None
        rest = self.items - done - left
        first = CallId(self.id + done + left)
        unbegun = None if not rest else self.single(first) if rest == 1 else self.part(first, rest)
        if running is not None:
            running.state, running.attempt = self.state, self.attempt
        if unbegun is not None:
            unbegun.attempt = self.attempt - 1
        return running, unbegun

    def singles(self) -> list[Call]:
        """All of them as calls of their own."""
        ids = (CallId(self.id + place) for place in range(self.width))
        calls = [self.single(call_id) for call_id in ids if call_id not in self._dropped]
        for call in calls:
            call.attempt = self.attempt
        return calls

    def _begin_at(self, first: CallId, items: int) -> None:
        while first in self._dropped:
            self._dropped.remove(first)
            first = CallId(first + 1)
        self.id, self.items, self.size = first, items, items * self.each
        if not items:
            self.state = ENDED

    def part(self, first: CallId, items: int) -> Many:
        """Some of them, without a gap."""
        return Many(first, items, self.queue, priority=self.priority, chunk=self.chunk, each=self.each)

    def single(self, call_id: CallId) -> Call:
        """One of them, as a call of its own."""
        return Call(call_id, self.queue, self.priority, self.resource, self.chunk, self.each)
