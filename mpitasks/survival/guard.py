"""The parent of one rank, which says how that ended.

::

    mpiexec ──► guard ──► rank        python -I -S guard.py python app.py
                 │ ◄────── pipe ────► rank: "connect to rank 0", "I am leaving"
                 └─ TCP ────────────► rank 0: "mine ended by signal 9"

A program of its own, that takes the place of the rank under mpiexec, so it imports nothing but a few modules of the standard
library: 8 ms to start. It has the launcher's connection to the rank, so that this stays open, and ends as suits the launcher:

- MPICH's kills all ranks of a host after one that a signal has ended, whatever its flags, and none after an exit.
- Open MPI's tells the others, by ULFM, of one that a signal has ended, and of none that has exited with a code.

Until all guards are known to rank 0, nobody could go on without this rank: then the launcher is made to end the job.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Any

PIPE = "MPITASKS_GUARD"
"""Environment variable of the rank: the descriptor of its end of the pipe."""
CONTROL, END = "MPITASKS_CONTROL", "end"
"""As in `control` and `ending`, which are not imported here."""
LOOK = 0.5
"""Seconds between two looks at what nobody tells: whether the launcher is there, and how long the rank is stopped."""
STOPPED_AT_MOST = 5.0
"""Seconds, of those in which this process runs itself, that a stopped rank is waited for."""
LEAVE_WITHIN = 2.0
"""Seconds that a rank gets to end by itself when rank 0 has ended."""
CONNECT_WITHIN = 20.0
_IGNORED = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT")
"""Launchers send them to the rank too, which is of the same process group; it decides. MPICH's sends SIGUSR1 at a death."""
_PR_SET_PDEATHSIG = 1


def proof(secret: str, challenge: str, rank: int) -> str:
    """What shows that a guard of that rank knows the secret."""
    import hashlib  # noqa: PLC0415  only rank 0 and the guards need it, and it loads OpenSSL
    import hmac  # noqa: PLC0415  as above

    return hmac.new(secret.encode(), f"{challenge} {rank}".encode(), hashlib.sha256).hexdigest()


def words_for(status: int) -> str:
    """How a process ended, from what the system says."""
    if not os.WIFSIGNALED(status):
        return f"exit code {os.WEXITSTATUS(status)}"
    number = os.WTERMSIG(status)
    try:
        return f"signal {number}, {signal.Signals(number).name}"
    except ValueError:
        return f"signal {number}"


