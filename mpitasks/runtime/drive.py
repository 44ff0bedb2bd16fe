"""Who drives the farm: whoever waits, one thread at a time.

::

    result(), wait(), iteration ──► lead: step, step, ... until done ──► the next waiting thread leads
    background thread           ──► leads for a moment, when nobody has for 2 ms

The other threads that wait sleep until their own future ends, or until the leader leaves.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from ..errors import farm_ended
from .backoff import SILENCES, Backoff
from .interrupts import Interrupts

BACKGROUND_AFTER = 2e-3
"""Seconds without a driver, after which the background thread drives."""
LED_NAP = 0.1
"""Seconds between two looks of the background thread in a long silence while another leads: that one says when it leaves."""
GAP_FADES, GAP_TOLD = 0.9, 0.05
"""What is left of a gap at the next one, if that is shorter; by which part a gap must differ to be told."""
BLOCKED_AT_MOST = 0.1
"""Seconds that a waiting thread sleeps before it looks for itself."""


def never() -> bool:
    """False: this process needs no launcher."""
    return False


class _Driven(Protocol):
    """What is driven."""

    interrupts: Interrupts

    def turn(self) -> bool: ...
    def seldom_driven(self, gap: float) -> None: ...
    def has_news(self) -> bool: ...
    def announce(self) -> None: ...
    def end_all(self, why: BaseException) -> None: ...


class Drive:
    """Lets threads take turns at driving the farm a little.

    Only the thread that leads takes a `turn`, which says whether anything happened. To `announce` what happened runs code
    of the user, which may wait in its turn or for another thread: whoever does it has given up the lead.
    """

    def __init__(
        self,
        farm: _Driven,
        *,
        new_backoff: Callable[[], Backoff],
        is_orphan: Callable[[], bool] = never,
    ) -> None:
        self.broken: BaseException | None = None
        """Why the farm has ended, once it has."""
        self.stepped_at = self.heard_at = monotonic()
        """When the farm was last driven, and when anything last happened; its steps write them."""
        self._gap = 0.0
        """Seconds that lately passed between two turns, where nobody waits; the longest, which fades."""
        self._farm = farm
        self._interrupts = farm.interrupts
        self._new_backoff = new_backoff
        self._is_orphan = is_orphan
        self._leading = threading.Lock()
        self._blocked: set[threading.Event] = set()
        self._background = threading.Thread(target=self._run_background, name="mpitasks-background", daemon=True)
        self._stopping = self._sleeps = False
        self._rouse = threading.Event()
        """Set where the background thread, which `_sleeps` for longer than usual, is to look at once."""

    def start(self) -> None:
        """Drive in the background from now on."""
        self._background.start()

    def stop(self) -> None:
        """Drive in the background no longer."""
        self._stopping = True
        self._rouse.set()
        if self._background.ident is not None:
            self._background.join()

    def wait(self, done: Callable[[], bool], watch: Callable[[], threading.Event], timeout: float | None) -> bool:
        """Wait in the caller's thread, driving if nobody else does; False if the time ran out.

        Args:
            done: Whether there is nothing to wait for any more.
            watch: Makes an event that is set when it is time to look at `done` again.
            timeout: Seconds; None: as long as it takes.

        Raises:
            FarmBroken: The farm has ended, so that this would wait for ever.
        """
        deadline = None if timeout is None else monotonic() + timeout
        event: threading.Event | None = None
        while not done():
            if self._leading.acquire(blocking=False):
                try:
                    in_time = self._lead(done, deadline)
                finally:
                    self._step_down()
                self._farm.announce()
                if not in_time:
                    return done()
                continue
            event = event or watch()
            if not self._sleep(event, done, deadline):
                return done()
        return True

    def _lead(self, done: Callable[[], bool], deadline: float | None) -> bool:
        """Drive until it is done, or something is to be announced; False if the time ran out."""
        backoff = self._new_backoff()
        if self._gap:
            self._note_gap(0.0)
        while not (done() or self._farm.has_news()):
            if self.turn():
                backoff.reset()
            elif deadline is not None and monotonic() >= deadline:
                return False
            else:
                self.check()
                backoff.pause()
            if self._interrupts.pending:
                self._interrupts.check()
        return True

    def _step_down(self) -> None:
        """Let another waiting thread lead."""
        self._leading.release()
        if self._sleeps:
            self._rouse.set()
        # A thread adds itself before it looks whether somebody leads, so none is overlooked here.
        for event in list(self._blocked):
            event.set()

    def _sleep(self, event: threading.Event, done: Callable[[], bool], deadline: float | None) -> bool:
        """Sleep while another thread leads; False if the time ran out."""
        left = BLOCKED_AT_MOST if deadline is None else min(BLOCKED_AT_MOST, deadline - monotonic())
        if left <= 0:
            return False
        self.check()
        event.clear()
        self._blocked.add(event)
        try:
            if not done() and self._leading.locked():
                event.wait(left)
        finally:
            self._blocked.discard(event)
        self._interrupts.check()
        return True

    def check(self) -> None:
        """Raise if waiting makes no sense any more.

        Raises:
            FarmBroken: The farm has ended.
        """
        if self.broken is not None:
            raise farm_ended(self.broken)

    def _run_background(self) -> None:
        """Drive when nobody else does."""
        try:
            while not self._doze():
                if self.take_over():
                    self._farm.announce()
                if self._is_orphan():
                    os._exit(1)  # with the launcher, everybody has gone who could end this process
        except BaseException as error:  # noqa: BLE001  the top of a thread: every waiter must hear of it
            self._break(error)

    def take_over(self) -> bool:
        """Drive for a moment, if nobody has for a while; whether it did."""
        gap = monotonic() - self.stepped_at
        if gap < BACKGROUND_AFTER or not self._leading.acquire(blocking=False):
            return False
        try:
            self._note_gap(gap)
            while self.turn() and not self._farm.has_news():
                pass
        finally:
            self._step_down()
        return True

    def _note_gap(self, gap: float) -> None:
        """Nobody has driven for so long: while main computes, its thread keeps the interpreter for 5 ms at a time."""
        gap = max(gap, GAP_FADES * self._gap)
        if abs(gap - self._gap) > GAP_TOLD * self._gap:
            self._gap = gap
            self._farm.seldom_driven(gap)

    def turn(self) -> bool:
        """A turn of the farm. What it raises ends the farm, and every call hears of it."""
        if self.broken is not None:
            return False
        try:
            return self._farm.turn()
        except Exception as error:  # noqa: BLE001  a broken wire, or a mistake of ours: nobody may wait for ever
            self._break(error)
            return True

    def _break(self, error: BaseException) -> None:
        if self.broken is None:
            self.broken = error
            self._farm.end_all(error)

    def _doze(self) -> bool:
        """Sleep until the background thread is to look again. Whether it is to end."""
        self._rouse.wait(self._nap())
        self._rouse.clear()
        return self._stopping

    def _nap(self) -> float:
        """Seconds until the background thread looks again."""
        silence = monotonic() - self.heard_at
        self._sleeps = silence > SILENCES[0][0]
        if self._sleeps and self._leading.locked():  # asked after that is said: who steps down in between, sees it
            return LED_NAP
        return next((nap for after, nap in SILENCES if silence > after), BACKGROUND_AFTER)
