"""Does another host still answer? Connections on which kernels talk.

::

    rank 0 ── Lifelines ◄──── Lifeline ── a slave on another host
                 ▲  the kernels ask each other every few seconds (TCP keepalive)
                 └─ no answer for MPITASKS_SILENCE seconds: the farm ends, and so do the slaves there

When the link to a host is cut, neither MPICH's nor Open MPI's mpiexec ended the job within 4 minutes, and no send or receive
failed. A kernel answers for a process that holds its interpreter, is stopped or has no time, so only a host that is gone or
out of reach is silent here. That a process has ended is no news of this kind: the connection closes in order.

Nothing is opened where all ranks are on one host. A host that can't connect, because of a firewall, is not watched.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from select import select
from typing import TYPE_CHECKING, NamedTuple

from .errors import HostLost, StartError
from .surroundings import SILENCE

if TYPE_CHECKING:
    from mpi4py import MPI

USUAL_SILENCE = 30
LOOKS_EVERY = 0.5
"""Seconds between two looks of rank 0."""
CONNECTS_WITHIN = 3.0
"""Seconds for all slaves to connect to rank 0. It takes milliseconds, but behind a firewall that says nothing."""
_SECRET, _RANK = 32, struct.Struct("!I")
_ASK_FOR_ADDRESS = 0x8915  # SIOCGIFADDR of Linux
_LAST_ANSWER = struct.Struct("56xI")  # tcpi_last_ack_recv of Linux's tcp_info
_IN_FLIGHT = {0, 115, 36}  # connect_ex: done, or EINPROGRESS of Linux and of macOS


class Offer(NamedTuple):
    """What rank 0 tells the slaves."""

    addresses: list[str]
    port: int
    secret: bytes
    """What a slave says first; what rank 0 answers is the same, backwards."""
    silence: int


def silence_allowed() -> int:
    """Seconds that a host may be silent; 0: for ever.

    Raises:
        StartError: The variable holds no number.
    """
    text = os.environ.get(SILENCE, str(USUAL_SILENCE))
    if not text.isdecimal():
        msg = f"{SILENCE}={text!r} must be a whole number of seconds, 0 for never: how long a host may be silent"
        raise StartError(msg)
    return int(text)


def agree(comm: MPI.Comm, hosts: list[str]) -> Callable[[], bool]:
    """On every rank, at the start: look after each other.

    Args:
        comm: The ranks.
        hosts: Of each of them.

    Returns:
        A function to call now and then, which does not block. On a slave, whether rank 0 is gone or out of reach; on rank 0,
        it raises a HostLost if a host with slaves is.

    Raises:
        StartError: What the user has set makes no sense.
    """
    rank = comm.Get_rank()
    silence = 0 if rank else silence_allowed()
    watched = Lifelines(hosts, silence) if silence and set(hosts) != {hosts[0]} else None
    offer = comm.bcast(None if watched is None else watched.offer)
    if watched is not None:
        watched.welcome()
        return watched.check
    held = None if offer is None or hosts[rank] == hosts[0] else reach(offer, rank)
    return partial(is_cut, held, offer.silence) if held is not None else lambda: False


# ---------------------------------------------------------------- rank 0


class Lifelines:
    """The other ends, on rank 0.

    Args:
        hosts: Of each rank.
        silence: Seconds.
    """

    def __init__(self, hosts: list[str], silence: int) -> None:
        import secrets  # noqa: PLC0415  only who has ranks on several hosts needs it

        self._hosts = hosts
        self._listening = socket.create_server(("", 0), backlog=len(hosts))
        self.offer = Offer(addresses(), self._listening.getsockname()[1], secrets.token_bytes(_SECRET), silence)
        self._slaves: dict[socket.socket, int] = {}
        self._look_at = 0.0

    def welcome(self, seconds: float = CONNECTS_WITHIN) -> None:
        """Let all slaves on other hosts connect; say so if one can't."""
        awaited = {rank for rank, host in enumerate(self._hosts) if host != self._hosts[0]}
        strangers: list[socket.socket] = []
        until = time.monotonic() + seconds
        while not awaited.issubset(self._slaves.values()) and (left := until - time.monotonic()) > 0:
            for one in select([self._listening, *strangers], [], [], left)[0]:
                if one is self._listening:
                    strangers.append(one.accept()[0])
                else:
                    strangers.remove(one)
                    self._greet(one)
        for one in (self._listening, *strangers):
            one.close()
        missing = sorted(awaited.difference(self._slaves.values()))
        if missing:
            print(
                f"mpitasks: {_slaves(missing)} could not connect to rank 0 by TCP, perhaps because of a firewall: "
                f"nobody will notice if the host is cut off",
                file=sys.stderr,
            )

    def _greet(self, one: socket.socket) -> None:
        """A slave shows that it is one, and which."""
        one.settimeout(0)
        said = b""
        with suppress(OSError):
            said = one.recv(_SECRET + _RANK.size)
        if len(said) != _SECRET + _RANK.size or not _is_same(said[:_SECRET], self.offer.secret):
            one.close()
            return
        with suppress(OSError):
            one.send(self.offer.secret[::-1])
        ask_often(one, self.offer.silence)
        (self._slaves[one],) = _RANK.unpack(said[_SECRET:])

    def check(self) -> bool:
        """Look, if it is time to. False: rank 0 itself is where it is.

        Raises:
            HostLost: A host does not answer.
        """
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOKS_EVERY
            for one in list(self._slaves):
                self._hear(one)
        return False

    def _hear(self, one: socket.socket) -> None:
        """Whether the connection is there, has ended in order, or nobody answers.

        Raises:
            HostLost: Nobody answers.
        """
        try:
            if not is_over(one, self.offer.silence):
                return
        except OSError as error:
            host = self._hosts[self._slaves[one]]
            ranks = [rank for rank, its in enumerate(self._hosts) if its == host]
            msg = (
                f"host {host!r} with {_slaves(ranks)} does not answer ({error.strerror}): it is down or cut off. "
                f"If it is only slow to answer, allow it more than {SILENCE}={self.offer.silence} seconds"
            )
            raise HostLost(msg) from error
        del self._slaves[one]
        one.close()


