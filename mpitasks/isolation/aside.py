"""Whether this process is no rank, but works for one."""

from __future__ import annotations

import os

_TRACES = ("PMI", "OMPI_", "PRTE_", "OPAL_", "HYD", "MPI_LOCAL", "MPIEXEC_", "MPIRUN_", "PALS_", "MV2_", "FLUX_TASK")
_SLURM = ("SLURM_PROCID", "SLURM_PMI", "SLURM_MPI")
_state = {"aside": False}


class RunReached(BaseException):
    """A script has come to `run()` where only what it defines is wanted."""


def is_aside() -> bool:
    """Whether this process is no rank, but works for one."""
    return _state["aside"]


def step_aside() -> None:
    """This process is no rank from now on: MPI, if a task imports it here, finds itself alone.

    With the rank's variables, it would take itself for the rank: MPICH aborts then, Open MPI hangs, or the job breaks.
    """
    _state["aside"] = True
    inherited = os.environ.get("PMI_FD", "")
    if inherited.isdigit():
        _close(int(inherited))
    for name in [name for name in os.environ if name.startswith((*_TRACES, *_SLURM))]:
        del os.environ[name]


def environment() -> dict[str, str]:
    """The variables of this process, for a program that is to be no rank."""
    return {name: value for name, value in os.environ.items() if not name.startswith((*_TRACES, *_SLURM))}


def _close(descriptor: int) -> None:
    """The launcher's connection to the rank: it is to end with the rank alone."""
    try:
        os.close(descriptor)
    except OSError:  # mpi4py is not MPICH's, and that number means nothing here
        return
