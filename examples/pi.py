"""Monte-Carlo pi: many calls that need nothing from each other, each with a seed of its own.

mpiexec -n 4 python pi.py  |  python -m mpitasks -n 4 pi.py  |  python pi.py
"""

import math
import random

import mpitasks
from mpitasks import task


@task
def hits(seed: int, darts: int) -> int:
    """Throw darts at the unit square; count those inside the quarter circle."""
    dice = random.Random(seed)  # noqa: S311  darts, not secrets
    return sum(math.hypot(dice.random(), dice.random()) < 1 for _ in range(darts))


def main(batches: int = 64, darts: int = 5_000) -> None:
    # The seed belongs to the call, not to the slave: the answer is the same on any number of ranks.
    total = sum(hits.imap(range(batches), [darts] * batches, ordered=False))
    pi = 4 * total / (batches * darts)
    print(f"{batches * darts:,} darts: pi is about {pi:.4f}, off by {abs(pi - math.pi):.4f}")


if __name__ == "__main__":
    mpitasks.run(main)
