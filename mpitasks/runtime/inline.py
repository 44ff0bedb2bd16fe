"""The farm in one thread: a call runs inside `delay`."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Any

from ..futures import Future
from ..ids import Rank
from ..options import Plan
from ..transport.local import local_world
from .backoff import Backoff
from .master import Master
from .slave import Slave


class InlineMaster(Master):
    """A master whose only slave runs in the thread that submits; the scheduler and the wire format are the real ones."""

    def __init__(self) -> None:
        ours, its = local_world(2)
        super().__init__(ours)
        self._slave = Slave(its, host="this process", is_draining=lambda: bool(self.interrupts.draining))
        self._one_at_a_time = threading.RLock()

    def start(self) -> None:
        """Nothing runs in the background."""

    def submit(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], resource: Hashable) -> Future[Any]:
        """Run the call now, and give back its future."""
        future = super().submit(plan, args, kwargs, resource)
        with self._one_at_a_time:
            backoff = Backoff()  # a failed call may have to wait before it runs again
            while not future.done():
                self._slave.run_all()
                if not self.step():
                    backoff.pause()
                self.interrupts.check()
        self.interrupts.check()
        return future

    def ask_stacks(self) -> list[Rank]:
        """The slave can't be asked: it is main's own thread."""
        self.stacks[self._slave.rank] = "in main's thread: see there"
        return []

    def close(self, grace: float) -> list[int]:
        """End what the slave runs on."""
        self._slave.close()
        return super().close(grace)
