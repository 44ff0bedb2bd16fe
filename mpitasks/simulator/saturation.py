"""How long calls must last to keep many slaves busy."""

from __future__ import annotations

from .farm import Costs, Farm
from .workload import CallsOf, QueueOf, Workload

MEASURED, ROUNDS = 20_000, 4
"""Calls by which the rate is measured, and how many of them for each slave, at least."""
BEHIND = 4
"""Calls for each slave that wait when that is measured: as a queue runs out, slaves are sent less."""
SHORTEST = 1e-6
"""Seconds."""
CLOSE = 1.05
"""How near to the shortest the answer is, as a factor."""


def busy(slaves: int, seconds: float, costs: Costs) -> float:
    """The part of their time that slaves spend in calls of about this length, once each has ended one."""
    rounds = max(ROUNDS, MEASURED // slaves)
    calls = CallsOf("calls", slaves * (1 + rounds + BEHIND), (0.5 * seconds, 1.5 * seconds))
    workload = Workload("saturation", (QueueOf("calls"),), (calls,))
    farm = Farm(workload.plan(), workload.queues, slaves, costs=costs)
    counts = farm.counts
    while counts.ended < slaves:
        farm.step()
    began, before = counts.makespan, counts.ended
    while counts.ended < before + slaves * rounds and farm.step():
        pass
    return (counts.ended - before) * seconds / (slaves * (counts.makespan - began))


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
    # A start: with many slaves, calls are so long that most take a message each way, and the master is all that counts.
    low = high = max(part * slaves * (2 * costs.message + costs.call), SHORTEST)
    step = CLOSE
    if busy(slaves, high, costs) < part:
        high = step * low
        while busy(slaves, high, costs) < part:
            low, step = high, step**2
            high = step * low
    else:
        low = high / step
        while low > SHORTEST and busy(slaves, low, costs) >= part:
            high, step = low, step**2
            low = high / step
    while high > 1.001 * CLOSE * low:  # more than rounding
        middle = (low * high) ** 0.5
        low, high = (low, middle) if busy(slaves, middle, costs) >= part else (middle, high)
    return high
