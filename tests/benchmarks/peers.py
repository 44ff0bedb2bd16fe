"""Runs mpitasks and other libraries on the same calls, and writes the tables of docs/performance.md.

    python tests/benchmarks/peers.py                          all, three rounds: half an hour
    python tests/benchmarks/peers.py --quick --peers mpitasks schwimmbad --only submit latency --dry
    python tests/benchmarks/peers.py --render                 the tables again, of what was measured last

Each library gets a virtual environment of its own, in a cache folder. What can't be installed, fails or takes too long is in
the tables with the reason. All libraries take turns, in each round: on a shared machine, ratios within a column can be
trusted, and figures can't. What an interrupted run had measured can be rendered. No part of CI.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from catalogue import ALL, BARE, PEERS, Peer
from running import CHECKOUT, Sample, Settings, install, measured, mpi_library, version
from tables import tables, write

PAGE = CHECKOUT / "docs" / "performance.md"
NAMES = [peer.name for peer in PEERS]


def main() -> int:
    """Measure and write; the exit code."""
    given = _parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the program that runs is to be ended, too
    saved = given.venvs / "results.json"
    if not given.render:
        given.venvs.mkdir(parents=True, exist_ok=True)
        _measure(given, saved)
    kept = json.loads(saved.read_text())
    samples = [Sample(**one) for one in kept["samples"]]
    if given.dry:
        print(tables(samples, kept["about"]))
    else:
        write(PAGE, samples, kept["about"])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = Path(tempfile.gettempdir()) / "mpitasks-peers"
    parser.add_argument("--peers", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--only", nargs="+", choices=ALL, default=ALL, metavar="MEASURE", help=f"of {', '.join(ALL)}")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter calls, one round: to see whether all works")
    parser.add_argument("--rounds", type=int, default=None, metavar="N", help="how often everything is measured (3)")
    parser.add_argument("--limit", type=float, default=150.0, metavar="S", help="seconds for one program (150)")
    parser.add_argument("--mpi", choices=("mpich", "openmpi"), default="mpich", help="which MPI library (mpich)")
    parser.add_argument("--venvs", type=Path, default=cache, metavar="FOLDER", help=f"for environments and results ({cache})")
    parser.add_argument("--dry", action="store_true", help="print the tables, and leave docs/performance.md as it is")
    parser.add_argument("--render", action="store_true", help="measure nothing: tables of the results in the folder")
    return parser


def _measure(given: argparse.Namespace, saved: Path) -> None:
    """All of them; results are saved as they come."""
    rounds = given.rounds or (1 if given.quick else 3)
    settings = Settings(given.venvs.resolve(), given.mpi, given.quick, given.limit, rounds, given.only)
    load = [os.getloadavg()[0]]
    samples: list[Sample] = []
    able: list[Peer] = []
    for peer in (peer for peer in PEERS if peer.name in given.peers):
        why = install(peer, settings)
        if why:
            samples += [Sample(peer.name, workers, measure, None, why) for measure in given.only for workers in (1, 3)]
        else:
            able.append(peer)
    for sample in measured(able, settings):
        samples.append(sample)
        load.append(os.getloadavg()[0])
        about = _about(able, settings, samples, load)
        saved.write_text(json.dumps({"about": about, "samples": [one._asdict() for one in samples]}, indent=1))


_known: list[str] = []


def _about(peers: list[Peer], settings: Settings, samples: list[Sample], load: list[float]) -> str:
    """Where, when and with what."""
    if not _known:
        mpi = next((mpi_library(peer, settings) for peer in peers if peer.mpi), "no MPI")
        said = {peer.name: version(peer, settings) for peer in peers if peer is not BARE}
        with_versions = ", ".join(f"{name} {number}" for name, number in said.items() if number)
        _known.extend([mpi, with_versions])
    mpi, with_versions = _known
    cores = os.cpu_count()
    rounds = max(Counter((one.peer, one.workers, one.measure) for one in samples).values())
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {cores} cores ({_processor()}), Python {platform.python_version()}, {mpi}; "
        f"{with_versions}. Rounds: {rounds}, their median (least–most); other programs used the machine, too: "
        f"its load was {min(load):.1f} to {max(load):.1f}, with that of the benchmark."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main())
