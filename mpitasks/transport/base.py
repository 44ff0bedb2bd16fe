"""What every transport offers."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol

from ..ids import Rank
from .wire import Packet


class Arrival(NamedTuple):
    """A packet that is whole, and where it came from."""

    source: Rank
    packet: Packet


class Death(NamedTuple):
    """A rank has died."""

    rank: Rank
    how: str
    """In words: "signal 9"."""


class Transport(Protocol):
    """Packets between the ranks of one world.

    Packets from one rank to another arrive in the order in which they were sent. Nothing here blocks. One thread at a
    time may use a transport; who shares one, locks.
    """

    rank: Rank
    size: int
    deaths: deque[Death]
    """Ranks that were found dead; the owner takes them out. What they have sent before may still arrive."""

    def send(self, rank: Rank, packet: Packet) -> None:
        """Begin to send; the frames must stay unchanged until nothing is `sending`."""

    def drop(self, rank: Rank) -> None:
        """That rank is dead: from now on nothing comes from there, and what is sent there vanishes."""

    def receive(self) -> Arrival | None:
        """The next packet that has arrived whole, if any; drives what is under way."""

    @property
    def receiving(self) -> bool:
        """Whether a packet has arrived in part, so that it is worth to go on receiving."""

    def is_sending_to(self, rank: Rank) -> bool:
        """Whether a send to that rank is still under way."""

    @property
    def sending(self) -> bool:
        """Whether a send is still under way."""
