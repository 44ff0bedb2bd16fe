"""Whether this process is no rank, but works for one."""

from __future__ import annotations

import os

TRACES = ("PMI", "OMPI_", "MPI_LOCAL", "PALS_", "MV2_", "MPIRUN_", "HYD", "FLUX_TASK", "SLURM_PROCID")
"""How the names of variables begin that launchers give to ranks alone."""
_SETTINGS = ("PRTE_", "OPAL_", "MPIEXEC_", "SLURM_PMI", "SLURM_MPI")
"""Of those that mean something to ranks, too, but that users and batch systems set for other processes as well."""
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
    for name in [name for name in os.environ if name.startswith((*TRACES, *_SETTINGS))]:
        del os.environ[name]


def environment() -> dict[str, str]:
    """The variables of this process, for a program that is to be no rank."""
    return {name: value for name, value in os.environ.items() if not name.startswith((*TRACES, *_SETTINGS))}


def _close(descriptor: int) -> None:
    """The launcher's connection to the rank: it is to end with the rank alone."""
    try:
        os.close(descriptor)
    except OSError:  # mpi4py is not MPICH's, and that number means nothing here
        return
