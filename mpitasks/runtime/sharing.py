"""Equal calls share one outcome: the first runs, others follow."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

C = TypeVar("C", bound=Hashable)


class Sharing(Generic[C]):
    """Who leads and who follows, of the calls under way; each follower with what it needs to go on alone."""

    def __init__(self) -> None:
        self._leaders: dict[bytes, C] = {}
        self._followers: dict[C, dict[C, list[object]]] = {}
        self._follows: dict[C, C] = {}

    def join(self, key: bytes, call: C, claims: list[object]) -> C | None:
        """Take part in the outcome of equal calls. The one that it follows; None: it leads."""
        leader = self._leaders.setdefault(key, call)
        if leader is call:
            return None
        self._followers.setdefault(leader, {})[call] = claims
        self._follows[call] = leader
        return leader

    def leave(self, key: bytes, call: C) -> dict[C, list[object]]:
        """The call has ended, or is given up. Its followers, who follow nobody now."""
        leader = self._follows.pop(call, None)
        if leader is not None:
            del self._followers[leader][call]
        elif self._leaders.get(key) is call:
            del self._leaders[key]
        followers = self._followers.pop(call, {})
        for follower in followers:
            del self._follows[follower]
        return followers

    def is_follower(self, call: C) -> bool:
        """Whether another call runs for it."""
        return call in self._follows
