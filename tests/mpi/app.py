"""A command under watch: it ends in time, alone, or tells why.

Two ends are possible:

    App ──► mpiexec, its daemons, the ranks: all with MPITASKS_TEST_STACKS=<folder> in their environment
     │
     ├─ ends in time ──► Ended(returncode, stdout, stderr, seconds); whoever outlives it is killed and fails the test
     └─ does not ──────► every rank writes its stacks ──► all are killed ──► Hang, with the stacks and the output
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

from mpitasks.launch import SESSIONS
from tests.mpi import processes
from tests.mpi.processes import GRACE, MARK

if TYPE_CHECKING:
    from collections.abc import Mapping

STACKS = Path(__file__).parent / "stacks"

# Becomes the command it is given, which then gets SIGTERM (1 is PR_SET_PDEATHSIG) when pytest dies without a clean-up.
TETHER = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])"


class Hang(AssertionError):
    """The time limit has passed; the message holds the stacks of all ranks and the output so far."""


class Orphans(AssertionError):
    """The command has ended and processes that it started have not."""


@dataclass(frozen=True)
class Ended:
    """What a command left; `seconds` is wall time from its start to its end."""

    returncode: int
    stdout: str
    stderr: str
    seconds: float


class App:
    """A running command and all that it starts; a context manager that leaves nobody behind."""

    def __init__(self, command: list[str], folder: Path, *, cwd: Path, env: Mapping[str, str]) -> None:
        """Start the command.

        Args:
            command: What to run; the first word is a path.
            folder: Empty; for output and stacks.
            cwd: Where it runs.
            env: Variables on top of those of this process.
        """
        self.folder, self._began = folder, time.perf_counter()
        places = [str(STACKS), env.get("PYTHONPATH", os.environ.get("PYTHONPATH", ""))]
        harness = {MARK: str(folder), "PYTHONFAULTHANDLER": "1", "PYTHONPATH": os.pathsep.join(filter(None, places))}
        harness["PYTHONUNBUFFERED"] = ""  # as for most users; it would hide what nobody flushes, and cut lines of ranks in two
        harness[SESSIONS] = str(folder)
        # Files, not pipes: nothing to fill up, and readable while it runs.
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", TETHER, *command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                cwd=cwd, env={**os.environ, **env, **harness}, start_new_session=True,
            )  # fmt: skip

    @property
    def _out(self) -> Path:
        return self.folder / "stdout.txt"

    @property
    def _err(self) -> Path:
        return self.folder / "stderr.txt"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def stdout(self) -> str:
        """Return what it has printed so far."""
        return self._out.read_text(errors="replace")

    def stderr(self) -> str:
        """Return what it has complained about so far."""
        return self._err.read_text(errors="replace")

    def ranks(self) -> dict[int, int]:
        """Map rank to pid, of the ranks that have started so far."""
        heads = {int(file.name): file.read_text().partition(",")[0] for file in processes.stack_files(self.folder)}
        return {int(head[5:]): pid for pid, head in sorted(heads.items()) if head[5:].isdigit()}

    def wait_for(self, text: str, *, timeout: float = 30.0) -> None:
        """Wait until the output holds the text.

        Raises:
            Hang: It has not come in time, or the app ended without it.
        """
        __tracebackhide__ = True
        processes.until(lambda: text in self.stdout() or self.process.poll() is not None, timeout)
        if text not in self.stdout():
            self._fail(f"{text!r} was not printed within {timeout:g} s")

    def wait(self, *, timeout: float = 30.0) -> Ended:
        """Wait for the end.

        Raises:
            Hang: It has not ended in time.
            Orphans: It has, and not all that it started.
        """
        __tracebackhide__ = True
        with suppress(subprocess.TimeoutExpired):  # so that it doesn't stand above our own words as their context
            self.process.wait(timeout)
        if (code := self.process.returncode) is None:
            self._fail(f"it has not ended within {timeout:g} s")
        seconds = time.perf_counter() - self._began
        if not processes.until(lambda: not processes.marked(self.folder), GRACE):
            message = f"it ended with code {code} and left processes behind\n\n{self._story()}"
            self.kill()
            raise Orphans(message)
        if code == -signal.SIGSEGV and "MPI_ABORT was invoked" in self.stderr():
            # Open MPI 5.0.11's mpiexec itself: after an abort, about 1 in 3,000 times, a null pointer in libpmix. The ranks'
            # own code is then known to `python -m mpitasks` alone; whatever calls for another one must not pass.
            code = 1
        return Ended(code, self.stdout(), self.stderr(), seconds)

    def kill(self) -> None:
        """Kill whatever still runs of it."""
        processes.kill(self.folder)
        self.process.wait(GRACE)

    def _fail(self, what: str) -> NoReturn:
        __tracebackhide__ = True
        message = f"{what}\n\n{self._story()}"
        self.kill()
        raise Hang(message)

    def _story(self) -> str:
        parts = [f"--- {text}" for text in processes.stacks(self.folder)]
        return "\n".join([*parts, f"--- stdout so far\n{self.stdout()}", f"--- stderr so far\n{self.stderr()}"])
