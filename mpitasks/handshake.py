"""Do all ranks agree? Their one exchange, at the start."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from . import registry
from .version import __version__

if TYPE_CHECKING:
    from mpi4py import MPI


class _Rank(NamedTuple):
    """What must be equal on all ranks."""

    is_present: bool
    version: str
    python: str
    digest: str


def compare(comm: MPI.Comm, *, is_present: bool = True) -> str:
    """Compare all ranks; every rank of `comm` must call this.

    Args:
        comm: The ranks.
        is_present: False on a rank that leaves without `run()`.

    Returns:
        What differs, in full on rank 0 and in short elsewhere; empty if nothing does.
    """
    names = registry.known_names()
    mine = _Rank(is_present, __version__, sys.version.split()[0], registry.digest(names))
    everyones = comm.gather(tuple(mine))
    if comm.bcast(everyones is not None and all(one == tuple(mine) for one in everyones)):
        return ""
    everyones_names = comm.gather(names)
    if everyones is None or everyones_names is None:
        return "the ranks differ; rank 0 says how"
    return _differences([_Rank(*one) for one in everyones], everyones_names)


def _differences(ranks: list[_Rank], names: list[list[str]]) -> str:
    """What each rank has that rank 0 has not, and the other way round."""
    lines = ["the ranks of this job differ:"]
    for rank, (one, its_names) in enumerate(zip(ranks, names, strict=True)):
        if not one.is_present:
            lines.append(f"  rank {rank} has left without calling mpitasks.run()")
        elif ranks[0].is_present:
            lines += [f"  rank {rank} {what}" for what in _compared(one, its_names, ranks[0], names[0])]
    lines.append("Every rank must run the same program: import the modules that define tasks, then call mpitasks.run()")
    return "\n".join(lines)


def _compared(one: _Rank, its_names: list[str], first: _Rank, first_names: list[str]) -> list[str]:
    """How one rank differs from rank 0."""
    found = []
    if one.version != first.version:
        found.append(f"has mpitasks {one.version}, rank 0 has {first.version}")
    if one.python != first.python:
        found.append(f"has Python {one.python}, rank 0 has {first.python}")
    if missing := sorted(set(first_names) - set(its_names)):
        found.append(f"lacks the tasks {', '.join(missing)}")
    if more := sorted(set(its_names) - set(first_names)):
        found.append(f"has the tasks {', '.join(more)}, which rank 0 lacks")
    return found
