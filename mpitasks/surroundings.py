"""What launchers have told this process, and who else is there."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache

from .errors import StartError
from .isolation import aside

CONTROL = "MPITASKS_CONTROL"
"""Environment variable: the folder that `python -m mpitasks` has made."""
RESTARTS = "MPITASKS_RESTARTS"
"""Environment variable: whether the run is begun again when it was interrupted, so that it must have a journal."""
STARTED = "MPITASKS_STARTED"
"""Environment variable: how many ranks mpitasks has started by itself."""
RANK = "MPITASKS_RANK_PID"
"""Environment variable: the process that is the rank; a program that a task starts inherits it, and is none."""
SILENCE = "MPITASKS_SILENCE"
"""Environment variable: seconds without an answer, after which a host counts as lost; 0: never."""
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK")
"""What launchers tell each rank. Never SLURM_NTASKS: a batch step sets that for plain python too."""
LAST_WORDS = 0.1
"""Seconds between the last output and an Abort: MPICH's mpiexec loses what it has not read by then, 7 times in 40."""


def has_launcher() -> bool:
    """Whether something in the environment looks like a launcher of MPI ranks."""
    return any(name.startswith(aside.TRACES) for name in os.environ)


def promised_size() -> str | None:
    """What a launcher has told this rank about the size of the world, if that is more than one."""
    for name in SIZES:
        value = os.environ.get(name, "")
        if value.isdigit() and int(value) > (0 if name == "PMIX_RANK" else 1):
            return f"{name}={value}"
    return None


def start_mpi() -> int:
    """Start MPI, if it is not started yet, and return the number of ranks.

    Raises:
        StartError: The launcher belongs to another MPI than mpi4py.
    """
    import mpi4py  # noqa: PLC0415  only run() and guard may start MPI

    if "mpi4py.MPI" not in sys.modules:
        mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
    from mpi4py import MPI  # noqa: PLC0415  as above

    if not MPI.Is_initialized():
        # MPICH ends the process in its start when Open MPI's mpiexec has started it, so this must be found out before.
        if "MPICH" in MPI.Get_library_version() and os.environ.get("OMPI_COMM_WORLD_SIZE", "1") != "1":
            raise StartError(wrong_launcher(f"OMPI_COMM_WORLD_SIZE={os.environ['OMPI_COMM_WORLD_SIZE']}"))
        MPI.Init_thread()
    return MPI.COMM_WORLD.Get_size()


def wrong_launcher(promise: str) -> str:
    """What to say when the launcher and mpi4py are of different MPIs."""
    return (
        f"the launcher has set {promise}, but mpi4py uses another MPI than the mpiexec that started this, so every rank "
        f"would be alone. Use the mpiexec of that MPI: python -m mpitasks -n 4 {sys.argv[0] or 'app.py'} finds it"
    )


def may_be_one_of_many() -> bool:
    """Whether this process looks like one rank of a job of several."""
    return promised_size() is not None or ("PMIX_RANK" in os.environ and "OMPI_COMM_WORLD_SIZE" not in os.environ)


def may_be_rank_0() -> bool:
    """Whether no launcher has told this process that it is another rank."""
    ranks = (os.environ.get(name) for name in ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"))
    return next((rank for rank in ranks if rank is not None), "0") == "0"


def orphan_watch() -> Callable[[], bool]:
    """A function that says whether the launcher of this rank has died since; Open MPI's ranks outlive a killed mpiexec."""
    launcher = os.getppid()
    return lambda: os.getppid() != launcher


def host() -> str:
    """The name of this host; `socket` has it too, and takes 2 ms to import."""
    return os.uname().nodename


@cache
def control_folder() -> str | None:
    """The folder that `python -m mpitasks` has made for this rank, if it is there: on another host, it is not.

    Looked up once: programs that a task starts are not to say anything there.
    """
    name = os.environ.pop(CONTROL, "")
    return name if name and os.path.isdir(name) else None


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
