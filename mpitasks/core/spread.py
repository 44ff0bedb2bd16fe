"""Which held resources are worth to be acquired by further slaves.

::

    finish of a backlog = (what its holders still have to do + its waiting calls) / holders

    idle slaves, one after another ──► the backlog that would finish last, if acquiring pays there
                                   ──► no more than it takes to come close to the best that all of them could do

A further holder has to acquire first: that is work too, so the finish becomes (work + price) / (holders + 1), which is
sooner only while the price is below the finish; and that it then stays, however many acquire.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heapreplace
from math import inf
from typing import NamedTuple

GAIN = 0.02
"""A finish sooner by less than this part is no gain: a slave that idles costs nothing, an acquisition does."""


class Load(NamedTuple):
    """The waiting calls of one resource, and who works on them."""

    work: float
    """Seconds: the waiting calls, and what the holders have to do before they come to them."""
    holders: int
    price: float
    """Seconds to acquire the resource."""
    most: int
    """How many more slaves may take it: by `max_holders`, and by the calls there are."""

    @property
    def finish(self) -> float:
        """Seconds until its calls have ended."""
        return self.work / self.holders


def spread(loads: Sequence[Load], slaves: int) -> list[int]:
    """To which of these loads, by their places, a slave more is to be given, in this order; at most `slaves` of them."""
    # Where nobody may or should help, nobody waits with helping others.
    heap = [(-load.finish, place, load) for place, load in enumerate(loads) if load.most > 0 and load.price < load.finish]
    heapify(heap)
    given: list[int] = []
    finishes = [-heap[0][0]] if heap else [inf]
    while heap and len(given) < slaves:
        _, place, load = heap[0]
        if load.most < 1:
            break
        more = Load(load.work + load.price, load.holders + 1, load.price, load.most - 1)
        heapreplace(heap, (-more.finish, place, more))
        given.append(place)
        finishes.append(-heap[0][0])
    enough = finishes[-1] * (1 + GAIN)
    return given[: next(count for count, finish in enumerate(finishes) if finish <= enough)]
