"""What the scheduler says, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from ..ids import Rank
from .calls import Call


class Rules(NamedTuple):
    """The numbers behind the decisions."""

    worth: float = 0.010
    """Seconds of work in a window: enough to hide a round trip of 10-200 µs, little to wait behind."""
    most_calls: int = 512
    most_items: int = 200_000
    """Items of maps in a window: all they cost beside the body is some 0.1 µs each."""
    most_bytes: int = 4 << 20
    """Of arguments in one window; a single call may be larger."""
    turn: float = 0.1
    """Slave seconds by which one queue may be ahead of another before an equal share changes hands."""
    patience: float = 30.0
    """Seconds that a call waits for the busy holder of its resource, or behind what a slave holds."""
    late: float = 0.03
    """Seconds without an outcome after which a window is asked for what it has not begun."""
    keep: int = 1
    """Plain ids that a slave keeps."""
    most_levels: int = 4
    """Priorities of a task that are remembered while nothing waits there."""
    least_price: float = 1e-3
    """Seconds that a further acquisition costs at least: a window has to travel, and short calls measure noise."""
    review_after: float = 0.01
    """Seconds between two looks whether further slaves should acquire what others hold; more with many slaves."""
    review_each: float = 1e-4
    """The same, for each slave and each resource in demand: a look takes about a microsecond for each of them."""
    review_share: int = 16
    """Slaves and resources to be looked at for each decision: where many are made, a look need not wait."""
    strikes: int = 3
    """Slaves that may die of one call; with 1, no call of a dead slave runs again, whether it had begun or not."""


class Send(NamedTuple):
    """Send these calls, all of one task and one resource, to that slave."""

    rank: Rank
    calls: list[Call]
    above: int = 0
    """Number of the wait during which they are to be run, on top of the call that waits; 0: none waits."""


class TakeBack(NamedTuple):
    """Ask that slave to give back the calls of its window that it has not begun."""

    rank: Rank


Order = Send | TakeBack


class Ended(NamedTuple):
    """A call that ended without running, because of another one."""

    call: Call
    because: Call


class Lost(NamedTuple):
    """What a dead slave had."""

    calls: list[Call]
    given_up: list[Call]
    """Calls that have ended, because they have cost too many slaves, or could cost the last: not all were with this slave."""


class QueueLook(NamedTuple):
    """A queue at one moment."""

    max_slaves: int | None
    waiting: int
    running: int
    mean: float | None


class Looks(NamedTuple):
    """The scheduler at one moment."""

    queues: dict[str, QueueLook]
    holds: dict[Rank, tuple[Hashable, ...]]
    holders: dict[Hashable, int]
