"""The master: gives data to slaves, collects what they return."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from ..errors import SlaveNotReady
from ..ids import MASTER, Rank
from . import world
from .endpoint import Endpoint, Run, Tray

UNHEARD_AT_MOST = 30.0
"""Seconds that `terminate_slaves` waits for a slave that has never said a word."""

_logger = logging.getLogger("mpitasks")


def is_whole(value: object) -> bool:
    """Whether this is a whole number, numpy's too; a bool is none."""
    return hasattr(type(value), "__index__") and not isinstance(value, bool)


class Master:
    """Controls slaves by hand, from rank 0; `WorkQueue` and `MultiWorkQueue` do it for you.

    Nothing happens between two calls of its methods: a program calls them again and again, and sleeps in between. None of
    them waits, except for `terminate_slaves`. Several masters may have the same slaves.

    Args:
        slaves: Ranks of COMM_WORLD; more can be added later.

    Raises:
        StartError: There is only one rank, so that there will never be a slave.
        TypeError: One of `slaves` is no whole number.
        ValueError: One of `slaves` can't be one.

    Attributes:
        slaves: The ranks that are its slaves now.
        comm: COMM_WORLD, which is yours.
    """

    def __init__(self, slaves: Iterable[int] | None = None) -> None:
        self.slaves: set[int] = set()
        self._tray = Tray()
        self._departures: dict[int, int] = {}
        """How often each slave had left when it was last seen to be there: see `Endpoint.dismiss`."""
        self._beside: set[int] = set()
        """Slaves of its MultiWorkQueue that no master has; whoever terminates first, lets them go too."""
        self._size = world.size()
        self.comm = world.comm()
        for slave in slaves or ():
            self.add_slave(slave, ready=False)

    # ---------------------------------------------------------------- whose slaves

    def num_slaves(self) -> int:
        """How many slaves it has."""
        return len(self.slaves)

    def add_slave(self, slave: int, ready: bool) -> None:  # noqa: FBT001  as mpi-master-slave has it
        """Take a slave in.

        Args:
            slave: Its rank.
            ready: Whether to give it work although it may not have said yet that it is ready.

        Raises:
            TypeError: That is no whole number.
            ValueError: That rank can't be a slave.
        """
        self._expect(slave)
        self.slaves.add(slave)
        if ready:
            self._endpoint.trust(Rank(slave))

    def remove_slave(self, slave: int) -> bool:
        """Give up a slave, if it is ready; whether it was."""
        if slave not in self.get_ready_slaves():
            return False
        self.slaves.remove(slave)
        return True

    def move_slave(self, to_master: Master, slave: int | None = None) -> int | None:
        """Hand a ready slave over to another master.

        Args:
            to_master: Who gets it.
            slave: Which one; by default the lowest rank.

        Returns:
            The slave, or None if it is not ready, or none is.
        """
        ready = self.get_ready_slaves()
        if slave is None:
            slave = min(ready, default=None)
        if slave not in ready:
            return None
        self.slaves.discard(slave)
        to_master.slaves.add(slave)
        to_master._expect(slave)
        return slave

    # ---------------------------------------------------------------- work

    def get_ready_slaves(self) -> set[int]:
        """The slaves that can be given data now. One that has a result to collect is not among them."""
        self._endpoint.poll()
        ready = {slave for slave in self.slaves if self._is_ready(slave)}
        for slave in ready:
            self._expect(slave)
        return ready

    def run(self, slave: int, data: Any) -> None:  # noqa: ANN401  whatever the program sends
        """Give data to a slave, which begins with it at once. The data may be changed after this returns.

        Raises:
            SlaveNotReady: It can't take any now.
            EncodeError: The data can't be pickled; the slave stays ready.
        """
        if not self._is_ready(slave) and slave not in self.get_ready_slaves():
            msg = f"slave {slave} {self._why_not_ready(slave)}; run() takes one of get_ready_slaves()"
            raise SlaveNotReady(msg)
        self._endpoint.send(Rank(slave), self._tray, data)

    def get_completed_slaves(self) -> set[int]:
        """The slaves that have a result to collect with `get_data`."""
        self._endpoint.poll()
        return set(self._tray.completed)

    def get_data(self, completed_slave: int) -> Any:  # noqa: ANN401  whatever do_work returned
        """Collect what `do_work` of that slave returned. This is done once; then the slave is ready again.

        Raises:
            SlaveNotReady: It has no result to collect.
            Exception: What `do_work` raised there, with the traceback of that rank as its cause.
        """
        run = self._tray.completed.pop(Rank(completed_slave), None)
        if run is None and completed_slave in self.get_completed_slaves():
            run = self._tray.completed.pop(Rank(completed_slave))
        if run is None:
            msg = f"slave {completed_slave} has no result to collect; get_data() takes one of get_completed_slaves()"
            raise SlaveNotReady(msg)
        run.collected = True
        return run.value()

    def done(self) -> bool:
        """Whether nothing runs, and all results are collected."""
        return not self._tray.running and not self._tray.completed

    def terminate_slaves(self) -> None:
        """Let all slaves leave their `run`, and wait until they have.

        Each ends what it does first; what that gives can still be collected. A slave that another master has let go is
        skipped.
        """
        leaving = self.slaves | self._beside
        for slave in leaving - self._departures.keys():
            self._expect(slave)
        seen = {Rank(slave): self._departures[slave] for slave in sorted(leaving)}
        missing = self._endpoint.dismiss(seen, unheard=UNHEARD_AT_MOST)
        if missing:
            _logger.warning("slaves %s have never called Slave.run(); should they do it later, they leave at once", missing)

    # ---------------------------------------------------------------- inside

    @property
    def _endpoint(self) -> Endpoint:
        return world.endpoint()

    def _expect(self, slave: int) -> None:
        """Count on that slave from now on.

        Raises:
            TypeError: That is no whole number.
            ValueError: That rank can't be one.
        """
        if not is_whole(slave):
            msg = f"{slave!r} can't be a slave: a slave is the rank of a process in COMM_WORLD, a whole number from 1 on"
            raise TypeError(msg)
        if not MASTER < slave < self._size:
            msg = f"rank {slave} can't be a slave: rank 0 is the master, and there are {self._size} ranks in all"
            raise ValueError(msg)
        self._departures[slave] = self._endpoint.expect(Rank(slave))

    def _is_ready(self, slave: int) -> bool:
        return slave in self.slaves and slave not in self._tray.completed and self._endpoint.is_idle(Rank(slave))

    def _running(self, slave: int) -> Run | None:
        """What that slave runs, if it was given by this master."""
        return self._tray.running.get(Rank(slave)) or self._tray.completed.get(Rank(slave))

    def _why_not_ready(self, slave: int) -> str:
        if slave not in self.slaves:
            return f"is none of this master's, {sorted(self.slaves)}"
        if slave in self._tray.completed:
            return "has a result that get_data() has not collected"
        if self._endpoint.running(Rank(slave)) is not None:
            return "is busy"
        return "is not there: it has not called Slave.run() yet, or was told to leave"
