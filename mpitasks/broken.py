"""The error of an executor that can run nothing more.

Apart from the others: what it inherits from brings logging along, which most slaves do without.
"""

from __future__ import annotations

from concurrent.futures import BrokenExecutor

from .errors import MpiTasksError


class InitializerFailed(MpiTasksError, BrokenExecutor):
    """The initializer of an `Executor` raised on a slave, so that the executor can run nothing more."""
