"""Lets an asyncio loop run the farm while it waits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

BUSY_TURNS = 100
"""Turns of the loop, at about 10 µs, in which the farm is looked at every time."""
NAPPING_TURNS = 200
"""Turns after which the loop sleeps on its own: epoll can't sleep less than 1 ms."""
NAP = 50e-6
LONGEST_SLEEP = 10e-3


class _Driven(Protocol):
    """What a pump drives."""

    @property
    def is_busy(self) -> bool: ...
    def step(self) -> bool: ...
    def check_interrupts(self) -> None: ...


class Pump:
    """Drives the farm from inside an event loop, for as long as calls are unfinished.

    Without it, `await future` would wait for the background thread, 2 ms and more.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, master: _Driven) -> None:
        self._loop = loop
        self._master = master
        self._handle: asyncio.Handle | None = None
        self._turns = 0

    def start(self) -> None:
        """Somebody waits: look at every turn of the loop."""
        self._turns = 0
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_soon(self._turn)

    def stop(self) -> None:
        """Nobody waits any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _turn(self) -> None:
        self._turns = 0 if self._master.step() else self._turns + 1
        self._master.check_interrupts()
        if not self._master.is_busy:
            self._handle = None
        elif self._turns < NAPPING_TURNS:
            if self._turns > BUSY_TURNS:
                time.sleep(NAP)
            self._handle = self._loop.call_soon(self._turn)
        else:
            sleep = min(1e-3 * (self._turns - NAPPING_TURNS + 1), LONGEST_SLEEP)
            self._handle = self._loop.call_later(sleep, self._turn)


class Pumps:
    """One pump for each loop that waits."""

    def __init__(self, master: _Driven) -> None:
        self._master = master
        self._pumps: dict[asyncio.AbstractEventLoop, Pump] = {}

    def start(self) -> None:
        """Somebody waits in the loop of this thread."""
        import asyncio  # noqa: PLC0415  only async programs need it

        loop = asyncio.get_running_loop()
        if loop not in self._pumps:
            self._pumps = {known: pump for known, pump in self._pumps.items() if not known.is_closed()}
            self._pumps[loop] = Pump(loop, self._master)
        self._pumps[loop].start()
