"""A child of the slave: runs calls that may crash.

::

    CALL ──► Runner ──► DONE          log records and what is held go to the slave at once

What it runs, and how, is what a slave does in itself: see `runtime.runner`.
"""

from __future__ import annotations

import atexit
import faulthandler
import logging
import os
import select
import sys
import traceback
from collections import deque
from collections.abc import Callable
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar, cast

from .. import output, signals
from ..backports import override
from ..ids import CallId, Rank
from ..retries import names_of
from ..runtime import copies, logs
from ..runtime.holding import Holding
from ..runtime.messages import Named, Outcome, Record, SentCall
from ..runtime.places import SIGNAL
from ..runtime.runner import Runner
from ..transport import wire
from ..transport.failures import encode_failure
from . import segments, system
from .line import Line
from .messages import CALL, DONE, DROP, HELD, HOLD, LEAVE, LIMIT, RECORD, RELEASE, RELEASED, UNHEARD
from .page import Page

if TYPE_CHECKING:
    from ..futures import Future

T = TypeVar("T")


class Origin(NamedTuple):
    """Whose child a process is."""

    nanny: int
    """Its pid."""
    rank: Rank
    host: str


def live(slave: Line, page: Page, stacks: int, origin: Origin, prepare: Callable[[], None]) -> NoReturn:
    """Be a child until the slave says that this is over, or is gone."""
    code = 1
    try:
        os.setsid()
        system.die_with_parent(origin.nanny)
        system.die_first()
        _answer_signals(stacks)
        atexit._clear()  # noqa: SLF001  there is no public name; what the nanny has brought is not this process's to end
        segments.unlink_when_mpi_starts()
        prepare()
        with logs.records_with_rank(origin.rank), logs.forwarding(_Records(slave)):
            Child(slave, page, origin).serve()
        code = 0
        _leave_tidily()
    except (EOFError, OSError):
        code = UNHEARD  # the slave has gone, or a task has closed all files
    except BaseException:  # noqa: BLE001  the top of a process
        traceback.print_exc()
    finally:
        output.flush()
        os._exit(code)


def _answer_signals(stacks: int) -> None:
    faulthandler.enable(stacks)
    if SIGNAL is not None:
        faulthandler.register(SIGNAL, stacks, all_threads=True)
    signals.leave_to_rank_0()


def _leave_tidily() -> None:
    """What Python does at its end, and mpi4py, if a task has started MPI here."""
    atexit._run_exitfuncs()  # noqa: SLF001  there is no public name for it
    logging.shutdown()
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is not None and mpi.Is_initialized() and not mpi.Is_finalized():
        mpi.Finalize()


class _Records(deque[Record]):
    """Sends log records on at once: what a call has logged before it crashed is worth most."""

    def __init__(self, slave: Line) -> None:
        super().__init__()
        self._slave = slave
        self._owner = os.getpid()

    @override
    def append(self, record: Record, /) -> None:
        if os.getpid() == self._owner:  # not a process that a task has forked
            self._slave.send((RECORD, record))


class _MarkingRunner(Runner):
    """Tells the slave when the function begins, and what may take how long: it kills what outlasts the alarm."""

    def __init__(
        self,
        page: Page,
        origin: Origin,
        tell: Callable[[list[tuple[Named, float]]], None],
        slave: Line,
        holding: Holding,
    ) -> None:
        super().__init__(
            origin.rank,
            host=origin.host,
            is_stopped=lambda _: page.is_stopped(),
            tell_acquired=tell,
            tell_limit=lambda limit: slave.send((LIMIT, limit)),
            known=holding,
        )
        self._page = page

    @override
    def _value(self, call: SentCall) -> wire.Payload | Future[Any]:
        self._page.begin()
        return super()._value(call)

    @override
    def _limited(self, call: SentCall, seconds: float, what: str, work: Callable[[], T]) -> T:
        try:
            return super()._limited(call, seconds, what, work)
        finally:
            self._tell_limit(None)  # whoever kills must not be late


class Child:
    """Does what the slave says."""

    def __init__(self, slave: Line, page: Page, origin: Origin) -> None:
        self._slave = slave
        self._page = page
        self._holding = Holding()
        self._runner = _MarkingRunner(page, origin, self._tell_held, slave, self._holding)
        self._keeper = self._runner.keeper
        self._told: tuple[Named, ...] = ()
        """What the slave knows of the keeper."""

    def serve(self) -> None:
        """Run calls until the slave has no more.

        Raises:
            EOFError: The slave has gone.
            OSError: As much as that.
        """
        while True:
            message = self._slave.next()
            if message is None:
                self._wait()
                continue
            if message[0] == CALL:
                self._run(*message[1:])
            elif message[0] == HOLD:
                self._hold(*message[1:])
            elif message[0] == DROP:
                self._holding.drop(message[1])
            elif message[0] == RELEASE:
                self._keeper.release_all()
                self._tell_if_changed()
                self._slave.send((RELEASED,))
            elif message[0] == LEAVE:
                self._runner.close()
                return

    def _hold(self, number: int, what: wire.Payload, *more: Any) -> None:  # noqa: ANN401  see the messages
        """A broadcast: by itself, or in memory that the slave has too."""
        if not more:
            self._holding.put(number, copies.copy_of(what))
            return
        sizes, descriptor = more
        self._holding.put(number, copies.at(descriptor, cast("bytes", what), sizes))

    def _wait(self) -> None:
        """Wait for a message, and release meanwhile what is idle for too long."""
        if self._keeper.due == inf:
            self._slave.take_in()
            return
        poll = select.poll()
        poll.register(self._slave, select.POLLIN)
        if poll.poll(max(0.0, self._keeper.due - perf_counter()) * 1000):
            self._slave.take_in()
        else:
            self._keeper.release_idle()
            self._tell_if_changed()

    def _run(self, number: int, functions: dict[int, Callable[..., Any]], dropped: list[int], call: SentCall) -> None:
        self._page.take(number)
        self._runner.know(functions, dropped)
        outcome = self._runner.run(call)
        output.flush()
        self._tell_if_changed()
        try:
            self._slave.send((DONE, outcome))
        except (OSError, MemoryError) as error:  # for what is large, there is no memory
            self._slave.send((DONE, _unsent(cast("Outcome", outcome), error)))  # its calls submit none: it gives back no future

    def _tell_if_changed(self) -> None:
        if self._keeper.held is not self._told:
            self._tell_held([])

    def _tell_held(self, acquired: list[tuple[Named, float]]) -> None:
        self._told = self._keeper.held
        self._slave.send((HELD, self._told, acquired))


def _unsent(outcome: Outcome, error: OSError | MemoryError) -> Outcome:
    """What a call has returned, where that can't be handed to the slave."""
    call_id: CallId = outcome[0]
    error.add_note("while the result was put into shared memory for the slave")
    return call_id, (names_of(error), None), outcome[2], encode_failure(error, f"call {call_id}")
