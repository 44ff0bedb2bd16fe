"""A master and its slaves in one process, over the in-memory transport."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from mpitasks.classic import endpoint, master, slave, world
from mpitasks.ids import MASTER, Rank
from mpitasks.runtime import backoff
from mpitasks.runtime.messages import BYE, LEAVE, REPORT
from mpitasks.transport import wire
from mpitasks.transport.local import local_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mpitasks.transport.base import Transport

PATIENCE = 10.0
"""Seconds after which something counts as lost."""


class Farm:
    """The ranks under test: this thread is rank 0, and each slave that was started is a thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ranks: int) -> None:
        ours, *self._others = local_world(ranks)
        self.endpoint = endpoint.Endpoint(ours, set())
        monkeypatch.setattr(master, "UNHEARD_AT_MOST", PATIENCE / 2)
        self.transports: list[Transport] = [ours, *self._others]
        self._threads: list[threading.Thread] = []
        for name, value in {"size": ranks, "comm": None, "endpoint": self.endpoint}.items():
            monkeypatch.setattr(world, name, lambda value=value: value)

    def start(self, rank: int, do_work: Callable[[Any], Any]) -> threading.Thread:
        """Let that rank be a slave."""
        arguments = {"backoff": backoff.threads()}
        thread = threading.Thread(target=slave.serve, args=(do_work, self.transports[rank]), kwargs=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def start_all(self, do_work: Callable[[int, Any], Any]) -> None:
        """Let all ranks but 0 be slaves, which are told their rank."""
        for transport in self._others:
            self.start(int(transport.rank), lambda data, rank=int(transport.rank): do_work(rank, data))
        self.until(
            lambda: all(self.is_ready(int(transport.rank)) for transport in self._others if self.expected(transport.rank))
        )

    def hands(self) -> dict[int, Hand]:
        """All slaves, ready and moved by the test itself: nothing happens that it does not do."""
        return {int(transport.rank): Hand(transport) for transport in self._others}

    def expected(self, rank: Rank) -> bool:
        """Whether a master counts on that slave."""
        return rank in self.endpoint.known()

    def is_ready(self, rank: int) -> bool:
        """Whether that slave has said so."""
        self.endpoint.poll()
        return self.endpoint.is_idle(Rank(rank))

    @staticmethod
    def until(holds: Callable[[], bool]) -> None:
        """Wait until that holds."""
        end, pause = monotonic() + PATIENCE, backoff.threads()
        while not holds():
            assert monotonic() < end, "it did not come to pass"
            pause.pause()

    def end(self) -> None:
        """Let slaves go that are still here."""
        for transport in self._others:
            self.transports[0].send(transport.rank, wire.pack((LEAVE,)))
        for thread in self._threads:
            thread.join(PATIENCE)


class Hand:
    """A slave moved by the test."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._number: Any = None
        self.data: Any = IDLE
        self.got: list[Any] = []
        """All data so far."""
        transport.send(MASTER, wire.pack((REPORT, [])))

    def look(self) -> Hand:
        """Take in what was sent."""
        while (arrival := self._transport.receive()) is not None:
            kind, *message = wire.unpack(arrival.packet)
            if kind == LEAVE:
                self._transport.send(MASTER, wire.pack((BYE,)))
                continue
            assert self.data is IDLE, "a window of more than one"
            self._number, self.data = message[0], wire.decode(message[1])
            self.got.append(self.data)
        return self

    def answer(self, result: Any = None, seconds: float = 0.1) -> None:
        """End what it does."""
        assert self.data is not IDLE
        self.data = IDLE
        outcome = (self._number, None, seconds, wire.encode(result))
        self._transport.send(MASTER, wire.pack((REPORT, [outcome])))


IDLE = object()
"""What a slave does that does nothing."""


@pytest.fixture
def farm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Farm]]:
    """Make a world of so many ranks."""
    made: list[Farm] = []

    def make(ranks: int) -> Farm:
        made.append(Farm(monkeypatch, ranks))
        return made[-1]

    yield make
    for one in made:
        one.end()
