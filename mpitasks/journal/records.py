"""What a frame holds: facts as JSON, values as bytes.

::

    payload   length of the facts │ sizes of the parts │ facts, as JSON │ parts of a value, as they came over the wire

Only a value is pickle; who lists a journal reads the facts alone, and runs nobody's code.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

from ..backports import Buffer
from ..transport import wire

_BEGIN = struct.Struct("<II")
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
"""Made once: `json.dumps` makes one at each call, which takes longer than the rest."""

START, DONE, COMPLETE, FAILED, INTERRUPTED = "start", "done", "complete", "failed", "interrupted"
"""Kinds: a run begins; a call has returned; a run has ended and so have all its calls; main raised; the time was over, or a
signal came."""


def packed(facts: dict[str, Any], value: wire.Payload = b"") -> list[Buffer]:
    """The payload of a frame, in parts."""
    pickled = wire.pickled(value)
    parts: Sequence[Buffer] = (pickled,) if isinstance(pickled, bytes) else (pickled[0], *pickled[1])
    text = _JSON.encode(facts).encode("utf-8", "backslashreplace")
    sizes = [memoryview(part).nbytes for part in parts]
    return [_BEGIN.pack(len(text), len(parts)) + struct.pack(f"<{len(sizes)}Q", *sizes) + text, *parts]


def facts_of(payload: bytes) -> dict[str, Any]:
    """What the frame says beside the value."""
    length, parts = _BEGIN.unpack_from(payload)
    begin = _BEGIN.size + 8 * parts
    facts: dict[str, Any] = json.loads(payload[begin : begin + length])
    return facts


def size_of(payload: bytes) -> int:
    """Bytes of the value."""
    _, parts = _BEGIN.unpack_from(payload)
    return sum(struct.unpack_from(f"<{parts}Q", payload, _BEGIN.size))


def value_of(payload: bytes) -> wire.Payload:
    """The value, as it came over the wire. Its buffers are writable, as those that come from a slave."""
    length, count = _BEGIN.unpack_from(payload)
    sizes = struct.unpack_from(f"<{count}Q", payload, _BEGIN.size)
    at = _BEGIN.size + 8 * count + length
    parts: list[bytes] = []
    for size in sizes:
        parts.append(payload[at : at + size])
        at += size
    return parts[0] if count == 1 else (parts[0], [bytearray(part) for part in parts[1:]])
