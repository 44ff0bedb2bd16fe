"""Settings of the process, for many calls and large messages.

What costs in a large message is not the wire but the page faults of fresh memory: 64 MB took 11-12 ms one way into fresh
memory, 7.6 into memory used before, and a raw `Send` 7. glibc gives large blocks back to the system at once unless told
otherwise. `MPITASKS_MALLOC=0` leaves it alone.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

_USUAL_THRESHOLD, _LATER_THRESHOLD = 700, 2000
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
KEPT = 256 << 20
"""Free bytes at the top of the heap that a rank keeps; 64 ranks a host must not hoard."""
_LARGEST_BLOCK = 1 << 30


def keep_freed_memory() -> bool:
    """Set glibc's thresholds for this process. False where there is no glibc, or the user does not want it."""
    libc = _libc()
    if libc is None or os.environ.get("MPITASKS_MALLOC") == "0":
        return False
    return bool(libc.mallopt(_TRIM_THRESHOLD, KEPT)) and bool(libc.mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK))


@contextmanager
def collecting_less_often() -> Iterator[None]:
    """Within, the garbage collector looks at new objects every 2,000, as in Python 3.13, where it was every 700 before.

    A master with many waiting calls makes many objects that stay: a call by `delay` and `result` takes a tenth less time.
    What the user has set is left alone.
    """
    before = gc.get_threshold()
    if before[0] == _USUAL_THRESHOLD:
        gc.set_threshold(_LATER_THRESHOLD, *before[1:])
    try:
        yield
    finally:
        if before[0] == _USUAL_THRESHOLD and gc.get_threshold()[0] == _LATER_THRESHOLD:
            gc.set_threshold(*before)


def _libc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt  # noqa: B018  raises where there is none
    except (OSError, AttributeError, TypeError):
        return None
    return libc
