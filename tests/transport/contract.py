"""What every transport must do, written once; the tests run it in one process and under mpiexec.

Each check is a function of one rank's transport and is run by all ranks at once, as threads or as processes. Rank 0 and
rank 1 play with each other; nothing here waits without an end.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mpitasks.ids import Rank
from mpitasks.transport.wire import Packet

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpitasks.transport.base import Arrival, Transport

PATIENCE = 20.0
"""Seconds after which something counts as lost."""


def next_packet(transport: Transport) -> Arrival:
    """The next packet, waited for."""
    end = time.monotonic() + PATIENCE
    while (arrival := transport.receive()) is None:
        assert time.monotonic() < end, "a packet was lost"
        time.sleep(0)
    return arrival


def finish_sending(transport: Transport) -> None:
    """Return when nothing is under way any more; nothing may arrive meanwhile."""
    end = time.monotonic() + PATIENCE
    while transport.sending:
        assert time.monotonic() < end, "a send did not end"
        time.sleep(0)


def other(transport: Transport) -> Rank:
    """The rank with which this one plays."""
    return Rank(1 - transport.rank)


def frames_of(arrival: Arrival) -> list[bytes]:
    """The frames as plain bytes."""
    return [bytes(frame) for frame in arrival.packet.frames]


def size_and_ranks(transport: Transport) -> None:
    """Each knows the world, and hears from whom a packet comes."""
    assert transport.size == 2
    transport.send(other(transport), Packet(b"%d" % transport.rank, []))
    arrival = next_packet(transport)
    assert (arrival.source, arrival.packet.header) == (other(transport), b"%d" % other(transport))


def nothing_arrives_when_nothing_is_sent(transport: Transport) -> None:
    """`receive` never blocks, and `sending` is false."""
    assert [transport.receive(), transport.receive(), transport.sending] == [None, None, False]


def order_is_kept(transport: Transport) -> None:
    """Packets of one pair arrive in the order in which they were sent, be they empty, small, large or of many frames."""
    sizes = [(), (0,), (1, 0, 3), (100_000,), (), (70_000, 1), (2,), (5_000_000,), (), (1,) * 50, ()]
    for number, frames in enumerate(sizes):
        transport.send(other(transport), Packet(b"%d" % number, [bytes([number]) * size for size in frames]))
    for number, frames in enumerate(sizes):
        arrival = next_packet(transport)
        assert (arrival.packet.header, [bytes([number]) * size for size in frames]) == (b"%d" % number, frames_of(arrival))
    finish_sending(transport)


def many_small_ones(transport: Transport) -> None:
    """A flood both ways, with nobody receiving at first: nothing is lost, nobody blocks."""
    for number in range(3000):
        transport.send(other(transport), Packet(b"%d" % number, []))
    assert [next_packet(transport).packet.header for _ in range(3000)] == [b"%d" % number for number in range(3000)]
    finish_sending(transport)


def every_size_both_ways_at_once(transport: Transport) -> None:
    """From 1 B to 64 MB: where sends block, both sides wait for each other for ever."""
    for size in (1, 100, 10_000, 100_000, 1 << 20, 16 << 20, 64 << 20):
        frame = bytes([transport.rank + 1]) * size
        for _ in range(2):
            transport.send(other(transport), Packet(b"", [frame]))
        for _ in range(2):
            (received,) = next_packet(transport).packet.frames
            view = memoryview(received).cast("B")
            assert (view.nbytes, view[0], view[-1]) == (size, other(transport) + 1, other(transport) + 1)
        finish_sending(transport)


def a_large_header(transport: Transport) -> None:
    """The header may be large itself."""
    transport.send(other(transport), Packet(b"h" * 3_000_000, [b"f"]))
    arrival = next_packet(transport)
    assert (len(arrival.packet.header), frames_of(arrival)) == (3_000_000, [b"f"])
    finish_sending(transport)


def frames_are_copies(transport: Transport) -> None:
    """What is received is the receiver's own: when nothing is sending any more, the sender may write to its memory."""
    mine = bytearray(b"a" * 100_000)
    transport.send(other(transport), Packet(b"", [memoryview(mine)]))
    arrival = next_packet(transport)
    finish_sending(transport)
    mine[:] = b"b" * len(mine)
    transport.send(other(transport), Packet(b"changed", []))
    assert next_packet(transport).packet.header == b"changed"
    received = memoryview(arrival.packet.frames[0]).cast("B")
    assert (bytes(received[:3]), received.readonly) == (b"aaa", False)
    finish_sending(transport)


def frames_of_any_buffer(transport: Transport) -> None:
    """Whatever gives contiguous memory: of bytes, of doubles, in two dimensions."""
    import numpy as np  # noqa: PLC0415  only here

    table = np.arange(12.0).reshape(3, 4)
    transport.send(other(transport), Packet(b"", [table.data, b"bytes", bytearray(b"array")]))
    frames = frames_of(next_packet(transport))
    assert (frames[0], frames[1:]) == (table.tobytes(), [b"bytes", b"array"])
    finish_sending(transport)


CONTRACT: dict[str, Callable[[Transport], None]] = {
    check.__name__: check
    for check in (
        size_and_ranks,
        nothing_arrives_when_nothing_is_sent,
        order_is_kept,
        many_small_ones,
        a_large_header,
        frames_are_copies,
        frames_of_any_buffer,
        every_size_both_ways_at_once,
    )
}
