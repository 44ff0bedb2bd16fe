"""Values as bytes that are the same in every run."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import fractions
import functools
import json
import math
import os
import pathlib
import subprocess
import sys
import uuid
import zoneinfo
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

from mpitasks.errors import NoIdentity
from mpitasks.journal.canonical import _tagged, canonical


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Weekday(enum.IntEnum):
    MONDAY = 1


@dataclass
class Point:
    x: float
    y: float = 0.0


class Pair(NamedTuple):
    one: Any
    two: Any


class Named:
    def __init__(self, name: str, secret: object) -> None:
        self.name, self.secret = name, secret

    def __mpitasks_id__(self) -> str:
        return self.name


def values() -> list[Any]:
    """Values of which each differs from every other, however alike they look."""
    berlin = zoneinfo.ZoneInfo("UTC")
    return [
        *(None, ..., True, False, 0, 1, -1, 2**80, 0.0, -0.0, 1.0, math.inf, math.nan, 1j, 1 + 0j),
        *("", "1", "a", "b", "é", "\ud800", b"", b"1", b"a", bytearray(b"a"), b"x" * 5000, b"x" * 5001),
        *((), (1,), (1, 2), ((1,), 2), (1, (2,)), [], [1], [1, 2], [[1], 2], ("1", "2"), ("12",), ("1,2",)),
        *(
            set(),
            {1},
            {1, 2},
            {"x", "y", "z"},
            frozenset({1, 2}),
            {},
            {1: 2},
            {2: 1},
            {"a": 1, "b": 2},
            {"a": 2, "b": 1},
            {1: {2: 3}},
        ),
        *(collections.deque([1]), collections.deque([1], 3), collections.Counter("aab"), collections.OrderedDict(a=1, b=2)),
        *(collections.OrderedDict(b=2, a=1), collections.defaultdict(int, a=1), collections.defaultdict(list, a=1)),
        *(range(3), range(0, 3, 2), slice(1), slice(1, None), Colour.RED, Colour.BLUE, Weekday.MONDAY),
        *(Point(1.0), Point(1.0, 2.0), Point(1, 0), Pair(1, 2), Named("a", object()), Named("b", None)),
        *(pathlib.Path("a"), pathlib.Path("a/b"), pathlib.PureWindowsPath("a"), uuid.UUID(int=1)),
        *(decimal.Decimal("1.0"), decimal.Decimal("1.00"), fractions.Fraction(1, 3)),
        *(dt.date(2026, 1, 2), dt.timedelta(1), dt.time(1), dt.timezone.utc, berlin, dt.datetime(2026, 1, 2)),  # noqa: DTZ001, UP017  meant
        *(dt.datetime(2026, 1, 2, tzinfo=dt.timezone.utc), dt.datetime(2026, 1, 2, tzinfo=berlin)),  # noqa: UP017  beside the other
        *(
            int,
            math.sin,
            json.dumps,
            Point,
            functools.partial(pow, 2),
            functools.partial(pow, 3),
            functools.partial(pow, exp=2),
        ),
        *(np.int64(1), np.int32(1), np.float64(1), np.str_("a"), np.datetime64("2026-01-02"), np.dtype("i4"), np.dtype(">i4")),
        *(np.zeros(2), np.zeros(3), np.zeros((1, 2)), np.zeros(2, "f4"), np.zeros(2, ">f8"), np.array([0.0, math.nan])),
        *(np.arange(6), np.arange(6).reshape(2, 3), np.arange(6).reshape(3, 2), np.arange(2000), np.arange(2001)),
        *(np.array([1, "a"], dtype=object), np.array([(1, 2)], dtype=[("a", "i4"), ("b", "i4")])),
        *(np.random.default_rng(1), np.random.default_rng(2), np.random.SeedSequence(1), np.random.SeedSequence(2)),
    ]


def test_different_values_are_different_bytes() -> None:
    """Also where Python calls them equal, as 1, 1.0 and True: a task may do something else with each."""
    owners: dict[bytes, Any] = {}
    for value in values():
        encoded = canonical(value)
        assert encoded not in owners, (value, owners[encoded])
        owners[encoded] = value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": {2: 3}}, {"b": {2: 3}, "a": 1}),
        ({"x", "y", "z"}, {"z", "y", "x"}),
        (set([0, 8]), set([8, 0])),  # noqa: C405  they collide, and so keep their order
        (math.nan, -math.nan),
        (np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3))),
        (np.arange(6)[::2], np.array([0, 2, 4])),
        (np.random.default_rng(5), np.random.default_rng(5)),
        (("a" * 5000, "b"), ("a" * 4999 + "a", "b")),
        (Named("a", 1), Named("a", 2)),
        (Point(1.0), Point(1.0, 0.0)),
    ],
)
def test_equal_values_are_equal_bytes(one: object, other: object) -> None:
    """Whatever their order, or where they lie in memory."""
    assert canonical(one) == canonical(other)


def test_parts_do_not_run_together() -> None:
    """Where one ends and the next begins is written too."""
    assert _tagged("tag", b"a", b"bc") != _tagged("tag", b"ab", b"c") != _tagged("tag", b"abc")


PROGRAM = """
import hashlib
from tests.journal import test_canonical as values
from mpitasks.journal.canonical import canonical
print(hashlib.blake2b(b"".join(map(canonical, values.values()))).hexdigest())
"""


def test_bytes_are_the_same_in_every_process() -> None:
    """With other seeds of `hash()` too, on which the order of sets depends."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(digests) == 1


class Plain:
    pass


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Plain(), "a tests.journal.test_canonical.Plain"),
        ([1, {"a": Plain()}], "a tests.journal.test_canonical.Plain"),
        (object(), "a builtins.object"),
        (lambda: None, "<lambda>"),
        (Plain().__init__, "a builtins.method-wrapper"),
        (np.ma.masked_array([1], [True]), "a numpy.ma.*MaskedArray"),
        (np.array([Plain()], dtype=object), "a tests.journal.test_canonical.Plain"),
        (iter([]), "a builtins.list_iterator"),
        (memoryview(b"a"), "a builtins.memoryview"),
        (type("Local", (), {}), "Local.*which can't be imported by its name"),
    ],
)
def test_what_differs_between_runs_has_no_identity(value: object, words: str) -> None:
    """And is never guessed at by its pickle, its repr or its address."""
    with pytest.raises(NoIdentity, match=words):
        canonical(value)
