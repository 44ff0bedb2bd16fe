"""Values as bytes that are the same in every run.

Pickles are not: equal sets and equal tuples of strings have several. Each type has its tag here, so that `1`, `1.0`, `True`
and `"1"` are four values, and every length is written, so that no two values run together to the same bytes.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import pathlib
import struct
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

from .. import registry
from ..digests import blake2b
from ..errors import NoIdentity

HOOK = "__mpitasks_id__"
"""The method by which a value says itself what tells it from others."""
CONTENT = "__mpitasks_content__"
"""The method of what stands for a value, and so is equal to it; it is given `canonical`."""
_LARGE = 4096
"""Bytes from which a value stands as its digest."""


def canonical(value: Any) -> bytes:  # noqa: ANN401  any argument of a call
    """The value as bytes, equal for equal values.

    Raises:
        NoIdentity: It holds something that can't be told from others in another run.
        Exception: What a method `__mpitasks_id__` raises.
    """
    encode = _BY_TYPE.get(type(value))
    if encode is None:
        encode = _for_type(value)
    return encode(value)


def _tagged(tag: str, *parts: bytes) -> bytes:
    """The parts, so that nothing else gives the same bytes."""
    whole = b"".join(
        [struct.pack("<BI", len(tag), len(parts)), tag.encode(), *(b"%d:%b" % (len(part), part) for part in parts)]
    )
    return whole if len(whole) < _LARGE else b"#" + blake2b(whole, digest_size=32).digest()


def _named(value: object) -> bytes:
    """A type's name."""
    kind = type(value)
    return f"{_module_of(kind)}.{kind.__qualname__}".encode()


def _module_of(thing: Any) -> str:  # noqa: ANN401  a function or class
    """Its module, by the same name whether that is run as the script or imported."""
    name = registry.default_name(thing)
    return name.removesuffix(f".{thing.__qualname__}")


def _sequence(tag: str) -> Callable[[Any], bytes]:
    return lambda value: _tagged(tag, *map(canonical, value))


def _sorted(tag: str) -> Callable[[Any], bytes]:
    return lambda value: _tagged(tag, *sorted(map(canonical, value)))


def _text(tag: str, text: Callable[[Any], str]) -> Callable[[Any], bytes]:
    return lambda value: _tagged(tag, text(value).encode("utf-8", "surrogatepass"))


def _items(value: dict[Any, Any]) -> bytes:
    """A dict's items: equal dicts may differ in their order."""
    return _tagged(
        "items", *(part for pair in sorted((canonical(key), canonical(item)) for key, item in value.items()) for part in pair)
    )


def _float(value: float) -> bytes:
    return _tagged("float", b"nan" if value != value else struct.pack("<d", value))  # noqa: PLR0124  only NaN differs from itself


def _complex(value: complex) -> bytes:
    return _tagged("complex", _float(value.real), _float(value.imag))


def _time(value: Any) -> bytes:  # noqa: ANN401  a datetime or time
    naive = repr(value.replace(tzinfo=None))
    return _tagged("time", naive.encode(), canonical(value.tzinfo))


def _default_dict(value: Any) -> bytes:  # noqa: ANN401  a defaultdict
    return _tagged("defaultdict", canonical(value.default_factory), _items(value))


def _partial(value: Any) -> bytes:  # noqa: ANN401  a functools.partial
    return _tagged("partial", canonical(value.func), canonical(value.args), _items(value.keywords))


def _importable(thing: Any) -> bytes:  # noqa: ANN401  a function or class
    """What can be found by its name, in every run."""
    module, qualname = sys.modules.get(getattr(thing, "__module__", None) or ""), getattr(thing, "__qualname__", "")
    found: Any = module
    for name in qualname.split("."):
        found = getattr(found, name, None)
    if thing not in (found, getattr(found, "fn", None)):  # a task stands where its function stood
        msg = f"{thing!r}, which can't be imported by its name"
        raise NoIdentity(msg)
    return _tagged("name", registry.default_name(thing).encode())


_BY_TYPE: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: _tagged("None"),
    type(...): lambda _: _tagged("..."),
    bool: lambda value: _tagged(str(value)),
    int: lambda value: _tagged("int", b"%x" % value),
    float: _float,
    complex: _complex,
    str: _text("str", str),
    bytes: lambda value: _tagged("bytes", value),
    bytearray: lambda value: _tagged("bytearray", bytes(value)),
    tuple: _sequence("tuple"),
    list: _sequence("list"),
    collections.deque: lambda value: _tagged("deque", canonical(value.maxlen), *map(canonical, value)),
    set: _sorted("set"),
    frozenset: _sorted("frozenset"),
    dict: lambda value: _tagged("dict", _items(value)),
    collections.Counter: lambda value: _tagged("Counter", _items(value)),
    collections.OrderedDict: lambda value: _tagged("OrderedDict", *map(canonical, value.items())),
    collections.defaultdict: _default_dict,
    range: lambda value: _tagged("range", *map(canonical, (value.start, value.stop, value.step))),
    slice: lambda value: _tagged("slice", *map(canonical, (value.start, value.stop, value.step))),
    functools.partial: _partial,
    types.FunctionType: _importable,
    types.BuiltinFunctionType: _importable,
    type: _importable,
}
"""By the exact type: what inherits from one of these may mean something else."""

