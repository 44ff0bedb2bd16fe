"""A rank that fails outside run() must not leave others waiting.

Measured with MPICH 5.0.2 and Open MPI 5.0.11: if one rank raises while a module is imported, or leaves before `run()`,
the others wait for it in MPI_Init for ever; if it raises later, in MPI_Finalize. An Abort ends the job within a second.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn

from . import ending, output, surroundings
from .ending import End
from .errors import StartError
from .survival import link

_Hook = Callable[[type[BaseException], BaseException, TracebackType | None], object]

_state = {"run has begun": False, "ends the job": False, "watched": False, "MPI is over": False}
_codes = [0]
"""With what this process is about to exit, as far as that is known; the last counts."""


def watch() -> None:
    """Guard this process, if it may be one rank of several; not the programs that a task starts, or its forks."""
    is_rank = surroundings.may_be_one_of_many() or surroundings.control_folder() is not None
    if is_rank and os.environ.setdefault(surroundings.RANK, str(os.getpid())) == str(os.getpid()):
        sys.excepthook = _after(sys.excepthook)
        _watch_exit()


def _watch_exit() -> None:
    if not _state["watched"]:
        _state["watched"] = True
        atexit.register(_end)  # runs after all that is registered later
        atexit.register(_leave)
        link.open_pipe()


def run_has_begun() -> None:
    """From now on, run() sees to the end."""
    _state["run has begun"] = True


def mpi_is_over() -> None:
    """Ranks have died, and nothing more can be told to the others: they have left."""
    _state["MPI is over"] = True


def may_leave_without_run() -> None:
    """From now on, this rank may end without run(), and tells nobody: that would take a collective."""
    _state["run has begun"] = True


def abort_at_exit() -> None:
    """From now on, the end of this process is that of the job, with its exit code.

    A rank is left in a call that never ends, and would keep MPI_Finalize from ending. An Abort is what both MPIs understand:
    an exit without Finalize has another code for mpiexec. Python tells nobody with which code it exits, so that this listens
    to `sys.exit`; a `raise SystemExit(3)` after run() goes unheard, and counts as 0.
    """
    _state["ends the job"] = True
    _watch_exit()
    leave = sys.exit

    def exit_with_note(status: str | int | None = None, /) -> NoReturn:
        note_code(status if isinstance(status, int) else int(status is not None))
        leave(status)

    sys.exit = exit_with_note


def note_code(code: int) -> None:
    """This process is about to exit with that code."""
    _codes.append(code)


def _after(show: _Hook) -> _Hook:
    """An excepthook that shows the exception as before, and then ends the job."""

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        show(kind, error, traceback)
        if ending.said() is None:
            ending.tell(End(1, kind.__name__))
        abort()

    return hook


def abort(code: int = 1) -> None:
    """End the job, if MPI is not over."""
    if _has_others():
        from mpi4py import MPI  # noqa: PLC0415  started by now

        output.flush()
        if ending.said() is None:
            ending.tell(End(code, "a rank failed"))
        time.sleep(surroundings.LAST_WORDS)
        MPI.COMM_WORLD.Abort(code)


def _leave() -> None:
    """This rank leaves without run(): tell those that are in run(), which would wait for it. Or end the job, if it has to."""
    if _state["ends the job"]:
        abort(_codes[-1])
    if not _state["run has begun"] and _has_others():
        from mpi4py import MPI  # noqa: PLC0415  started by now

        from . import handshake  # noqa: PLC0415  only who leaves without run() needs it here

        problem = handshake.compare(MPI.COMM_WORLD.Dup(), is_present=False)
        if problem and MPI.COMM_WORLD.Get_rank() == 0:
            print(f"mpitasks: {problem}", file=sys.stderr)
    if os.environ.get(surroundings.RANK) == str(os.getpid()):
        link.python_ends()


def _end() -> None:
    """This process is about to end by itself."""
    if os.environ.get(surroundings.RANK) != str(os.getpid()) or not surroundings.may_be_rank_0():
        return
    ending.tell_left()
    end = None if _state["MPI is over"] else ending.said()
    if end is None or not end.stands or end.code in (0, ending.INTERRUPTED) or surroundings.control_folder() is not None:
        return
    # Failures that nobody asked for, under a bare mpiexec: nothing else can change the exit code of a script that goes on
    # after run(). Not os._exit: MPICH's library says goodbye to mpiexec in a C destructor.
    import ctypes  # noqa: PLC0415  mpi4py has it

    output.flush_logs()
    output.flush()
    ctypes.PyDLL(None).exit(end.code)


def _has_others() -> bool:
    """Whether this is one rank of several. Starts MPI, since the others may wait in its start; False once it is over."""
    mpi = sys.modules.get("mpi4py.MPI")
    if _state["MPI is over"]:
        return False
    if not surroundings.may_be_one_of_many() or os.environ.get(surroundings.RANK) != str(os.getpid()):
        return False
    if mpi is not None and mpi.Is_finalized():
        return False
    try:
        return surroundings.start_mpi() > 1
    except StartError:  # shown already: it is why this rank ends
        return False
