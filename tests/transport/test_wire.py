"""Values and messages as bytes, and back; places for futures."""

from __future__ import annotations

import pickle
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from mpitasks.transport import wire
from mpitasks.transport.wire import INLINE, Packet

SIZES = [0, 1, 1000, INLINE - 1, INLINE, INLINE + 1, 10 * INLINE]


def buffer_of(size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Bytes that pickle can leave out."""
    return np.full(size, 7, np.uint8)


# ---------------------------------------------------------------- encode, decode


@pytest.mark.parametrize("value", [None, 0, "text", [1, (2, {"a": {3}})], b"x" * INLINE, b"", float("inf")])
def test_a_value_comes_back(value: object) -> None:
    """Whatever pickle takes."""
    payload = wire.encode(value)
    assert wire.decode(payload) == value
    assert wire.size_of(payload) == len(pickle.dumps(value, 5))


@pytest.mark.parametrize("size", SIZES)
def test_what_is_large_stays_out_of_the_pickle(size: int) -> None:
    """From `INLINE` bytes on, a buffer is not copied; below, it stays, since a message costs more than a copy."""
    array = buffer_of(size)
    payload = wire.encode({"array": array})
    buffers = wire.buffers_of(payload)
    assert len(buffers) == (size >= INLINE)
    if buffers:
        assert np.shares_memory(np.frombuffer(buffers[0], np.uint8), array)
        assert len(payload[0]) < 1000
    assert size <= wire.size_of(payload) < size + 1000
    np.testing.assert_array_equal(wire.decode(payload)["array"], array)


def test_small_and_large_together() -> None:
    """Each goes its own way, and comes back to its own place."""
    value = [buffer_of(size) for size in SIZES]
    payload = wire.encode(value)
    assert [memoryview(buffer).nbytes for buffer in wire.buffers_of(payload)] == [size for size in SIZES if size >= INLINE]
    assert [len(array) for array in wire.decode(payload)] == SIZES


def test_what_pickling_raises_comes_out() -> None:
    """Nothing is wrapped here: whoever calls knows what it was encoding."""
    with pytest.raises(TypeError, match=r"cannot pickle '_thread\.lock' object"):
        wire.encode(threading.Lock())
    with pytest.raises(pickle.UnpicklingError):
        wire.decode(b"no pickle")


def test_a_number_needs_no_pickle_of_its_own() -> None:
    """It is a payload as it stands, has no buffers, costs no copy, and goes within a message."""
    payload = (5,)
    assert (wire.decode(payload), wire.size_of(payload), wire.buffers_of(payload)) == (5, wire.SMALL, ())
    assert wire.snapshot(payload) is wire.sendable(payload) is payload
    assert wire.unpack(wire.pack((1, payload))) == (1, payload)


@pytest.mark.parametrize("value", [None, 5, "text", buffer_of(10 * INLINE)])
def test_where_a_value_itself_can_not_stand_it_is_pickled(value: Any) -> None:
    """As in the file of a journal."""
    payload = (value,) if type(value) in wire.NUMBERS else wire.encode(value)
    pickled = wire.pickled(payload)
    assert isinstance(pickled, bytes) or len(pickled) == 2
    np.testing.assert_array_equal(wire.decode(pickled), value)


# ---------------------------------------------------------------- snapshot


def test_a_snapshot_copies_what_can_be_written_to() -> None:
    """And nothing else: read-only buffers are never copied."""
    writable, fixed = buffer_of(INLINE), buffer_of(INLINE)
    fixed.flags.writeable = False
    payload = wire.encode([writable, fixed])
    copied = wire.snapshot(payload)
    writable[:] = 1
    first, second = (np.frombuffer(buffer, np.uint8) for buffer in wire.buffers_of(copied))
    assert (first.max(), second.max()) == (7, 7)
    assert np.shares_memory(second, fixed)
    assert copied[0] is payload[0]


def test_a_snapshot_of_what_is_small_costs_nothing() -> None:
    """It is bytes already."""
    payload = wire.encode([1, 2])
    assert wire.snapshot(payload) is payload


# ---------------------------------------------------------------- messages


def over(message: object) -> Any:
    """The message after its way over a wire that copies."""
    packet = wire.pack(message)
    return wire.unpack(Packet(packet.header, [bytearray(frame) for frame in packet.frames]))


@pytest.mark.parametrize(
    "value", [None, "small", b"x" * (INLINE + 1), [buffer_of(3), buffer_of(INLINE)]], ids=["0", "1", "2", "3"]
)
def test_a_payload_goes_within_a_message(value: Any) -> None:
    """As bytes: who reads the message runs no code of the user."""
    kind, payload = over((1, wire.sendable(wire.encode(value))))
    assert kind == 1
    assert repr(wire.decode(payload)) == repr(value)


def test_what_is_large_has_frames_of_its_own() -> None:
    """A long pickle too; and nothing of it is copied into the message."""
    text, array = "x" * INLINE, buffer_of(INLINE)
    packet = wire.pack((1, wire.sendable(wire.encode([text, array]))))
    assert len(packet.frames) == 2
    assert len(packet.header) < 1000
    assert np.shares_memory(np.frombuffer(packet.frames[1], np.uint8), array)


def test_what_is_small_has_none() -> None:
    """One message a packet."""
    assert wire.pack((1, wire.sendable(wire.encode([buffer_of(100)])))).frames == []


def test_a_received_payload_can_be_sent_on() -> None:
    """As it came, be its data bytes or a buffer."""
    value = [b"x" * INLINE, buffer_of(INLINE)]
    once = over(wire.sendable(wire.encode(value)))
    twice = over(wire.sendable(once))
    assert repr(wire.decode(twice)) == repr(value)


# ---------------------------------------------------------------- places


@dataclass(eq=False)
class Owner:
    """Stands for a future."""

    name: str

    def __reduce__(self) -> Any:
        return wire.claim(self)

    def __repr__(self) -> str:
        return f"<{self.name}>"


def test_claims_are_filled_in_their_order() -> None:
    """Wherever they stand, and the same one only once."""
    one, two = Owner("one"), Owner("two")
    payload, claims = wire.encode_arguments(([one, {"a": two}], {"again": one}))
    assert claims == [one, two]
    assert wire.decode_filled(payload, ["first", "second"]) == (["first", {"a": "second"}], {"again": "first"})


def test_a_filled_value_is_one_object() -> None:
    """Two places for one owner hold the same."""
    one, value = Owner("one"), ["value"]
    payload, _ = wire.encode_arguments([one, one])
    first, second = wire.decode_filled(payload, [value])
    assert first is second is value


def test_claims_beside_buffers_are_counted_once() -> None:
    """A value with small and large buffers is pickled in two ways, and still each place is one place."""
    one, two = Owner("one"), Owner("two")
    payload, claims = wire.encode_arguments([one, buffer_of(10), two, buffer_of(INLINE)])
    assert claims == [one, two]
    filled = wire.decode_filled(payload, ["first", "second"])
    assert [filled[0], len(filled[1]), filled[2], len(filled[3])] == ["first", 10, "second", INLINE]


def test_there_are_no_places_elsewhere() -> None:
    """Only the arguments of a call have places: before, after, and after a failure."""

    def refused() -> None:
        with pytest.raises(TypeError, match=r"<one> can only be pickled as an argument of a call: a future belongs to its run"):
            pickle.dumps(Owner("one"))

    refused()
    wire.encode_arguments([Owner("two")])
    refused()
    with pytest.raises(TypeError, match="cannot pickle"):
        wire.encode_arguments([Owner("two"), threading.Lock()])
    refused()


class Nested:
    """Encodes arguments of another call while it is pickled itself, as a task argument with a clever hook might."""

    def __reduce__(self) -> Any:
        payload, claims = wire.encode_arguments(Owner("inner"))
        assert [str(one) for one in claims] == ["<inner>"]
        return wire.decode_filled, (payload, ["inner value"])


def test_places_nest() -> None:
    """Neither side mixes up its places with the other's."""
    one, two = Owner("one"), Owner("two")
    payload, claims = wire.encode_arguments([one, Nested(), two])
    assert claims == [one, two]
    assert wire.decode_filled(payload, [1, 2]) == [1, "inner value", 2]


def test_places_belong_to_a_thread() -> None:
    """Two threads encode at the same time."""
    met = threading.Barrier(2, timeout=10)

    class Slow(Owner):
        def __reduce__(self) -> Any:
            met.wait()
            claimed = wire.claim(self)
            met.wait()
            return claimed

    found: list[list[Any]] = []

    def encode(name: str) -> None:
        found.append(wire.encode_arguments(Slow(name))[1])

    threads = [threading.Thread(target=encode, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(str(claims) for claims in found) == ["[<a>]", "[<b>]"]


def test_itself_is_itself() -> None:
    """What stands for a value that is there already."""
    value = object()
    assert wire.itself(value) is value
