"""Sends calls and words to slaves."""

from __future__ import annotations

from collections.abc import Hashable
from concurrent.futures._base import RUNNING
from typing import Any, cast

from ..core.calls import Provided
from ..core.scheduler import Order, Send
from ..ids import CallId, Rank
from ..transport import wire
from ..transport.base import Transport
from .calls import PLAINLY, FarmCall
from .columns import Calls
from .functions import Functions
from .items import Items
from .messages import ABOVE, BACK, STOP, WINDOW, Named, SentCall, SentMany
from .shipping import Shipping


class Post:
    """Makes messages of what the scheduler says. Under the master's lock."""

    isolates = False
    """Whether all calls run in children of slaves."""
    dismissed = False
    """The slaves were let go."""

    def __init__(self, transport: Transport, functions: Functions, shipping: Shipping) -> None:
        self.present = [Rank(rank) for rank in range(1, transport.size)]
        """The slaves that have neither died nor left."""
        self._transport = transport
        self._functions = functions
        self.shipping = shipping
        """Brings what calls need that slaves lack."""

    def send(self, rank: Rank, message: tuple[Any, ...]) -> None:
        """Send a message."""
        self._transport.send(rank, wire.pack(message))

    def send_all(self, message: tuple[Any, ...]) -> None:
        """Send a message to every slave that is there."""
        for rank in self.present:
            self.send(rank, message)

    def carry_out(self, order: Order) -> None:
        """Do what the scheduler says."""
        if isinstance(order, Send):
            self._send_window(order)
        else:
            self.send(order.rank, (BACK,))

    def _send_window(self, order: Send) -> None:
        alike = self._alike(order) if len(order.calls) > 1 and not order.above else None
        if alike is not None:
            self.send(order.rank, (WINDOW, {}, [], alike))
        else:
            self._send_each(order)

    def _alike(self, order: Send) -> Calls | None:
        """Calls that differ by nothing but their arguments; None: some differ by more."""
        calls, rank = cast("list[FarmCall]", order.calls), order.rank
        plan, needed = calls[0].plan, calls[0].resource
        if plan.timeout is not None or plan.isolate or self.isolates:
            return None
        ids: list[CallId] = []
        given: list[Any] = []
        for call in calls:
            if call.rare is not PLAINLY or call.plan is not plan or call.attempt != 1:
                return None
            payload = call.payload
            if type(payload) is tuple and len(payload) == 1:
                given.append(payload[0])
            elif type(payload) is bytes and len(payload) < wire.INLINE:
                given.append(payload)
            else:
                return None
            ids.append(call.id)
            future = call.future
            future._state = RUNNING
            future.rank, future.attempts = rank, 1
        return plan.name, _named(needed), ids, given

    def _send_each(self, order: Send) -> None:
        calls: list[SentCall | SentMany] = []
        unwanted: list[tuple[int, ...]] = []
        numbers: set[int] = set()
        rank, isolates = order.rank, self.isolates
        resource = _named(order.calls[0].resource)  # the same for all
        for call in cast("list[FarmCall | Items]", order.calls):
            if isinstance(call, Items):
                many, stopped = call.batch.send(call, rank)
                calls.append(many)
                unwanted += stopped
                if isinstance(call.batch.target, int):
                    numbers.add(call.batch.target)
                continue
            future, plan, target, payload = call.future, call.plan, call.target, call.payload
            future._state = RUNNING
            future.rank, future.attempts = rank, call.attempt
            if isinstance(target, int):
                numbers.add(target)
            rare = call.rare
            if rare.setup is not None:
                numbers.add(rare.setup)
            if rare.is_unwanted:  # it has come back, or its slave has died
                unwanted.append((call.id,))
            values = [wire.sendable(value) for value in rare.values if value is not None] if rare.values else ()
            if values:
                self.shipping.provide(rank, values)
            if not (type(payload) is tuple and len(payload) == 1):
                payload = wire.sendable(payload)
            isolate = plan.isolate or isolates
            terms = (plan.timeout, isolate) if isolate or plan.timeout is not None else None
            calls.append((call.id, plan.name, target, call.attempt, rare.setup, payload, values, resource, terms))
        functions, dropped = self._functions.to_send(rank, numbers) if numbers else ({}, [])
        kind = (ABOVE, order.above) if order.above else (WINDOW,)
        self.send(rank, (*kind, functions, dropped, calls))
        for some in unwanted:
            self.send(rank, (STOP, *some))


def _named(resource: Hashable) -> Named | None:
    """What a call's slave is to hold for it."""
    return (resource.kind.name, resource.args) if isinstance(resource, Provided) else None
