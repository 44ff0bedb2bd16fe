"""What every transport offers."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ..ids import Rank
from .wire import Packet


class Arrival(NamedTuple):
    """A packet that is whole, and where it came from."""

    source: Rank
    packet: Packet


class Transport(Protocol):
    """Packets between the ranks of one world.

    Packets from one rank to another arrive in the order in which they were sent. Nothing here blocks. One thread at a
    time may use a transport; who shares one, locks.
    """

    rank: Rank
    size: int

    def send(self, rank: Rank, packet: Packet) -> None:
        """Begin to send; the frames must stay unchanged until nothing is `sending`."""

    def receive(self) -> Arrival | None:
        """The next packet that has arrived whole, if any; drives what is under way."""

    @property
    def receiving(self) -> bool:
        """Whether a packet has arrived in part, so that it is worth to go on receiving."""

    @property
    def sending(self) -> bool:
        """Whether a send is still under way."""
