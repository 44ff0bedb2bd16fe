"""Ranks that are threads of one process."""

from __future__ import annotations

from collections import deque

from ..ids import Rank
from .base import Arrival, Death
from .wire import Packet


class LocalTransport:
    """One rank's end of an in-memory world. Frames are copied, as a real wire would."""

    def __init__(self, rank: Rank, size: int, world: list[LocalTransport]) -> None:
        self.rank, self.size = rank, size
        self.sending = self.receiving = False
        self.deaths: deque[Death] = deque()
        self.is_dead = False
        self._world = world
        self._inbox: deque[Arrival] = deque()
        self._dropped: set[Rank] = set()

    def send(self, rank: Rank, packet: Packet) -> None:
        """Put the packet into the other rank's inbox."""
        other = self._world[rank]
        if not (self.is_dead or other.is_dead):
            copied = Packet(packet.header, [bytearray(frame) for frame in packet.frames])
            other._inbox.append(Arrival(self.rank, copied))  # noqa: SLF001  of the same class

    def receive(self) -> Arrival | None:
        """The next packet in this rank's inbox."""
        while self._inbox and not self.is_dead:
            arrival = self._inbox.popleft()
            if arrival.source not in self._dropped:
                return arrival
        return None

    def is_sending_to(self, rank: Rank) -> bool:  # noqa: ARG002  as every transport
        """Never: what is sent is there."""
        return False

    def drop(self, rank: Rank) -> None:
        """That rank is dead: what it has sent is not heard any more."""
        self._dropped.add(rank)

    def die(self, how: str = "killed by a test", *, lost: int = 0) -> None:
        """End this rank as if it was killed: it sends and receives nothing more, and the others find it dead.

        Args:
            how: What they are told.
            lost: So many of the last packets to each rank, that nobody has received yet, go with it.
        """
        self.is_dead = True
        for other in self._world:
            if other is not self:
                other._lose(self.rank, lost)  # noqa: SLF001  of the same class
                other.deaths.append(Death(self.rank, how))

    def _lose(self, source: Rank, count: int) -> None:
        """The last packets from there do not arrive."""
        for place in [place for place, one in enumerate(self._inbox) if one.source == source][::-1][:count]:
            del self._inbox[place]


def local_world(size: int) -> list[LocalTransport]:
    """The transports of a world of that many ranks."""
    world: list[LocalTransport] = []
    world.extend(LocalTransport(Rank(rank), size, world) for rank in range(size))
    return world
