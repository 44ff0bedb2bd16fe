"""On rank 0: hears from the guards how ranks have ended.

::

    guard ──► TCP ──► challenge, proof ──► "ended: signal 9" ──► tell(Death)
                                       └─► nothing more: the guard is gone, and the rank with it

A host that is gone says nothing: see `lifeline`. A thread sleeps in `select`; the farm looks at what it has told in each of
its turns, after all that has arrived.
"""

from __future__ import annotations

import json
import secrets
import selectors
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from hmac import compare_digest

from ..ids import Rank
from ..transport.base import Death
from .guard import proof

_LONGEST = 65536
"""Bytes of a line; a guard's are shorter."""


class _Peer:
    """Whoever has connected."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.challenge = secrets.token_hex(16)
        self.rank: Rank | None = None
        """Whose guard it is, once it has proved that."""
        self.heard = b""


class Watch:
    """Takes the guards' connections.

    Args:
        host: The address to listen at; empty: all that this host has.
        tell: Called with each death, in a thread of its own.
    """

    def __init__(self, host: str, tell: Callable[[Death], None]) -> None:
        self.secret = secrets.token_hex(32)
        self._tell = tell
        self._listener = socket.create_server((host, 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self._guards: dict[Rank, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wakes, hears = socket.socketpair()
        self._selector.register(hears, selectors.EVENT_READ, None)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="mpitasks-watch", daemon=True)
        self._thread.start()

    def kill(self, rank: Rank, why: str) -> None:
        """Have its guard end that rank, if it lives: MPI has failed with it, so that it is lost in any case."""
        guard = self._guards.get(rank)
        if guard is not None:
            with suppress(OSError):  # it has gone by itself, and the thread hears of that
                guard.sendall(json.dumps({"kill": why}).encode() + b"\n")

    def close(self) -> None:
        """Hear of nobody any more. The connections stay until this process ends: a guard takes their end for ours."""
        self._closing = True
        self._wakes.send(b"\n")
        self._thread.join()

    def _run(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.data, _Peer):
                    self._hear(key.data)

    def _accept(self) -> None:
        """Ask whoever connects who it is."""
        with suppress(OSError):  # it has gone already
            connection, _ = self._listener.accept()
            peer = _Peer(connection)
            connection.sendall(peer.challenge.encode() + b"\n")
            self._selector.register(connection, selectors.EVENT_READ, peer)

    def _hear(self, peer: _Peer) -> None:
        try:
            data = peer.connection.recv(4096)
        except OSError:
            data = b""
        *lines, peer.heard = (peer.heard + data).split(b"\n")
        if not data or len(peer.heard) > _LONGEST or not all(self._take(peer, line) for line in lines):
            self._forget(peer)

    def _take(self, peer: _Peer, line: bytes) -> bool:
        """One line; False if it is not a guard's."""
        try:
            word = json.loads(line)
            if peer.rank is not None:
                self._dead(peer, str(word["ended"]))
                return True
            rank = Rank(int(word["rank"]))
            if not compare_digest(str(word["proof"]), proof(self.secret, peer.challenge, rank)) or rank in self._guards:
                return False
        except (ValueError, KeyError, TypeError):
            return False
        peer.rank, self._guards[rank] = rank, peer.connection
        with suppress(OSError):  # then there is nothing more to hear, which is a death
            peer.connection.sendall(b"ok\n")
        return True

    def _dead(self, peer: _Peer, how: str) -> None:
        """A rank has ended; only the first word counts."""
        if peer.rank is not None and self._guards.pop(peer.rank, None) is not None:
            self._tell(Death(peer.rank, how))

    def _forget(self, peer: _Peer) -> None:
        """This connection is of no use any more."""
        self._selector.unregister(peer.connection)
        peer.connection.close()
        self._dead(peer, "its guard is gone, and it with that")


def addresses_for(hosts: Sequence[str]) -> list[str]:
    """Under which addresses ranks on these hosts reach this one."""
    here = socket.gethostname()
    if all(host == here for host in hosts):
        return ["127.0.0.1"]
    found: dict[str, None] = {}
    for host in dict.fromkeys(hosts):
        if host != here:
            with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
                way.connect((host, 9))  # sends nothing: the system chooses the address from which it would
                found[way.getsockname()[0]] = None
    with suppress(OSError):
        found.update(dict.fromkeys(socket.gethostbyname_ex(here)[2]))
    return [address for address in found if not address.startswith("127.")]
