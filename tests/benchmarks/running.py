"""Runs the programs of the peers, in environments of their own, one after the other and again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from catalogue import MEASURES, OURS, Peer

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
INSTALLING = 600.0
"""Seconds for one environment."""
SEVERAL = 3
"""Workers, where it is not one: what MPI has on 4 ranks."""


class Sample(NamedTuple):
    """One value of one measure, or why there is none."""

    peer: str
    workers: int
    measure: str
    value: float | list[float] | None
    reason: str = ""


class Settings(NamedTuple):
    """How everything is run."""

    venvs: Path
    mpi: str
    """The package with the MPI library: "mpich" or "openmpi"."""
    quick: bool
    limit: float
    """Seconds for one program."""
    rounds: int
    only: Sequence[str]
    """Measures."""


# ---------------------------------------------------------------- environments


def install(peer: Peer, settings: Settings) -> str:
    """Make the peer's environment, if it is not there; why it can't be made, or nothing."""
    folder = _folder(peer, settings)
    if (folder / "complete").exists():
        return ""
    shutil.rmtree(folder, ignore_errors=True)
    packages = [*peer.packages, "numpy", *([settings.mpi] if peer.mpi else [])]
    print(f"installing {peer.name}: {', '.join(packages)}", file=sys.stderr)
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=INSTALLING, capture_output=True, text=True)
        pip = [_python(peer, settings), "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages]
        subprocess.run(pip, check=True, timeout=INSTALLING, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        return f"could not be installed within {INSTALLING:g} s"
    except subprocess.CalledProcessError as error:
        errors = [line for line in error.stderr.splitlines() if line.startswith("ERROR")] or error.stderr.splitlines()
        return f"could not be installed: {errors[-1] if errors else error}"
    (folder / "complete").touch()
    return ""


def version(peer: Peer, settings: Settings) -> str:
    """The version of the library; nothing, if it is of the standard library."""
    if peer is OURS:
        asked = "import mpitasks; print(mpitasks.__version__)"
    elif peer.packages:
        asked = f"from importlib.metadata import version; print(version({peer.packages[0].partition('>')[0]!r}))"
    else:
        return ""
    return _said(peer, asked, settings)


def mpi_library(peer: Peer, settings: Settings) -> str:
    """The MPI library, by its own word."""
    said = _said(peer, "from mpi4py import MPI; print(MPI.Get_library_version().splitlines()[0])", settings)
    return " ".join(said.replace("\0", "").replace(" Version:", "").split())


def _said(peer: Peer, text: str, settings: Settings) -> str:
    """What these lines of Python print in the peer's environment."""
    command = [_python(peer, settings), "-c", text]
    environment = _environment(peer, 1, settings)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False).stdout.strip()


def _folder(peer: Peer, settings: Settings) -> Path:
    return settings.venvs / f"{peer.name.replace(' ', '-')}{'-' + settings.mpi if peer.mpi else ''}"


def _python(peer: Peer, settings: Settings) -> str:
    return str(_folder(peer, settings) / "bin" / "python")


# ---------------------------------------------------------------- programs


def measured(peers: Sequence[Peer], settings: Settings) -> Iterator[Sample]:
    """All of them in turn, and then again: what else the machine does hits all."""
    for number in range(1, 1 + settings.rounds):
        for workers in MEASURES:
            yield from _of_all(peers, MEASURES[workers], workers, settings, number)
        yield from _of_all(peers, ["start"], SEVERAL, settings, number)
        if number == 1:  # memory differs little from round to round
            yield from _of_all(peers, ["memory"], 1, settings, number)


def _of_all(
    peers: Sequence[Peer], measures: Sequence[str], workers: int, settings: Settings, number: int
) -> Iterator[Sample]:  # fmt: skip
    wanted = [measure for measure in measures if measure in settings.only]
    for peer in peers if wanted else []:
        began = perf_counter()
        yield from samples_of(peer, wanted, workers, settings)
        taken = perf_counter() - began
        print(f"round {number}: {peer.name}, workers: {workers}, {' '.join(wanted)}: {taken:.1f} s", file=sys.stderr)


def samples_of(peer: Peer, measures: Sequence[str], workers: int, settings: Settings) -> Iterator[Sample]:
    """What its program says of these measures."""
    command = _command(peer, measures, workers, settings)
    began = perf_counter()
    lines, why = _lines(command, _environment(peer, workers, settings), settings.limit)
    taken = perf_counter() - began
    for measure in measures:
        said = lines.get(measure)
        if said is None:
            yield Sample(peer.name, workers, measure, None, why)
        elif measure == "start" and "value" in said:
            yield Sample(peer.name, workers, measure, None if why else 1e3 * taken, why)
        else:
            yield Sample(peer.name, workers, measure, said.get("value"), said.get("reason", ""))


def _command(peer: Peer, measures: Sequence[str], workers: int, settings: Settings) -> list[str]:
    python = [_python(peer, settings), *peer.module, str(HERE / "programs" / peer.program), *measures]
    if not peer.mpi:
        return python
    more_than_cores = ["--map-by", ":OVERSUBSCRIBE"] if settings.mpi == "openmpi" else []
    return [str(_folder(peer, settings) / "bin" / "mpiexec"), *more_than_cores, "-n", str(1 + workers), *python]


def _environment(peer: Peer, workers: int, settings: Settings) -> dict[str, str]:
    paths = [HERE / "programs", *([CHECKOUT] if peer is OURS else [])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "BENCHMARK_WORKERS": str(workers),
        "BENCHMARK_QUICK": str(int(settings.quick)),
        "OMP_NUM_THREADS": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }


def _lines(command: list[str], environment: dict[str, str], limit: float) -> tuple[dict[str, dict[str, object]], str]:
    """What a program said of each measure, and why it said no more; it and all it started is ended after that."""
    program = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    ender = threading.Timer(limit, _end, [program])
    ender.start()
    complaints: list[str] = []
    listener = threading.Thread(target=lambda: complaints.extend(program.stderr or ()), daemon=True)
    listener.start()
    lines: dict[str, dict[str, object]] = {}
    began = perf_counter()
    try:
        for said in _said_by(program):
            lines[said["measure"]] = said
    finally:
        ender.cancel()
        _end(program)
    listener.join(5)
    if perf_counter() - began > limit:
        return lines, f"did not end within {limit:g} s"
    code = program.wait()
    last = next((line.strip() for line in reversed(complaints) if line.strip()), "no word")
    return lines, f"ended with exit code {code}: {last}"[:200] if code else ""


def _said_by(program: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """What it says of each measure, to its end; to the memory of waiting calls, since it does not wait for them."""
    for line in program.stdout or ():
        if line.startswith("@"):
            said = json.loads(line[1:])
            yield said
            if said["measure"] == "memory":
                return
    program.wait()


def _end(program: subprocess.Popen[str]) -> None:
    """End a program, and what it started: first by asking, so that mpiexec ends its ranks."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(program.pid, number)
        except ProcessLookupError:
            return
        for _ in range(30):
            if program.poll() is not None:
                break
            time.sleep(0.1)
