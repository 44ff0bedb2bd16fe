"""Starts this program under mpi4py's own mpiexec, and minds it.

::

    python -m mpitasks -n 4 app.py ──► mpiexec -n 4 python app.py ──► rank 0 writes its pid into the control folder
             │ Ctrl-C, SIGTERM                                          ▲  and how the run has ended
             ├──────────────────────── the same signal ─────────────────┤
             └ SIGUSR1 ─────────────── "drain", to its control socket ──┘

A signal goes to rank 0 alone, which ends the run in order; mpiexec itself is ended only if that takes too long. Open
MPI's mpiexec kills all ranks within half a second of a SIGTERM, so it must not get one first. A SIGUSR1 it hands on, so it gets
that where rank 0 is on another host.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from . import control, ending, profiles, walltime
from .control import NoAnswer
from .errors import HostLost, StartError
from .journal import choice
from .surroundings import CONTROL, RANK, RESTARTS, STARTED, host, usable_cores

if TYPE_CHECKING:
    import subprocess

SESSIONS = "PRTE_MCA_prte_local_tmpdir_base"
"""Environment variable: where Open MPI's mpiexec keeps its session. In the folder that all share, 1 start in 2,800 failed
beside other starts ("listener thread failed to start"), and in folders of their own none of 10,000."""
WORDS = "MPITASKS_MPIEXEC"
"""Environment variable: what mpiexec is told beside what it is told anyway."""
SURVIVE = "MPITASKS_SURVIVE"
"""Environment variable: 1 if the run is to go on when slaves die."""
_SURVIVAL = {"Open MPI": ["--with-ft", "ulfm"], "MPICH": ["-disable-auto-cleanup"]}
"""What mpiexec is told, so that it lets the other ranks live."""
_SLACK = 5.0
"""Seconds beyond the grace, before mpiexec is ended."""
_ANSWERS = 2.0
"""Seconds that rank 0 gets to answer before it is asked again."""
_BEGINS_WITHIN = 60.0
"""Seconds from the start until rank 0, of which nothing is seen here, counts as one of another host, if that may be. Before it
has begun run(), SIGUSR1 would kill it."""
_ABORTS_WITHIN = 3.0
"""Seconds for mpiexec to end when rank 0 has aborted the job. It needs a tenth of one, but waits for ever for a lost host."""
HOST_BACK_WITHIN = 3.0
"""Seconds before a run begins again that has lost a host: at once, that host is not there yet, and a restart is lost."""


class Library(NamedTuple):
    """An MPI library, as far as it matters here."""

    name: str
    """"Open MPI" or "MPICH" or whatever it calls itself."""

    @property
    def is_open_mpi(self) -> bool:
        """Whether it is Open MPI."""
        return self.name == "Open MPI"


def start(arguments: Sequence[str], ranks: int, *, restarts: int = 0) -> int:
    """Run `python ARGUMENTS` on that many ranks, and return the exit code.

    Args:
        arguments: As after `python`.
        ranks: The master and the slaves.
        restarts: How often to do it again, if it was interrupted.

    Raises:
        StartError: No mpiexec fits.
    """
    library = _library()
    mpiexec = _mpiexec(library)
    flags, variables, why = _flags(library, ranks)
    guard = _survive(library, flags, why)
    inherited = {name: value for name, value in os.environ.items() if name not in (RANK, CONTROL)}
    environment = {**inherited, **variables, STARTED: str(ranks)}
    if restarts:
        environment[RESTARTS] = str(restarts)
    _hand_on(library, environment, flags, why)
    for line in why:
        print(f"mpitasks: {line}", file=sys.stderr)
    command = [mpiexec, *flags, *own_words(), "-n", str(ranks), *guard, sys.executable, *arguments]
    with _profiles_added_up():
        while True:
            code, again = _run_once(command, environment)
            if not (again and restarts):
                return code
            restarts -= 1
            print(f"mpitasks: {again}; it begins again, restarts left: {restarts}", file=sys.stderr)
            if HostLost.__name__ in again and not _has_waited(HOST_BACK_WITHIN):
                return 128 + signal.SIGINT


def _has_waited(seconds: float) -> bool:
    """Let some time pass; False: Ctrl-C came."""
    try:
        time.sleep(seconds)
    except KeyboardInterrupt:
        return False
    return True


def command(arguments: Sequence[str], ranks: int) -> tuple[list[str], dict[str, str]]:
    """The command line that runs `python ARGUMENTS` on that many ranks, unguarded, and the variables it needs.

    Raises:
        StartError: No mpiexec fits.
    """
    library = _library()
    flags, variables, _ = _flags(library, ranks)
    return [_mpiexec(library), *flags, *own_words(), "-n", str(ranks), sys.executable, *arguments], variables


def _run_once(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run mpiexec; the exit code, and why the same once more may come further, if it may."""
    with tempfile.TemporaryDirectory(prefix=control.prefix(), ignore_cleanup_errors=True) as name:
        minder = _Minder(Path(name))
        code = minder.run(command, {SESSIONS: name, **environment, CONTROL: name})
        return code, minder.why_again(code)


