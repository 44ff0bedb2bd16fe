"""Ranks as threads of which one runs at a time; a clock that moves when all rest; mail that takes its time.

::

    main ──pause()──► a slave, or its listener, by dice ──rest(), sleep()──► main ──► ...
                 └──► nobody can go on: the clock moves

A thread gives way only in a pause of its backoff or inside a body that sleeps, so a seed tells the whole story.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from math import inf
from typing import TYPE_CHECKING

from mpitasks.ids import Rank
from mpitasks.runtime.backoff import Backoff
from mpitasks.runtime.slave import Slave
from mpitasks.transport.base import Arrival, Death
from mpitasks.transport.wire import Packet

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

MOST_TURNS = 20_000
"""Turns of slaves in one program, after which it counts as going round in circles."""
MOST_STRIDES = 60
"""Times in a row that the clock moves for nothing; each time twice as far, from a millisecond to an hour."""
LATE = 0.3
"""How often a message that is there is not seen yet."""


class Hang(AssertionError):
    """Nothing will happen any more, and somebody waits."""


class Over(BaseException):
    """The rank has died, or the play is over: this thread has nothing to do any more."""


class Clock:
    """What stands for all clocks of the library."""

    MODULES = (
        *("master.monotonic", "drive.monotonic", "slave.perf_counter", "runner.perf_counter", "keeper.perf_counter"),
        *("nested.perf_counter", "alarm.perf_counter", "loop.perf_counter"),
    )

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for name in self.MODULES:
            monkeypatch.setattr(f"mpitasks.runtime.{name}", self)

    def __call__(self) -> float:
        return self.now


class Post:
    """One rank's transport. A large packet is under way until it is received."""

    receiving = False

    def __init__(self, rank: int, stage: Stage) -> None:
        self.rank, self.size = Rank(rank), stage.size
        self.deaths: deque[Death] = deque()
        self._stage = stage
        self._dropped: set[Rank] = set()

    def send(self, rank: Rank, packet: Packet) -> None:
        """Copied, as a real wire would."""
        self._stage.check(self.rank)
        if rank and self._stage.actors[rank - 1].is_dead:
            return  # nobody is there to whom it could be carried
        copied = Packet(packet.header, [bytearray(frame) for frame in packet.frames])
        self._stage.mail[rank].setdefault(self.rank, deque()).append(copied)

    def receive(self) -> Arrival | None:
        """The first packet of one of those who have sent some, or nothing yet."""
        self._stage.check(self.rank)
        mail, dice = self._stage.mail[self.rank], self._stage.dice
        if not mail or (dice is not None and dice.random() < LATE):
            return None
        source = next(iter(mail)) if dice is None else dice.choice(list(mail))
        packet = mail[source].popleft()
        if not mail[source]:
            del mail[source]
        return Arrival(source, packet) if source not in self._dropped else None

    def drop(self, rank: Rank) -> None:
        """That rank is dead: what it has sent is not heard any more."""
        self._dropped.add(rank)

    def is_sending_to(self, rank: Rank) -> bool:
        """Whether that rank has not received what is large."""
        return any(packet.frames for packet in self._stage.mail[rank].get(self.rank, ()))

    @property
    def sending(self) -> bool:
        """Whether somebody has not received what is large."""
        return any(packet.frames for boxes in self._stage.mail for packet in boxes.get(self.rank, ()))


class Gives(Backoff):
    """A pause lets others go on."""

    def __init__(self, pause: Callable[[], None]) -> None:
        self.pause = pause  # type: ignore[method-assign]  # the method of another object does it


class Actor:
    """One slave, in a thread of its own."""

    def __init__(self, rank: int, stage: Stage) -> None:
        self.rank, self._stage = Rank(rank), stage
        self.slave = Slave(Post(rank, stage), host="here", backoff=Gives(lambda: self.give_way(inf)))
        self.wake = 0.0
        """When it goes on by itself; infinity: when there is mail."""
        self.is_inside = False
        """Whether it sleeps inside a body or a provider, so that the listener has its say."""
        self.is_over = False
        self.is_dead = False
        self.given_up = 0
        """How often its listener said that a call can't be interrupted."""
        self._go, self._back = threading.Lock(), threading.Lock()  # half the time of semaphores, which are made of them
        self._go.acquire()
        self._back.acquire()
        self._thread = threading.Thread(target=self._run, name=f"slave-{rank}", daemon=True)

    def resume(self) -> None:
        """Let it run until it gives way."""
        if self._thread.ident is None:
            self._thread.start()
        self._go.release()
        self._back.acquire()

    def give_way(self, wake: float) -> None:
        """In its own thread: let others run."""
        self.wake = wake
        self._back.release()
        self._go.acquire()
        self._stage.check(self.rank)

    def sleep(self, seconds: float) -> None:
        """In its own thread: be in a body for so long."""
        self.is_inside = True
        try:
            self.give_way(self._stage.clock.now + seconds)
        finally:
            self.is_inside = False

    def listen(self) -> None:
        """What the listener thread does while a call goes on for long; at any moment of that."""
        slave = self.slave
        while slave.receive():
            pass
        if slave._outbox or slave.records or slave._held is not slave._keeper.held:
            slave._report()
        before = slave._given_up
        slave._watch()
        self.given_up += slave._given_up is not before
        slave._runner.farm()._tell_aside()

    @property
    def is_overdue(self) -> bool:
        """Whether the time of its call is up, and its listener has not said so."""
        watched = self.slave._runner.alarm.overdue()
        return watched is not None and watched is not self.slave._given_up

    def _run(self) -> None:
        self._go.acquire()
        self.slave._thread = threading.current_thread()
        try:
            while self.slave.step() or not self.slave._leaving:
                pass
            self.slave.close()
        except Over:
            pass
        except BaseException as error:  # noqa: BLE001  the top of a thread: the play must hear of it
            self._stage.wrong.append(error)
        self.is_over = True
        self._back.release()


