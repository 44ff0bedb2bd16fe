"""The journal's file: who may write it, who may read it, and what it tells."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mpitasks.errors import JournalError
from mpitasks.journal import lock
from mpitasks.journal.book import TRUST, Book, Entry, Journal
from mpitasks.journal.identity import Known
from mpitasks.journal.records import COMPLETE
from mpitasks.transport import wire

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = b"0123456789abcdef0000"


def entry(value: object, key: bytes = KEY) -> Entry:
    """A call that has returned that."""
    return Entry(Known(key, "task", "1"), wire.encode(value), 0.25, 3, 1)


@contextmanager
def opened(path: Path) -> Iterator[Journal]:
    """A journal, closed in the end."""
    journal = Journal(path)
    try:
        yield journal
    finally:
        journal.close()


def test_what_is_written_is_found_in_the_next_run(tmp_path: Path) -> None:
    """And in this one; large buffers, which travelled by themselves, too. A journal stays valid after COMPLETE."""
    values = {b"%020d" % number: value for number, value in enumerate([None, 1, "x", [bytearray(100_000), b"y" * 200_000]])}
    for _ in range(2):
        with opened(tmp_path / "j") as journal:
            journal.write([entry(value, key) for key, value in values.items()])
            journal.end(COMPLETE)
            assert list(values.values()) == [wire.decode(journal.find(key) or b"") for key in values]
    with opened(tmp_path / "j") as journal:
        assert list(values.values()) == [wire.decode(journal.find(key) or b"") for key in values]
        assert (journal.count, journal.find(b"unknown")) == (4, None)


def test_what_comes_after_the_end_goes_nowhere(tmp_path: Path) -> None:
    """Above all not into a file that has got the number of the journal's since."""
    with opened(tmp_path / "j") as journal:
        pass
    with (tmp_path / "other").open("w+b") as other:
        os.dup2(other.fileno(), journal._fd)
        journal.write([entry(1)])
        os.close(journal._fd)
        assert (other.read(), journal.count) == (b"", 0)


@pytest.mark.parametrize("kind", [Book, Journal])
def test_every_reader_has_a_copy(tmp_path: Path, kind: Any) -> None:
    """What one of them does to its value, the others don't see."""
    book = kind(*([tmp_path / "j"] if kind is Journal else []))
    book.write([entry(bytearray(100_000))])
    for _ in range(2):
        value = wire.decode(book.find(KEY))
        assert value == bytearray(100_000)
        value[:] = b"x" * 100_000
    book.close()


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    """Of this process and of another; the message says who it is. When the first has gone, it may."""
    path = tmp_path / "j"
    with opened(path):
        with pytest.raises(JournalError, match=rf"has a writer already: process {os.getpid()} on .*; it is this one. End"):
            Journal(path)
        ended = subprocess.run([sys.executable, "-c", OPEN, path], capture_output=True, text=True, check=False, timeout=60)
        assert f"has a writer already: process {os.getpid()} on " in ended.stderr
        assert "; it holds the lock. Wait for its end, or end it, or name another journal" in ended.stderr
    with opened(path):
        pass
    assert [one.name for one in tmp_path.iterdir()] == ["j"]


OPEN = """
import os, sys
from pathlib import Path
from mpitasks.journal.book import Journal
Journal(Path(sys.argv[1]))
if sys.argv[2:]:
    if os.fork() == 0:
        os.close(0), os.close(1), os.close(2)
        import time
        time.sleep(30)
        os._exit(0)
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_writer_that_was_killed_is_succeeded(tmp_path: Path) -> None:
    """At once, and also while a process that it had forked lives on."""
    path = tmp_path / "j"
    with subprocess.Popen(
        [sys.executable, "-c", OPEN, path, "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"open\n"
        writer.send_signal(signal.SIGKILL)
        writer.wait(30)
        try:
            with opened(path):
                pass
        finally:
            os.killpg(writer.pid, signal.SIGKILL)


FORK = """
import os, sys
from pathlib import Path
from mpitasks.journal.book import Journal
Journal(Path(sys.argv[1]))
child = os.fork()
if not child:
    sys.exit(0)
os.waitpid(child, 0)
print(os.listdir())
"""


def test_a_forked_child_that_exits_closes_nothing(tmp_path: Path) -> None:
    """It is no writer, although it has all that its parent has, `atexit` too."""
    ended = subprocess.run(
        [sys.executable, "-c", FORK, "j"], capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path
    )
    assert "j.lock" in ended.stdout, ended.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["j"]


def left_by(path: Path, **changes: Any) -> None:
    """The lock file of a writer that has left it behind."""
    path.with_name(f"{path.name}.lock").write_text(json.dumps({**lock._me(), **changes}))


@pytest.mark.parametrize("changes", [{"pid": 2**22 + 1}, {"began": "1"}, {"boot": "another"}, {"pid": 0}])
def test_a_writer_of_this_host_that_is_gone_is_succeeded(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Its process is not there, or another one has its number, or the host was started again."""
    left_by(tmp_path / "j", **changes)
    with opened(tmp_path / "j"):
        pass


