"""Messages, shared memory and descriptors over one socket.

::

    prefix: bytes of the header, how many frames, whether the header is a frame too ── sizes of the frames ── header
    beside it, as SCM_RIGHTS: the descriptor of the memory that holds the frames, then those that the sender hands over

What goes through the socket itself is always less than its buffer holds, so a send to somebody who reads never waits long.
"""

from __future__ import annotations

import os
import pickle
import socket
import struct
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from ..backports import Buffer
from ..transport import wire
from ..transport.wire import Packet
from . import memory

_PREFIX = struct.Struct("!QI?I")
"""Bytes of the header in the socket, frames, whether the first frame is the header, descriptors handed over."""
_AT_ONCE = 1 << 16
_MOST_DESCRIPTORS = 8
_CLOSED_IN_PROGRAMS = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
"""What a task starts must not keep a line open that its process leaves."""


class Line:
    """One end of a connection between two processes of a user on a host."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._read = bytearray()
        self._descriptors: deque[int] = deque()
        self._sending = threading.Lock()

    def fileno(self) -> int:
        """For `poll`."""
        return self._socket.fileno()

    def close(self) -> None:
        """The other end reads an end of file, once nobody else has this one."""
        self._socket.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def send(self, message: object, hand_over: Sequence[int] = ()) -> None:
        """Send a message, and descriptors of this process, which stay its own.

        Raises:
            OSError: The other end is closed, or there is no memory for what is large.
        """
        header, frames = wire.pack(message)
        self.send_packet(Packet(header, frames), hand_over)

    def send_packet(self, packet: Packet, hand_over: Sequence[int] = ()) -> None:
        """Send what `wire.pack` has made of a message.

        Raises:
            OSError: As `send`.
        """
        header, frames = memoryview(packet.header), [memoryview(frame) for frame in packet.frames]
        is_large = header.nbytes > wire.INLINE
        if is_large:
            frames, header = [header, *frames], memoryview(b"")
        prefix = _PREFIX.pack(header.nbytes, len(frames), is_large, len(hand_over))
        sizes = struct.pack(f"!{len(frames)}Q", *(frame.nbytes for frame in frames))
        bulk = memory.put(frames) if frames else None
        try:
            self._send_all(b"".join((prefix, sizes, header)), [*hand_over] if bulk is None else [bulk, *hand_over])
        finally:
            if bulk is not None:
                os.close(bulk)

    def _send_all(self, data: bytes, descriptors: Sequence[int]) -> None:
        with self._sending:  # a thread of the task may log meanwhile
            if descriptors:
                sent = socket.send_fds(self._socket, [data], descriptors)
                data = data[sent:]
            self._socket.sendall(data)

    def take_in(self) -> None:
        """Read what has arrived; waits if nothing has.

        Raises:
            EOFError: The other end is closed.
            OSError: As much as that.
        """
        data, descriptors, _, _ = socket.recv_fds(self._socket, _AT_ONCE, _MOST_DESCRIPTORS, _CLOSED_IN_PROGRAMS)
        if not data:
            raise EOFError
        self._descriptors.extend(descriptors)
        self._read += data

    def next(self) -> tuple[Any, ...] | None:
        """The next message that has arrived whole. Descriptors that came with it are in its place: see `handed_over`."""
        read = self._read
        if len(read) < _PREFIX.size:
            return None
        length, count, is_large, handed = _PREFIX.unpack_from(read)
        start = _PREFIX.size + 8 * count
        if len(read) < start + length:
            return None
        sizes = struct.unpack_from(f"!{count}Q", read, _PREFIX.size)
        header: Buffer = bytes(read[start : start + length])
        del read[: start + length]
        frames: list[memoryview] = memory.take(self._descriptors.popleft(), sizes) if count else []
        if is_large:
            header = frames.pop(0)
        message: tuple[Any, ...] = pickle.loads(header, buffers=frames)  # noqa: S301  from a process of this slave
        return (*message, *(self._descriptors.popleft() for _ in range(handed))) if handed else message


def pair() -> tuple[Line, Line]:
    """The two ends of a new line."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Line(ours), Line(its)


def at(descriptor: int) -> Line:
    """The end of a line that was handed to this process."""
    return Line(socket.socket(fileno=descriptor))
