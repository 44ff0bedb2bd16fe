"""Maps on the master: many calls are taken at once.

::

    map() ──block of items──► take ──► Batch, Items ──► Scheduler
    slave ──MANY──► take_in ──► Batch ──► futures
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, cast

from ..core.calls import PLAIN
from ..ids import CallId, Rank
from ..plans import Plan
from ..transport import wire
from .endings import Endings
from .items import Batch, Given, Items, Parts
from .loop import LONGEST_TEXT, PLAIN_VALUES, TEXTS
from .messages import ALL_ARGUMENTS, EACH_PICKLED, ONE_ARGUMENT, OutcomesOfMany
from .submissions import Submissions

NUMBER_BYTES = 10
"""Of a number as it travels, about."""


class Batches:
    """Takes blocks of maps, and what slaves tell of them.

    Args:
        parts: What they work with.
        endings: Knows whether the run ends.
        submissions: Gives them ids.
    """

    def __init__(self, parts: Parts, endings: Endings, submissions: Submissions) -> None:
        self._parts = parts
        self._endings = endings
        self._submissions = submissions

    def suit(self, plan: Plan) -> bool:
        """Whether it is worth while: calls of this plan can travel together."""
        return plan.queue not in self._parts.alone and is_simple(plan)

    def take(self, plan: Plan, items: Sequence[Any], *, tuples: bool) -> Batch | None:
        """Take the first of these at once, as many as can go together; None: they are to be taken one by one.

        Raises:
            FarmBroken: The farm has ended.
        """
        given = _given(items, tuples=tuples) if self._parts.farm.takes_many(plan) else None
        if given is None:
            return None
        function = None if plan.function is None else self._submissions.function_of_many(plan.function)
        if plan.function is not None and function is None:
            return None
        with self._parts.lock:
            if not self._parts.farm.takes_many(plan):
                return None
            batch = Batch(self._parts, plan, given, self._submissions.reserve(len(given.items)), function)
            self._parts.farm.accept(Items(batch, batch.first, batch.count), [])
        return batch

    def take_in(self, rank: Rank, outcomes: OutcomesOfMany, now: float) -> None:
        """A slave tells of many calls that it was sent as one."""
        first, done, left, seconds, *_, alone = outcomes
        part = cast("Items", self._parts.scheduler.many_ended(rank, first, done, left, seconds, now))
        if left:
            part.batch.goes_on(CallId(first + done), rank, part.attempt)
        if alone:
            self._parts.alone.add(part.queue)
        part.batch.end(part, outcomes, now)
        if self._endings.closing:
            self._endings.cancel_waiting()


def is_simple(plan: Plan) -> bool:
    """Whether calls of this plan need nothing that is looked after for each by itself."""
    by_itself = plan.memo or plan.isolate or plan.cost or plan.after or plan.id is not None
    needs = plan.setup is not None or plan.resource is not PLAIN
    return not (by_itself or needs or plan.retries is not None or plan.timeout is not None)


def _given(items: Sequence[Any], *, tuples: bool) -> Given | None:
    """The first of the items, as they will travel; None: the first can't travel with others."""
    kinds = set(map(type, chain.from_iterable(items) if tuples else items))
    if kinds <= PLAIN_VALUES:
        return Given(items, ALL_ARGUMENTS if tuples else ONE_ARGUMENT, NUMBER_BYTES * (2 if tuples else 1))
    if kinds <= PLAIN_VALUES | TEXTS:
        each = len(wire.encode(items)) // len(items) + 1
        if each < LONGEST_TEXT:
            return Given(items, ALL_ARGUMENTS if tuples else ONE_ARGUMENT, each)
    payloads = _pickled(items if tuples else ((item,) for item in items))
    return Given(payloads, EACH_PICKLED, sum(map(len, payloads)) // len(payloads) + 1) if len(payloads) > 1 else None


def _pickled(arguments: Iterable[tuple[Any, ...]]) -> list[bytes]:
    """Each by itself: what two of them share must not be shared by two calls. Up to one that has futures in it, or is large.

    That one is pickled again, alone; the hooks of all others run once.
    """
    payloads: list[bytes] = []
    for one in arguments:
        try:
            payload, claims = wire.encode_arguments((one, {}))
        except Exception:  # noqa: BLE001  pickling runs user code; where they are taken one by one, the user hears of it
            break
        if claims or not isinstance(payload, bytes) or len(payload) >= wire.INLINE:
            break
        payloads.append(payload)
    return payloads
