"""What a rank tells its guard."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import StartError
from ..ids import Rank
from ..surroundings import host
from ..transport.base import Death

if TYPE_CHECKING:
    from socket import socket

    from mpi4py import MPI

    from .watch import Watch

PIPE = "MPITASKS_GUARD"
"""As in `guard`, which a rank without one need not import."""
END_WITHIN = 30.0
"""Seconds that a rank gets to end by itself after it has said that it leaves; MPI_Finalize may wait for the dead for ever."""

HURRY = 2.0
"""The same, once somebody is known to have died."""
_finalizing: list[bool] = []
"""Something, while MPI is finalized."""
_pipe: list[socket] = []
"""To the guard of this process, once that is used."""
_watches: list[Watch] = []
"""Of rank 0."""
_ended: list[Watch] = []
"""The same, later: to the guards, the end of their connections is the end of rank 0."""


def open_pipe() -> None:
    """Take the pipe to the guard; what this process starts is not to have it."""
    number = os.environ.pop(PIPE, "")
    if number:
        from socket import socket  # noqa: PLC0415  2 ms, for those that have a guard

        if threading.current_thread() is threading.main_thread():
            # MPICH's mpiexec sends it when another rank has died, and it would end this one before and after run().
            signal.signal(signal.SIGUSR1, lambda *_: None)
        os.set_inheritable(int(number), False)  # noqa: FBT003  it takes no keyword
        _pipe.append(socket(fileno=int(number)))
        os.register_at_fork(after_in_child=_pipe.clear)


def is_guarded() -> bool:
    """Whether this rank has a guard, so that it may end by itself and others hear of it."""
    return bool(_pipe)


def end() -> None:
    """Nobody wants to hear of deaths any more."""
    while _watches:
        _ended.append(_watches.pop())
        _ended[-1].close()


@contextmanager
def finalizing() -> Iterator[None]:
    """Within, MPI is finalized: the guard ends that, if somebody has died whom it would wait for."""
    _finalizing.append(True)
    leaving(END_WITHIN)
    yield
    _finalizing.clear()
    leaving()


def _tell(deaths: deque[Death], death: Death) -> None:
    from .guard import words_for  # noqa: PLC0415  as `Watch` below

    deaths.append(death)
    if _finalizing and death.how != words_for(0):
        leaving(HURRY)


def leaving(within: float | None = None) -> None:
    """Tell the guard that this rank ends in order, within so many seconds; None: some time."""
    _say({"leaving": within})


def python_ends() -> None:
    """Tell the guard that this process ends in order, and hear nothing more."""
    leaving()
    if _pipe:  # while Python ends, it gives up its handlers; see `open_pipe`
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def introduce(comm: MPI.Comm, deaths: deque[Death]) -> Callable[[Rank, str], None] | None:
    """Have all guards connect to rank 0; every rank of `comm` must call this, after all else that they do together.

    Args:
        comm: The ranks.
        deaths: Where rank 0 is to find who has died.

    Returns:
        A function that has the guard of a rank end that, for this reason, if it lives; it does so on rank 0 alone. None:
        there are no guards.

    Raises:
        StartError: A guard can't reach rank 0.
    """
    if not any(comm.allgather(bool(_pipe))):
        return None
    hosts = comm.gather(host())
    watch = offer = None
    if hosts is not None:
        from .watch import Watch, addresses_for  # noqa: PLC0415  rank 0 alone needs it, and only with --survive

        addresses = addresses_for(hosts)
        watch = Watch(addresses[0] if len(addresses) == 1 else "", partial(_tell, deaths))
        _watches.append(watch)
        offer = {"hosts": addresses, "port": watch.port, "secret": watch.secret}
    problem = _introduced({"rank": comm.Get_rank(), **comm.bcast(offer)})
    problems = [f"rank {rank}: {one}" for rank, one in enumerate(comm.allgather(problem)) if one]
    if problems:
        msg = f"the guards of these ranks can't reach rank 0: {', '.join(problems)}; without --survive, none are needed"
        raise StartError(msg) if watch is not None else SystemExit(1)
    _say({"begun": True})
    return watch.kill if watch is not None else lambda *_: None


def _introduced(offer: dict[str, Any]) -> str:
    """Hand this to the guard; what stands in its way."""
    if not _pipe:
        return "it has no guard, as if it was started in another way than the others"
    import json  # noqa: PLC0415  as `socket` above

    from .guard import CONNECT_WITHIN  # noqa: PLC0415  as above

    _say(offer)
    _pipe[0].settimeout(2 * CONNECT_WITHIN)
    try:
        return str(json.loads(_pipe[0].makefile().readline())["problem"])
    except (OSError, ValueError) as error:
        return f"no answer of its guard: {error}"


def _say(word: dict[str, Any]) -> None:
    if _pipe:
        import json  # noqa: PLC0415  as `socket` above

        _pipe[0].sendall(json.dumps(word).encode() + b"\n")
