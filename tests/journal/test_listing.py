"""`python -m mpitasks journal FILE`, and how a run is told of its journal."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

import mpitasks
from mpitasks import cli, launch, task
from mpitasks.journal import choice
from mpitasks.journal.frames import BEGIN
from mpitasks.launch import Library

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return os._exit, (99,)


@task("tests.listing.pack")
def pack(x: Any, *, name: str = "") -> Any:
    """Give it back."""
    return x


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As a new process would find it."""
    monkeypatch.setenv(choice.FILE, "")
    choice._by_environment.cache_clear()
    yield
    choice._by_environment.cache_clear()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of two runs, of which the second failed."""
    path = tmp_path / "run.jrnl"
    mpitasks.run(lambda: [pack.delay(1).result(), pack.delay("two\n", name="n").result()], backend="inline", journal=path)

    def fail() -> None:
        pack.delay([1, 2], name="x" * 100)
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        mpitasks.run(fail, backend="inline", journal=path)
    return path


def shown(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """What the command says, and its exit code."""
    capsys.readouterr()
    code = cli.main(["journal", *map(str, words)])
    return code, capsys.readouterr().out


def test_calls_and_runs_are_listed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each, and the sum."""
    code, out = shown(capsys, path)
    head, one, two, three, _, total, first, second = out.splitlines()
    assert head.split() == ["task", "arguments", "when", "seconds", "bytes", "rank", "attempts", "call"]
    assert one.startswith("tests.listing.pack  1 ")
    assert r"'two\n', name='n'" in two
    assert "[1, 2], name='xxxxx" in three
    assert total.startswith("3 calls in 0.0")
    assert total.endswith(" bytes of values; 2 runs")
    assert (": complete at 20" in first, second.endswith(": ended by ValueError: on purpose"), code) == (True, True, 0)


def test_check_says_whether_all_is_well(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its exit code: not after a failure, well after the run that ends, not with bytes that are damaged or torn."""
    assert shown(capsys, path, "--check")[0] == 1
    mpitasks.run(lambda: None, backend="inline", journal=path)
    code, out = shown(capsys, path, "--check")
    assert (code, out.splitlines()[-1].rpartition(" at ")[0][-10:], "pack" in out) == (0, ": complete", False)
    data = path.read_bytes()
    path.write_bytes(data + b"torn")
    code, out = shown(capsys, path, "--check")
    assert (code, "torn: the last 4 bytes, written when it was cut off; the next run cuts them" in out) == (1, True)
    path.write_bytes(data[: BEGIN + 30] + b"?" + data[BEGIN + 31 :])
    code, out = shown(capsys, path, "--check")
    assert (code, f"damaged: bytes {BEGIN} to " in out) == (1, True)


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (signal.SIGUSR1, "SIGUSR1"),
        (signal.SIGTERM, "Terminated: 143"),
        (signal.SIGINT, "KeyboardInterrupt: "),
    ],
)
def test_an_interrupted_run_is_one(path: Path, capsys: pytest.CaptureFixture[str], number: int, why: str) -> None:
    """By a signal, or the end of its time: it says which, and counts as not complete."""
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        mpitasks.run(lambda: signal.raise_signal(number), backend="inline", journal=path)
    code, out = shown(capsys, path, "--check")
    head, _, tail = out.splitlines()[-1].rpartition(f": {why}")
    assert (code, ": interrupted at 20" in head, tail) == (1, True, "")


def test_a_run_without_an_end_was_cut_off(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Or it still runs."""
    from mpitasks.journal.book import Journal  # noqa: PLC0415  only here

    Journal(path).close()
    code, out = shown(capsys, path, "--check")
    assert (code, out.splitlines()[-1].endswith(": no end: it was cut off, or still runs")) == (1, True)


def test_it_can_be_exported(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of it as JSON, the calls as CSV."""
    whole = json.loads(shown(capsys, path, "--json")[1])
    assert [call["arguments"] for call in whole["calls"]][:2] == ["1", r"'two\n', name='n'"]
    assert [(run["end"], run["why"]) for run in whole["runs"]] == [("complete", ""), ("failed", "ValueError: on purpose")]
    assert (whole["complete"], whole["damages"], whole["torn"]) == (False, [], 0)
    rows = list(csv.DictReader(io.StringIO(shown(capsys, path, "--csv")[1])))
    assert [row["call"] for row in rows] == [call["call"] for call in whole["calls"]]


def test_nothing_is_unpickled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stranger's journal can be looked at; whoever can write it could run code in a run that resumes."""
    path = tmp_path / "j"
    mpitasks.run(lambda: pack.delay(1).done(), backend="inline", journal=path)
    from mpitasks.journal.book import Entry, Journal  # noqa: PLC0415  only here
    from mpitasks.journal.identity import Known  # noqa: PLC0415  as above
    from mpitasks.transport import wire  # noqa: PLC0415  as above

    journal = Journal(path)
    journal.write([Entry(Known(b"k", "bomb", ""), wire.encode(Bomb()), None, None, 1)])
    journal.close()
    path.chmod(0o666)
    assert [shown(capsys, path, *how)[0] for how in ([], ["--json"], ["--csv"])] == [0, 0, 0]


@pytest.mark.parametrize("content", [None, b"", b"a,b\n"])
def test_what_is_no_journal_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None) -> None:
    """In a line, and the file stays as it is."""
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_bytes(content)
    assert cli.main(["journal", str(path)]) == 1
    said = capsys.readouterr().err
    missing = f"journal {str(path)!r} can't be read: No such file or directory; name the file that a run was given by --journal"
    assert (missing if content is None else "is no journal of mpitasks") in said
    assert content is None or path.read_bytes() == content


def test_a_folder_is_no_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As little as a file that is not there."""
    assert cli.main(["journal", str(tmp_path)]) == 1
    assert f"mpitasks: journal {str(tmp_path)!r} can't be read: Is a directory; name the file" in capsys.readouterr().err


def test_the_command_line_and_the_environment_have_the_last_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path means where the command was given; programs that a task starts don't inherit it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_start", lambda *_: 0)
    assert cli.main(["--journal", "from-outside.jrnl", "app.py"]) == 0
    assert os.environ[choice.FILE] == str(tmp_path / "from-outside.jrnl")
    for _ in range(2):
        mpitasks.run(lambda: pack.delay(1).result(), backend="inline", journal="from-inside.jrnl")
        assert choice.FILE not in os.environ
    assert [one.name for one in tmp_path.iterdir()] == ["from-outside.jrnl"]


def test_open_mpi_is_told_to_pass_the_file_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mpiexec gives ranks on other hosts no variable that it is not told of."""
    monkeypatch.setattr(launch.os, "geteuid", lambda: 1000)
    monkeypatch.setenv(choice.FILE, "run.jrnl")
    flags, _, why = launch._flags(Library("Open MPI"), 1)
    assert (flags, len(why)) == (["-x", "MPITASKS_JOURNAL"], 1)
