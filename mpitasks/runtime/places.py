"""Processes that write their stacks when they are asked to.

`stacks` asks them, and reads what they write.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from contextlib import suppress
from typing import NamedTuple

from ..isolation import memory
from ..surroundings import host

SIGNAL = signal.SIGRTMIN + 5 if hasattr(signal, "SIGRTMIN") else None
"""A real-time signal: neither launchers, nor Python, nor MPI libraries give it a meaning."""
SLAVE = "mpitasks-slave-"
"""How the name of a thread begins that is a slave."""


class Place(NamedTuple):
    """A process, and where it writes its stacks on `SIGNAL`."""

    host: str
    pid: int
    began: str
    """When, in the system's words: no other process is to be taken for it, and get the signal."""
    file: int
    """A descriptor of its own; -1: it writes none."""


_answering: dict[int, Place] = {}
"""By process number, since forks inherit it. The file is never closed: the signal's handler writes to its descriptor."""


def answer() -> Place:
    """From now on, this process writes its stacks when it gets `SIGNAL`.

    The file has no name: nothing is left when the process is gone, and only processes of the same user can open it, by /proc.
    """
    pid = os.getpid()
    if pid not in _answering:
        began, file = when_began(pid), -1
        if SIGNAL is not None and began:
            with suppress(OSError):  # this process may have no more files open
                file = _new_file()
                faulthandler.register(SIGNAL, file=file, all_threads=True)
        _answering[pid] = Place(host(), pid, began, file)
    return _answering[pid]


def _new_file() -> int:
    """A file without a name, that nobody else can open. Who reads it cuts it to nothing first: it is written at its end."""
    descriptor = memory.new(0)
    os.fchmod(descriptor, 0o600)
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)  # fcntl takes longer to import
    finally:
        os.close(descriptor)


def when_began(pid: int) -> str:
    """When a process began, and in which namespace of process numbers; empty: there is no such process to be seen."""
    fields = stat_of(pid)
    if not fields or fields[0] in "ZX":
        return ""
    try:
        return f"{fields[19]} {os.readlink(f'/proc/{pid}/ns/pid')}"
    except OSError:
        return ""


def stat_of(pid: int) -> list[str]:
    """The fields that /proc tells of a process, from its state on; none: it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def catches(pid: int, number: int | None) -> bool:
    """Whether a process handles that signal, in Python or in C."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            lines = [line.split() for line in file]
    except OSError:
        return False
    caught = [int(line[1], 16) for line in lines if line[:1] == ["SigCgt:"]]
    return number is not None and any(one >> (number - 1) & 1 for one in caught)
