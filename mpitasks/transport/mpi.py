"""Ranks of an MPI job; the only file that knows mpi4py.

::

    packet ──► HEADER: count | size of each frame | header      one message
           └─► BULK:   frame 1, frame 2, ...                    one message a frame, several above `limit` bytes

The header tells the receiver what follows, so that every frame is received where it will stay. MPI keeps the order of
messages with one source and tag, so frames need no names.

Only Isend, Iprobe, Recv of what Iprobe has seen, Irecv and Test: nothing blocks, since both MPICH and Open MPI burn a core
in a blocking call; and no matched probes, which fail on several fabrics.

Where ranks can die and others go on, an error of MPI is about another rank: see `Survivors`. What was under way from or to
a dead rank is let go, but its memory stays: MPI may still write to it.

A communicator of our own needs a collective to be made. Where there can be none, `on_world` shares the user's: with tags
that nobody else uses, and looks at certain sources only.
"""

from __future__ import annotations

import ctypes
import struct
from collections import deque
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple, cast

from mpi4py import MPI

from ..backports import Buffer
from ..ids import Rank
from .base import Arrival, Death
from .wire import Packet

HEADER, BULK = 1, 2
MOST_BYTES = 1 << 30
"""In one MPI message: counts are 32-bit in many MPIs."""


_MPI_FT = 12
"""The key of an attribute that mpi4py does not know, in Open MPI's `mpi.h`."""
_NO_FRAMES = struct.pack("<I", 0)
_NO_PACKET = Packet(b"", ())


class _Incoming:
    """A packet that is on its way: its header, or the frames that this has announced."""

    __slots__ = ("buffer", "is_announced", "packet", "requests")

    def __init__(self, buffer: bytearray, requests: list[MPI.Request]) -> None:
        self.buffer = buffer
        """The header."""
        self.requests = requests
        self.is_announced = False
        """Whether the header is here, and `requests` are of the frames."""
        self.packet = _NO_PACKET

    def has_come(self) -> bool:
        """Whether all that is asked for so far is here."""
        return not self.requests or MPI.Request.Testall(self.requests)


class _Sending(NamedTuple):
    """A message that is on its way."""

    request: MPI.Request
    buffer: Buffer
    rank: Rank


class Survivors:
    """What to make of errors of MPI, in a job whose ranks can die.

    Open MPI's ULFM says which ranks have failed. Elsewhere errors are vague, and so is the word of ULFM on how a rank has
    ended: where each rank has a guard, that has the last word, and an error is a suspicion for it to look into.

    Args:
        comm: The communicator.
        suspect: Has the guard of a rank end it, if it lives; None: there are no guards.
    """

    def __init__(self, comm: MPI.Comm, suspect: Callable[[Rank, str], None] | None) -> None:
        self.failed: set[Rank] = set()
        """Ranks that MPI has called dead."""
        self._comm = comm
        self._suspect = suspect
        self._has_ulfm = has_ulfm()

    def explain(self, error: MPI.Exception, rank: Rank | None) -> list[Death]:
        """Something went wrong with that rank, or with nobody knows which: the ranks that are dead by it.

        Raises:
            MPI.Exception: It tells of no death.
        """
        if rank is not None and self._suspect is not None:
            self._suspect(rank, f"MPI has failed with it: {error}")
        new = self._learn() if self._has_ulfm else []
        if rank is not None and rank not in self.failed and _tells_of_death(error):
            self.failed.add(rank)
            new.append(rank)
        if self._suspect is not None:
            return []
        if not (self._has_ulfm and _tells_of_death(error)):
            raise error
        return [Death(one, "MPI calls it failed") for one in new]

    def _learn(self) -> list[Rank]:
        """Ask which ranks have failed, so that MPI does not complain of these again."""
        group, everybody = self._comm.Get_failed(), self._comm.Get_group()
        ranks = [Rank(rank) for rank in group.Translate_ranks(list(range(group.Get_size())), everybody)]
        self._comm.Ack_failed(len(ranks))
        new = [rank for rank in ranks if rank not in self.failed]
        self.failed.update(new)
        return new


def has_ulfm() -> bool:
    """Whether this is Open MPI, started with `--with-ft ulfm`."""
    if "Open MPI" not in MPI.Get_library_version():
        return False
    # mpi4py offers the functions everywhere, as if nobody had failed; only the attribute MPI_FT tells whether they work.
    address = MPI.COMM_WORLD.Get_attr(_MPI_FT)
    return isinstance(address, int) and ctypes.c_int.from_address(address).value == 1


