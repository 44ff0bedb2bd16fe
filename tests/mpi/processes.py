"""Find, question and kill all processes that an app started.

Launchers move their children to sessions and groups of their own, so kinship finds nobody for certain. The environment
does: it is inherited, and `/proc/<pid>/environ` shows it. Each app's folder is its mark.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.mpi.stacks.sitecustomize import STACKS_SIGNAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MARK = "MPITASKS_TEST_STACKS"
GRACE = 3.0  # seconds a process may need to write its stacks, to end after mpiexec did, or to die when killed


def marked(folder: Path) -> list[int]:
    """List the living processes that carry this folder's mark."""
    mark = f"{MARK}={folder}".encode()
    return [pid for pid, environ in _environments() if mark in environ.split(b"\0")]


def kill(folder: Path) -> None:
    """Kill all that carry the mark, by pid; again and again, because what dies last may have forked meanwhile."""

    def all_gone() -> bool:
        for pid in (pids := marked(folder)):
            _send(pid, signal.SIGKILL)
        return not pids

    until(all_gone, GRACE)


def stack_files(folder: Path) -> list[Path]:
    """List the files that the Python processes opened at their start; the name is the pid, line 1 tells the rank."""
    return [file for file in folder.iterdir() if file.name.isdigit()]


def stacks(folder: Path) -> list[str]:
    """Have every living Python process write the stacks of its threads; others would die of the signal."""
    alive = set(marked(folder))
    sizes = {file: file.stat().st_size for file in stack_files(folder) if int(file.name) in alive}
    for file in sizes:
        _send(int(file.name), STACKS_SIGNAL)
    until(lambda: all(file.stat().st_size > size for file, size in sizes.items()), GRACE)
    time.sleep(0.1)  # stacks come line by line, and there is no last line to wait for
    return sorted(file.read_text() for file in sizes)


def until(done: Callable[[], bool], timeout: float) -> bool:
    """Poll with pauses from 1 ms to 50 ms; the costliest poll is a scan of /proc, some ms."""
    end, pause = time.monotonic() + timeout, 0.001
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    return True


def _environments() -> Iterator[tuple[int, bytes]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), (entry / "environ").read_bytes()
            except OSError:  # it has gone in between, or belongs to another user
                continue


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
