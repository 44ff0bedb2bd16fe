"""What all parts of the scheduler look at: queues, slaves, time."""

from __future__ import annotations

from ..ids import Rank
from .backlog import Queue
from .nesting import Nesting
from .orders import Rules
from .prices import Prices
from .ranking import Ranking
from .slaves import IdleSlaves, Slave
from .suspects import Suspects
from .tally import Tally


class Board:
    """The queues, the slaves and the time of one scheduler."""

    def __init__(self, rules: Rules, prices: Prices) -> None:
        self.rules = rules
        self.prices = prices
        """What acquisitions cost."""
        self.tally = Tally()
        """What was decided, and why."""
        self.queues: dict[str, Queue] = {}
        self.slaves: dict[Rank, Slave] = {}
        self.idle = IdleSlaves(rules.keep)
        self.demand: dict[str, Queue] = {}
        """Queues in which calls wait."""
        self.ranking = Ranking()
        self.nesting = Nesting()
        self.suspects = Suspects()
        self.stuck: dict[Rank, Slave] = {}
        """Slaves that are still in calls which were given up."""
        self.has_many = False
        """Whether calls may be there that stand for many: some were submitted since there were none at all."""
        self.now = 0.0
        self.virtual = 0.0
        """`Queue.served` of the queue chosen last: where a queue with new demand starts."""
