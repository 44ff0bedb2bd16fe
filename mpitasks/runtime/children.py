"""Calls that calls submit, on the master.

::

    SUBMIT ──► a call like any other, with a parent ──► it ends ──► ANSWER to the slave of its parent
    JOINS  ──► a call that is to end as another one ──► that one ends ──► so does this

A parent that returns leaves its children to themselves, as main does: they are waited for when the run ends. A parent that
fails, or whose slave is lost, takes with it those that have not begun: nobody could ask for them. If it runs again, it
submits them again.

Everything here happens under the master's lock.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures._base import CANCELLED_AND_NOTIFIED
from typing import Any, Protocol, cast

from .. import registry
from ..backports import override
from ..core.calls import ENDED, PLAIN, Call
from ..core.nesting import ends_after
from ..core.scheduler import Scheduler
from ..errors import Deadlock, MpiTasksError
from ..farm import Farm
from ..futures import Future
from ..ids import CallId, Rank
from ..plans import Plan
from ..transport import wire
from ..transport.failures import encode_failure
from .messages import (
    ANSWER,
    CANCELLED,
    DEADLOCK,
    FAILED,
    GOES_ON,
    JOINS,
    KEEP,
    NEVER_RAN,
    RETURNED,
    SETTLE,
    SETTLED,
    STILL,
    SUBMIT,
    WAITS,
    WITHDRAW,
    WITHDRAWN,
    Answer,
    Joining,
    Submission,
)

MOST_PLANS = 256

_Tell = Callable[["SlavesChild", Call | None, str], None]


class SlavesChild(Future[Any]):
    """The outcome of a call that a call has submitted: told to the slave that wants it as soon as it is there."""

    def __init__(self, farm: Farm, number: int, rank: Rank, *, siblings: dict[int, SlavesChild], tell: _Tell) -> None:
        super().__init__(farm, "?")
        self.number = number
        self.home = rank
        """The slave that waits for it, or will."""
        self.siblings = siblings
        """What that slave has submitted, by number, and may name."""
        self._tell = tell

    @override
    def _end(self, state: str) -> bool:
        self._retrieved = True  # whoever is told it will ask, or log that nobody did
        call = self._call
        must_announce = super()._end(state)
        self._tell(self, call, state)
        return must_announce


class _Submissions(Protocol):
    """Where calls are submitted."""

    def submit_child(
        self, child: SlavesChild, plan: Plan, resource: Hashable, *, submission: Submission, parent: Call | None
    ) -> Call: ...


class _Host(Protocol):
    """What is needed of the master."""

    def future_of(self, call: Call) -> Future[Any]: ...
    def withdraw_child(self, call: Call) -> bool: ...
    def end_joined(self, call: Call, how: int, payload: wire.Payload | Future[Any]) -> None: ...
    def note_end(self, rank: Rank, call_id: CallId, *, was_given_up: bool) -> None: ...
    def send_if_there(self, rank: Rank, message: tuple[Any, ...]) -> None: ...


class _Home:
    """What one slave has submitted."""

    def __init__(self) -> None:
        self.children: dict[int, SlavesChild] = {}
        """By number; those that have ended too, even at once, until the slave is known to have seen the answer."""
        self.answered: deque[int] = deque()
        self.answers = 0
        """Sent so far."""
        self.settled = self.asked = 0
        """Answers whose callbacks have run there, by its own word; how many there were when it was asked last."""
        self.in_vain: set[int] = set()
        """Waits of calls that were given up."""

    def seen(self, count: int) -> None:
        """The slave has seen so many answers: it will not name those calls again."""
        while self.answered and self.answers - len(self.answered) < count:
            self.children.pop(self.answered.popleft(), None)


class Children:
    """Takes calls from calls, and tells those how they ended."""

    def __init__(self, host: _Host, farm: Farm, submissions: _Submissions, scheduler: Scheduler) -> None:
        self._host = host
        self._farm = farm
        self._submissions = submissions
        self._scheduler = scheduler
        self._homes: dict[Rank, _Home] = {}
        self._children: dict[CallId, dict[CallId, Call]] = {}
        """Of each call, those that have not ended."""
        self._parents: dict[CallId, CallId] = {}
        self._plans: dict[bytes, Plan] = {}
        self._joining: dict[SlavesChild, list[Call]] = {}
        """The calls that are to end as this one."""
        self._ended: deque[SlavesChild] = deque()
        """Those of them that have, to be passed on: one after the other, since a chain may be long."""

    def take_in(self, rank: Rank, message: tuple[Any, ...], now: float) -> None:
        """A message of a slave that is about calls of its calls."""
        kind, home = message[0], self._home(rank)
        if kind == SUBMIT:
            self._submitted(rank, home, cast("Submission", message[1:]))
        elif kind == WITHDRAW:
            self._withdraw(rank, home, message[1])
        elif kind == WAITS:
            self._waits(rank, home, message, now)
        elif kind == GOES_ON:
            self._goes_on(rank, home, message[1], message[2], now)
        elif kind == STILL:
            self._still(rank, home, message[1], message[2])
        elif kind == SETTLED:
            home.settled = message[1]
        elif kind == JOINS:
            self._joins(rank, home, cast("Joining", message[1:]), now)

    def keep(self, ranks: list[Rank]) -> None:
        """Outcomes are kept: slaves have to tell which call is which."""
        for rank in ranks:
            self._host.send_if_there(rank, (KEEP,))

    def attempt_is_over(self, call: Call) -> None:
        """A call failed, or its slave was lost: those of its children that have not begun are cancelled."""
        children = list(self._children.pop(call.id, {}).values())
        for child in children:  # all before the first is cancelled: others may wait for that, and end with it
            self._parents.pop(child.id, None)
        for child in children:
            self._host.withdraw_child(child)

    def have_settled(self, ranks: Iterable[Rank]) -> bool:
        """Whether no callback is left on these slaves, which may submit more; asks them, where that is not known."""
        is_settled = True
        for rank, home in [(rank, self._homes[rank]) for rank in ranks if rank in self._homes]:
            if home.settled != home.answers:
                is_settled = False
                if home.asked != home.answers:
                    home.asked = home.answers
                    self._host.send_if_there(rank, (SETTLE,))
        return is_settled

    def settle(self) -> None:
        """End the calls that are to end as others that have ended."""
        while self._ended:
            child = self._ended.popleft()
            for call in self._joining.pop(child, ()):
                self._end_as(call, child)

    # ---------------------------------------------------------------- what slaves tell

    def _home(self, rank: Rank) -> _Home:
        home = self._homes.get(rank)
        if home is None:
            home = self._homes[rank] = _Home()
        return home

    def _submitted(self, rank: Rank, home: _Home, submission: Submission) -> None:
        """A call submits another."""
        number, parent_id, pickled, resource, *_, seen = submission
        home.seen(seen)
        self._scheduler.answered(rank)  # whatever it waits for, this is new
        child = home.children[number] = SlavesChild(self._farm, number, rank, siblings=home.children, tell=self._tell)
        parent = self._scheduler.call_on(rank, parent_id)
        try:
            plan = self._plan(pickled)
            child.task_name = plan.name
            call = self._submissions.submit_child(child, plan, _resource(resource), submission=submission, parent=parent)
        except Exception as error:  # noqa: BLE001  what unpickling an id raises too, and comparing it; as `delay` would in main
            if child._call is not None:
                self._scheduler.refused(child._call)
            child._exception = error
            child._end("FINISHED")
            return
        if parent is not None and not child.done():
            self._children.setdefault(parent.id, {})[call.id] = call
            self._parents[call.id] = parent.id

    def _plan(self, pickled: bytes) -> Plan:
        plan = self._plans.get(pickled)
        if plan is None:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            plan = self._plans[pickled] = pickle.loads(pickled)  # noqa: S301  it comes from a rank of this job
        return plan

    def _withdraw(self, rank: Rank, home: _Home, number: int) -> None:
        child = home.children.get(number)
        call = None if child is None else child._call
        in_time = call is not None and self._host.withdraw_child(call)
        self._host.send_if_there(rank, (WITHDRAWN, number, in_time))

    def _waits(self, rank: Rank, home: _Home, message: tuple[Any, ...], now: float) -> None:
        _, call_id, wait, back = message
        if self._scheduler.call_on(rank, call_id) is not None:
            self._scheduler.call_waits(rank, call_id, wait, back, now)
            return
        home.in_vain.add(wait)  # its time was up, and it goes on: nothing more is run for it
        self._scheduler.given_back(rank, back, now)

    def _goes_on(self, rank: Rank, home: _Home, wait: int, back: list[CallId], now: float) -> None:
        if wait not in home.in_vain:
            self._scheduler.call_goes_on(rank, back, now)
            return
        home.in_vain.discard(wait)
        self._scheduler.given_back(rank, back, now)

    def _still(self, rank: Rank, home: _Home, wait: int, seen: int) -> None:
        """A slave has waited for a while."""
        home.seen(seen)
        stuck = self._scheduler.still_waits(rank, wait) if seen == home.answers else None
        if stuck is not None:
            why = f"{stuck.call.queue!r} waits for calls that can never run: {stuck.why}; {_way_out(stuck.why)}"
            self._host.send_if_there(stuck.rank, (DEADLOCK, stuck.number, why))

    # ---------------------------------------------------------------- how calls end

    def _tell(self, child: SlavesChild, call: Call | None, state: str) -> None:
        """A child has ended: let its slave know, and those calls that are to end as it did."""
        home = self._home(child.home)
        home.answers += 1
        home.answered.append(child.number)
        if call is not None:
            self._forget(call)
        self._scheduler.answered(child.home)
        self._host.send_if_there(child.home, (ANSWER, _answer(child, state)))
        if child in self._joining:
            self._ended.append(child)

    def _forget(self, call: Call) -> None:
        """A child has ended."""
        parent = self._parents.pop(call.id, None)
        if parent is not None:
            children = self._children[parent]
            del children[call.id]
            if not children:
                del self._children[parent]

    def _joins(self, rank: Rank, home: _Home, joining: Joining, now: float) -> None:
        """A call has ended by giving back the future of another."""
        call_id, seconds, number, answer = joining
        ended = self._scheduler.calls_finished(rank, [(call_id, seconds)], now)
        self._host.note_end(rank, call_id, was_given_up=not ended)
        if not ended:
            return
        (call,) = ended
        if answer is not None:
            _, how, payload, *_ = answer
            self._host.end_joined(call, how, cast("wire.Payload", payload))
            return
        child = home.children[number]
        other = child._call
        if child.done() or other is None:
            self._end_as(call, child)
        elif ends_after(other, call):
            self._host.end_joined(call, FAILED, _in_vain(call, other))
        else:
            self._scheduler.postponed(call)
            self._scheduler.joined(call, other)
            self._joining.setdefault(child, []).append(call)

    def _end_as(self, call: Call, child: SlavesChild) -> None:
        """A call ends as that one has."""
        if self._host.future_of(call).done():
            return
        if call.state != ENDED and not self._scheduler.join_ended(call):
            return
        _, how, payload, *_ = _answer(child, child._state)
        if how == NEVER_RAN:
            self._host.end_joined(call, how, child)
        else:
            self._host.end_joined(call, how, cast("wire.Payload", payload))


def _answer(child: SlavesChild, state: str) -> Answer:
    """How a call has ended, as it travels."""
    told = child.rank, child.attempts
    if state == CANCELLED_AND_NOTIFIED:
        return child.number, CANCELLED, b"", *told
    if child._because is not None:
        root = child._root or child._because
        number = root.number if isinstance(root, SlavesChild) and root.home == child.home else 0
        return child.number, NEVER_RAN, (number, root.task_name, _failure_of(root)), *told
    if child._failed or child._exception is not None:
        return child.number, FAILED, _failure_of(child), *told
    assert child._payload is not None  # noqa: S101  nobody decodes it here
    return child.number, RETURNED, wire.sendable(child._payload), *told


def _in_vain(call: Call, other: Call) -> wire.Payload:
    """Why a call can't end as another one does."""
    mine, its = (f"call {one.id} of {one.queue!r}" for one in (call, other))
    why = (
        f"{mine} can never end: it gave back the future of {its}, which ends only after {mine}; "
        f"let it give back a value, or the future of a call that does not depend on it"
    )
    return encode_failure(Deadlock(why), f"task {call.queue!r}, call {call.id}")


def _way_out(why: str) -> str:
    """What to change where a call waits in vain."""
    if "max_slaves" in why or "max_holders" in why:
        return "raise that limit, or return the future in place of waiting for it"
    return "let no call wait for one that waits for it, such as an equal one of a task with memo=True"


def _failure_of(future: Future[Any]) -> wire.Payload:
    """The exception of a failed call, as it came, or as it was made here."""
    if future._payload is not None:
        return wire.sendable(future._payload)
    error = future._exception or MpiTasksError(f"the call of {future.task_name!r} failed")
    return wire.sendable(encode_failure(error, f"task {future.task_name!r}"))


def _resource(payload: wire.Payload | None) -> Hashable:
    """What a call needs."""
    if payload is None:
        return PLAIN
    is_made, resource = wire.decode(payload)
    if not is_made:
        return cast("Hashable", resource)
    name, args = resource
    return registry.resource(name).identity(args)
