"""Profiles of all ranks: their files, and the sum.

::

    rank 0: main ────► rank-0.prof ─┐
    slave n: calls ──► rank-n.prof ─┴─► all.prof, and the head of it on stderr

Where mpitasks has started mpiexec, it adds up after the end: what there is, even if a rank died. Else rank 0 does, when all
slaves have left; they write before they say goodbye.

What is measured is one thread of a rank: main's, or the one that runs calls. cProfile follows the thread that enables it up
to Python 3.11, and from 3.12 on mixes in whatever other threads do meanwhile.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple, Unpack

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

FOLDER = "MPITASKS_PROFILE"
"""Environment variable: the folder in which every rank writes its profile."""
USUAL_FOLDER = "profile"
SHOWN = 10
"""Functions that the summary shows."""


class RankProfile:
    """The profile of this process."""

    def __init__(self, folder: Path) -> None:
        from cProfile import Profile  # noqa: PLC0415  6 ms with pstats, which only those who profile should pay

        self.folder = folder
        self._profile = Profile()

    def call(self, function: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
        """Call it, and measure meanwhile."""
        return self._profile.runcall(function, *args)

    def write(self, rank: int) -> None:
        """Write what was measured so far; that it can't be written is said, and ends no job."""
        with self._profile:
            pass  # so that a rank without calls has measured something: pstats refuses an empty profile
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            draft = self.folder / f"rank-{rank}.draft"
            self._profile.dump_stats(draft)
            draft.replace(self.folder / f"rank-{rank}.prof")  # whole or not at all, should the job be aborted now
        except OSError as error:
            print(f"mpitasks: rank {rank} can't write its profile: {error}", file=sys.stderr)


def wanted_in() -> Path | None:
    """The folder that the environment names; None: nobody wants profiles."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return None
    from pathlib import Path  # noqa: PLC0415  as `Profile` above

    return Path(folder).absolute()


@cache
def of_this_process() -> RankProfile | None:
    """The profile of this rank, if one is wanted. Programs that a task starts are not to overwrite its file."""
    folder = wanted_in()
    os.environ.pop(FOLDER, None)
    return RankProfile(folder) if folder else None


def call_main(function: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
    """Call it on rank 0, and write the profile however it ends."""
    profile = of_this_process()
    if profile is None:
        return function(*args)
    try:
        return profile.call(function, *args)
    finally:
        profile.write(0)


@contextmanager
def added_up_here() -> Iterator[None]:
    """Within, rank 0 runs the farm; no other process adds the profiles up."""
    profile = of_this_process()
    if profile is None:
        yield
        return
    with added_up(profile.folder):
        yield


@contextmanager
def added_up(folder: Path) -> Iterator[None]:
    """Remove the files of an earlier run; at the end, sum up those of this one."""
    try:
        for path in [*_of_ranks(folder), folder / "all.prof"]:
            path.unlink(missing_ok=True)
    except OSError as error:  # on rank 0, the slaves wait by now: to raise would leave them alone
        print(f"mpitasks: profiles of an earlier run in {folder} can't be removed: {error}", file=sys.stderr)
    try:
        yield
    finally:
        try:
            _add_up(folder)
        except OSError as error:
            print(f"mpitasks: the profiles in {folder} can't be added up: {error}", file=sys.stderr)


def _of_ranks(folder: Path) -> list[Path]:
    """The profiles of ranks, by rank."""
    found = {path.stem.removeprefix("rank-"): path for path in folder.glob("rank-*.prof")}
    return [found[rank] for rank in sorted(filter(str.isdigit, found), key=int)]


def _add_up(folder: Path) -> None:
    """Write the sum of all profiles, and show the head of what slaves did: with main's waiting, it would be about that."""
    from pstats import Stats  # noqa: PLC0415  as above

    paths = _of_ranks(folder)
    if not paths:
        why = "no rank has come to the end of mpitasks.run(); profile programs of mpitasks.classic by hand, with cProfile"
        print(f"mpitasks: no profiles in {folder}: {why}", file=sys.stderr)
        return
    total = folder / "all.prof"
    Stats(*map(str, paths)).dump_stats(total)
    main, slaves = [path for path in paths if path.stem == "rank-0"], [path for path in paths if path.stem != "rank-0"]
    shown = Stats(*map(str, slaves or main), stream=sys.stderr).strip_dirs().sort_stats("tottime")
    print(f"mpitasks: profiles in {folder}: {_told('main', main)}; {_told('calls of slaves', slaves)}", file=sys.stderr)
    functions = shown.get_print_list([SHOWN])[1]
    shown.print_title()
    for function in functions:
        shown.print_line(function)
    print(f"mpitasks: more, and all ranks in one: python -m pstats {total}", file=sys.stderr)


def _told(what: str, paths: list[Path]) -> str:
    """How long that took, by these profiles."""
    from pstats import Stats  # noqa: PLC0415  as above

    if not paths:
        return f"no profile of {what}"
    seconds = Stats(*map(str, paths)).get_stats_profile().total_tt
    return f"{what} {seconds:.3f} s on {len(paths)} rank{'s'[: len(paths) > 1]}"
