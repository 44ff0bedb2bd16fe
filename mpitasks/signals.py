"""Signals about which rank 0 alone decides."""

from __future__ import annotations

import os
import signal
import threading

LEFT_TO_RANK_0 = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""A launcher or a batch system may send these to every process of a job."""


def leave_to_rank_0() -> None:
    """From now on, these signals do nothing here; in processes that a task forks, they mean what they always mean."""
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_restore)
    if threading.current_thread() is threading.main_thread():
        for number in LEFT_TO_RANK_0:
            # Not SIG_IGN, which programs that a task starts would inherit.
            signal.signal(number, lambda *_: None)


def _hold() -> None:
    """Before a fork: a signal to the child waits until the child can take it, since Python forgets it else."""
    signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_RANK_0)


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, LEFT_TO_RANK_0)


def _restore() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    _release()
