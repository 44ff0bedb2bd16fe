"""Start-up: four ranks that say hello, from start to end."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from .. import launch
from ..isolation import aside
from .figures import Figure, Goal, NotHere
from .scale import Scale

RANKS = 4
WITHIN = 60.0
"""Seconds for one."""
OURS = """\
import mpitasks


@mpitasks.task
def hello(number):
    return f"hello from {mpitasks.current().rank}"


def main():
    for text in hello.map(range(3)).results():
        print(text)


if __name__ == "__main__":
    mpitasks.run(main)
"""
BARE = """\
from mpi4py import MPI

world = MPI.COMM_WORLD
if world.Get_rank():
    number = world.recv(source=0)
    world.send(f"hello from {world.Get_rank()}", 0)
else:
    for rank in range(1, world.Get_size()):
        world.send(rank, rank)
    for rank in range(1, world.Get_size()):
        print(world.recv(source=rank))
"""


def start(scale: Scale) -> Iterator[Figure]:
    """The whole command, beside the same with bare mpi4py.

    Raises:
        NotHere: Inside this job, no other can be started.
    """
    with tempfile.TemporaryDirectory(prefix="mpitasks-bench-") as name:
        ours, bare = (_script(Path(name), *script) for script in (("ours.py", OURS), ("bare.py", BARE)))
        pairs = [(_seconds(ours), _seconds(bare)) for _ in range(1 + scale.few)][1:]
    values, besides = zip(*pairs, strict=True)
    yield Figure(f"hello on {RANKS} ranks", values, "ms", besides, Goal("<=", 1.3, "x"))


def _script(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def _seconds(script: Path) -> float:
    """Milliseconds from start to end, as no rank of ours."""
    command, variables = launch.command([str(script)], RANKS)
    environment = {name: value for name, value in aside.environment().items() if not name.startswith("MPITASKS_")}
    environment |= {**variables, launch.SESSIONS: str(script.parent)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    began = perf_counter()
    try:
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WITHIN, check=False)  # noqa: S603  our own
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"{command[0]} can't start {RANKS} ranks from here: {error}"
        raise NotHere(msg) from error
    if ended.returncode or ended.stdout.count("hello") != RANKS - 1:
        msg = f"{command[0]} can't start {RANKS} ranks from here: exit code {ended.returncode}, {ended.stderr.strip()[-300:]!r}"
        raise NotHere(msg)
    return 1e3 * (perf_counter() - began)