class Guard:
    """Watches over one rank."""

    def __init__(self, pid: int, pipe: socket.socket, launcher: int, wakeup: int) -> None:
        self._pid = pid
        self._pipe = pipe
        self._launcher = launcher
        self._wakeup = wakeup
        self._master: socket.socket | None = None
        self._rank: int | None = None
        self._begun = False
        """All guards are known to rank 0, so that the others can go on without this rank."""
        self._ends_at = float("inf")
        """When a rank that said that it leaves is waited for no longer."""
        self._leaving = False
        self._stopped = False
        self._stopped_for = 0.0
        self._looked_at = time.monotonic()
        self._why = ""
        """Why this guard has killed the rank."""
        self._heard = {pipe: b""}

    def run(self) -> None:
        """Watch until the rank ends, and end as suits the launcher; never returns."""
        while (status := self._status()) is None:
            self._listen()
            self._look()
        self._listen(0.0)  # what it said at last
        how = self._why or words_for(status)
        self._tell(how)
        self._end(status)

    # ---------------------------------------------------------------- watching

    def _status(self) -> int | None:
        """How the rank has ended, if it has."""
        while True:
            pid, status = os.waitpid(self._pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if pid == 0:
                return None
            if os.WIFSTOPPED(status) or os.WIFCONTINUED(status):
                self._stopped, self._stopped_for = os.WIFSTOPPED(status), 0.0
            else:
                return status

    def _listen(self, timeout: float = LOOK) -> None:
        """Wait for words of the rank, of rank 0, or for a signal."""
        watched: list[Any] = [self._wakeup, *self._heard]
        ready, _, _ = select.select(watched, [], [], timeout)
        for one in ready:
            if one == self._wakeup:
                os.read(self._wakeup, 4096)
                continue
            try:
                data = one.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                self._lost(one)
                continue
            *lines, self._heard[one] = (self._heard[one] + data).split(b"\n")
            for line in lines:
                self._take(json.loads(line))

    def _lost(self, one: socket.socket) -> None:
        """Nothing more comes from there."""
        del self._heard[one]
        if one is self._master and self._leaving:  # MPI_Finalize, if it waits for somebody else, will do so for ever
            self._ends_at = min(self._ends_at, time.monotonic() + LEAVE_WITHIN)
        elif one is self._master:
            self._kill("killed by its guard: rank 0 is gone")

    def _take(self, word: dict[str, Any]) -> None:
        """The rank says that it leaves, or where rank 0 is; rank 0 says that the rank is to be ended."""
        if "leaving" in word:
            self._leaving = True
            limit = word["leaving"]
            self._ends_at = float("inf") if limit is None else time.monotonic() + limit
        elif "begun" in word:
            self._begun = True
        elif "kill" in word:
            self._kill(f"killed by its guard: {word['kill']}")
        else:
            self._pipe.sendall(json.dumps({"problem": self._connect(word)}).encode() + b"\n")

    def _look(self) -> None:
        """See what nobody tells."""
        now = time.monotonic()
        # Not all of a long time counts: this process may have been stopped too, with the whole job.
        self._stopped_for += min(now - self._looked_at, 2 * LOOK) if self._stopped else 0.0
        self._looked_at = now
        if os.getppid() != self._launcher:
            self._kill("killed by its guard: mpiexec is gone")
        elif self._stopped_for > STOPPED_AT_MOST:
            self._kill(f"killed by its guard: it was stopped for {STOPPED_AT_MOST:g} s")
        elif now > self._ends_at:
            self._kill("killed by its guard: it did not end")

    def _kill(self, why: str) -> None:
        if not (self._why or self._has_ended()):  # of one that has, it is no longer true
            self._why = why
            os.kill(self._pid, signal.SIGKILL)

    def _has_ended(self) -> bool:
        try:
            return os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # `_status` has told so: this word came between
            return True

    # ---------------------------------------------------------------- rank 0

    def _connect(self, word: dict[str, Any]) -> str:
        """Let rank 0 know this guard; what stands in the way, if anything does."""
        self._rank = word["rank"]
        if self._rank == 0:
            return ""
        problems = []
        for host in word["hosts"]:
            try:
                self._master = self._introduced(socket.create_connection((host, word["port"]), CONNECT_WITHIN), word)
            except OSError as error:
                problems.append(f"{host}: {error}")
            else:
                self._heard[self._master] = b""
                return ""
        return "; ".join(problems) or "rank 0 has no address"

    @staticmethod
    def _introduced(connection: socket.socket, word: dict[str, Any]) -> socket.socket:
        """Show rank 0 that this is the guard of that rank."""
        lines = connection.makefile("rw")
        challenge = lines.readline().strip()
        shown = proof(word["secret"], challenge, word["rank"])
        lines.write(json.dumps({"rank": word["rank"], "proof": shown}) + "\n")
        lines.flush()
        if lines.readline() != "ok\n":
            msg = "rank 0 does not know this secret"
            raise ConnectionError(msg)
        connection.settimeout(None)
        return connection

    def _tell(self, how: str) -> None:
        """Let rank 0 know how the rank ended."""
        if self._master is None:
            return
        with suppress(OSError):  # rank 0 has gone before
            self._master.settimeout(LOOK)
            self._master.sendall(json.dumps({"ended": how}).encode() + b"\n")
            self._master.close()

    # ---------------------------------------------------------------- the end

    def _end(self, status: int) -> None:
        """End as the launcher has to see it."""
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        is_open_mpi = "OMPI_COMM_WORLD_RANK" in os.environ
        if code and not (self._begun or self._leaving):
            self._note(code)
            if is_open_mpi:  # it would let the others wait
                os.kill(self._launcher, signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGKILL)
        if not (self._begun and self._rank) or (self._leaving and os.WIFEXITED(status)):
            os._exit(code)
        if is_open_mpi:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)

    @staticmethod
    def _note(code: int) -> None:
        """Write down with which code the run has ended: mpiexec will give one of its own."""
        control = os.environ.get(CONTROL)
        if control:
            with suppress(OSError), open(os.path.join(control, END), "x") as file:  # noqa: PTH118, PTH123  pathlib: 4 ms
                json.dump([code, "a rank has died before the run began"], file)


def main(command: list[str]) -> None:
    """Start the rank, and watch over it."""
    ours, its = socket.socketpair()
    its.set_inheritable(True)
    hears, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    for name in ("SIGCHLD", *_IGNORED):
        signal.signal(getattr(signal, name), lambda *_: None)  # not SIG_IGN, which the rank would inherit
    launcher, guard = os.getppid(), os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(command, its, guard)
    its.close()
    Guard(pid, ours, launcher, hears).run()


def _become(command: list[str], pipe: socket.socket, guard: int) -> None:
    """Be the rank: it ends with this guard, whatever ends that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard:
        os._exit(1)
    os.environ[PIPE] = str(pipe.fileno())
    try:
        os.execvp(command[0], command)  # noqa: S606  what mpitasks has put there
    except OSError as error:
        os.write(2, f"mpitasks: {command[0]} can't be started: {error}\n".encode())
        os._exit(127)


if __name__ == "__main__":
    main(sys.argv[1:])
