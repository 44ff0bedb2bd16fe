"""Calls and outcomes as columns are the same calls and outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mpitasks.ids import CallId
from mpitasks.runtime import columns
from mpitasks.runtime.messages import WINDOW
from mpitasks.transport import wire
from tests.runtime.world import Tapped, World, echo

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpitasks.ids import Rank
    from mpitasks.runtime.messages import Outcome
    from mpitasks.transport.wire import Packet

    NewWorld = Callable[..., World]

NUMBER: Outcome = (CallId(7), None, 1e-6, (1,))
NOTHING: Outcome = (CallId(8), None, 2e-6, (None,))
PICKLED: Outcome = (CallId(9), None, 3e-6, b"pickled")
LARGE: Outcome = (CallId(10), None, 4e-6, (b"pickled", [b"buffer"]))
FAILED: Outcome = (CallId(11), (("ValueError",), None), 5e-6, b"pickled")


@pytest.mark.parametrize("outcomes", [[NUMBER, NOTHING], [PICKLED, PICKLED], [NUMBER, PICKLED, NOTHING]])
def test_values_are_the_same_by_columns(outcomes: list[Outcome]) -> None:
    """Numbers travel as they are, and pickles as they came."""
    told = columns.as_columns(outcomes)
    assert isinstance(told, tuple)
    assert columns.outcomes_of(told) == outcomes


@pytest.mark.parametrize("other", [LARGE, FAILED])
def test_what_is_more_than_a_value_is_told_one_by_one(other: Outcome) -> None:
    """A failure, or buffers that are messages of their own."""
    outcomes = [NUMBER, other]
    assert columns.as_columns(outcomes) is outcomes


@pytest.fixture
def calls_sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The calls of each window, as they travel."""
    sent: list[Any] = []
    send = Tapped.send

    def noting(self: Tapped, rank: Rank, packet: Packet) -> None:
        message = wire.unpack(packet)
        if message[0] == WINDOW:
            sent.append(message[3])
        send(self, rank, packet)

    monkeypatch.setattr(Tapped, "send", noting)
    return sent


def submitted(world: World, *options: dict[str, Any]) -> list[Any]:
    """What calls with these options return, which wait behind another until it is known that they are short."""
    for _ in range(3):
        echo.delay(0)
        world.finish()
    futures = [echo.options(**some).delay(place) if some else echo.delay(place) for place, some in enumerate(options)]
    world.finish()
    return [future.result() for future in futures]


def test_calls_that_are_alike_are_sent_as_columns(new_world: NewWorld, calls_sent: list[Any]) -> None:
    """Nothing but their ids and arguments differs."""
    assert submitted(new_world(1), {}, {}, {}, {}) == [0, 1, 2, 3]
    name, resource, ids, arguments = calls_sent[-1]
    assert (name, resource, arguments) == (echo.name, None, [(1,), (2,), (3,)])
    assert ids == sorted(ids)


@pytest.mark.parametrize("option", [{"retries": 3}, {"timeout": 60.0}])
def test_calls_on_other_terms_are_sent_one_by_one(new_world: NewWorld, calls_sent: list[Any], option: dict[str, Any]) -> None:
    """One that differs is enough, wherever it is in the window."""
    assert submitted(new_world(1), {}, {}, option, {}) == [0, 1, 2, 3]
    assert [type(calls) for calls in calls_sent[-1:]] == [list]
    assert [call[5] for call in calls_sent[-1]] == [((1,),), ((2,),), ((3,),)]


def test_columns_are_read_as_calls() -> None:
    """As they would have been sent one by one."""
    sent: columns.Calls = ("f", None, [CallId(7), CallId(8)], [(1,), b"pickled"])
    assert columns.calls_of(sent) == [
        (7, "f", "f", 1, None, ((1,),), (), None, None),
        (8, "f", "f", 1, None, b"pickled", (), None, None),
    ]
