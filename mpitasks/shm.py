"""What MPI has made in /dev/shm, without its names.

Once all have it that will, the names can go: the memory goes with the last of them then, also where that is killed.
"""

from __future__ import annotations

import os
from contextlib import suppress

_FOLDER = "/dev/shm"  # noqa: S108  MPI's choice


def forget_names(*prefixes: str) -> None:
    """Remove the names of what this process has there, if they begin so."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
            maps = file.read().splitlines()
    except OSError:  # no Linux
        return
    for path in {line.split(maxsplit=5)[-1] for line in maps if not line.endswith("(deleted)")}:
        folder, _, name = path.rpartition("/")
        if folder == _FOLDER and name.startswith(prefixes):
            with suppress(OSError):  # another rank has been faster
                os.unlink(path)
