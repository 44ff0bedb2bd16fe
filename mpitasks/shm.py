"""What MPI has made in /dev/shm, without its names.

Once all have it that will, the names can go: the memory goes with the last of them then, also where that is killed.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_FOLDER = "/dev/shm"  # noqa: S108  MPI's choice


def forget_names(*prefixes: str) -> None:
    """Remove the names of what this process has there, if they begin so."""
    try:
        maps = Path("/proc/self/maps").read_text().splitlines()
    except OSError:  # no Linux
        return
    for path in {Path(line.split(maxsplit=5)[-1]) for line in maps if not line.endswith("(deleted)")}:
        if str(path.parent) == _FOLDER and path.name.startswith(prefixes):
            with suppress(OSError):  # another rank has been faster
                path.unlink()
