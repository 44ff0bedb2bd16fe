"""How long calls must last to keep many slaves busy."""

from __future__ import annotations

from .farm import Costs
from .simulation import simulate
from .workload import CallsOf, QueueOf, Workload

ROUNDS = 12
"""Calls for each slave: the first ones all wait for the same master, and the last ones for nothing."""
MOST_CALLS = 600_000
"""In one run: with very many slaves, each gets fewer."""
CLOSE = 1.05
"""How near to the shortest the answer is, as a factor."""


def busy(slaves: int, seconds: float, costs: Costs) -> float:
    """The part of their time that slaves spend in calls of about this length, beside that with a master that needs no time."""
    rounds = max(3, min(ROUNDS, MOST_CALLS // slaves))
    calls = CallsOf("calls", slaves * rounds, (0.5 * seconds, 1.5 * seconds))
    workload = Workload("saturation", (QueueOf("calls"),), (calls,))
    return simulate(workload, slaves).makespan / simulate(workload, slaves, costs=costs).makespan


def shortest_calls(slaves: int, costs: Costs, part: float = 0.9) -> float:
    """How long calls must last, so that one master keeps slaves busy.

    Args:
        slaves: How many.
        costs: What the master needs for a message and for a call, in seconds.
        part: Of the slaves' time, in calls: above 0, below 1.

    Returns:
        Seconds.

    Raises:
        ValueError: No calls are long enough for that part.
    """
    if not 0 < part < 1:
        msg = f"part is what slaves are to spend in calls, above 0 and below 1, and not {part!r}"
        raise ValueError(msg)
    low = high = max(costs.call * slaves, 1e-6)
    while busy(slaves, high, costs) < part:
        low, high = high, 2 * high
    while high > CLOSE * low:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if busy(slaves, middle, costs) >= part else (middle, high)
    return high
