"""How broadcasts reach the slaves, on the master.

::

    a call goes to a slave that lacks one
      ├─ a process of that host has it ──────────► ATTACH: the same memory
      ├─ it is on its way to that host ──────────► ATTACH, when it is there
      └─ else SHIP, by the master, or in a tree: the master ──► 1, 2, 4, 8, ...   1 ──► 3, 5, 9, ...   2 ──► 6, ...
    the last reference is gone, and nothing is on its way ──► FREE

A tree where more than `STAR` hosts get it: to n of them in log2(n) times the time of one, but each waits for those before it.
Where one dies, or does not get on, the master ships by itself.

All this happens under the master's lock, but for the end of a reference: the garbage collector sees to that at any time.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Container, Iterable, Sequence
from itertools import count
from math import inf
from time import monotonic
from typing import Any

from ..broadcasts import reference_to
from ..errors import NotRunning
from ..ids import MASTER, Rank
from ..transport import wire
from ..transport.wire import Reference
from .copies import Copy, Where, copy_of
from .messages import ATTACH, FREE, GONE, HAS, PASS_ON, SHIP
from .places import Place

STAR = 8
"""Receivers up to which the master ships to each by itself."""
LATE, SLOWEST = 5.0, 20e6
"""Seconds, and bytes a second, after which a slave that passes something on counts as stuck: a call holds its interpreter."""

Host = str | Rank


class _Owner:
    """Lives as long as a value is wanted."""

    def __init__(self, payload: wire.Payload) -> None:
        self.payload = payload


class _Shipment:
    """One broadcast, and who has it."""

    def __init__(self, number: int, copy: Copy, owner: _Owner) -> None:
        self.number = number
        self.copy = copy
        self.owner = weakref.ref(owner)
        self.is_wanted = True
        self.has: dict[Rank, Where | None] = {}
        """Those that have it, and where others of their hosts find it."""
        self.coming: dict[Rank, tuple[Rank, float]] = {}
        """To whom it is on its way: from whom, and since when."""
        self.first: dict[Host, Rank] = {}
        """The first slave of a host, which gets it by the wire."""
        self.waiting: dict[Host, list[Rank]] = {}
        """The others, until that has it."""
        self.line: list[Rank] = []
        """Those that got it by the wire, in the tree's order."""

    def is_known_to(self, rank: Rank) -> bool:
        """Whether it is there, or will be."""
        return rank in self.has or rank in self.coming or any(rank in ranks for ranks in self.waiting.values())

    def source_of_next(self) -> Rank:
        """From whom the next in the line gets it, in a tree."""
        place = len(self.line) + 1
        before = place - (1 << (place.bit_length() - 1))
        source = self.line[before - 1] if before else MASTER
        return source if source in self.has or source in self.coming else MASTER


