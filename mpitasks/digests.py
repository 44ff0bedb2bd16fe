"""Digests, without what `hashlib` brings along.

That loads OpenSSL, 2 ms for each rank; the standard library's `random` gets around it in the same way.
"""

from __future__ import annotations

try:
    from _blake2 import blake2b
except ImportError:  # another Python
    from hashlib import blake2b

__all__ = ["blake2b"]
