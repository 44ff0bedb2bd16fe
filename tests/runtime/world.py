"""A master and its slaves in one thread, stepped by hand, with every message written down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from mpitasks import Futures, farm, task
from mpitasks.runtime import columns, messages
from mpitasks.runtime.backoff import Backoff
from mpitasks.runtime.master import Master
from mpitasks.runtime.slave import A_CALL, Slave
from mpitasks.transport import wire
from mpitasks.transport.local import LocalTransport, local_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mpitasks import Task
    from mpitasks.ids import Rank
    from mpitasks.transport.wire import Packet

T = TypeVar("T")
KINDS = "WINDOW BACK STOP DRAIN LEAVE REPORT BYE HEARD STACKS LIMIT STUCK STAY"
OF_CALLS_OF_CALLS = "ABOVE ANSWER WITHDRAWN DEADLOCK KEEP SUBMIT WITHDRAW WAITS GOES_ON STILL JOINS MANY"
OF_BROADCASTS = "SHIP ATTACH PASS_ON FREE GONE HAS LACKS"
NAMES = {getattr(messages, name): name for name in f"{KINDS} {OF_CALLS_OF_CALLS} {OF_BROADCASTS}".split()}


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Never(Backoff):
    """No pause: the test's own turns are the time."""

    def pause(self) -> None:
        """Go on."""


class Tapped:
    """A transport that writes down what is sent through it."""

    def __init__(self, inner: LocalTransport, log: list[tuple[Any, ...]]) -> None:
        self.rank, self.size, self.sending = inner.rank, inner.size, False
        self.inner, self._log = inner, log
        self.receive, self.drop, self.deaths = inner.receive, inner.drop, inner.deaths
        self.receiving, self.is_sending_to = False, inner.is_sending_to

    def send(self, rank: Rank, packet: Packet) -> None:
        """Write down and send."""
        # Copied: Python 3.11 crashes where it collects views of memory in a circle with a PickleBuffer of them.
        message = wire.unpack(wire.Packet(packet.header, [bytearray(frame) for frame in packet.frames]))
        self._log.append((self.rank, int(rank), NAMES[message[0]], *_one_by_one(message)[1:]))
        self.inner.send(rank, packet)


class World:
    """The farm under test."""

    def __init__(self, slaves: int, **options: Any) -> None:
        self.log: list[tuple[Any, ...]] = []
        ours, *others = (Tapped(transport, self.log) for transport in local_world(slaves + 1))
        self.master = Master(ours, backoff=Never, **options)
        self.slaves = {transport.rank: Slave(transport, host="here", backoff=Never()) for transport in others}
        farm.bind(self.master)

    def turn(self, *ranks: int) -> None:
        """The master looks; then these slaves, or all, run all that they have; then the master looks again."""
        self.master.step()
        for rank in ranks or self.slaves:
            while self.slaves[rank].step():
                pass
        self.master.step()

    def kill(self, rank: int, how: str = "signal 9") -> None:
        """That slave is no more; what it has sent is still heard."""
        self.slaves.pop(rank)._transport.inner.die(how)  # type: ignore[attr-defined]

    def finish(self) -> None:
        """Turn until all calls have ended."""
        for _ in range(1000):
            if not self.master.is_busy:
                return
            self.turn()
        msg = "calls are left that nobody runs"
        raise AssertionError(msg)

    def messages(self, *kinds: str) -> list[tuple[Any, ...]]:
        """What was sent of these kinds: (from, to, kind, ...)."""
        return [message for message in self.log if message[2] in kinds]

    def windows(self) -> list[tuple[int, list[int]]]:
        """To whom which calls went, by id."""
        return [(to, [one for call in calls for one in _ids(call)]) for _, to, _, _, _, calls in self.messages("WINDOW")]


def _ids(call: tuple[Any, ...]) -> list[int]:
    """Of a call that was sent, or of many as one."""
    return [call[0] + place for place in range(1 if len(call) == A_CALL else len(call[5]))]


def _one_by_one(message: tuple[Any, ...]) -> tuple[Any, ...]:
    """The message, with calls and outcomes one by one that travel as columns."""
    if message[0] == messages.WINDOW and isinstance(message[3], tuple):
        return *message[:3], columns.calls_of(message[3])
    if message[0] == messages.REPORT and isinstance(message[1], tuple):
        return message[0], columns.outcomes_of(message[1]), *message[2:]
    return message


def one_by_one(of: Task[..., T], items: Iterable[Any], *, chunksize: int) -> Futures[T]:
    """As `of.map`, where each call is submitted by itself, and so is sent as one."""
    chunked = of._in_chunks(chunksize)
    return Futures([chunked.delay(item) for item in items])


@task
def echo(value: Any = None) -> Any:
    """Give back what it is given."""
    return value


@task
def fail(text: str = "no") -> None:
    """Fail."""
    raise ValueError(text)


inside: list[Callable[[], Any]] = []
"""What the next call of `do` does, in the middle of a call."""


@task
def do() -> Any:
    """Do what the test wants done inside a call."""
    return inside.pop()()
