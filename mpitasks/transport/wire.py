"""How values and messages become bytes, and values again.

::

    value ──encode──► Payload: data, or (data, buffers) ──┐
                                                          ├─ pack ──► Packet(header, frames) ──► transport
    message: a tuple that holds payloads ─────────────────┘

Pickle protocol 5 with out-of-band buffers: what is large is never copied into a pickle. A buffer below `INLINE` bytes
stays in the pickle, since a message of its own costs more than the copy; a larger one becomes a frame of its own.

A future inside an argument travels as a place (`claim`), which the slave fills with the value when it decodes: the bytes
of one call's result go on to the next call as they are, and are never unpickled on the master.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

from ..backports import Buffer, override

SMALL = 32
"""Bytes for which a value counts that is a number, or holds some."""
INLINE = 64 * 1024
"""Bytes from which a buffer travels as a message of its own; a 64 KB copy costs about as much as a message."""


NUMBERS = frozenset({int, float, bool, type(None)})
"""Types, exactly, of which a value needs no pickle of its own: to read it in the message's runs no code of the user."""
SCALARS = NUMBERS | {str, bytes}
"""Types, exactly, whose pickles have no buffers and claim no places: spare them what finds that out."""


class _Threads(threading.local):
    """What this thread encodes or decodes just now."""

    claims: list[Any] | None = None
    noted: list[Any] | None = None
    values: Sequence[Any] = ()


_threads = _Threads()


Payload = bytes | tuple[Buffer, Sequence[Buffer]] | tuple[Any]
"""One encoded value: a pickle, or a pickle and the buffers it left out; or the value itself, if it is of `NUMBERS` alone.
Most values leave out no buffers, and a million of them that wait had better be no tuples."""


ENCODED = (bytes, tuple)
"""Of what type a payload is."""


class Reference(bytes):
    """An encoded value that the receiver knows by a number: unpickled, it is found there.

    Whoever holds this keeps `owner` alive, and with that the value. Sent, it owns nothing.
    """

    number: int
    owner: object

    def __new__(cls, pickled: bytes, number: int, owner: object = None) -> Self:
        """Pickled so that it unpickles as the value of that number."""
        made = super().__new__(cls, pickled)
        made.number, made.owner = number, owner
        return made

    @override
    def __reduce__(self) -> tuple[type[Reference], tuple[bytes, int]]:
        return Reference, (bytes(self), self.number)

    @override
    def __repr__(self) -> str:
        return f"<Broadcast {self.number}>"


class Packet(NamedTuple):
    """One message as the transport carries it."""

    header: Buffer
    frames: Sequence[Buffer]


def size_of(payload: Payload) -> int:
    """Bytes in all."""
    if isinstance(payload, bytes):
        return len(payload)
    if len(payload) == 1:
        return SMALL
    data, buffers = payload
    return sum(memoryview(buffer).nbytes for buffer in (data, *buffers))


def buffers_of(payload: Payload) -> Sequence[Buffer]:
    """What the pickle left out."""
    return () if isinstance(payload, bytes) or len(payload) == 1 else payload[1]


def pickled(payload: Payload) -> bytes | tuple[Buffer, Sequence[Buffer]]:
    """The same, where a value itself can't stand."""
    return payload if isinstance(payload, bytes) or len(payload) == 2 else pickle.dumps(payload[0], 5)  # noqa: PLR2004  see `Payload`


def encode(value: object) -> Payload:
    """Pickle a value; buffers of `INLINE` bytes and more are left out and not copied.

    Raises:
        Exception: Whatever the value's own pickling raises.
    """
    if type(value) in SCALARS:
        return pickle.dumps(value, 5)
    # Nearly every value has no buffers, or large ones only: find out by the cheapest callback there is.
    left_out: list[Any] = []
    data = pickle.dumps(value, 5, buffer_callback=left_out.append)
    if not left_out:
        return data
    buffers = [buffer.raw() for buffer in left_out]
    if min(buffer.nbytes for buffer in buffers) >= INLINE:
        return data, buffers
    return _encode_in_part(value)


