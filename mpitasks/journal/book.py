"""What calls have returned, in this run and earlier ones.

::

    outcome of a call ──► Book.write ──► the file, then the index ──► only now the future ends
    delay()           ──► Book.find  ◄── the index: key of a call ──► its place in the file
"""

from __future__ import annotations

import atexit
import os
import stat
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import JournalError
from ..transport import wire
from ..version import __version__
from . import records
from .frames import Damage, FrameFile, Place
from .identity import Identities, Known
from .lock import Lock

TRUST = "MPITASKS_JOURNAL_TRUST"
"""Environment variable: 1 to read a journal that others could have written."""
SYNC_EVERY = 1.0
"""Seconds of work that a host without power may lose."""


class Entry(NamedTuple):
    """A call that has returned just now."""

    known: Known
    value: wire.Payload
    seconds: float | None
    rank: int | None
    attempts: int


class Book:
    """The outcomes of this run alone, in memory: what `memo=True` needs where there is no journal."""

    def __init__(self) -> None:
        self.identities = Identities()
        self._values: dict[bytes, wire.Payload] = {}

    def find(self, key: bytes) -> wire.Payload | None:
        """What that call has returned, as it came over the wire; None: it has not."""
        value = self._values.get(key)
        return None if value is None else wire.snapshot(value)

    def write(self, entries: Sequence[Entry]) -> None:
        """Keep these outcomes; before anybody hears of them."""
        for entry in entries:
            self._values[entry.known.key] = wire.snapshot(entry.value)

    def tend(self) -> None:
        """Raise if nothing can be kept any more."""

    def end(self, kind: str, why: str = "") -> None:
        """The run has ended."""

    def close(self) -> None:
        """Nothing more will come."""


