"""Python runs this at start: on a signal, write every thread's stack.

The harness puts this folder on PYTHONPATH, so that a rank needs no help from the script under test, and one that hangs
before its first import can still tell where it is.
"""

import faulthandler
import os
import signal
import sys
from pathlib import Path

# A real-time signal: neither an application, nor Python, nor an MPI library gives it another meaning.
STACKS_SIGNAL = signal.SIGRTMIN + 7

_folder = os.environ.get("MPITASKS_TEST_STACKS")
if _folder:
    _rank = os.environ.get("PMI_RANK") or os.environ.get("PMIX_RANK") or "-"
    # Never closed: faulthandler writes to its descriptor from inside the signal handler.
    _file = Path(_folder, str(os.getpid())).open("w", buffering=1)  # noqa: SIM115 - see above
    _file.write(f"rank {_rank}, pid {os.getpid()}: {' '.join(sys.orig_argv)}\n")
    faulthandler.register(STACKS_SIGNAL, file=_file, all_threads=True)
