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
