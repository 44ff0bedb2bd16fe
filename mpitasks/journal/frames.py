"""A journal's file: frames that are whole, or not there.

::

    file   MAGIC  salt  crc │ frame │ frame │ ... │ torn tail, which the next writer cuts off
    frame  MARKER  length  crc of the payload  crc of this head │ payload

The crc of a head covers the salt of the file and the place of the frame too: a journal that somebody's call has returned,
and that so lies inside a payload, is never taken for frames of the file around it. What is damaged in the midst of the file
is skipped, up to the next head that is whole; nothing behind it is lost.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..backports import Buffer
from ..errors import JournalError

MAGIC = b"mpitasks journal 1\n"
MARKER = b"\xf5jf\n"
"""No UTF-8 text holds its first byte."""
_SALT = 8
_CRC = struct.Struct("<I")
_HEAD = struct.Struct("<4sQII")
_PLACE = struct.Struct("<QQI")
BEGIN = len(MAGIC) + _SALT + _CRC.size
"""Where the first frame stands."""
_LOOK = 1 << 20
"""Bytes read at once where the next head is looked for."""
_JOINED = 1 << 16
"""Bytes of a frame up to which it is written as one: copying them costs less than another system call."""


class Place(NamedTuple):
    """Where a frame stands in the file."""

    offset: int
    size: int
    """Bytes of its payload."""


class Frame(NamedTuple):
    """A frame that is whole."""

    place: Place
    payload: bytes


class Damage(NamedTuple):
    """Bytes of the file that are no frame."""

    begin: int
    end: int


class FrameFile:
    """Frames in an open file."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._fd = descriptor
        self._name = name
        self._salt = 0
        self.end = 0
        """Where the next frame goes."""

    def begin(self) -> None:
        """Make the file a journal, or see that it is one.

        Raises:
            JournalError: It holds something else.
            OSError: It can't be read or written.
        """
        head = os.pread(self._fd, BEGIN, 0)
        if len(head) < BEGIN and MAGIC.startswith(head[: len(MAGIC)]):  # new, or its writer died in the next line
            salted = MAGIC + os.urandom(_SALT)
            head = salted + _CRC.pack(zlib.crc32(salted))
            self._write(head, 0)
        self._check(head)
        self.end = BEGIN

    def read_head(self) -> None:
        """See that the file is a journal.

        Raises:
            JournalError: It is none.
        """
        self._check(os.pread(self._fd, BEGIN, 0))

    def _check(self, head: bytes) -> None:
        if not head.startswith(MAGIC):
            msg = f"{self._name!r} is no journal of mpitasks, or of another version, and is left as it is; name another file"
            raise JournalError(msg)
        salted, crc = head[: -_CRC.size], head[-_CRC.size :]
        if len(head) < BEGIN or _CRC.pack(zlib.crc32(salted)) != crc:
            msg = (
                f"the first {BEGIN} bytes of journal {self._name!r} are damaged, so nothing in it can be trusted; "
                f"name another file"
            )
            raise JournalError(msg)
        self._salt = zlib.crc32(salted)

    # ------------------------------------------------------------ reading

    def scan(self) -> Iterator[Frame | Damage]:
        """What stands in the file, from its begin to its end."""
        size = os.fstat(self._fd).st_size
        offset = BEGIN
        while offset < size:
            place = self._head_at(offset)
            if place is None or offset + _HEAD.size + place.size > size:
                after = self._next_head(offset + 1, size)
            else:
                after = self.end_of(place)
                payload = self.read(place)
                if payload is not None:
                    yield Frame(place, payload)
                    offset = after
                    continue
            yield Damage(offset, after)
            offset = after

    @staticmethod
    def end_of(place: Place) -> int:
        """Where the next frame stands."""
        return place.offset + _HEAD.size + place.size

    def cut(self, end: int) -> None:
        """Let the file end here: what follows was never whole."""
        if os.fstat(self._fd).st_size > end:
            os.ftruncate(self._fd, end)
        self.end = end

    def read(self, place: Place) -> bytes | None:
        """The payload of a frame; None if it is damaged."""
        head = os.pread(self._fd, _HEAD.size, place.offset)
        payload = _read(self._fd, place.size, place.offset + _HEAD.size)
        if len(head) < _HEAD.size or len(payload) < place.size:
            return None
        return payload if zlib.crc32(payload) == _HEAD.unpack(head)[2] else None

    def _head_at(self, offset: int) -> Place | None:
        """The frame whose head stands here, if one does."""
        head = os.pread(self._fd, _HEAD.size, offset)
        if len(head) < _HEAD.size or not head.startswith(MARKER):
            return None
        _, size, crc, own = _HEAD.unpack(head)
        return Place(offset, size) if own == self._crc_of_head(offset, size, crc) else None

    def _next_head(self, offset: int, size: int) -> int:
        """Where the next whole head stands; the end of the file if there is none."""
        while offset < size:
            chunk = os.pread(self._fd, _LOOK, offset)
            at = chunk.find(MARKER)
            while at >= 0:
                if self._head_at(offset + at) is not None:
                    return offset + at
                at = chunk.find(MARKER, at + 1)
            offset += max(1, len(chunk) - len(MARKER) + 1)
        return size

    def _crc_of_head(self, offset: int, size: int, crc: int) -> int:
        return zlib.crc32(_PLACE.pack(offset, size, crc), self._salt)

    # ------------------------------------------------------------ writing

    def append(self, payloads: Sequence[Sequence[Buffer]]) -> list[Place]:
        """Add frames at the end: all of them, or none.

        Args:
            payloads: Of each frame, the parts of its payload.

        Raises:
            OSError: They can't be written, such as on a full disk; the file is as before.
        """
        places: list[Place] = []
        parts: list[Buffer] = []
        offset = self.end
        for payload in payloads:
            head = self._head(offset, payload)
            parts += [head.data, *payload]
            places.append(Place(offset, head.size))
            offset += _HEAD.size + head.size
        try:
            self._write_all(parts, self.end)
        except OSError:
            os.ftruncate(self._fd, self.end)
            raise
        self.end = offset
        return places

    def _head(self, offset: int, payload: Sequence[Buffer]) -> _Head:
        size = crc = 0
        for part in payload:
            size += memoryview(part).nbytes
            crc = zlib.crc32(part, crc)
        return _Head(_HEAD.pack(MARKER, size, crc, self._crc_of_head(offset, size, crc)), size)

    def _write_all(self, parts: Sequence[Buffer], offset: int) -> None:
        """Write the parts one after the other: small neighbours together."""
        small = bytearray()
        for part in parts:
            if memoryview(part).nbytes < _JOINED:
                small += part
                continue
            offset = self._write(part, self._write(small, offset))
            small.clear()
        self._write(small, offset)

    def _write(self, data: Buffer, offset: int) -> int:
        """Write it all; returns where it ends."""
        left = memoryview(data).cast("B")
        while left.nbytes:
            written = os.pwrite(self._fd, left, offset)
            left, offset = left[written:], offset + written
        return offset

    def sync(self) -> None:
        """Have the disk keep what was written, also if the power goes."""
        (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(self._fd)  # macOS has no fdatasync


class _Head(NamedTuple):
    """The head of a frame to be written."""

    data: bytes
    size: int


def _read(descriptor: int, size: int, offset: int) -> bytes:
    """So many bytes from there, or what there is: one read gives 2 GiB at most."""
    parts: list[bytes] = []
    while size and (part := os.pread(descriptor, size, offset)):
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
