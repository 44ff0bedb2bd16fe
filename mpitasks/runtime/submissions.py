"""Makes calls of what is submitted, for the scheduler."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from itertools import count, islice
from threading import RLock
from typing import Any, NoReturn, Protocol, cast

from ..core.calls import ENDED, SENT, Call
from ..core.scheduler import Scheduler
from ..errors import FarmBroken, NotRunning
from ..farm import Farm
from ..futures import Future
from ..ids import CallId
from ..plans import Plan, replace
from ..transport import wire
from ..transport.wire import NUMBERS
from .arguments import Encoder
from .calls import FarmCall
from .children import SlavesChild
from .drive import Drive
from .endings import Endings
from .functions import Functions
from .items import Items
from .losses import Losses
from .messages import Submission
from .recall import Recall
from .shipping import Shipping

SUBMITS_A_LOOK, MOST_A_LOOK = 64, 512
"""Calls submitted in a row, for each rank and at most, after which the submitting thread looks for outcomes itself.

At 3 µs a call that is 0.4 ms with one slave. Where calls do nothing, this is how many go into a window: a look, a report and a
window take 24 µs, which 32 calls felt.
"""


NO_ARGUMENTS: wire.Payload = ((),)
"""Once for all: see `columns.NOTHING`."""


class _Running(Farm, Protocol):
    """What is needed of the master."""

    def decide_now(self) -> None: ...
    def look_now(self) -> None: ...
    def wait_for_sends(self) -> None: ...


class Submissions:
    """Takes calls of main and of other calls."""

    def __init__(  # noqa: PLR0913  the parts of the master that a new call touches
        self,
        farm: _Running,
        lock: RLock,
        scheduler: Scheduler,
        *,
        recall: Recall,
        endings: Endings,
        functions: Functions,
        shipping: Shipping,
        losses: Losses,
        drive: Drive,
    ) -> None:
        self._farm = farm
        self._looks_after = min(MOST_A_LOOK, SUBMITS_A_LOOK * (farm.slaves + 1))
        self._unlooked = 0
        """Calls submitted since the last look."""
        self._plain: Plan | None = None
        """A plan that was looked at, and of whose calls nothing but the arguments has to be."""
        self._lock = lock
        self._scheduler = scheduler
        self._recall = recall
        self._endings = endings
        self._functions = functions
        self._shipping = shipping
        self._losses = losses
        self._drive = drive
        self._encoder = Encoder()
        self._ids = cast("Iterator[CallId]", count(1))  # CallId(next(...)) would be a call of its own
        self._queues: set[str] = set()

    def submit(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], resource: Hashable) -> Future[Any]:
        """Take a call of main. Pickles the arguments before it returns.

        Raises:
            EncodeError: An argument can't be pickled; the message names it.
            FarmBroken: The farm has ended.
        """
        are_numbers = not (kwargs or (args and not NUMBERS.issuperset(map(type, args))))
        if not are_numbers or plan is not self._plain or self._recall.book is not None:
            return self._submit_with_care(plan, args, kwargs, resource)
        future: Future[Any] = Future(self._farm, plan.name)
        call = future._call = FarmCall(next(self._ids), plan, resource, (args,) if args else NO_ARGUMENTS, future)
        self._lock.acquire()  # half the time of `with`; our signal handlers raise in the user's own code only
        try:
            if self._endings.closing or self._drive.broken is not None or self._losses.nobody_left:
                self.accept(call, [])
            elif self._scheduler.submitted(call):
                self._farm.decide_now()
            else:
                self._unlooked += 1
                if self._unlooked >= self._looks_after:
                    self._look()
        finally:
            self._lock.release()
        return future

    def _submit_with_care(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], resource: Hashable) -> Future[Any]:
        """Take a call of which more has to be seen to."""
        payload, claims = self._encoder.arguments(plan, args, kwargs)
        future: Future[Any] = Future(self._farm, plan.name)
        call = future._call = FarmCall(next(self._ids), plan, resource, payload, future)
        if (self._recall.book is not None or plan.memo) and self._remember(call, args, kwargs):
            return future
        if plan.function is None and plan.setup is None and (isinstance(payload, bytes) or len(payload) == 1):
            with self._lock:
                self.accept(call, claims)
        else:
            self._submit_unusual(call, claims)
        return future

    def function_of_many(self, function: Callable[..., Any]) -> bytes | None:
        """A function that many calls share; None: they are to be taken one by one."""
        return self._encoder.function_of_many(function)

    def reserve(self, count: int) -> CallId:
        """Take so many ids in a row. The first."""
        last = deque(islice(self._ids, count), maxlen=1)[0]  # in one step: `submit` takes ids without the lock
        return CallId(last - count + 1)

    def _remember(self, call: FarmCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Find out which call it is. Whether its outcome is known already, and it has ended by that."""
        with self._lock:
            if self._endings.is_over:
                self._refuse(repr(call.plan.name))
            book = self._recall.open()
        return self._recall.knows(book, call, args, kwargs)

    def _submit_unusual(self, call: FarmCall, claims: list[Any]) -> None:
        """Take a call that brings a function or large arguments."""
        plan, payload = call.plan, call.payload
        function = setup = None
        if plan.function is not None and not self._encoder.travels_by_name(plan.function):
            function = self._encoder.function(plan.function, claims)
        if plan.setup is not None:
            setup = self._encoder.setup(plan.setup, claims)
        # Buffers of the user's, who may write to them as soon as `delay` returns.
        shared = plan.copy and not all(memoryview(buffer).readonly for buffer in wire.buffers_of(payload))
        if shared and plan.retries is not None:  # it may be sent again, as it is now
            call.payload, shared = wire.snapshot(payload), False
        with self._lock:
            if plan.function is not None:
                call.target = None if function is None else self._functions.number_of(function)
                call.own()  # its function is to be let go of when it ends
            if setup is not None:
                call.own().setup = self._functions.number_for_ever(setup)
            self.accept(call, claims)
            leaving = shared and call.state == SENT
            if shared and not leaving:
                call.payload = wire.snapshot(payload)
        if leaving:
            self._farm.wait_for_sends()

    def keep(self, payload: wire.Payload) -> wire.Reference:
        """Keep a value of main, for the calls that are given it.

        Raises:
            FarmBroken: The farm has ended.
        """
        with self._lock:
            if self._endings.is_over:
                self._refuse("broadcast()")
            return self._shipping.add(payload)

    # ---------------------------------------------------------------- under the lock

    def accept(self, call: FarmCall | Items, claims: list[Any]) -> None:
        """A call is submitted by main.

        Raises:
            FarmBroken: The farm has ended.
        """
        if not self.admit(call, claims):
            return
        if self._scheduler.has_idle:
            self._farm.decide_now()
            return
        self._unlooked += call.items
        if self._unlooked >= self._looks_after:
            self._look()

    def _look(self) -> None:
        """Many calls were submitted: take in what has arrived, or their slaves would run out of others."""
        self._unlooked = 0
        self._farm.look_now()

    def admit(self, call: FarmCall | Items, claims: list[Any]) -> bool:
        """A call is submitted. False if it is not for the scheduler, or has ended already.

        Raises:
            FarmBroken: The farm has ended.
        """
        plan = call.plan
        if self._endings.closing or self._drive.broken is not None:
            self._refuse(repr(plan.name))
        if plan.queue not in self._queues:
            self._queues.add(plan.queue)
            self._scheduler.queue_defined(plan.queue, max_slaves=plan.max_slaves, weight=plan.weight)
        if isinstance(call, Items):  # nothing of what follows is for these: see `Master.takes_many`
            self._scheduler.submitted(call)
            return True
        if self._losses.nobody_left:
            self._scheduler.refused(call)
            self._endings.finish(call, self._losses.failure(call, plan.name), returned=False)
            return False
        if plan.memo and call.rare.known is not None and self._recall.follows(call, claims):
            return False
        if claims or plan.after:
            return self._tie(call, claims)
        self._scheduler.submitted(call)
        if plan.function is None and plan.setup is None and not plan.memo:
            self._plain = plan
        return True

    def _refuse(self, what: str) -> NoReturn:
        msg = f"{what} can't be called any more: the run is ending"
        raise FarmBroken(msg) from self._drive.broken

    def _tie(self, call: FarmCall, claims: list[Any]) -> bool:
        """Let a call wait for its futures. False if it has ended already, because one of them failed."""
        places: dict[Future[Any], list[int]] = {}
        for place, future in enumerate(claims):
            if isinstance(future, Future):  # a call's child may have ended, and be its value
                places.setdefault(future, []).append(place)
        rare = call.own()
        rare.places = places
        rare.values = [None if isinstance(one, Future) else one for one in claims]
        after: list[Call] = []
        for future in [*places, *call.plan.after]:
            other = future._call
            if other is not None and other.state != ENDED:
                after.append(other)
            elif not self._endings.take_value(call, future):
                self._scheduler.refused(call)
                self._endings.end_because(call, future)
                return False
        self._scheduler.submitted(call, after)
        return True

    def submit_child(
        self, child: SlavesChild, plan: Plan, resource: Hashable, *, submission: Submission, parent: Call | None
    ) -> Call:
        """Take a call that another one submits; `parent` is that, if it has not ended.

        Raises:
            FarmBroken: The farm has ended.
            KeyError: A slave names a call that it can't know.
            ValueError: Its `id` names another call.
            NotRunning: The other one was given up.
        """
        _, parent_id, _, _, payload, claims, after, function, identity, _ = submission
        if self._scheduler.is_given_up(child.home, parent_id):  # its slave runs nothing, so it could wait for ever
            msg = f"{plan.name!r} can't be called here any more: that call has outlasted its timeout, and was given up"
            raise NotRunning(msg)
        if after:
            plan = replace(plan, after=tuple(child.siblings[number] for number in after))
        call = child._call = FarmCall(next(self._ids), plan, resource, payload, child)
        call.own()  # its slave is to be told when it ends
        if function is not None:
            call.target = self._functions.number_of(function) if function else None
        self._scheduler.nested(call, parent, child.home)
        if identity is not None and self._recall.knows_child(call, identity, parent):
            return call
        self.admit(call, [self._claimed(child, one) for one in claims])
        return call

    def _claimed(self, child: SlavesChild, one: int | wire.Payload) -> Future[Any] | wire.Payload:
        """What a slave names among the arguments of a call."""
        if isinstance(one, int):
            return child.siblings[one]
        return self._shipping.owned(one) if isinstance(one, wire.Reference) else one
