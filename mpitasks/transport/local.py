"""Ranks that are threads of one process."""

from __future__ import annotations

from collections import deque

from ..ids import Rank
from .base import Arrival
from .wire import Packet


class LocalTransport:
    """One rank's end of an in-memory world. Frames are copied, as a real wire would."""

    def __init__(self, rank: Rank, inboxes: list[deque[Arrival]]) -> None:
        self.rank = rank
        self.size = len(inboxes)
        self.sending = self.receiving = False
        self._inboxes = inboxes

    def send(self, rank: Rank, packet: Packet) -> None:
        """Put the packet into the other rank's inbox."""
        copied = Packet(packet.header, [bytearray(frame) for frame in packet.frames])
        self._inboxes[rank].append(Arrival(self.rank, copied))

    def receive(self) -> Arrival | None:
        """The next packet in this rank's inbox."""
        try:
            return self._inboxes[self.rank].popleft()
        except IndexError:
            return None


def local_world(size: int) -> list[LocalTransport]:
    """The transports of a world of that many ranks."""
    inboxes: list[deque[Arrival]] = [deque() for _ in range(size)]
    return [LocalTransport(Rank(rank), inboxes) for rank in range(size)]
