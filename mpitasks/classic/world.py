"""This process's place in COMM_WORLD, made when it is first needed.

Rank 0 has the endpoint that its Masters share; every other rank has a transport to rank 0. If rank 0 ends without having
let its slaves go, they are let go then: they would wait for it, and MPI's end would wait for them.

::

    SIGINT, SIGTERM ──► launcher ──► rank 0: KeyboardInterrupt, SystemExit ──► its `finally` blocks ──► slaves are let go
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from types import TracebackType
from typing import Any

from .. import guard, output, surroundings
from ..errors import StartError
from ..ids import MASTER, Rank
from ..runtime.interrupts import Interrupts
from ..transport.base import Transport
from .endpoint import Endpoint

GRACE = 5.0
"""Seconds that slaves get to leave when rank 0 has ended without `terminate_slaves`."""


def endpoint() -> Endpoint:
    """The endpoint of rank 0.

    Raises:
        StartError: This is another rank, or the only one.
    """
    rank = _transport().rank
    if rank != MASTER:
        msg = f"this is rank {rank}, and a Master works on rank 0 only; here, call run() of your Slave"
        raise StartError(msg)
    return _endpoint()


def transport() -> Transport:
    """The wire of a slave to rank 0.

    Raises:
        StartError: This is rank 0.
    """
    found = _transport()
    if found.rank == MASTER:
        msg = "Slave.run() was called on rank 0, which is the master's; call it on the ranks that the Master has as slaves"
        raise StartError(msg)
    return found


def size() -> int:
    """How many ranks there are.

    Raises:
        StartError: One, and a master needs slaves.
    """
    return _transport().size


def comm() -> Any:  # noqa: ANN401  an MPI.Intracomm, and mpi4py is not to be imported before it is needed
    """COMM_WORLD."""
    surroundings.start_mpi()
    from mpi4py import MPI  # noqa: PLC0415  only who uses it may load it

    return MPI.COMM_WORLD


_Hook = Callable[[type[BaseException], BaseException, TracebackType | None], object]

_sources: set[Rank] = set()
"""Whom the transport of this process listens to."""


@cache
def _transport() -> Transport:
    if surroundings.start_mpi() < 2:  # noqa: PLR2004  a master and a slave
        promise, program = surroundings.promised_size(), sys.argv[0] or "app.py"
        msg = f"a master needs slaves, and this is the only rank: start it with mpiexec -n 4 python {program}"
        raise StartError(surroundings.wrong_launcher(promise) if promise else msg)
    from ..transport.mpi import on_world  # noqa: PLC0415  starts MPI

    made = on_world(_sources)
    if made.rank != MASTER:
        _sources.add(MASTER)
    return made


@cache
def _endpoint() -> Endpoint:
    interrupts = Interrupts()
    made = Endpoint(_transport(), _sources, is_orphan=surroundings.orphan_watch(), check=interrupts.check)
    _take_signals(interrupts)
    if folder := surroundings.control_folder():
        from pathlib import Path  # noqa: PLC0415  only here

        from .. import control  # noqa: PLC0415  as above

        control.describe(Path(folder), {"grace": GRACE})
    atexit.register(_let_go, made, interrupts, os.getpid())
    return made


def _take_signals(interrupts: Interrupts) -> None:
    """From now on, signals end this rank in order; a program that has handlers of its own keeps them."""
    if (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == (signal.default_int_handler, signal.SIG_DFL):
        installed = ExitStack()
        installed.enter_context(interrupts.installed())
        atexit.register(installed.close)
    sys.excepthook = _after_ctrl_c(sys.excepthook)


def _after_ctrl_c(show: _Hook) -> _Hook:
    """An excepthook that ends this rank in order after Ctrl-C: the guard would abort the job, and Python kills itself."""

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            show(kind, error, traceback)
            return
        print("mpitasks: interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)

    return hook


def _let_go(made: Endpoint, interrupts: Interrupts, pid: int) -> None:
    """Rank 0 ends: let go the slaves that nobody has."""
    from mpi4py import MPI  # noqa: PLC0415  it is started by now

    if MPI.Is_finalized() or os.getpid() != pid:
        return
    interrupts.forget()
    made.dismiss(made.known(), unheard=0.0, heard=GRACE)
    if busy := made.busy():
        output.flush()
        print(f"mpitasks: rank 0 has ended, and slaves {busy} are still in do_work; the job is aborted", file=sys.stderr)
        guard.abort()
