"""How a run has ended: rank 0's word to its starter.

mpiexec's own code does not tell: Open MPI's is 0 after a lost host, and now and then it crashes after an abort.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from . import surroundings

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN = 70
"""Exit code where rank 0 has never said how the run ended, and mpiexec says that all is well."""
INTERRUPTED = os.EX_TEMPFAIL
"""Exit code of a run that was drained: 75."""
END, LEFT, ABORTED = "end", "left", "aborted"
"""Files in the control folder: how the run has ended; rank 0's process has come to its own end, so that its code is known; rank
0 is about to abort the job."""


class End(NamedTuple):
    """How a run has ended."""

    code: int
    """The exit code for that."""
    why: str = ""
    stands: bool = False
    """Whether the code counts even if the script catches what `run()` raises, and ends with 0."""
    again: bool = False
    """Whether the same run once more may come further."""


_said: list[End] = []


def tell(end: End) -> None:
    """The run has ended so. Said again, this counts."""
    _said[:] = [end]
    _write(END, end)


def said() -> End | None:
    """What was told last in this process."""
    return _said[0] if _said else None


def tell_left() -> None:
    """Rank 0's process ends by itself: whatever its exit code is, that is what the user's script wants."""
    _write(LEFT)


def tell_aborted() -> None:
    """Rank 0 aborts the job: an mpiexec that goes on for long after this waits in vain."""
    _write(ABORTED)


def code_of(launcher: int, folder: Path) -> int:
    """The exit code of a run.

    Args:
        launcher: What mpiexec returned; negative: the signal that killed it.
        folder: The control folder.
    """
    end = read(folder)
    code = end.code if end else 0
    if launcher < 0:
        return code or 128 - launcher
    if not has_left(folder):
        return code or launcher or (0 if end else UNKNOWN)
    return launcher or (code if end and end.stands else 0)


def read(folder: Path) -> End | None:
    """What rank 0 has told there; None: nothing."""
    import json  # noqa: PLC0415  see `_write`

    try:
        return End(*json.loads((folder / END).read_text()))
    except (OSError, ValueError):
        return None


def has_left(folder: Path) -> bool:
    """Whether rank 0's process has ended by itself."""
    return (folder / LEFT).exists()


def has_aborted(folder: Path) -> bool:
    """Whether rank 0 has aborted the job."""
    return (folder / ABORTED).exists()


def _write(name: str, end: End | None = None) -> None:
    folder = surroundings.control_folder()
    if folder is None:
        return
    import json  # noqa: PLC0415  only rank 0 needs it, and that only where somebody listens
    from pathlib import Path  # noqa: PLC0415  as above

    with suppress(OSError):  # another host, or a full disk: then mpiexec's own code has to do
        draft = Path(folder) / f"draft-{os.getpid()}"
        draft.write_text("" if end is None else json.dumps(end))
        draft.replace(Path(folder) / name)
