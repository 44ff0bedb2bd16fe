"""An encoded value in memory that the host's processes share.

::

    copy_of(payload) ──► Where: process, descriptor, secret ──message──► attach(where) ──► the same memory

The memory has no name: other processes of the user open the descriptor by /proc. So nothing is left behind, whatever kills
whom, and the size of /dev/shm is no limit. The secret at its beginning tells it from what another process of that number
has, on a host that only seems to be the same. Where there is no /proc, `attach` fails, and each process has its own.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from typing import NamedTuple

from ..backports import Buffer
from ..isolation import memory
from ..transport import wire


class Where(NamedTuple):
    """Where other processes of the host find it."""

    process: int
    descriptor: int
    secret: bytes
    sizes: Sequence[int]
    """Of all its parts: secret, pickle, buffers."""


class Copy:
    """An encoded value that can't be written to; `where` is None if this process alone has it."""

    def __init__(self, payload: wire.Payload, where: Where | None = None) -> None:
        self.payload = payload
        self.size = wire.size_of(payload)
        self.where = where
        if where is not None:  # mapped memory stays while arrays lie in it
            weakref.finalize(self, os.close, where.descriptor)


def copy_of(payload: wire.Payload) -> Copy:
    """A copy: what happens to the original from now on does not matter. What is large can be shared."""
    pickled = wire.pickled(payload)
    data, buffers = (pickled, ()) if isinstance(pickled, bytes) else pickled
    if wire.size_of(payload) < wire.INLINE:
        return Copy((bytes(data), [bytes(buffer) for buffer in buffers]) if buffers else bytes(data))
    secret = os.urandom(16)
    parts: list[Buffer] = [secret, data, *buffers]
    try:
        descriptor = memory.put(parts)
    except OSError:  # there is no memory of that kind, or a process may not have so many files open
        return Copy((bytes(data), [bytes(buffer) for buffer in buffers]))
    os.fchmod(descriptor, 0o600)
    return at(descriptor, secret, [memoryview(part).nbytes for part in parts])


def received(payload: wire.Payload) -> Copy:
    """What has come by the wire, and is for this process alone: a further copy would take as long as the wire."""
    pickled = wire.pickled(payload)
    if isinstance(pickled, bytes):
        return Copy(pickled)
    data, buffers = pickled
    return Copy((data if isinstance(data, bytes) else _frozen(data), [_frozen(buffer) for buffer in buffers]))


def _frozen(buffer: Buffer) -> memoryview:
    return memoryview(buffer).toreadonly()


def attach(where: Where) -> Copy:
    """What another process of this host has.

    Raises:
        OSError: It is not there, or can't be reached.
    """
    descriptor = os.open(f"/proc/{where.process}/fd/{where.descriptor}", os.O_RDONLY)
    return at(descriptor, where.secret, where.sizes)


def at(descriptor: int, secret: bytes, sizes: Sequence[int]) -> Copy:
    """What lies in the memory of this descriptor, which is closed with the copy.

    Raises:
        OSError: It is something else.
    """
    try:
        found, view, *buffers = memory.look(descriptor, sizes)
    except (OSError, ValueError):  # it is smaller
        found = view = memoryview(b"")
    if found == secret:
        data = view if view.nbytes >= wire.INLINE else bytes(view)  # a message of its own would cost more
        return Copy((data, buffers), Where(os.getpid(), descriptor, secret, tuple(sizes)))
    os.close(descriptor)
    msg = f"descriptor {descriptor} is of other memory than that of the broadcast"
    raise OSError(msg)
