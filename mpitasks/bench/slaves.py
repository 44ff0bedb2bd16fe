"""What slaves do, and where."""

from __future__ import annotations

import socket
import time
from time import perf_counter
from typing import NamedTuple

from ..context import Context, current
from ..errors import MpiTasksError
from ..futures import Future
from ..tasks import task
from . import wire
from .figures import NotHere

_TRIES = 20
_WHILE = 0.05
"""Seconds that a slave is kept, so that the next call goes to another."""


class Nap(NamedTuple):
    """When a call began and ended, by the clock of its host, and the slave's bodies so far."""

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


class _Bodies:
    """How many naps this process has begun."""

    count = 0


class _Slave(NamedTuple):
    rank: int
    host: str
    bodies: int


@task
def nothing(item: int = 0) -> None:
    """Do nothing."""


@task
def nap(seconds: float) -> Nap:
    """Sleep, and tell when."""
    _Bodies.count += 1
    began = perf_counter()
    time.sleep(seconds)
    return Nap(began, perf_counter())


@task(bind=True)
def wait_for_stop(ctx: Context) -> None:
    """Keep the slave until the call is cancelled."""
    while not ctx.should_stop():
        time.sleep(0.005)


@task
def _tell() -> _Slave:
    """Who is here, and what was done."""
    time.sleep(_WHILE)
    return _Slave(current().rank, socket.gethostname(), _Bodies.count)


def _every_slave() -> list[_Slave]:
    """What each of them tells.

    Raises:
        MpiTasksError: Some never do.
    """
    found: dict[int, _Slave] = {}
    for _ in range(_TRIES):
        told = [future.result() for future in [_tell.delay() for _ in range(wire.slaves())]]
        found |= {slave.rank: slave for slave in told}
        if len(found) == wire.slaves():
            return list(found.values())
    msg = f"{wire.slaves()} slaves were asked {_TRIES} times, and only {sorted(found)} answered; is the machine overloaded?"
    raise MpiTasksError(msg)


def bodies() -> int:
    """How many naps all slaves have begun so far."""
    return sum(slave.bodies for slave in _every_slave())


def keep_all() -> list[Future[None]]:
    """Keep every slave, until these are cancelled."""
    return [wait_for_stop.delay() for _ in range(wire.slaves())]


def check_one_clock() -> None:
    """Whether times of different slaves can be compared.

    Raises:
        NotHere: They run on several hosts.
    """
    hosts = {socket.gethostname(), *(slave.host for slave in _every_slave())}
    if len(hosts) > 1:
        msg = f"it compares times of different ranks, and {len(hosts)} hosts have as many clocks; run it on one host"
        raise NotHere(msg)
