"""Where a process is: the stacks of its threads, as text.

::

    of_this_process() ──► by the interpreter: thread, user's frames, source lines
    dump(place)       ──► signal ──► faulthandler there, in C ──► its file ──► read through /proc by us

The second needs no help of the other process's interpreter, which C code may hold for hours. It works between processes of
one user on one host. To the other process it is a signal like any: a `sleep` or `poll` of C code itself ends early by it, as
the manual page signal(7) says; Python's own go on.
"""

from __future__ import annotations

import linecache
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from types import FrameType

from ..surroundings import host
from .coroutines import waiting_in
from .places import SIGNAL, SLAVE, Place, catches, stat_of, when_began

ANSWER_WITHIN = 1.0
"""Seconds until a process has written its dump; it needs about a millisecond, once it gets the processor."""
CALLERS = ("_call", "_call_main", "_await")
"""Functions of ours that call main or a task: what they call is the user's code. Of a dump, only names are known."""
QUIET = 0.02
"""Seconds without another line, after which a dump is complete."""
LONGEST_QUIET = 0.3
"""The same where the last line is not one with which stacks end: a busy machine may stop a process between two lines."""
LONGEST_LINE = 600
"""Bytes; faulthandler cuts names at 500."""

_PACKAGE = os.fspath(Path(__file__).parent.parent) + os.sep
_STDLIB = os.fspath(Path(threading.__file__).parent) + os.sep
_ASYNCIO = f"{_STDLIB}asyncio{os.sep}"
_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)$')
_THREAD = re.compile(r"^(?:Current thread|Thread) (?P<ident>0x[0-9a-f]+)(?: \[(?P<name>.*)\])? \(most recent call first\)")


# ---------------------------------------------------------------- by the interpreter


def of_this_process() -> str:
    """The stacks of this process's Python threads, the main thread first, without our own; slaves tell of themselves."""
    frames = sys._current_frames()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    main = threading.main_thread().ident
    parts = []
    for ident in sorted(frames, key=lambda one: (one != main, one)):
        if names.get(ident, "").startswith(SLAVE):
            continue
        lines = _text_at(frames[ident])
        if lines:
            parts.append(f"thread {names.get(ident, hex(ident))!r}:\n{lines}")
    return "\n".join(parts)


def of_thread(ident: int) -> str:
    """The stack of one thread of this process, the innermost call last; empty if it has ended, or runs our code alone."""
    frame = sys._current_frames().get(ident)
    return "" if frame is None else _text_at(frame)


def _text_at(frame: FrameType) -> str:
    """The stack of the thread whose innermost frame this is, and where the tasks of its asyncio loop wait."""
    parts = [_text_of(traceback.StackSummary.extract(_outermost_first(frame)))]
    for name, stack in waiting_in(frame):
        if lines := _text_of(stack):
            parts.append(f"  asyncio task {name!r} waits:\n{lines}")
    return "".join(parts)


def _outermost_first(frame: FrameType) -> Iterator[tuple[FrameType, int]]:
    return reversed(list(traceback.walk_stack(frame)))


def _text_of(stack: Sequence[traceback.FrameSummary]) -> str:
    """The frames that are the user's, in Python's form; empty if none is."""
    callers = [place for place, one in enumerate(stack, 1) if _is_ours(one.filename) and one.name in CALLERS]
    frames = _without_ends(stack[max(callers, default=0) :])
    lines: list[str] = []
    for machinery, some in groupby(frames, lambda one: _machinery(one.filename)):
        lines += [f"  ... {machinery} ...\n"] if machinery else traceback.format_list(list(some))
    return "".join(lines)


def _without_ends(frames: Sequence[traceback.FrameSummary]) -> Sequence[traceback.FrameSummary]:
    """Without what started the thread, and without our own code that the innermost frame of the user's waits in."""
    first, last = 0, len(frames)
    while first < last and (_is_ours(frames[first].filename) or _starts_threads(frames[first].filename)):
        first += 1
    if any(_is_ours(one.filename) for one in frames[:first]) and all(_is_stdlib(one.filename) for one in frames[first:]):
        return []
    inner = last
    while inner > first and (_is_ours(frames[inner - 1].filename) or _is_stdlib(frames[inner - 1].filename)):
        inner -= 1
        if _machinery(frames[inner].filename):
            last = inner
    return frames[first:last]


