"""What both sides see in the midst of a call.

A page of memory that both see: no message could be read there.
"""

from __future__ import annotations

import mmap
import os
import struct
from time import monotonic

from . import memory

_SIZE = 4096
_STOP, _HEARD, _TAKEN, _BEGAN = 0, 1, 8, 16
_NUMBER, _TIME = struct.Struct("Q"), struct.Struct("d")


class Page:
    """What both sides write and read; each field has one writer."""

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = memory.new(_SIZE) if descriptor is None else descriptor
        self._memory = mmap.mmap(self.descriptor, _SIZE)

    def close_descriptor(self) -> None:
        """The memory stays."""
        os.close(self.descriptor)

    # By the slave.

    def tell_stop(self, *, wanted: bool) -> None:
        """Let the call know whether its result is wanted."""
        self._memory[_STOP] = not wanted

    def was_heard(self) -> bool:
        """Whether the call has asked, and knows that it should stop."""
        return bool(self._memory[_HEARD])

    def taken(self) -> int:
        """The number of the call that the child has taken last."""
        number: int = _NUMBER.unpack_from(self._memory, _TAKEN)[0]
        return number

    def began(self) -> float | None:
        """When its function began, on the clock of `monotonic`; None: not yet."""
        at: float = _TIME.unpack_from(self._memory, _BEGAN)[0]
        return at or None

    # By the child.

    def is_stopped(self) -> bool:
        """Whether nobody wants the result of the call."""
        stopped = bool(self._memory[_STOP])
        if stopped:
            self._memory[_HEARD] = True
        return stopped

    def take(self, number: int) -> None:
        """This call is about to begin."""
        _TIME.pack_into(self._memory, _BEGAN, 0.0)
        self._memory[_HEARD] = False
        _NUMBER.pack_into(self._memory, _TAKEN, number)

    def begin(self) -> None:
        """Its function begins now, what it needs is acquired."""
        _TIME.pack_into(self._memory, _BEGAN, monotonic())  # one clock for all processes of a host