def _survive(library: Library, flags: list[str], why: list[str]) -> list[str]:
    """What goes before `python app.py` so that ranks may die, if that is wanted; adds flags, and a line for the user.

    Raises:
        StartError: It is not known how that MPI does it.
    """
    if os.environ.get(SURVIVE) != "1":
        return []
    if library.name not in _SURVIVAL:
        msg = f"--survive works with MPICH and Open MPI, and mpi4py uses {library.name}; keep a journal, and start again"
        raise StartError(msg)
    flags += _SURVIVAL[library.name]
    why.append(
        f"mpiexec gets {' '.join(_SURVIVAL[library.name])} and each rank a guard: the run goes on when slaves die; "
        "without rank 0 or a whole host it ends, so keep a journal too"
    )
    return [sys.executable, "-I", "-S", str(Path(__file__).parent / "survival" / "guard.py")]


def _hand_on(library: Library, environment: dict[str, str], flags: list[str], why: list[str]) -> None:
    """Have our variables reach ranks on other hosts, rank 0 among them; adds flags, and a line for the user."""
    if library.is_open_mpi and _may_use_other_hosts():  # MPICH's mpiexec hands on all of them
        ours = [name for name in environment if name.startswith("MPITASKS_") and name not in {WORDS, *flags}]
        for name in [CONTROL, *ours]:
            flags += ["-x", name]
        why.append("mpiexec gets -x for what rank 0 must know to say how the run ends, as that may be on another host")


def own_words() -> list[str]:
    """What the user wants mpiexec to be told.

    Raises:
        StartError: A quote is not closed.
    """
    import shlex  # noqa: PLC0415  only who starts ranks needs it

    text = os.environ.get(WORDS, "")
    try:
        return shlex.split(text)
    except ValueError as error:
        msg = f"the words for mpiexec, {text!r}, can't be told apart ({error}): write them as on a command line"
        raise StartError(msg) from error


def _profiles_added_up() -> AbstractContextManager[None]:
    """Within, ranks may write profiles, if some are wanted."""
    folder = profiles.wanted_in()
    if folder is None:
        return nullcontext()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"no folder for profiles can be made at {str(folder)!r}: {error}; give another: --profile=FOLDER"
        raise StartError(msg) from error
    return profiles.added_up(folder)


# ---------------------------------------------------------------- which mpiexec


def _library() -> Library:
    """The MPI library of the installed mpi4py.

    Raises:
        StartError: There is none.
    """
    try:
        import mpi4py  # noqa: PLC0415  only who starts ranks needs it

        mpi4py.rc.initialize = False
        from mpi4py import MPI  # noqa: PLC0415  as above
    except (ImportError, RuntimeError) as error:
        msg = f"no MPI library can be loaded ({error}); install one beside mpi4py: pip install 'mpitasks[mpich]'"
        raise StartError(msg) from error
    text = MPI.Get_library_version()
    return Library(next((name for name in ("Open MPI", "MPICH") if name in text), text.split("\n")[0]))


