"""Which libraries there are, and what is asked of them."""

from __future__ import annotations

from typing import NamedTuple


class Peer(NamedTuple):
    """A library that runs calls."""

    name: str
    program: str
    """In `programs`."""
    packages: tuple[str, ...]
    """What pip installs, beside numpy; the first is the library itself."""
    mpi: bool
    """Whether mpiexec starts it."""
    module: tuple[str, ...] = ()
    """Words between `python` and the program."""


MPI4PY = "mpi4py>=4"
OURS = Peer("mpitasks", "with_mpitasks.py", (MPI4PY, "cloudpickle>=3", "typing-extensions>=4.12"), mpi=True)
"""From this checkout, by PYTHONPATH; the packages are what it needs."""
BARE = Peer("bare mpi4py", "with_mpi4py.py", (MPI4PY,), mpi=True)
PEERS = (
    OURS,
    BARE,
    Peer("mpi4py.futures", "with_mpi4py_futures.py", (MPI4PY,), mpi=True, module=("-m", "mpi4py.futures")),
    Peer("mpi-master-slave", "with_mpi_master_slave.py", ("mpi-master-slave", MPI4PY), mpi=True),
    Peer("schwimmbad", "with_schwimmbad.py", ("schwimmbad", MPI4PY), mpi=True),
    Peer("mpipool", "with_mpipool.py", ("mpipool", MPI4PY), mpi=True),
    Peer("ProcessPoolExecutor", "with_process_pool.py", (), mpi=False),
    Peer("multiprocessing.Pool", "with_multiprocessing.py", (), mpi=False),
    Peer("joblib", "with_joblib.py", ("joblib",), mpi=False),
    Peer("dask.distributed", "with_dask.py", ("distributed",), mpi=False),
    Peer("Ray", "with_ray.py", ("ray",), mpi=False),
)

QUICK_ONES = ("submit", "chunks", "latency", "tens")
"""Measures that one process takes one after the other, with one worker and with several."""
MEASURES = {
    1: (*QUICK_ONES, "arguments", "results"),
    3: (*QUICK_ONES, "uneven"),
}
"""By number of workers; "start" and "memory" have processes of their own."""
ALONE = ("start", "memory")
ALL = tuple(dict.fromkeys([*MEASURES[1], *MEASURES[3], *ALONE]))
