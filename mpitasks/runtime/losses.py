"""What is said of slaves that have died."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..core.calls import Call
from ..core.scheduler import Lost
from ..errors import SlaveLost
from ..ids import CallId
from ..transport.base import Death
from ..transport.failures import encode_failure
from ..transport.wire import Payload
from .places import Place


class Losses:
    """Keeps which slaves have died, and with which calls.

    Args:
        strikes: How many may die of one call.
        slaves: How many there are.
        places: Where each rank is.
    """

    def __init__(self, strikes: int, slaves: int, places: Sequence[Place]) -> None:
        self.nobody_left = False
        """All slaves have died."""
        self._strikes = strikes
        self._left = slaves
        self._places = places
        self._last = ""
        self._deaths: dict[CallId, list[str]] = {}
        """Of each call that was with a slave when it died: where and how, each time."""

    def __bool__(self) -> bool:
        return bool(self._last)

    def note(self, death: Death, calls: Iterable[Call]) -> None:
        """A slave has died, and had these calls."""
        self._left -= 1
        self.nobody_left = not self._left
        host = f" on {self._places[death.rank].host}" if self._places else ""
        self._last = f"rank {death.rank}{host} ({death.how})"
        for call in calls:
            self._deaths.setdefault(call.id, []).append(self._last)

    def line(self, lost: Lost) -> str:
        """What to tell the user of the last death."""
        left = {0: "none", 1: "1 slave"}.get(self._left, f"{self._left} slaves")
        return f"a slave has died: {self._last}; {self._fate(lost)}; {left} left"

    def _fate(self, lost: Lost) -> str:
        """What it had, and what becomes of that."""
        calls = lost.calls
        if not calls:
            return "it had nothing to do"
        ended = len(set(calls) & set(lost.given_up)) if self._left else len(calls)
        if len(calls) == 1:
            return f"it had call {calls[0].id} of {calls[0].queue!r}, which {'does not run again' if ended else 'runs again'}"
        again = "all run again, one by one" if not ended else "none of which runs again" if ended == len(calls) else ""
        return f"it had {len(calls)} calls of {calls[0].queue!r}, {again or f'of which {ended} do not run again'}"

    def error(self, call: Call, name: str) -> SlaveLost:
        """Why this call does not run, or not again."""
        deaths = self._deaths.get(call.id)
        what = f"call {call.id} of task {name!r}"
        if self.nobody_left:
            had = f", {times(len(deaths))} with it: {'; '.join(deaths)}" if deaths else ""
            return SlaveLost(f"{what}: no slave is left to run it; the last to die was {self._last}{had}")
        return SlaveLost(f"{what}: the slave that had it died, {times(len(deaths or ()))}: {self._why(deaths or [])}")

    def failure(self, call: Call, name: str) -> Payload:
        """The same, as it travels."""
        return encode_failure(self.error(call, name), f"it was sent {times(call.attempt)}")

    def _why(self, deaths: list[str]) -> str:
        listed = "; ".join(deaths)
        if self._strikes == 1:
            return f"{listed}. With strikes=1, no call of a dead slave runs again"
        if self._left == 1:
            return f"{listed}. It does not run again, since it could take the only slave that is left"
        return f"{listed}. With strikes={self._strikes}, it does not run again"


def times(count: int) -> str:
    """Once, twice, 3 times."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