def _slaves(ranks: Sequence[int]) -> str:
    return f"slave{'s'[: len(ranks) > 1]} {', '.join(map(str, ranks))}"


# ---------------------------------------------------------------- slaves


def reach(offer: Offer, rank: int, seconds: float = CONNECTS_WITHIN) -> socket.socket | None:
    """On a slave: connect to rank 0; None if that can't be done."""
    # Which of the addresses are in reach from here, only trying tells; one may be a stranger's, here.
    tried = list(_begin(offer))
    told: set[socket.socket] = set()
    found: socket.socket | None = None
    until = time.monotonic() + seconds
    while tried and found is None and (left := until - time.monotonic()) > 0:
        answered, connected, _ = select(tried, [one for one in tried if one not in told], [], left)
        for one in connected:
            told.add(one)
            with suppress(OSError):
                one.send(offer.secret + _RANK.pack(rank))
        for one in answered:
            tried.remove(one)
            if found is None and _is_rank_0(one, offer):
                found = one
            else:
                one.close()
    for one in tried:
        one.close()
    if found is not None:
        ask_often(found, offer.silence)
    return found


def _begin(offer: Offer) -> Iterator[socket.socket]:
    """Begin to connect to all addresses of rank 0's host."""
    for address in offer.addresses:
        one = socket.socket()
        one.settimeout(0)
        if one.connect_ex((address, offer.port)) in _IN_FLIGHT:
            yield one
        else:
            one.close()


def _is_rank_0(one: socket.socket, offer: Offer) -> bool:
    """Whether it has given rank 0's answer."""
    try:
        return _is_same(one.recv(_SECRET), offer.secret[::-1])
    except OSError:
        return False


def is_cut(held: socket.socket, silence: int) -> bool:
    """On a slave: whether rank 0 has gone, or its host does not answer any more."""
    try:
        return is_over(held, silence)
    except OSError:
        _end_daemon()
        return True


def _end_daemon() -> None:
    """End what has started this rank, where it would wait for ever for the host that can't be reached: Open MPI's does."""
    with suppress(OSError, IndexError):
        parent = os.getppid()
        above = int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])  # if the parent is a guard
        for pid in (parent, above):
            if Path(f"/proc/{pid}/comm").read_text() == "prted\n":
                os.kill(pid, signal.SIGTERM)


# ---------------------------------------------------------------- sockets


def _is_same(said: bytes, secret: bytes) -> bool:
    """Whether somebody knows the secret; it takes as long whatever the answer."""
    from hmac import compare_digest  # noqa: PLC0415  as `secrets` above

    return compare_digest(said, secret)


def ask_often(one: socket.socket, silence: int) -> None:
    """Have the kernel ask whether the other one is there, so that it is sure within this silence."""
    one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", max(1, silence // 3)),
        ("TCP_KEEPINTVL", max(1, silence // 6)),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", 1000 * silence),
    ):
        if hasattr(socket, name):
            one.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def is_over(one: socket.socket, silence: int) -> bool:
    """Whether the other one has closed the connection.

    Raises:
        OSError: It does not answer, by the kernel's word; or it has not for longer than this silence.
    """
    with suppress(BlockingIOError):
        return not one.recv(1)
    # Where a host's own interface is down, the kernel goes on for ever to try to ask.
    if sys.platform == "linux":
        told = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_ANSWER.size)
        (milliseconds,) = _LAST_ANSWER.unpack(told)
        if milliseconds > 1000 * silence:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    return False


def addresses() -> list[str]:
    """The IPv4 addresses of this host, but for those that mean the host itself everywhere."""
    found = list(dict.fromkeys(_by_interface(socket.if_nameindex) if hasattr(socket, "if_nameindex") else ()))
    if not found:
        with suppress(OSError):
            found = socket.gethostbyname_ex(socket.gethostname())[2]
    return [address for address in found if not address.startswith("127.")]


def _by_interface(names: Callable[[], list[tuple[int, str]]]) -> Iterator[str]:
    try:
        from fcntl import ioctl  # noqa: PLC0415  not on every system
    except ImportError:
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in names():
            with suppress(OSError):  # it has no such address
                answer = ioctl(asking, _ASK_FOR_ADDRESS, struct.pack("256s", name.encode()[:15]))
                yield socket.inet_ntoa(answer[20:24])