def _encode_in_part(value: object) -> Payload:
    """As `encode`, where the small buffers are to stay in the pickle."""
    buffers: list[Buffer] = []

    def stays(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < INLINE:
            return True
        buffers.append(raw)
        return False

    if _threads.claims:
        _threads.claims.clear()  # they are claimed again
    data = pickle.dumps(value, 5, buffer_callback=stays)
    return (data, buffers) if buffers else data


def decode(payload: Payload) -> Any:  # noqa: ANN401  whatever was encoded
    """The value again.

    Raises:
        Exception: Whatever the value's own unpickling raises.
    """
    if isinstance(payload, bytes):
        return pickle.loads(payload)  # noqa: S301  it comes from a rank of this job
    if len(payload) == 1:
        return payload[0]
    data, buffers = payload
    return pickle.loads(data, buffers=buffers)  # noqa: S301  as above


def snapshot(payload: Payload) -> Payload:
    """The payload with every writable buffer copied: what happens to the originals from now on does not matter."""
    if isinstance(payload, bytes) or len(payload) == 1:
        return payload
    data, buffers = payload
    return data, [buffer if memoryview(buffer).readonly else bytearray(buffer) for buffer in buffers]


def pack(message: object) -> Packet:
    """A message as bytes. Payloads in it must be `sendable`."""
    frames: list[Any] = []
    data = pickle.dumps(message, 5, buffer_callback=frames.append)
    return tuple.__new__(Packet, (data, frames))  # half the time of `Packet(...)`


def sendable(payload: Payload) -> Payload:
    """A payload as part of a message: what is large in it will travel by itself."""
    if isinstance(payload, bytes):
        return payload if len(payload) < INLINE else (pickle.PickleBuffer(payload), ())
    if len(payload) == 1:
        return payload
    data, buffers = payload
    if not isinstance(data, bytes) or len(data) >= INLINE:
        data = pickle.PickleBuffer(data)
    return data, [pickle.PickleBuffer(buffer) for buffer in buffers]


def unpack(packet: Packet) -> Any:  # noqa: ANN401  the receiver knows the shape
    """The message again."""
    return pickle.loads(packet.header, buffers=packet.frames)  # noqa: S301  it comes from a rank of this job


# ---------------------------------------------------------------- places for futures


def encode_arguments(value: object) -> tuple[Payload, list[Any]]:
    """Encode the arguments of a call; also gives what `claim` and `need` were told, place by place.

    Raises:
        Exception: Whatever the value's own pickling raises.
    """
    claims: list[Any] = []
    outer, _threads.claims = _threads.claims, claims
    try:
        return encode(value), claims
    finally:
        _threads.claims = outer


def claim(owner: object) -> tuple[Callable[..., Any], tuple[int]]:
    """For `__reduce__`: leave a place for the value of `owner`.

    Raises:
        TypeError: Nobody fills places here: this is not the argument of a call.
    """
    if _threads.claims is None:
        msg = f"{owner!r} can only be pickled as an argument of a call: a future belongs to its run"
        raise TypeError(msg)
    _threads.claims.append(owner)
    return _fill, (len(_threads.claims) - 1,)


def need(reference: Reference) -> None:
    """For `__reduce__`: what is encoded here holds this, and can be decoded only where that is known.

    Raises:
        TypeError: Nobody sees to that here: this is neither the argument of a call nor a function that travels.
    """
    noted = _threads.noted if _threads.claims is None else _threads.claims
    if noted is None:
        msg = "a broadcast can only be pickled as an argument of a call"
        raise TypeError(msg)
    noted.append(reference)


@contextmanager
def noting(needed: list[Any]) -> Iterator[None]:
    """Within, what is encoded in this thread may `need` references, which go into this list."""
    outer, _threads.noted = _threads.noted, needed
    try:
        yield
    finally:
        _threads.noted = outer


def decode_filled(payload: Payload, values: Sequence[Any]) -> Any:  # noqa: ANN401  whatever was encoded
    """Decode, with the places filled with these values.

    Raises:
        Exception: Whatever the value's own unpickling raises.
    """
    outer, _threads.values = _threads.values, values
    try:
        return decode(payload)
    finally:
        _threads.values = outer


def _fill(place: int) -> Any:  # noqa: ANN401  whatever the future's value is
    return _threads.values[place]


def itself(value: Any) -> Any:  # noqa: ANN401  for `__reduce__`: what is unpickled is this value
    """The value, for a `__reduce__` that stands for something else."""
    return value