def _tells_of_death(error: MPI.Exception) -> bool:
    return error.Get_error_class() in (MPI.ERR_PROC_FAILED, MPI.ERR_PROC_FAILED_PENDING)


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
        self._sends: deque[_Sending] = deque()
        self._incoming: dict[Rank, deque[_Incoming]] = {}
        self.deaths: deque[Death] = deque()
        self._survivors: Survivors | None = None
        """What to make of errors, where ranks can die; else an error ends the job."""
        self._dropped: set[Rank] = set()
        self._kept: list[object] = []
        """What was under way from or to ranks that are dropped."""

    def send(self, rank: Rank, packet: Packet) -> None:
        """Begin to send; `receive` completes it."""
        if rank in self._dropped:
            return
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
            source = cast("Rank", self._status.Get_source())
            incoming = self._begin(source, self._status.Get_count(MPI.BYTE))
            if incoming is None:
                continue
            if source not in self._incoming and (not incoming.requests or self._is_whole(source, incoming)):
                return tuple.__new__(Arrival, (source, incoming.packet))  # half the time of `Arrival(...)`
            if source not in self._dropped:
                self._incoming.setdefault(source, deque()).append(incoming)
        return None

    def drop(self, rank: Rank) -> None:
        """That rank is dead: forget what is under way from and to it."""
        self._dropped.add(rank)
        self._kept += self._incoming.pop(rank, ())
        self._kept += [entry for entry in self._sends if entry.rank == rank]
        self._sends = deque(entry for entry in self._sends if entry.rank != rank)

    def _has_header(self) -> bool:
        """Whether a header has arrived; `_status` says whose."""
        # Twice: on both MPIs, a look after a silence often only takes the message in, and the next one sees it.
        probe, tag, status = self._comm.Iprobe, self._header, self._status
        if self._sources is None:
            try:
                return probe(MPI.ANY_SOURCE, tag, status) or probe(MPI.ANY_SOURCE, tag, status)
            except MPI.Exception as error:
                self._failed(error, None)
                return False
        return any(probe(source, tag, status) for source in (*self._sources, *self._sources))

    def survive(self, suspect: Callable[[Rank, str], None] | None) -> None:
        """Other ranks may die from now on, if this job was started so.

        Args:
            suspect: Has the guard of a rank end it, if it lives; None: there are no guards.
        """
        if suspect is not None or has_ulfm():
            self._survivors = Survivors(self._comm, suspect)

    def has_failed(self, rank: Rank) -> bool:
        """Whether MPI has called that rank dead."""
        return self._survivors is not None and rank in self._survivors.failed

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

    def is_sending_to(self, rank: Rank) -> bool:
        """Whether a send to that rank is still under way."""
        return self.sending and any(entry.rank == rank for entry in self._sends)

    def _isend(self, buffer: Buffer, rank: Rank, tag: int) -> None:
        try:
            request = self._comm.Isend([buffer, MPI.BYTE], rank, tag)
            if not request.Test():
                self._sends.append(_Sending(request, buffer, rank))
        except MPI.Exception as error:
            self._kept.append(buffer)
            self._failed(error, rank)

    def _forget_sent(self) -> None:
        """Let go of the buffers that are sent."""
        self._sends = deque(entry for entry in self._sends if not self._is_sent(entry))

    def _is_sent(self, entry: _Sending) -> bool:
        try:
            return entry.request.Test()
        except MPI.Exception as error:
            self._kept.append(entry)
            self._failed(error, entry.rank)
            return True

    def _is_whole(self, source: Rank, incoming: _Incoming) -> bool:
        """Whether all of a packet is here, the oldest from there. If it never will be, nothing more is heard from there."""
        try:
            if incoming.has_come() and not incoming.is_announced:
                self._announce(source, incoming)  # in the order of the headers, since frames have no names
            return incoming.is_announced and incoming.has_come()
        except MPI.Exception as error:
            self._kept.append(incoming)
            self._failed(error, source)
            self.drop(source)
            return False

    def _failed(self, error: MPI.Exception, rank: Rank | None) -> None:
        """MPI has raised this, about that rank or about nobody knows which.

        Raises:
            MPI.Exception: No rank has died by it.
        """
        if self._survivors is None:
            raise error
        self.deaths.extend(self._survivors.explain(error, rank))

    def _pieces(self, frame: memoryview) -> Iterator[memoryview]:
        for start in range(0, frame.nbytes, self._limit):
            yield frame[start : start + self._limit]

    def _begin(self, source: Rank, size: int) -> _Incoming | None:
        """Receive a header, and begin to receive its frames; None if it is of a dead rank."""
        incoming = _Incoming(bytearray(size), [])
        if self._survivors is not None:
            return self._begin_warily(source, incoming)
        self._comm.Recv([incoming.buffer, MPI.BYTE], source, self._header)
        self._announce(source, incoming)
        return incoming

    def _begin_warily(self, source: Rank, incoming: _Incoming) -> _Incoming | None:
        """Begin to receive a header, where its sender may be dead by now.

        A blocking receive waited for ever: Open MPI tells of a message, and nobody is there to send the rest.
        """
        try:
            incoming.requests.append(self._comm.Irecv([incoming.buffer, MPI.BYTE], source, self._header))
        except MPI.Exception as error:
            self._kept.append(incoming)
            self._failed(error, source)
            self.drop(source)
            return None
        if source not in self._dropped:
            return incoming
        self._kept.append(incoming)
        return None

    def _announce(self, source: Rank, incoming: _Incoming) -> None:
        """A header is here: begin to receive what it announces."""
        incoming.is_announced = True
        buffer = incoming.buffer
        if buffer.startswith(_NO_FRAMES):
            incoming.packet = tuple.__new__(Packet, (memoryview(buffer)[len(_NO_FRAMES) :], ()))
            incoming.requests = []
            return
        (count,) = struct.unpack_from("<I", buffer)
        sizes = struct.unpack_from(f"<{count}Q", buffer, 4)
        frames = [memoryview(cast("Buffer", MPI.memory.allocate(nbytes))) for nbytes in sizes]
        pieces = (piece for frame in frames for piece in self._pieces(frame))
        incoming.packet = Packet(memoryview(buffer)[4 + 8 * count :], frames)
        incoming.requests = [self._comm.Irecv([piece, MPI.BYTE], source, self._bulk) for piece in pieces]

    def _whole(self) -> Arrival | None:
        """The first packet of any source that has become whole; a source's packets stay in order."""
        for source, queue in list(self._incoming.items()):
            if self._is_whole(source, queue[0]):
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
