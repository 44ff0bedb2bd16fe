"""How ranks serve, leave, and end the job.

::

    slave   serve() ──► MPI is finalized; if ranks have died, it is not; if one is left in a call: wait for the end of the job
    rank 0  end_mpi() ► the same, and the script goes on; its end is that of the job then, if a rank is left in a call
            abort() ──► the job ends at once, where slaves can't leave
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from . import ending, guard, output, profiles, signals, surroundings
from .ending import End
from .isolation import start as nannies
from .runtime import late_logs
from .survival import departure, link
from .transport.base import Transport

if TYPE_CHECKING:
    from .runtime.master import Master
    from .runtime.slave import Slave

THREADS_AT_MOST = 5.0
"""Seconds that a slave waits at the end for threads which tasks have started; one that never ends must not keep the job."""

_LOOK = 0.1
"""Seconds between two looks whether the launcher is still there."""


# ---------------------------------------------------------------- slaves


def new_slave(transport: Transport, is_orphan: Callable[[], bool]) -> Slave:
    """The slave that this rank is to be."""
    from .runtime.slave import Slave  # noqa: PLC0415  rank 0 needs none

    host, profile = surroundings.host(), profiles.of_this_process()
    if profile is None:
        return Slave(transport, host=host, is_orphan=is_orphan, leave=_leave)
    from .runtime.profiled import ProfiledSlave  # noqa: PLC0415  only with --profile

    return ProfiledSlave(transport, host=host, is_orphan=is_orphan, leave=_leave, profile=profile)


def serve(slave: Slave) -> NoReturn:
    """Be a slave until the end, and exit."""
    signals.leave_to_rank_0()
    with late_logs.forwarding(slave.rank, slave.records):
        try:
            slave.serve()
        except BaseException as error:  # noqa: BLE001  the top of a rank: without an abort, the master would wait for ever
            if link.is_guarded():  # the others go on
                _print(error)
                output.flush()
                os._exit(1)
            abort(error, {})
    nannies.dismiss()
    _join_threads()
    if slave.is_to_stay:
        _stay()
    _leave(after_deaths=slave.after_deaths)


def _stay() -> NoReturn:
    """Wait for the end of the job: another rank would keep MPI from ending, and it ends here only after that."""
    _leave_tidily()
    is_orphan = surroundings.orphan_watch()
    while not is_orphan():
        time.sleep(_LOOK)
    os._exit(1)


def _leave(*, after_deaths: bool = False) -> NoReturn:
    """End this process, and nothing but that."""
    _leave_tidily()
    if after_deaths or not _finalize():
        departure.leave(0)
    # Not os._exit: MPICH's library says goodbye to mpiexec in a C destructor, and mpiexec kills the job of a rank that
    # did not. Not sys.exit: what follows run() in the script must not run on slaves.
    ctypes.PyDLL(None).exit(0)
    os._exit(0)


def _join_threads() -> None:
    """Wait a moment for threads that tasks have started, as Python does at its end."""
    deadline = time.monotonic() + THREADS_AT_MOST
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, deadline - time.monotonic()))


# ---------------------------------------------------------------- rank 0


def end_mpi(master: Master, error: BaseException | None = None) -> None:
    """Let this process be without MPI; or, if a rank is left that would keep it from ending, let the job end with it."""
    if master.left_in_calls():
        guard.abort_at_exit()
    elif master.has_lost_slaves or not _finalize():
        guard.mpi_is_over()
        departure.Departure(_leave_tidily, code_of(error) if isinstance(error, SystemExit) else 0).install()
    link.end()


def say_left_behind(overdue: dict[int, str]) -> None:
    """One line for each."""
    for rank, name in overdue.items():
        print(f"mpitasks: rank {rank} was left in a call of {name!r} that had outlasted its timeout", file=sys.stderr)


def abort(error: BaseException | None, stuck: dict[int, str]) -> NoReturn:
    """End the job although slaves are in calls."""
    from mpi4py import MPI  # noqa: PLC0415  it is started by now

    if error is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
        _print(error)
    for rank, name in stuck.items():
        print(f"mpitasks: rank {rank} is still in a call of {name!r}; the job is aborted", file=sys.stderr)
    code = (error and code_of(error)) or 1
    _leave_tidily()
    if ending.said() is None:  # a slave's loop has failed
        ending.tell(End(code, "a rank failed"))
    ending.tell_aborted()
    time.sleep(surroundings.LAST_WORDS)
    MPI.COMM_WORLD.Abort(code)
    os._exit(1)


def code_of(error: BaseException) -> int:
    """The exit code with which Python would end."""
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 1


# ---------------------------------------------------------------- all ranks


def _leave_tidily() -> None:
    """What Python does at its end, before an end by `os._exit`."""
    atexit._run_exitfuncs()  # noqa: SLF001  there is no public name for it
    output.flush_logs()
    output.flush()


def _print(error: BaseException) -> None:
    from traceback import print_exception  # noqa: PLC0415  2 ms, for what seldom happens

    print_exception(error)


def _finalize() -> bool:
    """End MPI here: a slave would burn a core in Finalize for as long as rank 0 goes on without. Whether that went well."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL:
        signal.signal(signal.SIGUSR1, lambda *_: None)  # it comes too late, and must not kill what follows run()
    from mpi4py import MPI  # noqa: PLC0415  it is started by now

    with link.finalizing():
        try:
            MPI.Finalize()
        except MPI.Exception:  # somebody has died just now: Open MPI says so
            if not link.is_guarded():
                raise
            return False
    return True
