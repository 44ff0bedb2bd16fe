"""Which launcher this is, and which mpiexec belongs to it; nothing here starts MPI."""

from __future__ import annotations

import os
import re
import signal
import sys
import sysconfig
from typing import TYPE_CHECKING

import mpi4py
import pytest

from mpitasks import StartError, cli, control, ending, launch, surroundings
from mpitasks.isolation import aside
from mpitasks.launch import Library
from mpitasks.survival import guard as survival_guard

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has started these tests, they were not."""
    for name in list(launch.os.environ):
        if name.startswith((*aside.TRACES, "SLURM_", "PBS_", "LSB_")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("variables", "promise", "may_be_many"),
    [
        ({}, None, False),
        ({"PMI_SIZE": "4"}, "PMI_SIZE=4", True),
        ({"PMI_SIZE": "1"}, None, False),
        ({"OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "0"}, "OMPI_COMM_WORLD_SIZE=2", True),
        ({"OMPI_COMM_WORLD_SIZE": "1", "PMIX_RANK": "0"}, None, False),
        ({"PMIX_RANK": "1"}, "PMIX_RANK=1", True),  # rank 1 is not alone
        ({"PMIX_RANK": "0"}, None, True),
        ({"SLURM_NTASKS": "8"}, None, False),  # a batch step sets it for plain python too
        ({"PMI_SIZE": "many"}, None, False),
    ],
)
def test_what_a_launcher_has_promised(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], promise: str | None, may_be_many: bool
) -> None:
    """By the variables that it sets for each rank."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (surroundings.promised_size(), surroundings.may_be_one_of_many()) == (promise, may_be_many)
    assert surroundings.has_launcher() == (bool(variables) and "SLURM_NTASKS" not in variables)


def test_an_mpi_that_cannot_be_loaded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the loader's reason, and how to get one."""
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    monkeypatch.delattr(mpi4py, "MPI", raising=False)
    monkeypatch.setattr(mpi4py.rc, "initialize", True)
    words = r"no MPI library can be loaded \(.*\); install one beside mpi4py: pip install 'mpitasks\[mpich\]'"
    with pytest.raises(StartError, match=words) as caught:
        launch.start(["app.py"], 4)
    assert isinstance(caught.value.__cause__, ImportError)


def test_open_mpi_s_launcher_over_mpich_is_refused_before_mpich_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """MPICH would end the process in its start."""

    class Mpich:
        @staticmethod
        def Is_initialized() -> bool:  # noqa: N802  as in mpi4py
            return False

        @staticmethod
        def Get_library_version() -> str:  # noqa: N802  as in mpi4py
            return "MPICH Version: 5"

    monkeypatch.setitem(sys.modules, "mpi4py.MPI", Mpich)
    monkeypatch.setattr(mpi4py, "MPI", Mpich, raising=False)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    with pytest.raises(
        StartError, match="the launcher has set OMPI_COMM_WORLD_SIZE=4, but mpi4py uses another MPI than the mpi"
    ):
        surroundings.start_mpi()


