"""Ranks of an MPI job; the only file that knows mpi4py.

::

    packet ──► HEADER: count | size of each frame | header      one message
           └─► BULK:   frame 1, frame 2, ...                    one message a frame, several above `limit` bytes

The header tells the receiver what follows, so that every frame is received where it will stay. MPI keeps the order of
messages with one source and tag, so frames need no names.

Only Isend, Iprobe, Recv of what Iprobe has seen, Irecv and Test: nothing blocks, since both MPICH and Open MPI burn a core
in a blocking call; and no matched probes, which fail on several fabrics.

A communicator of our own needs a collective to be made. Where there can be none, `on_world` shares the user's: with tags
that nobody else uses, and looks at certain sources only.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Collection, Iterator
from typing import cast

from mpi4py import MPI
from typing_extensions import Buffer

from ..ids import Rank
from .base import Arrival
from .wire import Packet

HEADER, BULK = 1, 2
MOST_BYTES = 1 << 30
"""In one MPI message: counts are 32-bit in many MPIs."""


_NO_FRAMES = struct.pack("<I", 0)


class _Incoming:
    """A packet whose frames are still on their way."""

    __slots__ = ("packet", "requests")

    def __init__(self, packet: Packet, requests: list[MPI.Request]) -> None:
        self.packet = packet
        self.requests = requests

    def is_whole(self) -> bool:
        """Whether all frames are here."""
        return not self.requests or MPI.Request.Testall(self.requests)


class MpiTransport:
    """This rank's end of a communicator.

    Args:
        comm: The communicator.
        limit: Most bytes in one message.
        tags: Of headers, and of frames.
        sources: From whom to receive; the owner may change it between two looks. By default from anybody, which takes a
            communicator that belongs to mpitasks alone.
    """

    def __init__(
        self,
        comm: MPI.Comm,
        *,
        limit: int = MOST_BYTES,
        tags: tuple[int, int] = (HEADER, BULK),
        sources: Collection[Rank] | None = None,
    ) -> None:
        self.rank = Rank(comm.Get_rank())
        self.size = comm.Get_size()
        self._comm = comm
        self._limit = limit
        self._header, self._bulk = tags
        self._sources = sources
        self._status = MPI.Status()
        self._sends: deque[tuple[MPI.Request, Buffer]] = deque()
        self._incoming: dict[Rank, deque[_Incoming]] = {}

    def send(self, rank: Rank, packet: Packet) -> None:
        """Begin to send; `receive` completes it."""
        if not packet.frames:
            self._isend(_NO_FRAMES + packet.header, rank, self._header)
            return
        frames = [memoryview(frame).cast("B") for frame in packet.frames]
        sizes = [frame.nbytes for frame in frames]
        header = struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes) + packet.header
        self._isend(header, rank, self._header)
        for frame in frames:
            for piece in self._pieces(frame):
                self._isend(piece, rank, self._bulk)

    def receive(self) -> Arrival | None:
        """The next packet that has arrived whole."""
        if self._sends:
            self._forget_sent()
        if self._incoming and (arrival := self._whole()):
            return arrival
        while self._has_header():
            source = Rank(self._status.Get_source())
            incoming = self._begin(source, self._status.Get_count(MPI.BYTE))
            if source not in self._incoming and incoming.is_whole():
                return Arrival(source, incoming.packet)
            self._incoming.setdefault(source, deque()).append(incoming)
        return None

    def _has_header(self) -> bool:
        """Whether a header has arrived; `_status` says whose."""
        # Twice: on both MPIs, a look after a silence often only takes the message in, and the next one sees it.
        probe, tag, status = self._comm.Iprobe, self._header, self._status
        if self._sources is None:
            return probe(MPI.ANY_SOURCE, tag, status) or probe(MPI.ANY_SOURCE, tag, status)
        return any(probe(source, tag, status) for source in (*self._sources, *self._sources))

    @property
    def receiving(self) -> bool:
        """Whether a packet has arrived in part."""
        return bool(self._incoming)

    @property
    def sending(self) -> bool:
        """Whether a send is still under way."""
        if self._sends:
            self._forget_sent()
        return bool(self._sends)

    def _isend(self, buffer: Buffer, rank: Rank, tag: int) -> None:
        request = self._comm.Isend([buffer, MPI.BYTE], rank, tag)
        if not request.Test():
            self._sends.append((request, buffer))

    def _forget_sent(self) -> None:
        """Let go of the buffers that are sent."""
        self._sends = deque(entry for entry in self._sends if not entry[0].Test())

    def _pieces(self, frame: memoryview) -> Iterator[memoryview]:
        for start in range(0, frame.nbytes, self._limit):
            yield frame[start : start + self._limit]

    def _begin(self, source: Rank, size: int) -> _Incoming:
        """Receive a header, and begin to receive its frames."""
        buffer = bytearray(size)
        self._comm.Recv([buffer, MPI.BYTE], source, self._header)
        (count,) = struct.unpack_from("<I", buffer)
        if not count:
            return _Incoming(Packet(memoryview(buffer)[len(_NO_FRAMES) :], ()), [])
        sizes = struct.unpack_from(f"<{count}Q", buffer, 4)
        frames = [memoryview(cast("Buffer", MPI.memory.allocate(nbytes))) for nbytes in sizes]
        pieces = (piece for frame in frames for piece in self._pieces(frame))
        requests = [self._comm.Irecv([piece, MPI.BYTE], source, self._bulk) for piece in pieces]
        return _Incoming(Packet(memoryview(buffer)[4 + 8 * count :], frames), requests)

    def _whole(self) -> Arrival | None:
        """The first packet of any source that has become whole; a source's packets stay in order."""
        for source, queue in self._incoming.items():
            if queue[0].is_whole():
                incoming = queue.popleft()
                if not queue:
                    del self._incoming[source]
                return Arrival(source, incoming.packet)
        return None


def on_world(sources: Collection[Rank]) -> MpiTransport:
    """This rank's end of COMM_WORLD, where the messages of the user are too: this starts no collective.

    Args:
        sources: From whom to receive; the owner may change it between two looks.
    """
    # Programs count their tags from 0; at the very end, other libraries may have had the same idea.
    highest = cast("int", MPI.COMM_WORLD.Get_attr(MPI.TAG_UB)) - 7100
    return MpiTransport(MPI.COMM_WORLD, tags=(highest - 1, highest), sources=sources)
