"""Lets the slaves go at the end of a run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from ..core.scheduler import Scheduler
from ..errors import FarmBroken
from ..ids import Rank
from ..transport.base import Transport
from .calls import ours
from .losses import Losses
from .messages import LEAVE, STAY
from .overdue import LEAVE_WITHIN, Overdue
from .post import Post


class _Waits(Protocol):
    def __call__(self, done: Callable[[], bool], watch: Callable[[], threading.Event], timeout: float | None, /) -> bool: ...


class Leaving:
    """Knows which slaves are in calls, and says goodbye to those that are not, in order.

    Args:
        transport: Where they are.
        scheduler: Knows who has which call.
        post: Tells them.
        overdue: Knows which are left in calls that were given up.
        losses: Knows which have died.
        lock: The master's; whoever waits must not hold it.
        wait: Runs the farm meanwhile.
    """

    def __init__(  # noqa: PLR0913  the parts of the master that the end touches
        self,
        transport: Transport,
        scheduler: Scheduler,
        *,
        post: Post,
        overdue: Overdue,
        losses: Losses,
        lock: threading.RLock,
        wait: _Waits,
    ) -> None:
        self._transport = transport
        self._scheduler = scheduler
        self._post = post
        self._overdue = overdue
        self._losses = losses
        self._lock = lock
        self._wait = wait

    def busy_ranks(self) -> dict[int, str]:
        """The slaves that are in a call, and of which task."""
        with self._lock:
            return {rank: ours(call).plan.name for rank, call in self._scheduler.sent()}

    def left_in_calls(self) -> dict[int, str]:
        """The slaves that are in calls which were given up, and have not left; and of which task."""
        with self._lock:
            return {rank: name for rank, name in self._overdue.left.items() if rank in self._post.present}

    def let_go(self, grace: float, processes: int) -> None:
        """Let the slaves go: up to `grace` seconds for those that are not in a call."""
        with suppress(FarmBroken):
            self._wait(self._is_settled, threading.Event, grace)
        told = self._part_with(processes)
        with self._lock:
            self._post.dismissed = True
            stay = not told.isdisjoint(self._post.present)
            for rank in self._post.present:
                if rank not in told:
                    self._post.send(rank, (STAY if stay else LEAVE, bool(self._losses)))
        with suppress(FarmBroken):
            self._wait(self.have_left, threading.Event, grace)

    def _part_with(self, processes: int) -> set[Rank]:
        """Let those go first that are in calls which were given up: whether they can decides how the others leave."""
        with self._lock:
            told = set(self._post.present).intersection(self._overdue.left)
            for rank in told:
                self._post.send(rank, (LEAVE,))
        if any(rank < processes for rank in told):  # a thread can't leave
            with suppress(FarmBroken):
                self._wait(lambda: told.isdisjoint(self._post.present), threading.Event, LEAVE_WITHIN)
        return told

    def _is_settled(self) -> bool:
        """Whether no slave sends anything to another, which would keep MPI from ending."""
        with self._lock:
            return self._post.shipping.is_settled(self._busy())

    def _busy(self) -> set[Rank]:
        """Those that can't leave now."""
        return {*self._overdue.left, *(rank for rank, _ in self._scheduler.sent())}

    def have_left(self) -> bool:
        """Whether all slaves have left that can."""
        with self._lock:
            busy = self._busy()
            return busy.issuperset(self._post.present) and (bool(busy) or not self._transport.sending)

    def not_left(self) -> list[int]:
        """The slaves that have not left, but for those that are in calls which were given up."""
        return sorted(set(self._post.present).difference(self._overdue.left))