def fake_mpiexec(folder: Path, says: str, name: str = "mpiexec") -> Path:
    """A launcher that says only whose it is."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The only place where an mpiexec may be."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path / "scripts"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'one'}:{tmp_path / 'two'}")
    return tmp_path


@pytest.mark.parametrize(("library", "says"), [("MPICH", "HYDRA build details"), ("Open MPI", "mpiexec (Open MPI) 5.0")])
def test_the_mpiexec_of_the_same_mpi_is_found(folder: Path, library: str, says: str) -> None:
    """Beside Python first, then on the PATH; those of others are passed over."""
    fake_mpiexec(folder / "one", "slurmstepd 1.0")
    expected = fake_mpiexec(folder / "two", says)
    assert launch._mpiexec(Library(library)) == str(expected)
    beside = fake_mpiexec(folder / "bin", says)
    assert launch._mpiexec(Library(library)) == str(beside)


def test_an_mpiexec_of_another_mpi_is_refused(folder: Path) -> None:
    """Each that was found is named with its owner."""
    fake_mpiexec(folder / "one", "mpiexec (Open MPI) 5.0")
    fake_mpiexec(folder / "two", "something else", "mpirun")
    words = (
        r"mpi4py uses MPICH, but no mpiexec of that is on the PATH or beside \S+/bin/python: "
        r"\S+/one/mpiexec is of Open MPI; \S+/two/mpirun is of an unknown MPI"
    )
    with pytest.raises(StartError, match=words):
        launch._mpiexec(Library("MPICH"))


def test_no_mpiexec_at_all_is_told(folder: Path) -> None:
    """The same, with nothing found; one that can't be started counts as nobody's."""
    with pytest.raises(StartError, match=r"no mpiexec of that is on the PATH .*: none was found"):
        launch._mpiexec(Library("MPICH"))
    (folder / "one").mkdir()
    broken = folder / "one" / "mpiexec"
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o755)
    with pytest.raises(StartError, match="is of nobody: it does not answer --version"):
        launch._mpiexec(Library("MPICH"))


AS_ROOT = ["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"]


@pytest.mark.parametrize(
    ("library", "user", "ranks", "passed"),
    [
        ("MPICH", 0, 64, ([], [], 0)),
        ("Open MPI", 1000, 2, ([], [], 0)),
        ("Open MPI", 1000, 3, (["--map-by", ":OVERSUBSCRIBE"], [], 1)),
        ("Open MPI", 0, 2, ([], AS_ROOT, 1)),
        ("Open MPI", 0, 3, (["--map-by", ":OVERSUBSCRIBE"], AS_ROOT, 2)),
    ],
)
def test_what_open_mpi_needs_is_passed_and_said(
    monkeypatch: pytest.MonkeyPatch, library: str, user: int, ranks: int, passed: tuple[list[str], list[str], int]
) -> None:
    """More ranks than cores, and root: flags, variables, and a line for the user about each."""
    monkeypatch.setattr(launch, "usable_cores", lambda: 2)
    monkeypatch.setattr(launch.os, "geteuid", lambda: user)
    flags, variables, lines = launch._flags(Library(library), ranks)
    assert (flags, sorted(variables), len(lines)) == passed


def test_in_a_batch_job_the_hosts_decide_how_many_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """There, more ranks than this host's cores are no reason for a flag."""
    monkeypatch.setattr(launch, "usable_cores", lambda: 2)
    monkeypatch.setattr(launch.os, "geteuid", lambda: 1000)
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    assert launch._flags(Library("Open MPI"), 64) == ([], {}, [])


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have been run, of an Open MPI on 2 cores."""
    commands: list[list[str]] = []
    monkeypatch.setattr(launch, "usable_cores", lambda: 2)
    monkeypatch.setattr(launch.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(launch, "_library", lambda: Library("Open MPI"))
    monkeypatch.setattr(launch, "_mpiexec", lambda _: "/bin/mpiexec")
    monkeypatch.setattr(launch._Minder, "run", lambda _, command, __: commands.append(command) or 0)
    monkeypatch.delenv(launch.WORDS, raising=False)
    return commands


def test_the_user_s_words_reach_mpiexec(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the option or the variable, taken apart as a shell does. Where ranks go is theirs to say, then."""
    app = tmp_path / "app.py"
    app.touch()
    monkeypatch.setenv(launch.WORDS, "")  # what the option sets is undone after the test
    assert cli.main(["--mpiexec", "--host 'one:2,two:2'", "-n", "4", str(app), "--mpiexec", "mine"]) == 0
    assert cli.main(["--mpiexec=-v", "-n", "4", "-m", "app"]) == 0
    handed_on = ["-x", "MPITASKS_CONTROL", "-x", "MPITASKS_STARTED"]
    assert started == [
        ["/bin/mpiexec", *handed_on, "--host", "one:2,two:2", "-n", "4", sys.executable, str(app), "--mpiexec", "mine"],
        ["/bin/mpiexec", *handed_on, "-v", "-n", "4", sys.executable, "-m", "app"],
    ]
    assert capsys.readouterr().err.count("mpiexec gets -x for what rank 0 must know") == 2


def test_words_that_can_t_be_told_apart_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quote that is not closed."""
    monkeypatch.setenv(launch.WORDS, "-hosts 'one")
    with pytest.raises(
        StartError, match=r"""the words for mpiexec, "-hosts 'one", can't be told apart \(No closing quotation\)"""
    ):
        launch.own_words()


