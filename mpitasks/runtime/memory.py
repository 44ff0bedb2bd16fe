"""Tells glibc to keep freed memory for the next large message.

What costs in a large message is not the wire but the page faults of fresh memory: 64 MB took 11-12 ms one way into fresh
memory, 7.6 into memory used before, and a raw `Send` 7. glibc gives large blocks back to the system at once unless told
otherwise. `MPITASKS_MALLOC=0` leaves it alone.
"""

from __future__ import annotations

import ctypes
import os

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


def _libc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt  # noqa: B018  raises where there is none
    except (OSError, AttributeError, TypeError):
        return None
    return libc
