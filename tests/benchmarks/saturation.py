"""Measures what masters need for a call, and draws how long calls must be for many slaves.

    python tests/benchmarks/saturation.py            measures, computes and draws: ten minutes; needs matplotlib
    python tests/benchmarks/saturation.py --dry      prints the table, and draws nothing

The processor time of the master's process is measured with more slaves than cores: for mpitasks, mpi4py.futures and
mpi-master-slave, with the same calls. For mpitasks, the simulator finds how long calls must last to keep 90 % of the slaves
busy; the other two send one call a message to a slave that has nothing, so that the least follows from the costs. No part of
CI.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from catalogue import OURS, PEERS, Peer
from running import CHECKOUT, Settings, install, samples_of

if TYPE_CHECKING:
    from mpitasks.simulator import Costs as MasterCosts

PICTURE = CHECKOUT / "docs" / "saturation.svg"
SLAVES = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
PART = 0.9
"""Of the slaves' time, in calls."""
SIMULATED = 10_000
"""Slaves up to which each number of them is simulated; with more, calls are longer in proportion, as one run confirms."""
MANY = 15
"""Slaves while costs are measured: with three on two cores, a master also waits, and two of these do that at full speed."""
ROUNDS = 3
LINES = {
    OURS.name: ("#2f5d8a", 5, "above"),
    "mpi-master-slave": ("#c0392b", 2, "above"),
    "mpi4py.futures": ("#1e7a34", 4, "below"),
}
"""Their colours, and beside which point of the line their names stand."""
LENGTHS = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3600)
"""Seconds, at which there are marks."""
Costs = tuple[float, float, float]
"""Seconds of the master for a call in a message of its own, for one of many, for a look at one slave."""


def main() -> int:
    """Measure, compute, draw; the exit code."""
    given = _parser().parse_args()
    sys.path.insert(0, str(CHECKOUT))
    settings = Settings(given.venvs.resolve(), given.mpi, quick=False, limit=150.0, rounds=ROUNDS, only=("master",))
    lines: dict[str, list[float]] = {}
    ours = (0.0, 0.0, 0.0)
    for peer in (peer for peer in PEERS if peer.name in LINES):
        costs = _costs(peer, settings)
        print(f"{peer.name}: {', '.join(f'{1e6 * cost:.2f}' for cost in costs)} us: alone, among many, a look", flush=True)
        shortest = _ours(costs) if peer is OURS else _theirs(costs)
        ours = costs if peer is OURS else ours
        lines[peer.name] = []
        for slaves in SLAVES:
            seconds = shortest(slaves)
            print(f"  {slaves:>7,} slaves {1e3 * seconds:10.3g} ms", flush=True)
            lines[peer.name].append(seconds)
    if not given.dry:
        _draw(lines)
    confirmed = _confirm(ours, SLAVES[-1], lines[OURS.name][-1])
    print(f"{OURS.name}, {SLAVES[-1]:,} slaves, simulated: {confirmed:.1%} busy")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = Path(tempfile.gettempdir()) / "mpitasks-peers"
    parser.add_argument("--mpi", choices=("mpich", "openmpi"), default="mpich", help="which MPI library (mpich)")
    parser.add_argument("--venvs", type=Path, default=cache, metavar="FOLDER", help=f"for environments ({cache})")
    parser.add_argument("--dry", action="store_true", help="print the table, and draw nothing")
    return parser


def _costs(peer: Peer, settings: Settings) -> Costs:
    """The median of some rounds; what is alone is without the looks at all slaves that belong to it.

    Raises:
        RuntimeError: It can't be installed, or fails.
    """
    why = install(peer, settings)
    found = [] if why else [one for _ in range(ROUNDS) for one in samples_of(peer, ["master"], MANY, settings)]
    values = [one.value for one in found if isinstance(one.value, list)]
    if not values:
        raise RuntimeError(f"{peer.name}: {why or found[0].reason}")
    alone, among, looking = (1e-6 * median(column) for column in zip(*values, strict=True))
    return alone - MANY * looking, among, looking


def _ours(costs: Costs) -> Callable[[int], float]:
    """By the simulator, which sends calls in windows, as real runs do."""
    from mpitasks.simulator import shortest_calls  # noqa: PLC0415  from this checkout

    return lambda slaves: max(1.0, slaves / SIMULATED) * shortest_calls(min(slaves, SIMULATED), _simulated(costs), PART)


def _confirm(costs: Costs, slaves: int, seconds: float) -> float:
    """How busy so many slaves are with calls as long as that."""
    from mpitasks.simulator.saturation import busy  # noqa: PLC0415  as above

    return busy(slaves, seconds, _simulated(costs))


def _simulated(costs: Costs) -> MasterCosts:
    from mpitasks.simulator import Costs as MasterCosts  # noqa: PLC0415  as above

    alone, among, _ = costs
    return MasterCosts(message=max(0.0, alone - among) / 2, call=among)


def _theirs(costs: Costs) -> Callable[[int], float]:
    """Calls one by one, none to a slave that has one: no shorter than the master needs for all slaves, with looks at each."""
    alone, _, looking = costs
    return lambda slaves: PART * slaves * (alone + slaves * looking)


def _draw(lines: dict[str, list[float]]) -> None:
    import matplotlib as mpl  # noqa: PLC0415  only who draws needs it
    from matplotlib.figure import Figure  # noqa: PLC0415  as above

    mpl.rcParams["svg.hashsalt"] = "mpitasks"  # the same picture for the same figures
    mpl.rcParams["svg.fonttype"] = "none"
    mpl.rcParams["font.size"] = 11
    figure = Figure(figsize=(7.2, 4.4), layout="constrained", facecolor="white")  # not clear: pages may be dark
    axes = figure.add_subplot()
    for name, seconds in lines.items():
        colour, place, side = LINES[name]
        axes.loglog(SLAVES, seconds, "o-", color=colour, linewidth=2, markersize=4)
        offset, alignment = ((-8, 8), "right") if side == "above" else ((8, -16), "left")
        point = SLAVES[place], seconds[place]
        axes.annotate(name, point, offset, textcoords="offset points", color=colour, weight="bold", ha=alignment)
    axes.set_xlabel("slaves of one master")
    axes.set_ylabel("how long a call must last")
    axes.set_title(f"Calls as long as this keep {PART:.0%} of the slaves busy", loc="left", fontsize="medium")
    axes.set_xticks(*_ticks(SLAVES[::2], "{:,}".format))
    axes.set_yticks(*_ticks(LENGTHS, _length))
    axes.minorticks_off()
    axes.grid(visible=True, color="#dddddd")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(PICTURE, metadata={"Date": None})


def _ticks(values: Sequence[float], shown: Callable[[float], str]) -> tuple[list[float], list[str]]:
    return list(values), [shown(value) for value in values]


def _length(seconds: float) -> str:
    for unit, name in ((3600, "h"), (60, "min"), (1, "s")):
        if seconds >= unit:
            return f"{seconds / unit:g} {name}"
    return f"{1e3 * seconds:g} ms"


if __name__ == "__main__":
    sys.exit(main())
