"""Profiles: which words of the command line are whose, what is added up, and what is said."""

from __future__ import annotations

import os
from cProfile import Profile
from pathlib import Path
from pstats import Stats
from typing import TYPE_CHECKING

import pytest

from mpitasks import cli, launch, profiles, run, surroundings
from mpitasks.journal import choice
from mpitasks.launch import Library

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = str(Path("profile").absolute())


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As a new process would find it; the variable is gone afterwards, whoever has set it."""
    monkeypatch.setenv(profiles.FOLDER, "")
    monkeypatch.setenv(choice.FILE, "")  # `--journal` sets it
    monkeypatch.delenv(surroundings.STARTED, raising=False)
    profiles.of_this_process.cache_clear()
    yield
    profiles.of_this_process.cache_clear()


@pytest.mark.parametrize(
    ("words", "program", "folder"),
    [
        ("app.py", ["app.py"], ""),
        ("--profile app.py", ["app.py"], HERE),
        ("--profile -n 4 app.py x", ["app.py", "x"], HERE),
        ("-n 4 --profile app.py", ["app.py"], HERE),
        ("-n4 --profile -m app", ["-m", "app"], HERE),
        ("--profile=/tmp/p -m app --profile", ["-m", "app", "--profile"], "/tmp/p"),  # noqa: S108  never written
        ("app.py --profile", ["app.py", "--profile"], ""),
        ("app.py -n --profile", ["app.py", "-n", "--profile"], ""),
        ("--journal run --profile app.py", ["app.py"], HERE),
        ("--profile --journal run -n 4 app.py --journal x", ["app.py", "--journal", "x"], HERE),
        ("-n 4 app.py --profile=x", ["app.py", "--profile=x"], ""),
    ],
)
def test_profile_is_ours_before_the_program_and_its_own_after(
    monkeypatch: pytest.MonkeyPatch, words: str, program: list[str], folder: str
) -> None:
    """A bare one takes nothing that follows for its folder."""
    seen: list[list[str]] = []
    monkeypatch.setattr(cli, "_start", lambda given, *_: seen.append(given) or 0)
    assert cli.main(words.split()) == 0
    assert (seen, os.environ[profiles.FOLDER]) == ([program], folder)


def profiled(path: Path, times: int) -> None:
    """A profile of so many calls of `counted`."""
    profile = Profile()
    for _ in range(times):
        profile.runcall(counted)
    profile.dump_stats(path)


def counted() -> None:
    """Do nothing."""


def count(path: Path) -> int:
    """How often `counted` was called, by a profile."""
    return next(value[1] for key, value in vars(Stats(str(path)))["stats"].items() if key[2] == "counted")


def test_all_ranks_of_this_run_are_added_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What an earlier run has left goes first, and nothing else does."""
    for name in ("rank-0.prof", "rank-7.prof", "all.prof"):
        profiled(tmp_path / name, 1000)
    kept = [tmp_path / name for name in ("rank-x.prof", "mine.prof")]
    for path in kept:
        path.write_text("the user's own")
    with profiles.added_up(tmp_path):
        for rank, times in enumerate([1, 10, 100]):
            profiled(tmp_path / f"rank-{rank}.prof", times)
    assert count(tmp_path / "all.prof") == 111
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["all.prof", "mine.prof", "rank-0.prof", "rank-1.prof", "rank-2.prof", "rank-x.prof"]
    )
    said = capsys.readouterr().err
    assert f"mpitasks: profiles in {tmp_path}: main 0.00" in said
    assert " s on 1 rank; calls of slaves 0.00" in said
    assert " s on 2 ranks\n" in said
    assert "      110    0.000" in said  # slaves alone: main's waiting would stand above all else


def test_what_died_ranks_have_left_is_added_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whichever they are; and if there is none at all, that is said, and why: programs of `mpitasks.classic` leave none."""
    with profiles.added_up(tmp_path):
        profiled(tmp_path / "rank-2.prof", 3)
    assert count(tmp_path / "all.prof") == 3
    with profiles.added_up(tmp_path):
        pass
    why = "no rank has come to the end of mpitasks.run(); profile programs of mpitasks.classic by hand, with cProfile"
    assert f"mpitasks: no profiles in {tmp_path}: {why}\n" in capsys.readouterr().err
    assert not (tmp_path / "all.prof").exists()


def test_a_profile_that_cannot_be_written_ends_no_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said, and main's value comes back."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(profiles.FOLDER, str(tmp_path / "file" / "below"))
    assert run(lambda: 42, backend="inline") == 42
    said = capsys.readouterr().err
    assert "mpitasks: rank 0 can't write its profile: " in said
    assert f"mpitasks: profiles of an earlier run in {tmp_path}/file/below can't be removed: " in said


def test_runs_of_one_process_are_profiled_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Inline, a program may have several; a second does not undo the first."""
    monkeypatch.setenv(profiles.FOLDER, str(tmp_path))
    for _ in range(2):
        run(counted, backend="inline")
    assert count(tmp_path / "all.prof") == 2


def test_open_mpi_is_told_to_pass_the_folder_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mpiexec gives ranks on other hosts no variable that it is not told of."""
    monkeypatch.setattr(launch.os, "geteuid", lambda: 1000)
    monkeypatch.setenv(profiles.FOLDER, "here")
    flags, _, why = launch._flags(Library("Open MPI"), 1)
    assert (flags, len(why)) == (["-x", "MPITASKS_PROFILE"], 1)
    assert launch._flags(Library("MPICH"), 1) == ([], {}, [])