class Journal(Book):
    """The outcomes of all runs so far, in a file."""

    def __init__(self, path: Path) -> None:
        """Open or make the file, and read what it holds.

        Raises:
            JournalError: It can't be used; the message says why, and what can be done.
        """
        super().__init__()
        self._path, self._pid = path.absolute(), os.getpid()
        self._broken: OSError | None = None
        self._places: dict[bytes, Place] = {}
        self._lock = Lock(self._path)
        try:
            self._fd = self._open()
        except OSError as error:
            msg = (
                f"journal {str(path)!r} can't be used: {error.strerror or error}; name a file in a folder that you can write to"
            )
            raise JournalError(msg) from error
        self._wants_sync, self._closing = threading.Event(), threading.Event()
        self._syncing = threading.Thread(target=self._sync_now_and_then, name="mpitasks-journal", daemon=True)
        self._syncing.start()
        atexit.register(self.close)

    @property
    def count(self) -> int:
        """How many outcomes there are."""
        return len(self._places)

    def find(self, key: bytes) -> wire.Payload | None:
        """What that call has returned, as it came over the wire; None: it has not."""
        place = self._places.get(key)
        if place is None or self._closing.is_set():
            return None
        payload = self._frames.read(place)
        return None if payload is None else records.value_of(payload)

    def write(self, entries: Sequence[Entry]) -> None:
        """Keep these outcomes; before anybody hears of them. Not those that come after the end: the job is aborted right now.

        Raises:
            JournalError: They can't be kept, such as on a full disk; nor can any that come later.
        """
        if self._closing.is_set():  # the number of its file may be that of another by now
            return
        now = time.time()
        frames = [records.packed(_facts(entry, now), entry.value) for entry in entries]
        for entry, place in zip(entries, self._append(frames), strict=True):
            self._places[entry.known.key] = place

    def tend(self) -> None:
        """Raise if nothing can be kept any more.

        Raises:
            JournalError: So it is.
        """
        if self._broken is not None:
            raise self._error(self._broken) from self._broken

    def end(self, kind: str, why: str = "") -> None:
        """The run has ended."""
        if self._closing.is_set():
            return
        with suppress(JournalError):  # the run has ended by that, and who reads the journal misses this record
            self._append([records.packed({"kind": kind, "at": time.time(), "why": why})])

    def close(self) -> None:
        """Let the disk keep all of it, and others write."""
        if self._closing.is_set() or os.getpid() != self._pid:  # a forked child comes here too, at its exit
            return
        self._closing.set()
        self._wants_sync.set()
        atexit.unregister(self.close)
        self._syncing.join()
        os.close(self._fd)
        self._lock.release()

    def _append(self, frames: list[list[Any]]) -> list[Place]:
        self.tend()
        try:
            places = self._frames.append(frames)
        except OSError as error:
            self._broken = error
            raise self._error(error) from error
        self._wants_sync.set()
        return places

    def _error(self, error: OSError) -> JournalError:
        return JournalError(
            f"journal {str(self._path)!r} can't be written: {error.strerror or error}. All that calls have returned so far is "
            f"in it; mend that, and run the same again"
        )

    def _sync_now_and_then(self) -> None:
        """Let the disk keep what was written, once a second: a call would wait 0.2 to 20 ms for it, each."""
        while True:
            self._wants_sync.wait()
            self._wants_sync.clear()
            try:
                self._frames.sync()
            except OSError as error:
                self._broken = error
            if self._closing.wait(SYNC_EVERY):
                break
        with suppress(OSError):
            self._frames.sync()

    # ------------------------------------------------------------ opening

    def _open(self) -> int:
        """The file, locked, read, and without its torn tail."""
        with ExitStack() as undo:
            self._lock.take()
            undo.callback(self._lock.release)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            undo.callback(os.close, descriptor)
            self._read(descriptor)
            undo.pop_all()
        return descriptor

    def _read(self, descriptor: int) -> None:
        refuse_untrusted(descriptor, self._path)
        self._frames = FrameFile(descriptor, str(self._path))
        self._frames.begin()
        self._index()
        self._frames.append([records.packed(_start())])
        self._frames.sync()
        _sync_folder(self._path.parent)

    def _index(self) -> None:
        """Where the outcome of which call stands; what is torn off at the end goes."""
        end = self._frames.end
        for found in self._frames.scan():
            if isinstance(found, Damage):
                continue
            facts = records.facts_of(found.payload)
            end = self._frames.end_of(found.place)
            if facts["kind"] == records.DONE:
                self._places[bytes.fromhex(facts["call"])] = found.place
        self._frames.cut(end)


def refuse_untrusted(descriptor: int, path: Path) -> None:
    """Refuse a file in which others can write what would run here.

    Raises:
        JournalError: It is such a file.
    """
    status = os.fstat(descriptor)
    if os.environ.get(TRUST) == "1":
        return
    if not stat.S_ISREG(status.st_mode):
        msg = f"journal {str(path)!r} is no regular file; name one that is, or that does not exist yet"
        raise JournalError(msg)
    if status.st_uid != os.geteuid():
        mend = "copy it, so that it is yours"
        _refuse(path, f"belongs to user {status.st_uid}", mend)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        _refuse(path, "can be written by others", f"chmod go-w {path}")


def _refuse(path: Path, why: str, mend: str) -> None:
    msg = (
        f"journal {str(path)!r} {why}, and what it holds is pickle, which can run anything here as you: "
        f"if you trust it, {mend}, or set {TRUST}=1"
    )
    raise JournalError(msg)


def _facts(entry: Entry, now: float) -> dict[str, Any]:
    known = entry.known
    return {
        "kind": records.DONE,
        "call": known.key.hex(),
        "task": known.task,
        "arguments": known.arguments,
        "at": now,
        "seconds": entry.seconds,
        "rank": entry.rank,
        "attempts": entry.attempts,
    }


def _start() -> dict[str, Any]:
    """What a run says of itself when it begins."""
    versions = {"mpitasks": __version__, "python": sys.version.split()[0]}
    return {"kind": records.START, "at": time.time(), "command": sys.argv, "pid": os.getpid(), **versions}


def _sync_folder(folder: Path) -> None:
    """Have the disk keep the file's name too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems refuse
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
