"""How the child of an isolated call ended, in words."""

from __future__ import annotations

import os
import signal
from time import monotonic

from ..errors import RemoteTraceback, StartError, TaskCrashed, TaskTimeout
from ..retries import name_of
from ..runtime.alarm import Limit, timed_out
from . import system
from .messages import UNHEARD

MEMORY = name_of(MemoryError)
LONGEST_STACKS = 1 << 15
"""Bytes of stacks that an error carries."""
_AFRESH = 1.0
"""Seconds after which kills for want of memory are counted anew before a call; it takes 30 µs."""


class MemoryKills:
    """Whether the kernel has killed a process for want of memory since this was noted."""

    def __init__(self) -> None:
        self._before = system.out_of_memory_kills()
        self._at = monotonic()

    def note(self) -> None:
        """From about now."""
        if monotonic() > self._at + _AFRESH:
            self._before, self._at = system.out_of_memory_kills(), monotonic()

    def have_grown(self) -> bool:
        """Whether it has."""
        return system.out_of_memory_kills() > self._before


def crash(status: int | None, stack: str, memory: MemoryKills) -> TaskCrashed:
    """The child ended by itself, in the midst of a call.

    Args:
        status: As `waitpid` says; None: nobody knows.
        stack: What it has written of its stacks.
        memory: As it was when the call began.
    """
    code = None if status is None else os.waitstatus_to_exitcode(status)
    if code is None:
        error = TaskCrashed("the process of the call is gone, and the one that made it too: somebody killed both", stack=stack)
    elif code == UNHEARD:
        error = deaf()
    elif code >= 0:
        how = "something in the call has called os._exit, or exit in C"
        msg = f"the process of the call ended with exit code {code} before the call had returned: {how}"
        error = TaskCrashed(msg, code=code, stack=stack)
    else:
        error = _killed(-code, stack, memory)
    error.__cause__ = RemoteTraceback(stack) if stack else None
    return error


def _killed(number: int, stack: str, memory: MemoryKills) -> TaskCrashed:
    """A signal that mpitasks did not send."""
    is_short = number == signal.SIGKILL and memory.have_grown()
    msg = f"the process of the call was killed by {_name_of(number)} ({_in_words(number)})"
    if is_short:
        msg += "; perhaps it was out of memory: the kernel has killed a process for want of memory meanwhile"
    elif number == signal.SIGKILL:
        msg += "; mpitasks did not do it, and the kernel has killed none for want of memory, so another process or user did"
    return TaskCrashed(msg, signal=number, perhaps_out_of_memory=is_short, stack=stack)


def overrun(limit: Limit, stack: str) -> TaskTimeout:
    """The alarm could not end it."""
    error = timed_out(limit, "can't be interrupted; its process was killed", stack)
    error.__cause__ = RemoteTraceback(stack)
    return error


def deaf() -> TaskCrashed:
    """The child can't be heard any more."""
    return TaskCrashed("the process of the call has lost its connection to its slave: has the call closed all open files?")


def broken(text: str) -> StartError:
    """The nanny can't make children."""
    return StartError(f"the program can't be imported in the process for isolated calls:\n{text}")


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _in_words(number: int) -> str:
    return (signal.strsignal(number) or "no usual signal").lower()