def test_a_launcher_that_waits_for_a_lost_host_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When rank 0 has aborted the job; its code counts, whatever the launcher says."""
    monkeypatch.setattr(ending, "_said", [])
    monkeypatch.setattr(surroundings, "control_folder", lambda: str(tmp_path))
    monkeypatch.setattr(launch, "_ABORTS_WITHIN", 0.0)
    ending.tell(ending.End(3, "a host was lost"))
    ending.tell_aborted()
    waits = [sys.executable, "-c", "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); signal.pause()"]
    assert launch._Minder(tmp_path).run(waits, dict(os.environ)) == 3


@pytest.mark.parametrize(("told", "words"), [(None, "but rank 0 said nothing.*then set TMPDIR to a folder of both"), ("0", "")])
def test_an_end_that_nobody_told_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], told: str | None, words: str
) -> None:
    """The launcher says that all is well, and that is not to be believed: why, and the way out."""
    monkeypatch.setattr(surroundings, "control_folder", lambda: str(tmp_path))
    if told is not None:
        ending.tell(ending.End(int(told)))
    assert launch._Minder(tmp_path).run([sys.executable, "-c", ""], dict(os.environ)) == (70 if told is None else 0)
    said = capsys.readouterr().err
    assert re.search(words, said) if words else not said


@pytest.mark.parametrize(("told", "code"), [("3", 3), (None, 128 + signal.SIGSEGV)])
def test_a_launcher_that_crashes_takes_no_code_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str | None, code: int
) -> None:
    """What rank 0 has said before it aborted the job counts, if it said anything."""
    monkeypatch.setattr(surroundings, "control_folder", lambda: str(tmp_path))
    if told is not None:
        ending.tell(ending.End(int(told)))
    crash = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]
    assert launch._Minder(tmp_path).run(crash, dict(os.environ)) == code


class Launcher:
    """An mpiexec that goes on."""

    def __init__(self) -> None:
        self.signals: list[int] = []
        self.send_signal = self.signals.append


WAITS = "waits: rank 0 has not begun run(), or is on another host"
HANDED_ON = "and rank 0 is on another host: mpiexec gets it, and hands it to all ranks"
IN_VAIN = "but rank 0 is on another host, and with --survive does not hear of it: use --walltime"


@pytest.mark.parametrize(
    ("says", "hosts", "late", "survive", "words"),
    [
        ("elsewhere", "", False, "0", f", {HANDED_ON}"),
        ("elsewhere", "", False, "1", f", {IN_VAIN}"),
        ("nothing", "", True, "0", f", and {WAITS}"),
        ("nothing", "--host one,two", False, "0", f", and {WAITS}"),
        ("nothing", "--host one,two", True, "0", f", {HANDED_ON}"),
        ("nothing", "--host one,two", True, "1", f", {IN_VAIN}"),
        ("the end", "--host one,two", True, "0", f", and {WAITS}"),
    ],
)
def test_a_drain_reaches_rank_0_on_another_host(  # noqa: PLR0913, PLR0917  what tells where it is
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    says: str,
    hosts: str,
    late: bool,
    survive: str,
    words: str,
) -> None:
    """By mpiexec; or a line says that it can't, or not yet. Once, however often that is tried."""
    if says == "elsewhere":
        (tmp_path / control.RUN).write_text('{"host": "elsewhere", "pid": 1, "grace": 1.0}')
    elif says == "the end":
        monkeypatch.setattr(surroundings, "control_folder", lambda: str(tmp_path))
        ending.tell(ending.End(0))
    monkeypatch.setenv(launch.WORDS, hosts)
    monkeypatch.setenv(launch.SURVIVE, survive)
    monkeypatch.setattr(launch, "_BEGINS_WITHIN", -1.0 if late else 1000.0)
    minder, launcher = launch._Minder(tmp_path), Launcher()
    is_told = HANDED_ON in words
    assert [minder._drain(launcher) for _ in range(2)] == [is_told, is_told]  # type: ignore[arg-type]  # as far as it goes
    assert minder._has_drained == is_told
    assert set(launcher.signals) == ({signal.SIGUSR1} if is_told else set())
    assert capsys.readouterr().err == f"mpitasks: SIGUSR1 has come{words}\n"


@pytest.mark.parametrize(("library", "flags"), [("MPICH", ["-disable-auto-cleanup"]), ("Open MPI", ["--with-ft", "ulfm"])])
def test_to_survive_each_rank_gets_a_guard(monkeypatch: pytest.MonkeyPatch, library: str, flags: list[str]) -> None:
    """And mpiexec what lets the others live; a line says what is promised, and what is not."""
    passed, lines = ["before"], ["a line"]
    assert launch._survive(Library(library), passed, lines) == []
    assert (passed, lines) == (["before"], ["a line"])
    monkeypatch.setenv(launch.SURVIVE, "1")
    guard = launch._survive(Library(library), passed, lines)
    assert (guard[0], guard[-1]) == (sys.executable, survival_guard.__file__)
    assert passed == ["before", *flags]
    assert lines[1] == (
        f"mpiexec gets {' '.join(flags)} and each rank a guard: the run goes on when slaves die; "
        "without rank 0 or a whole host it ends, so keep a journal too"
    )


def test_to_survive_takes_an_mpi_that_we_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of others it is not known what they do when a rank dies."""
    monkeypatch.setenv(launch.SURVIVE, "1")
    words = "--survive works with MPICH and Open MPI, and mpi4py uses Intel MPI; keep a journal, and start again"
    with pytest.raises(StartError, match=words):
        launch._survive(Library("Intel MPI"), [], [])