def _machinery(file: str) -> str:
    """Whose code it is that only calls the user's; empty for all other code."""
    return "mpitasks" if _is_ours(file) else "asyncio" if file.startswith(_ASYNCIO) else ""


def _is_ours(file: str) -> bool:
    return file.startswith(_PACKAGE)


def _starts_threads(file: str) -> bool:
    return file == threading.__file__ or file.startswith("<frozen ")


def _is_stdlib(file: str) -> bool:
    return file.startswith(("<frozen ", _STDLIB)) and f"{os.sep}site-packages{os.sep}" not in file


# ---------------------------------------------------------------- by a signal


def dump(place: Place, *, within: float = ANSWER_WITHIN) -> str:
    """The stacks of another process of this host, or of this one, without the help of its interpreter.

    Returns:
        The stacks, each with its innermost call last; or a sentence on why they can't be had.
    """
    problem = _why_not(place)
    if problem:
        return problem
    try:
        text = _asked(place, time.monotonic() + within)
    except OSError as error:
        return f"the stack of process {place.pid} can't be read: {error}"
    if not text:
        return f"process {place.pid} has not written its stack within {within:g} s (state {_state(place.pid)} in ps)"
    return readable(text)


def _why_not(place: Place) -> str:
    """Why it makes no sense to ask a process, or would end it; empty if nothing speaks against it."""
    if place.host != host():
        return f"process {place.pid} is on {place.host}: its stack can't be read from {host()}"
    if not place.began or when_began(place.pid) != place.began:
        return f"process {place.pid} has ended, or can't be seen from here"
    if place.file < 0 or not catches(place.pid, SIGNAL):  # it would die of it
        return f"process {place.pid} can't write its stack"
    if _state(place.pid) in "Tt":
        return f"process {place.pid} is stopped (by SIGSTOP or a debugger): `kill -CONT {place.pid}` lets it go on"
    return ""


def _asked(place: Place, deadline: float) -> str:
    """What the process writes on our signal, read when no more comes."""
    assert SIGNAL is not None  # noqa: S101  a place with a file says so
    with Path(f"/proc/{place.pid}/fd/{place.file}").open("r+b", buffering=0) as file:
        file.truncate(0)
        os.kill(place.pid, SIGNAL)
        await_quiet(file.fileno(), 0, deadline)
        return file.read().decode(errors="replace")


def await_quiet(descriptor: int, size: int, deadline: float) -> None:
    """Wait until a process has written its stacks into that file, and no more comes.

    Args:
        descriptor: The file.
        size: How long it was before the process got the signal.
        deadline: When to give up, by `time.monotonic`.
    """
    quiet_at = deadline
    while time.monotonic() < min(deadline, quiet_at):
        time.sleep(1e-3)
        if size != (now := os.fstat(descriptor).st_size):
            size, quiet_at = now, time.monotonic() + (QUIET if _is_whole(descriptor, now) else LONGEST_QUIET)


def _is_whole(descriptor: int, size: int) -> bool:
    """Whether what a process has written seems to be all: line by line, and the outermost frame of its main thread last."""
    last = os.pread(descriptor, LONGEST_LINE, max(0, size - LONGEST_LINE)).rpartition(b"File ")[2]
    return last.rstrip().endswith((b"in <module>", b"in _run_module_as_main", b"...")) and last.endswith(b"\n")


def readable(text: str) -> str:
    """A dump of faulthandler's in Python's usual form: innermost call last, with source lines, without our threads."""
    threads: list[tuple[str, list[traceback.FrameSummary]]] = []
    for line in text.splitlines():
        if found := _THREAD.match(line):
            threads.append((found["name"] or "another thread", []))
        elif (found := _FRAME.match(line)) and threads:
            threads[-1][1].insert(0, traceback.FrameSummary(found["file"], int(found["line"]), found["name"]))
    if threads:  # the oldest thread comes last in a dump
        threads[-1] = threading.main_thread().name, threads[-1][1]
    linecache.checkcache()
    parts = [(name, _text_of(frames)) for name, frames in reversed(threads)]
    return "\n".join(f"thread {name!r}:\n{lines}" for name, lines in parts if lines)


def _state(pid: int) -> str:
    """As ps shows it: R, S, D, T, ...; empty: it is gone."""
    return "".join(stat_of(pid)[:1]) or " "
