"""What the operating system does for nannies and children.

On Linux all of it is there. Elsewhere, programs that a task has started in sessions of their own outlive it, and a child
outlives a nanny that was killed until it looks for its next call.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36
_PROC = Path("/proc")
_LONGEST_NAP = 0.02


def adopt_orphans() -> None:
    """From now on, what loses its parent below this process becomes a child of this process."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """This process is killed when that parent goes; at once, if it has gone already."""
    _prctl(_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def die_first() -> None:
    """Where memory runs out, the kernel is to kill this process before others of the job."""
    with suppress(OSError):
        (_PROC / "self/oom_score_adj").write_text("1000")


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


# ---------------------------------------------------------------- descendants


def end_descendants(leader: int, limit: float) -> int | None:
    """Kill all that this process has started, and what that has; wait until it is gone.

    What is killed leaves its own children to this process: see `adopt_orphans`.

    Args:
        leader: The first of them, and of its session; 0: it has been reaped, so that its number may be another's.
        limit: Seconds; a process in the midst of a disk's answer can't be killed.

    Returns:
        How the leader ended; None: it was reaped before, or does not end.
    """
    status, nap, until = None, 0.0005, time.monotonic() + limit
    while time.monotonic() < until:
        _kill(leader if status is None else 0)
        ended, is_empty = reap(leader)
        status = status if ended is None else ended
        if is_empty:
            break
        time.sleep(nap)
        nap = min(2 * nap, _LONGEST_NAP)
    return status


def _kill(leader: int) -> None:
    """Kill the children of this process; where nobody lists them, the leader and its session."""
    with suppress(ProcessLookupError, PermissionError):
        if _PROC.is_dir():
            for pid in _children_of(os.getpid()):
                os.kill(pid, signal.SIGKILL)
        elif leader:
            os.killpg(leader, signal.SIGKILL)


def reap(leader: int) -> tuple[int | None, bool]:
    """Take note of processes that have ended: how that one did, if it has; whether no process is left."""
    status = None
    while True:
        try:
            pid, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status, True
        if pid == 0:
            return status, False
        if pid == leader:
            status = ended


def _children_of(parent: int) -> Iterator[int]:
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it has gone in between
                # pid (any name) state parent
                if int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1]) == parent:
                    yield int(entry.name)


# ---------------------------------------------------------------- memory


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed so far for want of memory: in this cgroup, or else on this host."""
    for file, key in (*_of_cgroup(), (_PROC / "vmstat", "oom_kill")):
        with suppress(OSError, ValueError):
            counts = dict(line.split(maxsplit=1) for line in file.read_text().splitlines())
            if key in counts:
                return int(counts[key])
    return 0


def _of_cgroup() -> Iterator[tuple[Path, str]]:
    """Where the cgroup of this process would count."""
    with suppress(OSError):
        for line in (_PROC / "self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield Path(f"/sys/fs/cgroup{path}/memory.events"), "oom_kill"
