"""A long random history, and what the scheduler decided: `python -m tests.core.history SEED`.

The dice are here and not in the scheduler. Run under several values of `PYTHONHASHSEED` it prints the same.
"""

from __future__ import annotations

import sys
from random import Random

from mpitasks.core.calls import PLAIN, Kind

from .world import World, provided

LICENSE = provided(Kind("license", max_holders=2))
MESHES = Kind("mesh", keep=2)
RESOURCES = [
    *[PLAIN] * 3,
    "red",
    "green",
    ("mesh", "a"),
    LICENSE,
    *(provided(Kind("file"), name) for name in ("one", "two")),
    *(provided(MESHES, name, inner=LICENSE) for name in ("three", "four")),
]


def history(seed: int, steps: int = 400) -> list[str]:
    """The decisions of a farm of strings: names, resources."""
    dice = Random(seed)  # noqa: S311  no secrets
    world = World(slaves=4, keep=2, patience=2.0)
    world.costs = dict.fromkeys(RESOURCES, 0.1)
    for queue in ("fetch", "resize", "store", "mesh"):
        world.queue(queue, max_slaves=dice.choice([None, 1, 2]), weight=dice.choice([1.0, 2.0]))
    decisions: list[str] = []
    for _ in range(steps):
        _happen(world, dice)
        decisions.append(str(world.obey()))
    return decisions


def _happen(world: World, dice: Random) -> None:
    """One event."""
    busy = [rank for rank, window in world.windows.items() if window]
    world.wait(dice.choice([0.0, 0.01, 0.5]))
    if dice.random() < 0.3:
        world.report(dice.choice(list(world.windows)))
    event = dice.random()
    if busy and event < 0.5:
        world.finish(dice.choice(busy), seconds=dice.choice([0.001, 0.1, 1.0]), ok=dice.random() < 0.9)
    elif event < 0.9:
        queue, resource = dice.choice(["fetch", "resize", "store", "mesh"]), dice.choice(RESOURCES)
        priority, cost = dice.choice([0, 0, 0, 1]), dice.choice([0.0, 0.0, 1.0, 2.0])
        world.submit(queue, dice.randint(1, 5), resource=resource, priority=priority, cost=cost)
    elif event < 0.95:
        for name in world.unfinished()[:2]:
            world.cancel(name)
    else:
        rank = dice.choice(list(world.windows))
        world.lose(rank)
        world.join(rank)


if __name__ == "__main__":
    print("\n".join(history(int(sys.argv[1]))))  # noqa: T201  what it is for
