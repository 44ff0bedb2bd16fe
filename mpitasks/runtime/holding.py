"""The broadcasts that a process has, and passes on.

::

    SHIP ──► a copy in memory of the host ──► HAS      PASS_ON ──► SHIP to another slave
    ATTACH ──► the memory of another process ──► HAS, or LACKS       FREE ──► gone

A value is unpickled when the first call needs it; all calls here get the same object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..ids import MASTER, Rank
from ..transport import wire
from ..transport.wire import Reference
from .messages import ATTACH, FREE, GONE, HAS, LACKS, PASS_ON, SHIP

if TYPE_CHECKING:
    from .copies import Copy

PASSING_ON_WITHIN = 1.0
"""Seconds that calls which need broadcasts wait for those that are passed on: they may keep MPI from going on with that."""


class _Held:
    """One value."""

    def __init__(self, copy: Copy) -> None:
        self.copy = copy
        self.values: list[Any] = []
        """The value, once it is unpickled."""
        self.content: bytes | None = None


class Holding:
    """The broadcasts of one process. Those that come do so under the wire's lock; values are for the main thread."""

    def __init__(self) -> None:
        self._held: dict[int, _Held] = {}

    def put(self, number: int, copy: Copy) -> None:
        """From now on, it is here."""
        self._held[number] = _Held(copy)

    def drop(self, number: int) -> None:
        """No call needs it any more."""
        self._held.pop(number, None)

    def has(self, number: int) -> bool:
        """Whether it is here."""
        return number in self._held

    def copy(self, number: int) -> Copy:
        """As it travels."""
        return self._held[number].copy

    def value(self, number: int) -> Any:  # noqa: ANN401  whatever was broadcast
        """The value.

        Raises:
            Exception: Whatever its unpickling raises, each time.
        """
        held = self._held[number]
        if not held.values:
            held.values.append(wire.decode(held.copy.payload))
        return held.values[0]

    def is_large(self, number: int) -> bool:
        """Whether a call that is given it had better hand on its number in its place."""
        return number in self._held and self._held[number].copy.size >= wire.INLINE

    def content(self, number: int, identify: Callable[[Any], bytes]) -> bytes:
        """What `identify` makes of the value, asked once."""
        held = self._held[number]
        if held.content is None:
            held.content = identify(self.value(number))
        return held.content


class SlaveHolding(Holding):
    """The broadcasts of a slave.

    Args:
        send: Begins to send a message to a rank.
        is_sending: Whether something that was sent to a rank is still under way.
        forget: That rank is dead: what is under way from and to it never arrives.
    """

    def __init__(
        self,
        send: Callable[[Rank, tuple[Any, ...]], object],
        is_sending: Callable[[Rank], bool],
        forget: Callable[[Rank], object],
    ) -> None:
        super().__init__()
        self._send = send
        self._is_sending = is_sending
        self._forget = forget
        self._to_pass_on: dict[int, dict[Rank, bool]] = {}
        """What is not here yet: to whom, and whether others of their hosts need it."""
        self._passing: set[Rank] = set()
        """To whom something is passed on just now."""
        self._passing_until = 0.0

    def take_in(self, kind: int, what: int, *more: Any) -> None:  # noqa: ANN401  see the messages
        """A message about broadcasts."""
        if kind == SHIP:
            self._shipped(what, *more)
        elif kind == ATTACH:
            self._attach(what, more[0])
        elif kind == PASS_ON:
            self._pass_on(what, *more)
        elif kind == FREE:
            self.drop(what)
        elif kind == GONE:
            self._lost(Rank(what))

    def is_ready(self, values: Iterable[object]) -> bool:
        """Whether a call with these values can begin."""
        if self._passing and self._is_passing():
            return False
        return all(value.number in self._held for value in values if isinstance(value, Reference))

    def _shipped(self, number: int, payload: wire.Payload, is_shared: bool) -> None:  # noqa: FBT001  of a message
        """It is here; a second time, where the first was late."""
        from . import copies  # noqa: PLC0415  for those that get broadcasts

        if number not in self._held:
            self.put(number, copies.copy_of(payload) if is_shared else copies.received(payload))
        self._tell(number)

    def _attach(self, number: int, where: tuple[Any, ...]) -> None:
        from . import copies  # noqa: PLC0415  as above

        try:
            copy = copies.attach(copies.Where(*where))
        except OSError:
            self._send(MASTER, (LACKS, number))
            return
        self.put(number, copy)
        self._tell(number)

    def _tell(self, number: int) -> None:
        """It is here: pass it on, and let the master know."""
        for rank, is_shared in self._to_pass_on.pop(number, {}).items():
            self._pass_on(number, rank, is_shared)
        where = self._held[number].copy.where
        self._send(MASTER, (HAS, number, where and tuple(where)))

    def _pass_on(self, number: int, rank: Rank, is_shared: bool) -> None:  # noqa: FBT001  of a message
        if number not in self._held:
            self._to_pass_on.setdefault(number, {})[rank] = is_shared
            return
        self._send(rank, (SHIP, number, wire.sendable(self._held[number].copy.payload), is_shared))
        self._passing.add(rank)
        self._passing_until = perf_counter() + PASSING_ON_WITHIN

    def _is_passing(self) -> bool:
        """Whether something is still on its way; after some time, that is no reason to wait."""
        if perf_counter() < self._passing_until and any(map(self._is_sending, self._passing)):
            return True
        self._passing.clear()
        return False

    def _lost(self, rank: Rank) -> None:
        self._forget(rank)
        for ranks in self._to_pass_on.values():
            ranks.pop(rank, None)
