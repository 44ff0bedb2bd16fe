"""One writer of a journal at a time.

::

    FILE.lock: a kernel lock, held while the writer lives  +  who it is: host, boot, process and when that began

The kernel's lock is gone with its process. But not every file system carries it from one host to another, so what is written
into the file counts too: a writer of this host is asked after in /proc; one of another host counts as living, unless it was
this batch job before its restart.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from ..errors import JournalError

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What file systems without locks say."""

_ours: set[Path] = set()
"""The lock files that this process holds."""


class Lock:
    """The right to write a journal."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        real = journal.resolve()  # one lock for all names of a file
        self._path = real.with_name(f"{real.name}.lock")
        self._fd = -1

    def take(self) -> None:
        """Become the writer.

        Raises:
            JournalError: There is another one, or may be.
            OSError: The file can't be made.
        """
        if self._path in _ours:  # to open and close the file once more would give the kernel's lock up
            self._refuse(_me(), "it is this one", "End the other run")
        with ExitStack() as undo:
            self._fd = self._open_locked()
            undo.callback(os.close, self._fd)
            self._refuse_living(_owner(self._fd))
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, json.dumps(_me()).encode(), 0)
            _ours.add(self._path)
            undo.pop_all()

    def release(self) -> None:
        """Be the writer no longer."""
        with suppress(OSError):  # on a full or lost disk; the next writer finds this process gone
            self._path.unlink()
        os.close(self._fd)
        _ours.discard(self._path)

    def _open_locked(self) -> int:
        """The lock file, with the kernel's lock on it."""
        while True:
            with ExitStack() as undo:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
                undo.callback(os.close, descriptor)
                if not _locked(descriptor):
                    self._refuse(_owner(descriptor), "it holds the lock", "Wait for its end, or end it")
                if _is_same(descriptor, self._path):  # else its owner has removed it meanwhile
                    undo.pop_all()
                    return descriptor

    def _refuse_living(self, owner: dict[str, Any]) -> None:
        """Refuse, unless the writer that the file names is gone."""
        me = _me()
        if not owner or _is_same_job_restarted(owner, me):
            return
        if owner.get("host") != me["host"]:
            how = f"If no such run is left, remove {str(self._path)!r} and start again"
            self._refuse(owner, "whether it is alive can't be seen from here", how)
        if owner.get("boot") == me["boot"] and owner.get("began") == _began(int(owner.get("pid", 0))):
            self._refuse(owner, "it is alive", "Wait for its end, or end it")

    def _refuse(self, owner: dict[str, Any], why: str, how: str) -> None:
        who = f"process {owner.get('pid')} on {owner.get('host')}, since {owner.get('since')}" if owner else "another process"
        msg = f"journal {str(self._journal)!r} has a writer already: {who}; {why}. {how}, or name another journal"
        raise JournalError(msg)


def _locked(descriptor: int) -> bool:
    """Take the kernel's lock; False if another process has it.

    Not flock(): a child that this process forks would hold that on, long after this process has gone.
    """
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _owner(descriptor: int) -> dict[str, Any]:
    """Whom the lock file names; nobody, if its writer died before it had written that."""
    try:
        said = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _me() -> dict[str, Any]:
    """This process, so that nobody takes another one for it."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "began": _began(os.getpid()),
        "boot": _boot(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "job": os.environ.get("SLURM_JOB_ID"),
        "restart": int(os.environ.get("SLURM_RESTART_COUNT") or 0),
    }


def _is_same_job_restarted(owner: dict[str, Any], me: dict[str, Any]) -> bool:
    """Whether the writer was this batch job, before the batch system ended it and started it again."""
    return me["job"] is not None and owner.get("job") == me["job"] and owner.get("restart", 0) < me["restart"]


def _boot() -> str:
    """Which start of this host it is; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _began(pid: int) -> str | None:
    """When a process began, in the system's words; None: there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _lives(pid)
    state, *fields = text.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]


def _lives(pid: int) -> str | None:
    """The same without /proc, which is not everywhere."""
    if Path("/proc/self").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return ""
    return ""
