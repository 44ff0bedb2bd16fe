"""How long to pause between two looks for messages."""

from __future__ import annotations

import os
import time

FIRST_NAP, LONGEST_NAP = 20e-6, 1e-3
AWAKE, AWAKE_NAP = 0.1, 50e-6
"""For so many seconds after something has happened, no nap is longer than this: what follows soon is to be heard at once.

Linux makes 120 µs of it, since it may ring 50 µs late, and takes 20 to wake a process. That is 7 % of a core for 0.1 s, where
naps of 200 µs took 5. Naps of 20 µs bring nothing more.
"""

SILENCES = ((5.0, 10e-3), (1.0, 5e-3))
"""After so many seconds of silence, nap so long: naps of 1 ms cost 3.3 % of a core, 5 ms 1.3 %, 10 ms 0.7 %."""


class Backoff:
    """Poll a little, then let others run, then nap, longer and longer.

    A round trip between 2 ranks on 2 cores took 13 µs this way, 11 by polling only and 375 by napping only; between
    4 ranks on 2 cores 190 µs, and 5,100 by polling only. Four polls and not twenty: where two ranks share a core, 122 µs
    and not 164.
    """

    __slots__ = ("_nap", "_polls", "_since", "_turns", "_yields")

    def __init__(self, *, polls: int = 4, yields: int = 200) -> None:
        self._polls = polls
        self._yields = polls + yields
        self._turns = 0
        self._since = 0.0
        self._nap = FIRST_NAP

    def reset(self) -> None:
        """Something happened."""
        self._turns = 0

    def pause(self) -> None:
        """Nothing happened."""
        self._turns += 1
        if self._turns <= self._polls:
            return
        if self._turns <= self._yields:
            os.sched_yield()
            return
        time.sleep(self._next_nap(time.monotonic()))

    def _next_nap(self, now: float) -> float:
        if self._turns == self._yields + 1:
            self._since, self._nap = now, FIRST_NAP
            return FIRST_NAP
        for silence, nap in SILENCES:
            if now - self._since > silence:
                return nap
        self._nap = min(self._nap * 1.5, AWAKE_NAP if now - self._since < AWAKE else LONGEST_NAP)
        return self._nap


def threads() -> Backoff:
    """For ranks that are threads: polling would keep the interpreter from the thread that works."""
    return Backoff(polls=0, yields=0)
