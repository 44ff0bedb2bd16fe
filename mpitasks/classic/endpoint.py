"""Who of the slaves is here, and what each one runs.

::

    unheard ── ready ──► idle ── data ──► busy ── outcome ──► idle ── leave ──► leaving ── bye ──► gone
       └──────────────────────────────── leave ───────────────────────────────────┘  gone ── ready ──► idle

Messages to a slave: WINDOW with a number and the data, LEAVE. From a slave: REPORT without outcomes (it is ready), REPORT
with the outcome of what it was given, BYE.

A process has one endpoint, which its Masters share: outcomes come in at whichever of them looks, and go into the tray of
the one that sent the data.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import count
from math import inf
from time import monotonic
from typing import Any

from ..errors import EncodeError
from ..ids import Rank
from ..runtime.backoff import Backoff
from ..runtime.messages import BYE, LEAVE, REPORT, WINDOW
from ..transport import wire
from ..transport.base import Transport
from ..transport.failures import decode_failure

MOVING_AT_MOST = 1.0
"""Seconds that one look goes on with frames on their way: a program that sleeps between two looks would stop them."""


class Run:
    """What one slave was given once, from then until its result is collected."""

    __slots__ = ("collected", "payload", "rank", "returned", "seconds", "tray")

    def __init__(self, rank: Rank, tray: Tray) -> None:
        self.rank = rank
        self.tray = tray
        self.returned = False
        """Whether `do_work` returned; else it raised."""
        self.seconds = 0.0
        self.payload: wire.Payload = b""
        self.collected = False

    def value(self) -> Any:  # noqa: ANN401  whatever `do_work` returned
        """What `do_work` returned.

        Raises:
            Exception: What `do_work` raised, or what unpickling raises here.
        """
        if self.returned:
            return wire.decode(self.payload)
        raise decode_failure(self.payload)


class Tray:
    """The runs of one Master."""

    __slots__ = ("completed", "running")

    def __init__(self) -> None:
        self.running: dict[Rank, Run] = {}
        self.completed: dict[Rank, Run] = {}
        """Results that nobody has collected."""


class Contact:
    """One slave, as the master knows it."""

    __slots__ = ("departures", "gone", "here", "leaving", "rank", "run")

    def __init__(self, rank: Rank) -> None:
        self.rank = rank
        self.here = False
        """It has said that it is ready, or the user has."""
        self.run: Run | None = None
        self.leaving = False
        """It was told to leave."""
        self.gone = False
        """It has left, has not come back, and no Master counts on that."""
        self.departures = 0
        """How often it has left: it may call `run` again for a next phase of the program."""

    @property
    def is_idle(self) -> bool:
        """Whether it can be given data."""
        return self.here and self.run is None and not self.leaving


def never() -> bool:
    """False: this process needs no launcher."""
    return False


def nothing() -> None:
    """No signal comes here."""


class Endpoint:
    """The master's end of the wire.

    Args:
        transport: To all ranks.
        sources: The slaves to listen to, which is kept up to date here.
        is_orphan: Whether whoever started this job has died.
        check: Raises what a signal asks for that came while code of ours ran.
    """

    def __init__(
        self,
        transport: Transport,
        sources: set[Rank],
        *,
        is_orphan: Callable[[], bool] = never,
        check: Callable[[], None] = nothing,
    ) -> None:
        self._transport = transport
        self._sources = sources
        self._is_orphan = is_orphan
        self._check = check
        self._contacts: dict[Rank, Contact] = {}
        self._numbers = count(1)

    # ---------------------------------------------------------------- who is here

    def expect(self, rank: Rank) -> int:
        """A Master counts on this slave. Returns how often that has left so far."""
        contact = self._contact(rank)
        contact.gone = False
        self._listen(contact)
        return contact.departures

    def trust(self, rank: Rank) -> None:
        """The user knows that this slave is ready, though it may not have said so yet."""
        self._contacts[rank].here = True

    def is_idle(self, rank: Rank) -> bool:
        """Whether this slave can be given data."""
        return self._contacts[rank].is_idle

    def running(self, rank: Rank) -> Run | None:
        """What this slave runs."""
        return self._contacts[rank].run

    def busy(self) -> list[Rank]:
        """The slaves that run something."""
        return [contact.rank for contact in self._contacts.values() if contact.run is not None]

    def known(self) -> dict[Rank, int]:
        """All slaves that any Master has counted on, each with how often it has left."""
        return {rank: contact.departures for rank, contact in self._contacts.items()}

    # ---------------------------------------------------------------- messages

    def send(self, rank: Rank, tray: Tray, data: object) -> None:
        """Give this slave, which is idle, something to run.

        Raises:
            EncodeError: The data can't be pickled; nothing was changed.
        """
        try:
            payload = wire.snapshot(wire.encode(data))
        except Exception as error:
            msg = f"the data for slave {rank}, a {type(data).__qualname__}, can't be pickled: {error}"
            raise EncodeError(msg) from error
        contact = self._contacts[rank]
        tray.running[rank] = contact.run = Run(rank, tray)
        self._listen(contact)
        self._transport.send(rank, wire.pack((WINDOW, next(self._numbers), wire.sendable(payload))))
        self._move()

    def poll(self) -> None:
        """Take in all that has arrived."""
        if self._is_orphan():
            os._exit(1)  # with the launcher, everybody has gone who could end this process
        while self._receive():
            pass
        self._move()
        self._check()

    def dismiss(self, ranks: Mapping[Rank, int], *, unheard: float, heard: float = inf) -> list[Rank]:
        """Let these slaves leave, and wait until they have.

        Args:
            ranks: The slaves, each with how often it had left when the Master last counted on it. One that has left since
                is skipped, and left alone if it has come back: it is there for somebody else.
            unheard: Seconds to wait for those that have never said a word; they find the message when they come.
            heard: Seconds to wait for the others, which may be in a long `do_work`.

        Returns:
            Those that have not left in time.
        """
        self.poll()
        meant = (self._contact(rank) for rank, departures in ranks.items() if self._contact(rank).departures == departures)
        asked = [contact for contact in meant if not (contact.gone or contact.leaving)]
        for contact in asked:
            contact.leaving = True
            self._listen(contact)
            self._transport.send(contact.rank, wire.pack((LEAVE,)))
        began, backoff = monotonic(), Backoff()
        while left := [contact for contact in asked if contact.leaving]:
            if monotonic() - began > max(heard if contact.here else unheard for contact in left):
                break
            if self._receive():
                backoff.reset()
            elif self._is_orphan():
                os._exit(1)  # as in `poll`
            else:
                self._check()
                backoff.pause()
        return [contact.rank for contact in left]

    def _move(self) -> None:
        """Go on with what is under way, while it moves."""
        until, backoff = monotonic() + MOVING_AT_MOST, Backoff()
        while (self._transport.receiving or self._transport.sending) and monotonic() < until:
            if self._receive():
                backoff.reset()
            else:
                backoff.pause()

    def _receive(self) -> bool:
        """Take in one message, if there is one."""
        arrival = self._transport.receive()
        if arrival is None:
            return False
        contact = self._contact(arrival.source)
        message = wire.unpack(arrival.packet)
        if message[0] == BYE:
            contact.here = contact.leaving = False
            contact.gone = True
            contact.departures += 1
        elif message[0] == REPORT:
            contact.here, contact.gone = True, False
            for _, failure, seconds, payload in message[1]:
                self._finished(contact, failure is None, seconds, payload)
        self._listen(contact)
        return True

    @staticmethod
    def _finished(contact: Contact, returned: bool, seconds: float, payload: wire.Payload) -> None:  # noqa: FBT001  as it came
        run, contact.run = contact.run, None
        assert run is not None  # noqa: S101  a slave answers what it was given, once
        run.returned, run.seconds, run.payload = returned, seconds, payload
        del run.tray.running[run.rank]
        run.tray.completed[run.rank] = run

    def _contact(self, rank: Rank) -> Contact:
        return self._contacts.setdefault(rank, Contact(rank))

    def _listen(self, contact: Contact) -> None:
        """Listen to whoever may have something to say: a look costs a call of MPI a slave."""
        if contact.is_idle:
            self._sources.discard(contact.rank)
        else:
            self._sources.add(contact.rank)
