"""Bare mpi4py messages: what calls are measured against.

The other end of them runs inside a task, which first says on which rank it is. Where no bare message may wait inside MPI
while the farm's background threads look for theirs, there are none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from ..futures import Future
from ..tasks import task
from .figures import Goal

if TYPE_CHECKING:
    from mpi4py import MPI

WINDOW = 32
"""Bare messages under way to each slave: more of them go no faster."""
HERE = 1
"""The tag by which an other end says where it is."""


def world() -> MPI.Comm:
    """The user's communicator, which mpitasks leaves alone."""
    from mpi4py import MPI  # noqa: PLC0415  starts MPI, which only a rank may do

    return MPI.COMM_WORLD


def library() -> str:
    """The MPI library, by its own word."""
    from mpi4py import MPI  # noqa: PLC0415  as in `world`

    return " ".join(MPI.Get_library_version().partition("\n")[0].strip("\0 ").split())


def lets_threads_in() -> bool:
    """Whether bare messages may wait inside MPI, while the farm's background threads look for theirs."""
    from mpi4py import MPI  # noqa: PLC0415  as in `world`

    return MPI.Query_thread() == MPI.THREAD_MULTIPLE


def slaves() -> int:
    """How many there are."""
    return world().Get_size() - 1


def fitting(*goals: Goal) -> Goal | None:
    """The goal for this number of ranks."""
    ranks = slaves() + 1
    return next((goal for goal in goals if goal.ranks in (None, ranks)), None)


@cache
def memory(nbytes: int) -> bytearray:
    """So many bytes, kept for later rounds, and written: unwritten pages would be read at the speed of the cache."""
    return bytearray(b"m") * nbytes


# ---------------------------------------------------------------- the other ends


@task
def bounce(rounds: int) -> None:
    """Send back what comes, pickled."""
    here = world()
    here.send(here.Get_rank(), 0, HERE)
    for _ in range(rounds):
        here.send(here.recv(source=0), 0)


@task
def take_raw(nbytes: int, rounds: int) -> None:
    """Receive arrays as they lie, each with a small answer."""
    here, array, answer = world(), memory(nbytes), bytearray(1)
    here.send(here.Get_rank(), 0, HERE)
    for _ in range(rounds):
        here.Recv(array, 0)
        here.Send(answer, 0)


@task
def give_raw(nbytes: int, rounds: int) -> None:
    """Send an array as it lies, each time it is asked for."""
    here, array, request = world(), memory(nbytes), bytearray(1)
    here.send(here.Get_rank(), 0, HERE)
    for _ in range(rounds):
        here.Recv(request, 0)
        here.Send(array, 0)


# ---------------------------------------------------------------- this end


def with_other_end(other_end: Future[None], measure: Callable[[int], float]) -> float:
    """Measure with the rank on which that call runs."""
    measured = measure(world().recv(tag=HERE))
    other_end.result()
    return measured


def there_and_back(rank: int) -> None:
    """One pickled message each way."""
    here = world()
    here.send(0, rank)
    here.recv(source=rank)


def array_there(nbytes: int, rank: int) -> None:
    """An array there, and a small answer back."""
    here = world()
    here.Send(memory(nbytes), rank)
    here.Recv(bytearray(1), rank)


def array_back(nbytes: int, rank: int) -> None:
    """A small request there, and an array back."""
    here = world()
    here.Send(bytearray(1), rank)
    here.Recv(memory(nbytes), rank)


def stream(message: object, count: int) -> None:
    """So many pickled messages to all slaves and back, some under way to each at any time."""
    from mpi4py import MPI  # noqa: PLC0415  as in `world`

    here, status, share = world(), MPI.Status(), count // slaves()
    ends = [bounce.delay(share) for _ in range(slaves())]
    left: dict[int, int] = {}
    for _ in range((1 + share) * slaves()):
        here.recv(status=status)
        rank, is_new = status.Get_source(), status.Get_tag() == HERE
        if is_new:
            left[rank] = share
        batch = min(WINDOW if is_new else 1, left[rank])
        left[rank] -= batch
        for _ in range(batch):
            here.send(message, rank)
    for end in ends:
        end.result()
