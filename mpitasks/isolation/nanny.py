"""Makes children for a slave, and leaves nothing of them.

::

    slave ──FORK──► nanny ──fork──► child ──► whatever its calls start
            KILL      │  SIGKILL to all of them ▲
          ◄─ENDED─────┴─────────────────────────┘

A process without MPI and without threads, so that it may fork; a fork takes 3 ms, where a new Python takes 33. When the
slave is gone, however it went, the nanny kills what there is and leaves too.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import traceback
import warnings
from contextlib import suppress
from typing import Any, NoReturn

from ..ids import Rank
from ..runtime.places import SIGNAL
from ..signals import LEFT_TO_RANK_0
from . import aside, child, line, system
from .importing import MpiLater, MpiNeeded, Program, import_here
from .line import Line
from .messages import BROKEN, ENDED, FORK, IMPORT, KILL, STACK
from .page import Page

NAP = 1000
"""Milliseconds between two looks whether the slave is still there; mostly, its socket says so before."""
LONGEST_END = 10.0
"""Seconds that killed processes get to vanish."""


def serve(slave: Line, parent: int) -> NoReturn:
    """Be the nanny of that process, until it goes. From here on, this process is nothing else."""
    nanny: Nanny | None = None
    try:
        aside.step_aside()
        with suppress(OSError):  # exec'ed with it
            os.setsid()  # launchers kill by groups, and whoever is to clean up must not be the first to go
        nanny = Nanny(slave, parent)
        nanny.serve()
    except (EOFError, OSError):
        pass  # the slave has gone
    except BaseException:  # noqa: BLE001  the top of a process
        traceback.print_exc()
    finally:
        if nanny is not None:
            nanny.end()
        os._exit(0)


class Nanny:
    """Has one child at a time."""

    def __init__(self, slave: Line, parent: int) -> None:
        self._slave = slave
        self._parent = parent
        self._number = self._child = 0
        """The number of the last child, and its pid; 0: it has ended."""
        self._program: Program | None = None
        self._mpi = MpiLater()
        self._trouble = ""
        """Why no child can be made."""
        self._wake, wake = os.pipe()
        self._pipe = (self._wake, wake)
        for end in self._pipe:
            os.set_blocking(end, False)
        for number in LEFT_TO_RANK_0:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        system.adopt_orphans()

    def serve(self) -> None:
        """Do what the slave says.

        Raises:
            EOFError: The slave has gone.
            OSError: As much as that.
        """
        poll = select.poll()
        poll.register(self._slave, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while os.getppid() == self._parent:
            ready = dict(poll.poll(NAP))
            if self._wake in ready:
                self._note_the_dead()
            if self._slave.fileno() in ready:
                self._slave.take_in()
                while (message := self._slave.next()) is not None:
                    self._obey(*message)

    def end(self) -> None:
        """Kill all that is left."""
        system.end_descendants(self._child, LONGEST_END)

    def _note_the_dead(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake, 4096)
        status, _ = system.reap(self._child)
        if status is not None:
            self._tell_end(status)

    def _tell_end(self, status: int | None) -> None:
        """The child has ended: nothing that it started is to go on, and then the slave hears of it."""
        self._child = 0
        self.end()
        self._slave.send((ENDED, self._number, status))

    def _obey(self, kind: int, *said: Any) -> None:  # noqa: ANN401  see the messages
        if kind == FORK:
            self._fork(*said)
        elif kind == IMPORT:
            self._import(said[0])
        elif said[0] != self._number or not self._child:
            pass  # it has ended meanwhile, and the slave is about to read that
        elif kind == STACK and SIGNAL is not None:
            os.kill(self._child, SIGNAL)
        elif kind == KILL:
            self._tell_end(system.end_descendants(self._child, LONGEST_END))

    def _import(self, program: Program) -> None:
        """Import the user's program: every child has it then."""
        try:
            import_here(program, self._mpi)
        except MpiNeeded:
            self._program = program  # each child imports it for itself, and has an MPI of its own
        except Exception:  # noqa: BLE001  what the user's script raises
            self._trouble = traceback.format_exc()

    def _fork(self, number: int, rank: Rank, host: str, *descriptors: int) -> None:
        self._number = number
        if self._trouble:
            self._slave.send((BROKEN, number, self._trouble))
        else:
            origin = child.Origin(os.getpid(), rank, host)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # threads of libraries have seen to forks themselves
                self._child = os.fork()
            if self._child == 0:
                self._become_child(origin, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def _become_child(self, origin: child.Origin, *descriptors: int) -> NoReturn:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._slave.close()
        for end in self._pipe:
            os.close(end)
        to_slave, page, stacks = descriptors
        self._mpi.is_allowed = True
        child.live(line.at(to_slave), Page(page), stacks, origin, self._prepare)

    def _prepare(self) -> None:
        if self._program is not None:
            import_here(self._program, self._mpi)


def main() -> NoReturn:
    """What a new Python runs to be a nanny: its arguments are a socket, and the pid of the slave."""
    serve(line.at(int(sys.argv[1])), int(sys.argv[2]))