class Shipping:
    """All broadcasts of a run.

    Args:
        send: Begins to send a message to a slave, if that has not been let go.
        places: Host and process of each rank, where ranks are processes.
        slaves: Their ranks.
    """

    def __init__(self, send: Callable[[Rank, tuple[Any, ...]], object], places: Sequence[Place], slaves: Iterable[int]) -> None:
        self.due = inf
        """When to `look`, on the clock of `monotonic`."""
        self._send = send
        self._hosts: dict[Rank, Host] = {Rank(rank): place.host for rank, place in enumerate(places)}
        self._here = self._hosts.get(MASTER, "")
        self._slaves = [Rank(rank) for rank in slaves]
        self._shipments: dict[int, _Shipment] = {}
        self._numbers = count(1)
        self._unowned: deque[int] = deque()
        """Numbers of those whose last reference is gone."""

    def add(self, payload: wire.Payload) -> Reference:
        """Keep a value while anybody has the reference that this returns."""
        number, copy = next(self._numbers), copy_of(payload)
        owner = _Owner(copy.payload)
        self._shipments[number] = _Shipment(number, copy, owner)
        weakref.finalize(owner, self._disown, number).atexit = False
        return reference_to(number, owner)

    def owned(self, reference: Reference) -> Reference:
        """The same reference as one that a slave has sent.

        Raises:
            NotRunning: The value is gone.
        """
        shipment = self._shipments.get(reference.number)
        owner = None if shipment is None else shipment.owner()
        if owner is None:
            msg = "a call has handed on a broadcast after it has ended, and main has released that since"
            raise NotRunning(msg)
        return reference_to(reference.number, owner)

    def provide(self, rank: Rank, values: Iterable[object]) -> None:
        """See to it that the slave gets those of these values that are references."""
        for value in values:
            if isinstance(value, Reference):
                shipment = self._shipments[value.number]
                if not shipment.is_known_to(rank):
                    self._bring(shipment, rank)

    def take_in(self, rank: Rank, kind: int, number: int, where: Sequence[Any] | None = None) -> None:
        """A slave tells that it has something, or can't get it where it was told."""
        shipment = self._shipments.get(number)
        if shipment is None:  # it came twice, the second time too late
            self._send(rank, (FREE, number))
            return
        if kind == HAS:
            self._has(shipment, rank, None if where is None else Where(*where))
        else:
            self._hosts[rank] = rank  # what others of its host have, it can't reach
            self._ship(shipment, rank)

    def lost(self, rank: Rank) -> None:
        """A slave has died."""
        self._slaves = [one for one in self._slaves if one != rank]
        for shipment in list(self._shipments.values()):
            self._lost(shipment, rank)

    def look(self, now: float) -> None:
        """Free what nobody wants, and help where something is late."""
        while self._unowned:
            shipment = self._shipments[self._unowned.popleft()]
            shipment.is_wanted = False
            self._free_unwanted(shipment)
        for shipment in self._shipments.values():
            self._help_late(shipment, now)
        self._set_due()

    def is_settled(self, without: Container[Rank]) -> bool:
        """Whether nothing is on its way, but perhaps to those."""
        return all(rank in without for shipment in self._shipments.values() for rank in shipment.coming)

    def close(self) -> None:
        """The run has ended."""
        self._shipments.clear()

    # ---------------------------------------------------------------- one value

    def _host_of(self, rank: Rank) -> Host:
        return self._hosts.get(rank, self._here)  # a slave that is a thread is no place of its own

    def _bring(self, shipment: _Shipment, rank: Rank) -> None:
        """A slave lacks it."""
        host = self._host_of(rank)
        if shipment.copy.size < wire.INLINE:
            self._ship(shipment, rank)
        elif (where := self._where(shipment, host)) is not None:
            shipment.coming[rank] = MASTER, monotonic()
            self._send(rank, (ATTACH, shipment.number, tuple(where)))
        elif host in shipment.first:
            shipment.waiting.setdefault(host, []).append(rank)
        else:
            shipment.first[host] = rank
            self._by_wire(shipment, rank)
        self._set_due()

    def _where(self, shipment: _Shipment, host: Host) -> Where | None:
        """Where slaves of that host find it."""
        if host == self._here and shipment.copy.where is not None:
            return shipment.copy.where
        return next((where for rank, where in shipment.has.items() if where and self._host_of(rank) == host), None)

    def _by_wire(self, shipment: _Shipment, rank: Rank) -> None:
        source = shipment.source_of_next() if self._is_wide() else MASTER
        shipment.line.append(rank)
        if source == MASTER:
            self._ship(shipment, rank)
            return
        shipment.coming[rank] = source, monotonic()
        self._send(source, (PASS_ON, shipment.number, rank, self._has_others(rank)))

    def _is_wide(self) -> bool:
        """Whether so many would get it by the wire that a tree is faster."""
        return len({self._host_of(rank) for rank in self._slaves} - {self._here}) > STAR

    def _ship(self, shipment: _Shipment, rank: Rank) -> None:
        shipment.coming[rank] = MASTER, monotonic()
        self._send(rank, (SHIP, shipment.number, wire.sendable(shipment.copy.payload), self._has_others(rank)))

    def _has_others(self, rank: Rank) -> bool:
        """Whether other slaves share the host of that one."""
        host = self._host_of(rank)
        return any(one != rank and self._host_of(one) == host for one in self._slaves)

    def _has(self, shipment: _Shipment, rank: Rank, where: Where | None) -> None:
        shipment.coming.pop(rank, None)
        shipment.has[rank] = where
        if shipment.first.get(self._host_of(rank)) == rank:
            self._serve_waiting(shipment, self._host_of(rank))
        self._free_unwanted(shipment)
        self._set_due()

    def _serve_waiting(self, shipment: _Shipment, host: Host) -> None:
        """The first slave of a host has it, or never will: see to the others."""
        del shipment.first[host]
        for rank in shipment.waiting.pop(host, ()):
            self._bring(shipment, rank)

    def _lost(self, shipment: _Shipment, rank: Rank) -> None:
        """One that had it, or was to get it, has died."""
        sources = {source for source, _ in [shipment.coming.get(rank, (MASTER, 0.0))]}
        shipment.coming.pop(rank, None)
        shipment.has.pop(rank, None)
        for ranks in shipment.waiting.values():
            if rank in ranks:
                ranks.remove(rank)
        for one, (source, _) in list(shipment.coming.items()):
            if source == rank:
                self._ship(shipment, one)
        host = self._host_of(rank)
        if shipment.first.get(host) == rank:
            self._serve_waiting(shipment, host)
        for source in sources - {MASTER}:
            self._send(source, (GONE, rank))
        self._free_unwanted(shipment)

    def _help_late(self, shipment: _Shipment, now: float) -> None:
        """Ship what somebody else does not get on with."""
        for rank, (source, since) in list(shipment.coming.items()):
            if now < since + self._patience(shipment):
                continue
            if source == MASTER:
                shipment.coming[rank] = MASTER, inf
            else:
                self._ship(shipment, rank)
            host = self._host_of(rank)
            if shipment.first.get(host) == rank:
                self._serve_waiting(shipment, host)

    def _patience(self, shipment: _Shipment) -> float:
        return LATE + shipment.copy.size / SLOWEST

    # ---------------------------------------------------------------- the end of one

    def _disown(self, number: int) -> None:
        """Nobody wants it any more. From any thread, at any time."""
        self._unowned.append(number)
        self.due = 0.0

    def _free_unwanted(self, shipment: _Shipment) -> None:
        """Let the slaves forget it, once nothing is on its way that would come later than that word."""
        if shipment.is_wanted or shipment.coming or any(shipment.waiting.values()):
            return
        del self._shipments[shipment.number]
        for rank in shipment.has:
            self._send(rank, (FREE, shipment.number))

    def _set_due(self) -> None:
        late = (
            since + self._patience(shipment) for shipment in self._shipments.values() for _, since in shipment.coming.values()
        )
        self.due = min(late, default=inf)
        if self._unowned:  # asked last: the garbage collector may come at any time
            self.due = 0.0