def test_a_writer_of_this_host_that_lives_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where the file system knows no locks."""
    monkeypatch.setattr(fcntl, "lockf", no_locks)
    left_by(tmp_path / "j")
    with pytest.raises(JournalError, match="it is alive"):
        Journal(tmp_path / "j")


def no_locks(*_: object) -> None:
    """What lockf() says on such a file system."""
    raise OSError(38, "Function not implemented")


def test_a_writer_of_another_host_counts_as_living(tmp_path: Path) -> None:
    """The message says how to go on; when that is done, it goes on."""
    left_by(tmp_path / "j", host="node17", pid=99)
    words = (
        rf"process 99 on node17, since .*; whether it is alive can't be seen from here. "
        rf"If no such run is left, remove '{tmp_path}/j.lock' and start again, or name another journal"
    )
    with pytest.raises(JournalError, match=words):
        Journal(tmp_path / "j")
    (tmp_path / "j.lock").unlink()
    with opened(tmp_path / "j"):
        pass


@pytest.mark.parametrize(("restart", "succeeds"), [("1", True), ("0", False), ("", False)])
def test_a_batch_job_that_was_restarted_succeeds_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restart: str, *, succeeds: bool
) -> None:
    """On whatever host: the batch system has ended it before."""
    left_by(tmp_path / "j", host="node17", job="4711")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_RESTART_COUNT", restart)
    if succeeds:
        with opened(tmp_path / "j"):
            pass
    else:
        with pytest.raises(JournalError, match="on node17"):
            Journal(tmp_path / "j")


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00\x01"])
def test_a_lock_file_that_says_nothing_is_nobodys(tmp_path: Path, text: str) -> None:
    """Its writer died before it had written it."""
    (tmp_path / "j.lock").write_text(text)
    with opened(tmp_path / "j"):
        pass


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_what_others_can_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int) -> None:
    """It is pickle. Unless the user says otherwise."""
    path = tmp_path / "j"
    with opened(path):
        pass
    path.chmod(mode)
    with pytest.raises(
        JournalError, match=rf"can be written by others, .* pickle, .*: if you trust it, chmod go-w {path}, or "
    ):
        Journal(path)
    monkeypatch.setenv(TRUST, "1")
    with opened(path):
        pass


def test_what_is_not_ours_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever owns a file writes to it."""
    path = tmp_path / "j"
    with opened(path):
        pass
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(
        JournalError, match=r"belongs to user \d+, .*: if you trust it, copy it, so that it is yours, or set MPI"
    ):
        Journal(path)


def test_a_new_journal_is_ours_alone(tmp_path: Path) -> None:
    """Whatever the umask."""
    before = os.umask(0)
    try:
        with opened(tmp_path / "j"):
            assert (tmp_path / "j").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


@pytest.mark.parametrize("name", ["missing/j", ".", "file/j"])
def test_a_file_that_cannot_be_made_is_told(tmp_path: Path, name: str) -> None:
    """With its name and the way out."""
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match=r"journal '.*' can't be used: .*; name a file in a folder that you can write to"):
        Journal(tmp_path / name)


def test_no_regular_file_is_no_journal() -> None:
    """A device would take all and give nothing back."""
    before = set(os.listdir("/dev"))  # noqa: PTH208  names are enough
    with pytest.raises(JournalError, match=r"is no regular file|can't be used"):
        Journal(Path("/dev/null"))
    assert set(os.listdir("/dev")) == before  # noqa: PTH208  as above


def test_nothing_is_kept_after_a_write_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call that is missing in the midst would not be seen."""
    with opened(tmp_path / "j") as journal:
        monkeypatch.setattr(os, "pwrite", no_locks)
        with pytest.raises(JournalError, match=r"can't be written: Function not .* mend that, and run the same again"):
            journal.write([entry(1)])
        monkeypatch.undo()
        for act in (journal.tend, lambda: journal.write([entry(2)])):
            with pytest.raises(JournalError, match="can't be written"):
                act()
        journal.end(COMPLETE)
    with opened(tmp_path / "j") as journal:
        assert journal.count == 0


def test_work_is_synced_within_a_second_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a thread of the journal's own: no call waits for the disk."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(os.fstat(fd).st_size))
    with opened(tmp_path / "j") as journal:
        for number in range(100):
            journal.write([entry(number)])
        during = len(synced)
    assert during <= 3
    assert synced[-1] == (tmp_path / "j").stat().st_size
    assert not journal._syncing.is_alive()