class Stage:
    """All ranks but the master's, and who goes on.

    Args:
        slaves: How many.
        seed: Of the dice that choose who goes on and what comes late; 0: all in turn, and nothing is late.
        clock: What moves.
    """

    def __init__(self, slaves: int, seed: int, clock: Clock) -> None:
        self.size, self.clock = slaves + 1, clock
        self.dice = random.Random(seed) if seed else None  # noqa: S311  no secret
        self.mail: list[dict[Rank, deque[Packet]]] = [{} for _ in range(self.size)]
        self.wrong: list[BaseException] = []
        """What must not have happened, as it was found out in a thread whose exceptions are outcomes."""
        self.is_over = False
        self.master = Post(0, self)
        self.actors = [Actor(rank, self) for rank in range(1, self.size)]
        self._turns = self._strides = 0

    def backoff(self) -> Backoff:
        """The master's: its pauses are the others' time."""
        return Gives(self.pause)

    def here(self) -> Actor:
        """The actor whose thread this is; raises Over if that must not go on, whatever has caught it before."""
        actor = self.actors[int(threading.current_thread().name.removeprefix("slave-")) - 1]
        self.check(actor.rank)
        return actor

    def check(self, rank: int) -> None:
        """Raise Over in a thread that must not go on."""
        if rank and (self.is_over or self.actors[rank - 1].is_dead):
            raise Over

    def pause(self) -> None:
        """The master has nothing to do: somebody else goes on, or the clock does."""
        moves = self._moves()
        if moves:
            self._strides = 0
            for move in moves if self.dice is None else [self.dice.choice(moves)]:
                move()
            self._turns += len(moves)
        elif not self.mail[0]:
            self._stride()
        if self.wrong:
            raise self.wrong[0]
        if self._turns > MOST_TURNS:
            msg = f"after {MOST_TURNS} turns it has not ended"
            raise Hang(msg)

    def kill(self, rank: int, *, lost: int = 0) -> None:
        """The rank dies, wherever it is; so many of its last packets are lost, the others arrive. The master finds it dead."""
        self.mark_dead(self.actors[rank - 1], lost=lost)
        self._end(self.actors[rank - 1])

    def mark_dead(self, actor: Actor, *, lost: int = 0) -> None:
        """As `kill`; in the actor's own thread, whatever it does next ends that."""
        actor.is_dead = True
        self.mail[actor.rank] = {}
        sent = self.mail[0].get(actor.rank, deque())
        for _ in range(min(lost, len(sent))):
            sent.pop()
        if not sent:
            self.mail[0].pop(actor.rank, None)
        self.master.deaths.append(Death(actor.rank, "killed by a test"))

    def close(self) -> None:
        """End all threads."""
        self.is_over = True
        for actor in self.actors:
            self._end(actor)

    def _end(self, actor: Actor) -> None:
        while not actor.is_over:
            actor.resume()

    def _moves(self) -> list[Callable[[], None]]:
        """What can happen now."""
        moves: list[Callable[[], None]] = []
        for actor in self.actors:
            if actor.is_over:
                continue
            has_mail = bool(self.mail[actor.rank])
            if actor.wake <= self.clock.now or (has_mail and not actor.is_inside):
                moves.append(actor.resume)
                if not actor.is_overdue:
                    continue
            if actor.is_inside and (has_mail or actor.slave._outbox or actor.is_overdue):
                moves.append(actor.listen)
        return moves

    def _stride(self) -> None:
        """Nobody can go on before its time: let that come."""
        self._strides += 1
        if self._strides > MOST_STRIDES:
            msg = f"nothing happens any more, for {self.clock.now - 1000:.0f} s"
            raise Hang(msg)
        wake = min((actor.wake for actor in self.actors if not actor.is_over), default=inf)
        self.clock.now = min(wake, self.clock.now + min(3600.0, 0.001 * 2.0**self._strides))
        for actor in self.actors:  # those that rest look what is due
            if actor.wake == inf and not actor.is_over:
                actor.resume()