def _mpiexec(library: Library) -> str:
    """The mpiexec of that library.

    Raises:
        StartError: None was found, or all belong to another MPI.
    """
    import sysconfig  # noqa: PLC0415  only who starts ranks needs it

    folders = [
        str(Path(sys.executable).parent),
        sysconfig.get_path("scripts"),
        *os.environ.get("PATH", "").split(os.pathsep),
    ]
    seen: dict[str, str] = {}
    for folder in dict.fromkeys(folders):
        for name in ("mpiexec", "mpirun", "mpiexec.hydra"):
            path = shutil.which(name, path=folder)
            if path is None:
                continue
            seen[path] = whose = _whose(path)
            if whose == library.name:
                return path
    found = "; ".join(f"{path} is of {whose}" for path, whose in seen.items()) or "none was found"
    msg = f"mpi4py uses {library.name}, but no mpiexec of that is on the PATH or beside {sys.executable}: {found}"
    raise StartError(msg)


def _whose(mpiexec: str) -> str:
    """The MPI to which that mpiexec belongs, by its own word."""
    import subprocess  # noqa: PLC0415  as above

    try:
        said = subprocess.run([mpiexec, "--version"], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603  found here
    except (OSError, subprocess.TimeoutExpired):
        return "nobody: it does not answer --version"
    text = said.stdout + said.stderr
    if "Open MPI" in text or "OpenRTE" in text or "prterun" in text:
        return "Open MPI"
    return "MPICH" if "HYDRA" in text or "MPICH" in text else "an unknown MPI"


def _flags(library: Library, ranks: int) -> tuple[list[str], dict[str, str], list[str]]:
    """Flags and variables that mpiexec needs here, and a line for the user about each."""
    flags: list[str] = []
    variables: dict[str, str] = {}
    why: list[str] = []
    if not library.is_open_mpi:
        return flags, variables, why
    if os.geteuid() == 0:
        variables = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        why.append("Open MPI's mpiexec gets OMPI_ALLOW_RUN_AS_ROOT=1 and its _CONFIRM, because you are root")
    if ranks > usable_cores() and not _may_use_other_hosts():
        flags = ["--map-by", ":OVERSUBSCRIBE"]
        why.append(f"mpiexec gets --map-by :OVERSUBSCRIBE, because {ranks} ranks are more than the {usable_cores()} cores here")
    names = {profiles.FOLDER: profiles.wanted_in(), choice.FILE: choice.wanted(), walltime.VARIABLE: walltime.wanted()}
    for name, wanted in names.items():
        if wanted:
            flags += ["-x", name]
            why.append(f"mpiexec gets -x {name}, so that ranks on other hosts hear of it")
    return flags, variables, why


def _may_use_other_hosts() -> bool:
    """Whether somebody may have told mpiexec of hosts: the user, or a batch system."""
    return bool(own_words()) or any(name in os.environ for name in ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID"))


# ---------------------------------------------------------------- minding it


class _Minder:
    """Waits for mpiexec, and hands signals to rank 0."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self._signal: int | None = None
        self._count = 0
        self._patience = 0.0
        self._drains = self._has_drained = self._was_slow = False
        self._said: set[str] = set()
        self._began = time.monotonic()

    def run(self, command: list[str], environment: dict[str, str]) -> int:
        """Run mpiexec; the exit code of the run, or 128 + the signal that ended it."""
        import subprocess  # noqa: PLC0415  as above

        with self._handling():
            # In a session of its own: the terminal's Ctrl-C must reach this process alone.
            child = subprocess.Popen(command, env=environment, start_new_session=True)  # noqa: S603  our own command
            code = self._mind(child)
            self._await_rank_0()
        if self._signal is not None and code != 0:
            return 128 + self._signal
        ended = ending.code_of(code, self._control)
        if code == 0 and ended == ending.UNKNOWN:
            self._say_once(
                "nobody knows how the run ended: mpiexec says that all is well, but rank 0 said nothing. Its host was lost, or "
                f"does not see {str(self._control.parent)!r} of this one: then set TMPDIR to a folder of both"
            )
        return ended

    def why_again(self, code: int) -> str:
        """Why the same run once more may come further; empty: it won't, or the user has ended it."""
        end = ending.read(self._control)
        if self._signal is not None or self._drains or (end is None and ending.has_left(self._control)):
            return ""
        if end is None:
            return f"the run was cut off (exit code {code})"
        return f"the run was interrupted: {end.why}" if end.again else ""

    @contextmanager
    def _handling(self) -> Iterator[None]:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
        before = [signal.signal(number, self._note) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGUSR1:
            self._drains = True
            return
        self._signal = signal.SIGTERM if number == signal.SIGHUP else number
        self._count += 1

    def _mind(self, child: subprocess.Popen[bytes]) -> int:
        """Wait for the end; on a signal, first ask, then end."""
        import subprocess  # noqa: PLC0415  it is there: it has started the child

        asked = 0
        until = float("inf")
        while True:
            try:
                return child.wait(0.05)
            except subprocess.TimeoutExpired:
                pass
            if self._drains and not self._has_drained and self._drain(child):
                until = time.monotonic() + self._patience
            if self._count > asked:
                asked = self._count
                told = asked == 1 and self._tell_rank_0()
                until = time.monotonic() + self._patience if told else 0.0
            elif until == float("inf") and ending.has_aborted(self._control):
                self._was_slow, until = True, time.monotonic() + _ABORTS_WITHIN
            if time.monotonic() > until:
                return self._end(child)

    def _drain(self, child: subprocess.Popen[bytes]) -> bool:
        """Have rank 0 hand out nothing more; False if it does not answer yet."""
        said = self._rank_0()
        if said is None:
            return self._drain_elsewhere(child)
        try:
            control.ask(self._control, "drain", _ANSWERS)
        except NoAnswer as error:
            self._say_once(f"SIGUSR1 has come, and waits: {error}")
            return False
        self._has_drained = True
        self._patience = 2 * said["grace"] + 2 * _SLACK  # it ends by itself earlier
        return True

    def _drain_elsewhere(self, child: subprocess.Popen[bytes]) -> bool:
        """The same, where this host sees nothing of rank 0: mpiexec hands the signal to all. False if it must not."""
        if not self._seems_elsewhere():
            self._say_once("SIGUSR1 has come, and waits: rank 0 has not begun run(), or is on another host")
        elif os.environ.get(SURVIVE) == "1":  # MPICH's mpiexec uses that signal for its own ends, so ranks don't listen to it
            self._say_once(
                "SIGUSR1 has come, but rank 0 is on another host, and with --survive does not hear of it: use --walltime"
            )
        else:
            self._say_once("SIGUSR1 has come, and rank 0 is on another host: mpiexec gets it, and hands it to all ranks")
            child.send_signal(signal.SIGUSR1)
            self._has_drained, self._patience = True, float("inf")  # whose clock ends the run
        return self._has_drained

    def _seems_elsewhere(self) -> bool:
        """Whether rank 0 is on another host, by what it says of itself, or since it would have said something by now."""
        if (self._control / control.RUN).exists():
            return self._rank_0() is None
        is_late = time.monotonic() > self._began + _BEGINS_WITHIN
        return is_late and _may_use_other_hosts() and ending.read(self._control) is None

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            print(f"mpitasks: {text}", file=sys.stderr)

    def _tell_rank_0(self) -> bool:
        """Hand the signal to rank 0; False if it can't be reached from here."""
        said = self._rank_0()
        if said is None or self._signal is None:
            return False
        try:
            os.kill(said["pid"], self._signal)
        except ProcessLookupError:
            return False
        self._patience = 2 * said["grace"] + _SLACK
        return True

    def _rank_0(self) -> dict[str, Any] | None:
        """What rank 0 says of itself; None: nothing yet, or it is on another host."""
        try:
            said: dict[str, Any] = json.loads((self._control / control.RUN).read_text())
        except (OSError, ValueError):
            return None
        return said if said["host"] == host() else None

    def _await_rank_0(self) -> None:
        """Wait until rank 0 has gone, and with it its lock on the journal: it may outlive an mpiexec that was killed."""
        said = self._rank_0()
        until = time.monotonic() + _SLACK
        while said is not None and control.is_alive(self._control):
            if time.monotonic() > until:
                with suppress(ProcessLookupError):
                    os.kill(said["pid"], signal.SIGKILL)
            time.sleep(0.02)

    def _end(self, child: subprocess.Popen[bytes]) -> int:
        """End mpiexec, which ends the ranks."""
        import subprocess  # noqa: PLC0415  as above

        child.terminate()
        try:
            return child.wait(1.0 if self._was_slow else _SLACK)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)  # the session that was started for it
            return child.wait()
