"""Starts nannies: forks, or else new Pythons.

::

    run() ──► prepare ──► fork, before MPI is started ──► ready ──┐
                                                                  ├──► a slave's first isolated call takes it
    MPI is up, or threads run, or nobody had asked ──► exec ──────┘

A fork has the user's program already. A new Python gets no descriptor and no variable of the rank but its socket, and
imports the program: see `importing`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from .. import output
from .aside import environment
from .messages import IMPORT

if TYPE_CHECKING:
    import subprocess

    from .line import Line

_TO_LEAVE = 15.0
"""Seconds that a nanny gets to leave; it needs milliseconds, but for processes that can't be killed: see
`nanny.LONGEST_END`."""
_ready: list[Nanny] = []
"""Forked and not taken yet."""


class Nanny:
    """A nanny, as its slave sees it."""

    def __init__(self, to_it: Line, pid: int, wait: Callable[[float], bool]) -> None:
        self.line = to_it
        self._pid = pid
        self._wait = wait

    def close(self) -> None:
        """Have it kill what is left, and leave."""
        self.line.close()
        if not self._wait(_TO_LEAVE):
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._wait(_TO_LEAVE)


def prepare(count: int) -> None:
    """Fork that many nannies if that is safe now: MPI is not loaded, and nobody else runs in this process."""
    if hasattr(os, "fork") and "mpi4py.MPI" not in sys.modules and threading.active_count() == 1:
        while len(_ready) < count:
            _ready.append(_forked())


def take() -> Nanny:
    """A nanny, ready or new."""
    return _ready.pop() if _ready else _executed()


def dismiss() -> None:
    """Let those leave that nobody has taken."""
    while _ready:
        _ready.pop().close()


def _forked() -> Nanny:
    from . import line, nanny  # noqa: PLC0415  only who isolates calls needs them

    ours, its = line.pair()
    parent = os.getpid()
    output.flush()  # or it would be written twice
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of libraries have seen to forks themselves
        pid = os.fork()
    if pid == 0:
        for other in _ready:
            other.line.close()
        ours.close()
        nanny.serve(its, parent)
    its.close()
    return Nanny(ours, pid, lambda limit: _has_ended(pid, limit))


def _has_ended(pid: int, limit: float) -> bool:
    """Wait for the end of a fork of this process."""
    nap, until = 0.0005, time.monotonic() + limit
    while time.monotonic() < until:
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return True
        except ChildProcessError:  # a task has waited for every child of this process
            return True
        time.sleep(nap)
        nap = min(2 * nap, 0.02)
    return False


def _executed() -> Nanny:
    import subprocess  # noqa: PLC0415  as above

    from . import line, nanny  # noqa: PLC0415  as above
    from .importing import program  # noqa: PLC0415  as above

    ours, its = line.pair()
    told = program()
    begin = f"import sys; sys.path[:] = {told.path!r}; from {nanny.__name__} import main; main()"
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001  as multiprocessing does
    process = subprocess.Popen(  # noqa: S603  our own command
        [sys.executable, *flags, "-c", begin, str(its.fileno()), str(os.getpid())],
        pass_fds=[its.fileno()],
        env=environment(),
        start_new_session=True,
    )
    its.close()
    ours.send((IMPORT, told))
    return Nanny(ours, process.pid, lambda limit: _waited(process, limit))


def _waited(process: subprocess.Popen[bytes], limit: float) -> bool:
    import subprocess  # noqa: PLC0415  it is there: it has made the process

    try:
        process.wait(limit)
    except subprocess.TimeoutExpired:
        return False
    return True
