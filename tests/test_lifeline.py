"""Rank 0 hears of a host that does not answer, and of nothing else; slaves likewise."""

from __future__ import annotations

import errno
import socket
import struct
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from mpitasks import lifeline
from mpitasks.errors import FarmBroken, HostLost, StartError, farm_ended
from mpitasks.lifeline import Lifelines, Offer, is_cut, reach, silence_allowed

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTS = ["one", "one", "two", "two", "three"]


class Pair:
    """Rank 0, and slave 2 on another host; both here."""

    def __init__(self, hosts: list[str]) -> None:
        self.master = Lifelines(hosts, 30)
        self.offer = self.master.offer._replace(addresses=["127.0.0.1"])
        self.held: socket.socket | None = None

    def meet(self, offer: Offer | None = None, *, seconds: float = 5.0) -> None:
        """The slave connects, with what it takes for rank 0's offer."""
        slave = threading.Thread(target=lambda: setattr(self, "held", reach(offer or self.offer, 2, seconds)))
        slave.start()
        self.master.welcome(seconds)
        slave.join()

    def look(self) -> bool:
        """Rank 0 looks, although it has done so a moment ago."""
        self.master._look_at = 0.0
        return self.master.check()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """The two, closed at the end."""
    made = Pair(["one", "one", "two"])
    yield made
    for one in (made.held, made.master._listening, *made.master._slaves):
        if one is not None:
            one.close()


def test_all_is_well_while_both_kernels_answer(pair: Pair) -> None:
    """Nobody has to send anything, and nobody waits."""
    pair.meet()
    assert pair.held is not None
    assert (pair.look(), is_cut(pair.held, 30)) == (False, False)


def test_a_slave_that_has_ended_is_no_lost_host(pair: Pair) -> None:
    """Its connection closes in order: rank 0 forgets it. A slave whose rank 0 has ended, however, has nobody any more."""
    pair.meet()
    assert pair.held is not None
    (other,) = pair.master._slaves
    pair.held.shutdown(socket.SHUT_RDWR)
    assert (pair.look(), pair.master._slaves) == (False, {})
    other.close()
    assert is_cut(pair.held, 30)


def test_who_waits_hears_of_the_lost_host() -> None:
    """As an error of that kind, caused by the one that was found."""
    found = HostLost("host 'two' does not answer")
    told = farm_ended(found)
    assert (type(told), told.__cause__, str(told)) == (HostLost, found, "the farm has ended: host 'two' does not answer")
    assert type(farm_ended(ValueError("a fault"))) is FarmBroken


class Silent(socket.socket):
    """A connection of which the kernel says that nobody answers."""

    def recv(self, *_: object) -> bytes:
        raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")


def test_a_host_that_does_not_answer_ends_the_farm() -> None:
    """The error names the host, its slaves, and how to allow more."""
    master = Lifelines(HOSTS, 30)
    master._listening.close()
    with Silent() as silent:
        master._slaves[silent] = 3
        words = (
            r"host 'two' with slaves 2, 3 does not answer \(Connection timed out\): it is down or cut off\. "
            r"If it is only slow to answer, allow it more than MPITASKS_SILENCE=30 seconds"
        )
        with pytest.raises(HostLost, match=words):
            master.check()
        assert is_cut(silent, 30)


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO is Linux's")
def test_silence_counts_also_where_the_kernel_gives_no_error(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the own interface is down, the kernel tries to ask for ever; but it knows when it last had an answer."""
    pair.meet()
    assert pair.held is not None
    monkeypatch.setattr(lifeline, "_LAST_ANSWER", struct.Struct("4xI"))  # another field, which is large: of retransmission
    assert is_cut(pair.held, 0)


def test_a_stranger_is_not_let_in(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever does not know what the ranks told each other: neither side keeps the connection, and rank 0 says who lacks."""
    pair.meet(pair.offer._replace(secret=b"?" * 32), seconds=0.3)
    assert (pair.held, pair.master._slaves) == (None, {})
    assert capsys.readouterr().err == (
        "mpitasks: slave 2 could not connect to rank 0 by TCP, perhaps because of a firewall: "
        "nobody will notice if the host is cut off\n"
    )


def test_an_address_where_somebody_else_listens_does_no_harm(pair: Pair) -> None:
    """Hosts often have addresses that mean something else elsewhere; the slave finds the right one."""
    pair.master._listening.close()
    pair.master._listening = socket.create_server(("127.0.0.1", 0))
    port = pair.master._listening.getsockname()[1]
    with socket.create_server(("127.0.0.2", port)):
        pair.meet(pair.offer._replace(addresses=["127.0.0.2", "127.0.0.1"], port=port))
        assert pair.held is not None
        assert pair.held.getpeername()[0] == "127.0.0.1"


@pytest.mark.parametrize(("text", "silence"), [(None, 30), ("5", 5), ("0", 0)])
def test_how_long_a_host_may_be_silent(monkeypatch: pytest.MonkeyPatch, text: str | None, silence: int) -> None:
    """30 seconds, or what the user has set; 0: for ever."""
    monkeypatch.delenv(lifeline.SILENCE, raising=False)
    if text is not None:
        monkeypatch.setenv(lifeline.SILENCE, text)
    assert silence_allowed() == silence


@pytest.mark.parametrize("text", ["long", "-1", "1.5", ""])
def test_a_silence_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """At the start."""
    monkeypatch.setenv(lifeline.SILENCE, text)
    with pytest.raises(StartError, match=r"MPITASKS_SILENCE='.*' must be a whole number of seconds, 0 for never"):
        silence_allowed()
