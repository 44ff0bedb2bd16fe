"""The farm in one thread: a call runs inside `delay`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any

from ..errors import Deadlock
from ..futures import Future
from ..ids import Rank
from ..plans import Plan
from ..transport.local import local_world
from .backoff import Backoff
from .master import Master
from .nested import NestedFarm
from .slave import Slave


class _Turns(Backoff):
    """Where a slave would wait for its master, lets that do its part."""

    def __init__(self, turn: Callable[[], object]) -> None:
        super().__init__()
        self._turn = turn

    def pause(self) -> None:
        """Let the master look; pause only if it has nothing to do either."""
        if not self._turn():
            super().pause()


class _NestedInline(NestedFarm):
    """Runs a call inside `delay`, as main's are run."""

    def submit(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], resource: Hashable) -> Future[Any]:
        """Run the call now, and give back its future."""
        future = super().submit(plan, args, kwargs, resource)
        with suppress(Deadlock):  # whoever asks for the result hears of it
            self.wait(future.done, future._event, None)
        return future


class _InlineSlave(Slave):
    def _new_farm(self, slaves: int) -> NestedFarm:
        return _NestedInline(self, slaves)


class InlineMaster(Master):
    """A master whose only slave runs in the thread that submits; the scheduler and the wire format are the real ones."""

    is_inline = True

    def __init__(self) -> None:
        ours, its = local_world(2)
        super().__init__(ours)
        self._slave = _InlineSlave(
            its,
            host="this process",
            backoff=_Turns(self._turn),
            is_draining=lambda: bool(self.interrupts.draining),
        )
        self._one_at_a_time = threading.RLock()

    def _turn(self) -> bool:
        """A turn of the farm, from inside a call that waits."""
        self.check_interrupts()
        return self.step()

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

    def takes_many(self, plan: Plan) -> bool:  # noqa: ARG002  as in the base class
        """Each runs before the next is taken."""
        return False

    def have_settled(self) -> bool:
        """A call of a call has ended before anybody can add a callback, which then runs at once."""
        return True

    def ask_stacks(self) -> list[Rank]:
        """The slave can't be asked: it is main's own thread."""
        self.stacks[self._slave.rank] = "in main's thread: see there"
        return []

    def close(self, grace: float) -> list[int]:
        """End what the slave runs on."""
        self._slave.close()
        return super().close(grace)
