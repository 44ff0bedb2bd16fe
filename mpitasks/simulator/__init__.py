"""The scheduler without MPI: virtual slaves in virtual time.

::

    workload ──► plan ──┬─► farm: the true core, virtual slaves ──┐
                        ├─► bounds: what no schedule can beat ────┼──► report ──► table, JSON
                        └─► seeds_rule: mpi-master-slave's ───────┘         ├──► gantt
                                                                            └──► saturation: how long calls must be

`python -m mpitasks simulate --help` is the same for the command line.
"""

from __future__ import annotations

from .builtin import BUILTIN
from .farm import Costs
from .report import Report, as_json, as_table
from .saturation import shortest_calls
from .simulation import simulate, simulate_seed
from .workload import CallsOf, Pareto, QueueOf, ResourceOf, Workload, WorkloadError, parse, read

__all__ = [
    "BUILTIN",
    "CallsOf",
    "Costs",
    "Pareto",
    "QueueOf",
    "Report",
    "ResourceOf",
    "Workload",
    "WorkloadError",
    "as_json",
    "as_table",
    "parse",
    "read",
    "shortest_calls",
    "simulate",
    "simulate_seed",
]