_BY_NAME: dict[tuple[str, str], Callable[[Any], bytes]] = {
    ("decimal", "Decimal"): _text("Decimal", str),
    ("fractions", "Fraction"): _text("Fraction", str),
    ("uuid", "UUID"): lambda value: _tagged("UUID", value.bytes),
    ("datetime", "date"): _text("date", repr),
    ("datetime", "timedelta"): _text("timedelta", repr),
    ("datetime", "timezone"): _text("timezone", repr),
    ("zoneinfo", "ZoneInfo"): lambda value: _tagged("ZoneInfo", canonical(value.key)),
    ("datetime", "datetime"): _time,
    ("datetime", "time"): _time,
}
"""The same, by module and name: importing them takes each rank 5 ms, and who has such a value has imported its module."""


def _for_type(value: Any) -> Callable[[Any], bytes]:  # noqa: ANN401  as canonical
    """How to encode what is of none of those types.

    Raises:
        NoIdentity: Nobody knows how.
    """
    kind = type(value)
    of_library = _BY_NAME.get((kind.__module__, kind.__qualname__))
    if of_library and getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind:
        _BY_TYPE[kind] = of_library
        return of_library
    for fits, encode in _BY_LOOK:
        if fits(value):
            return encode
    numpy = sys.modules.get("numpy")
    of_numpy = numpy and _for_numpy(numpy, value)
    if not of_numpy:
        msg = f"a {type(value).__module__}.{type(value).__qualname__}"
        raise NoIdentity(msg)
    return of_numpy


def _by_hook(value: Any) -> bytes:  # noqa: ANN401  as canonical
    return _tagged("itself", _named(value), canonical(getattr(value, HOOK)()))


def _dataclass(value: Any) -> bytes:  # noqa: ANN401  as canonical
    fields = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    return _tagged("dataclass", _named(value), *map(canonical, fields))


def _enum(member: Any) -> bytes:  # noqa: ANN401  as canonical
    return _tagged("enum", _named(member), canonical(member.name or member.value))


def _path(path: Any) -> bytes:  # noqa: ANN401  as canonical
    return _tagged("path", type(path).__name__.encode(), canonical(str(path)))


def _named_tuple(value: Any) -> bytes:  # noqa: ANN401  as canonical
    return _tagged("namedtuple", _named(value), *map(canonical, value))


_BY_LOOK: list[tuple[Callable[[Any], bool], Callable[[Any], bytes]]] = [
    (lambda value: hasattr(type(value), CONTENT), lambda value: bytes(getattr(value, CONTENT)(canonical))),
    (lambda value: hasattr(type(value), HOOK), _by_hook),
    (lambda value: isinstance(value, type), _importable),  # of a metaclass
    (lambda value: isinstance(value, enum.Enum), _enum),
    (dataclasses.is_dataclass, _dataclass),
    (lambda value: isinstance(value, pathlib.PurePath), _path),
    (lambda value: isinstance(value, tuple) and hasattr(value, "_fields"), _named_tuple),
]
"""What is no exact type."""


def _for_numpy(numpy: Any, value: Any) -> Callable[[Any], bytes] | None:  # noqa: ANN401  numpy is not always there
    """How to encode something of numpy's: an array by its content."""
    if isinstance(value, numpy.dtype):
        return lambda dtype: _tagged("dtype", repr(dtype.descr if dtype.names else dtype.str).encode())
    if type(value) in (numpy.ndarray, numpy.memmap):
        return _array
    if isinstance(value, numpy.generic):
        return lambda scalar: _tagged("scalar", canonical(scalar.dtype), _content(scalar))
    if isinstance(value, numpy.random.Generator):
        return lambda dice: _tagged("Generator", canonical(dice.bit_generator.state))
    if isinstance(value, numpy.random.SeedSequence):
        return lambda seed: _tagged("SeedSequence", canonical(seed.state))
    return None


def _array(array: Any) -> bytes:  # noqa: ANN401  a numpy array
    return _tagged("array", canonical(array.dtype), canonical(array.shape), _content(array))


def _content(array: Any) -> bytes:  # noqa: ANN401  a numpy array or scalar
    """The elements, whatever their order in memory."""
    if array.dtype.hasobject:
        return canonical(array.tolist())
    return blake2b(array.tobytes(), digest_size=32).digest() if array.nbytes >= _LARGE else array.tobytes()


def digest(parts: Iterable[bytes]) -> bytes:
    """16 bytes that are equal for equal parts."""
    return blake2b(_tagged("call", *parts), digest_size=16).digest()
