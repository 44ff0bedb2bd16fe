"""Calls that are alike, and outcomes that are alike, as columns.

::

    [(7, "f", ..., (1,), ...), (8, "f", ..., (2,), ...)] ──► ("f", None, [7, 8], [(1,), (2,)])
    [(7, None, 1e-6, (1,)), (8, None, 2e-6, b"...")]     ──► ([7, 8], [1e-6, 2e-6], [1, b"..."])

Most windows and reports of short calls are such. To pickle a tuple for each call takes twice as long as this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ids import CallId
from ..transport.wire import Payload
from .messages import Named, Outcome, SentCall

NOTHING: Payload = (None,)
"""What most return that return nothing, once for all: a tuple more for each call has the garbage collector look for cycles
sooner, which took 15 % of a short call's time.
"""

Calls = tuple[str, Named | None, Sequence[CallId], Sequence[Any]]
"""Task name, resource, ids, arguments: bytes, or a tuple of numbers as they are. All run for the first time, on usual terms."""

Outcomes = tuple[Sequence[CallId], Sequence[float | None], Sequence[Any]]
"""Ids, seconds, values: bytes, or a number as it is. All have returned."""


def calls_of(columns: Calls) -> list[SentCall]:
    """The calls, one by one."""
    name, resource, ids, given = columns
    return [
        (call_id, name, name, 1, None, (one,) if type(one) is tuple else one, (), resource, None)
        for call_id, one in zip(ids, given, strict=True)
    ]


def as_columns(outcomes: list[Outcome]) -> Outcomes | list[Outcome]:
    """The outcomes as columns, if these hold all that there is of them."""
    ids, failures, seconds, payloads = zip(*outcomes, strict=True)
    if failures.count(None) < len(failures):
        return outcomes
    if set(map(len, payloads)) == {1}:  # no pickle is so short
        return ids, seconds, [value for (value,) in payloads]
    values = [one if type(one) is bytes else one[0] for one in payloads if type(one) is bytes or len(one) == 1]
    return (ids, seconds, values) if len(values) == len(ids) else outcomes


def payloads_of(columns: Outcomes) -> list[Payload]:
    """The values, encoded."""
    return [NOTHING if value is None else value if type(value) is bytes else (value,) for value in columns[2]]


def outcomes_of(columns: Outcomes) -> list[Outcome]:
    """The outcomes, one by one."""
    ids, seconds, _ = columns
    return [(one, None, took, payload) for one, took, payload in zip(ids, seconds, payloads_of(columns), strict=True)]
