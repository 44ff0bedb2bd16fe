"""Measures what masters need for a call, and draws how long calls must be for many slaves.

    python tests/benchmarks/saturation.py            measures, computes and draws: ten minutes; needs matplotlib
    python tests/benchmarks/saturation.py --dry      prints the table, and draws nothing

The processor time of the master's process is measured with three slaves: for mpitasks, mpi4py.futures and mpi-master-slave,
with the same calls. For mpitasks, the simulator finds how long calls must last to keep 90 % of the slaves busy; the other two
send one call a message to a slave that has nothing, so that follows from the costs. No part of CI.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from catalogue import OURS, PEERS, Peer
from running import CHECKOUT, Settings, install, samples_of

PICTURE = CHECKOUT / "docs" / "saturation.svg"
SLAVES = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
PART = 0.9
"""Of the slaves' time, in calls."""
ROUNDS = 3
NAMES = {OURS.name: "#4477aa", "mpi-master-slave": "#ee6677", "mpi4py.futures": "#228833"}
Costs = tuple[float, float, float]
"""Seconds of the master for a call in a message of its own, for one of many, for a look at one slave."""


def main() -> int:
    """Measure, compute, draw; the exit code."""
    given = _parser().parse_args()
    sys.path.insert(0, str(CHECKOUT))
    settings = Settings(given.venvs.resolve(), given.mpi, quick=False, limit=150.0, rounds=ROUNDS, only=("master",))
    lines: dict[str, list[float]] = {}
    for peer in (peer for peer in PEERS if peer.name in NAMES):
        costs = _costs(peer, settings)
        print(f"{peer.name}: {', '.join(f'{1e6 * cost:.2f}' for cost in costs)} us: alone, among many, a look", flush=True)
        shortest = _ours(costs) if peer is OURS else _theirs(costs)
        lines[peer.name] = [shortest(slaves) for slaves in SLAVES]
        for slaves, seconds in zip(SLAVES, lines[peer.name], strict=True):
            print(f"  {slaves:>7,} slaves {1e3 * seconds:10.3g} ms", flush=True)
    if not given.dry:
        _draw(lines)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = Path(tempfile.gettempdir()) / "mpitasks-peers"
    parser.add_argument("--mpi", choices=("mpich", "openmpi"), default="mpich", help="which MPI library (mpich)")
    parser.add_argument("--venvs", type=Path, default=cache, metavar="FOLDER", help=f"for environments ({cache})")
    parser.add_argument("--dry", action="store_true", help="print the table, and draw nothing")
    return parser


def _costs(peer: Peer, settings: Settings) -> Costs:
    """The median of some rounds.

    Raises:
        RuntimeError: It can't be installed, or fails.
    """
    why = install(peer, settings)
    found = [] if why else [one for _ in range(ROUNDS) for one in samples_of(peer, ["master"], 3, settings)]
    values = [one.value for one in found if isinstance(one.value, list)]
    if not values:
        raise RuntimeError(f"{peer.name}: {why or found[0].reason}")
    alone, among, looking = (1e-6 * median(column) for column in zip(*values, strict=True))
    return alone, among, looking


def _ours(costs: Costs) -> Callable[[int], float]:
    """By the simulator, which sends calls in windows, as real runs do."""
    from mpitasks.simulator import Costs, shortest_calls  # noqa: PLC0415  from this checkout

    alone, among, _ = costs
    master = Costs(message=max(0.0, alone - among) / 2, call=among)
    return lambda slaves: shortest_calls(slaves, master, PART)


def _theirs(costs: Costs) -> Callable[[int], float]:
    """A slave waits for the master after each call: until that has served the others, and has looked at it."""
    alone, _, looking = costs
    idle_for_each = (1 - PART) / PART

    def shortest(slaves: int) -> float:
        is_fast_enough = PART * slaves * alone
        waits_little = (alone + slaves * looking / 2) / idle_for_each
        return max(is_fast_enough, waits_little)

    return shortest


def _draw(lines: dict[str, list[float]]) -> None:
    import matplotlib as mpl  # noqa: PLC0415  only who draws needs it
    from matplotlib.figure import Figure  # noqa: PLC0415  as above

    mpl.rcParams["svg.hashsalt"] = "mpitasks"  # the same picture for the same figures
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for name, seconds in lines.items():
        axes.loglog(SLAVES, seconds, "o-", color=NAMES[name], label=name, linewidth=2, markersize=4)
    axes.set_xlabel("slaves of one master")
    axes.set_ylabel("seconds that a call must last")
    axes.set_title(f"calls as long as this keep {PART:.0%} of the slaves busy", fontsize="medium")
    axes.grid(visible=True, which="major", color="#dddddd")
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    sys.exit(main())
