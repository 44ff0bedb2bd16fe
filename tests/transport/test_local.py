"""The in-memory transport keeps the contract, and does not care how many ranks there are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from mpitasks.ids import Rank
from mpitasks.transport.local import local_world
from mpitasks.transport.wire import Packet
from tests.transport.contract import CONTRACT

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpitasks.transport.base import Transport


@pytest.mark.parametrize("check", CONTRACT.values(), ids=CONTRACT)
def test_the_contract(check: Callable[[Transport], None]) -> None:
    """As tests/transport/contract.py states it."""
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(check, local_world(2))) == [None, None]


def test_a_packet_reaches_its_rank_alone() -> None:
    """And several sources are told apart."""
    zero, one, two = local_world(3)
    one.send(Rank(0), Packet(b"of 1", []))
    two.send(Rank(0), Packet(b"of 2", []))
    assert [one.receive(), two.receive()] == [None, None]
    arrivals = [zero.receive(), zero.receive()]
    assert [(arrival.source, arrival.packet.header) for arrival in arrivals if arrival] == [(1, b"of 1"), (2, b"of 2")]
    assert zero.receive() is None


def test_nothing_more_goes_to_a_dead_rank_or_comes_from_it() -> None:
    """What it had sent is still heard, until whoever hears of its death drops it; the others go on."""
    zero, one, two = local_world(3)
    one.send(Rank(0), Packet(b"before", []))
    one.die("signal 9")
    one.send(Rank(0), Packet(b"after", []))
    zero.send(Rank(1), Packet(b"to the dead", []))
    two.send(Rank(0), Packet(b"of 2", []))
    assert (list(zero.deaths), list(two.deaths)) == ([(1, "signal 9")], [(1, "signal 9")])
    assert [arrival.packet.header for arrival in iter(zero.receive, None)] == [b"before", b"of 2"]
    assert (one.receive(), zero.size) == (None, 3)


def test_what_a_dead_rank_has_sent_is_not_heard_once_it_is_dropped() -> None:
    """Late words of the dead are ignored."""
    zero, one, two = local_world(3)
    one.send(Rank(0), Packet(b"late", []))
    two.send(Rank(0), Packet(b"of 2", []))
    one.die()
    zero.drop(Rank(1))
    assert [arrival.packet.header for arrival in iter(zero.receive, None)] == [b"of 2"]


def test_packets_under_way_may_die_with_their_sender() -> None:
    """The last of them, as on a wire that is cut."""
    zero, one = local_world(2)
    for word in (b"1", b"2", b"3"):
        one.send(Rank(0), Packet(word, []))
    one.die(lost=2)
    assert [arrival.packet.header for arrival in iter(zero.receive, None)] == [b"1"]
