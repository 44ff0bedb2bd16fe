"""The master's loop: takes calls, asks the scheduler, resolves futures.

::

    delay() ──► submit ──► Scheduler ──► WINDOW ──► slaves
                              ▲                        │
    Future ◄── _finish ◄──────┴──────── REPORT ◄───────┘

`step` drives all this, in whichever thread `drive` lets. A hand-over to a manager thread for every call would cost
625 µs, measured; driving in place costs 14.

`_lock` guards the scheduler, the transport and everything here; it is held for microseconds, and never while code of the
user runs: pickling happens before, decoding in the thread that asks for the result, callbacks after.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from contextlib import suppress
from dataclasses import replace
from itertools import count
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn, cast

from typing_extensions import override

from .. import registry
from ..core import why
from ..core.calls import ENDED, PLAIN, SENT, Call, Provided
from ..core.scheduler import Order, Rules, Scheduler, Send
from ..errors import FarmBroken, JournalError, NotRunning, TaskCrashed, farm_ended
from ..futures import Future
from ..ids import CallId, Rank
from ..journal.book import Book, Entry, Journal
from ..journal.identity import Attempt, Known, of_child
from ..observe.counts import Statistics, take
from ..options import Plan
from ..retries import Failure, name_of
from ..transport import wire
from ..transport.base import Arrival, Death, Transport
from ..transport.failures import encode_failure, gist_of, with_earlier
from . import logs
from .alarm import Limit
from .arguments import Encoder
from .backoff import Backoff
from .batches import Batch, Batches, ItemFuture, Items
from .children import Child, Children
from .drive import Drive, never
from .functions import Functions
from .interrupts import DRAIN as DRAIN_SIGNAL
from .interrupts import ENDS, Interrupts
from .later import Later
from .losses import Losses, times
from .messages import (
    ABOVE,
    BACK,
    BYE,
    CANCELLED,
    DRAIN,
    HEARD,
    LEAVE,
    LIMIT,
    MANY,
    REPORT,
    RETURNED,
    STACKS,
    STAY,
    STOP,
    STUCK,
    WINDOW,
    Named,
    Outcome,
    Record,
    SentCall,
    SentMany,
    Submission,
    Target,
)
from .overdue import LEAVE_WITHIN, Overdue, Stuck, along_with
from .pump import Pump
from .sharing import Sharing
from .stacks import Place

_CRASHED = name_of(TaskCrashed)
SUBMITS_A_LOOK = 32
"""Calls submitted in a row, after which the submitting thread looks for outcomes itself."""


class _Call(Call):
    """A call, with what the scheduler does not know of it."""

    __slots__ = (
        "crashes",
        "failed",
        "future",
        "is_early",
        "is_unwanted",
        "known",
        "payload",
        "places",
        "plan",
        "setup",
        "submitted_by",
        "target",
        "values",
    )

    def __init__(self, call_id: CallId, plan: Plan, resource: Hashable, payload: wire.Payload, future: Future[Any]) -> None:
        size = len(payload) if isinstance(payload, bytes) else wire.size_of(payload)
        # What has a limit goes alone: nothing may wait behind a call that perhaps never ends.
        chunk = plan.chunk if plan.timeout is None else 1
        super().__init__(call_id, plan.queue, plan.priority, resource, chunk, size, plan.cost)
        self.future = future
        self.plan = plan
        self.payload = payload
        """The arguments."""
        self.target: Target = plan.name
        self.setup: int | None = None
        self.places: dict[Future[Any], list[int]] | None = None
        """Where the values of futures go, among the arguments."""
        self.values: Sequence[wire.Payload | None] = ()
        self.failed = 0
        """How often it has failed."""
        self.is_early = False
        """Whether it knows that it should stop: what it returns may be half of it."""
        self.is_unwanted = False
        """Whether it was cancelled, too late: it is told to stop, and does not run again if it fails."""
        self.crashes: tuple[str, ...] = ()
        """Where and how its process ended, each time that it did."""
        self.known: Known | None = None
        """What tells it from others, where its outcome is kept."""
        self.submitted_by: Attempt | None = None
        """None: by main, or its outcome is not kept."""

    @override
    def needs(self) -> list[Call]:
        futures = (*(self.places or ()), *self.plan.after)
        return [future._call for future in futures if future._call is not None and not future.done()]


def _identity(named: Named) -> Provided:
    """The resource that a slave means."""
    name, args = named
    return registry.resource(name).identity(args)


def _ours(call: Call) -> _Call:
    """A call that the scheduler gives back: the master submits no other."""
    return cast("_Call", call)


def _with_crashes(call: _Call, failure: Failure, payload: wire.Payload) -> wire.Payload:
    """The failure as it is told; that of a call which has crashed before lists each time."""
    told = with_earlier(payload, call.crashes) if call.crashes else payload
    if failure[0][0] == _CRASHED:
        call.crashes += (gist_of(payload),)
    return told


class Master:
    """The running farm, on rank 0."""

    isolates = False
    """Whether all calls run in children of slaves."""
    left = 0
    """Calls that had not ended when the run was drained, and have not since."""
    _closing = _dismissed = _draining = False
    _unlooked, _decide_at = 0, 0.0

    def __init__(
        self,
        transport: Transport,
        *,
        backoff: Callable[[], Backoff] = Backoff,
        is_orphan: Callable[[], bool] = never,
        places: Sequence[Place] = (),
        strikes: int = 3,
    ) -> None:
        self.slaves = transport.size - 1
        self.places = places
        """Host and process of each rank, where ranks are processes."""
        self.stacks: dict[Rank, str] = {}
        """What slaves have said since they were asked where they are."""
        self.interrupts = Interrupts((*ENDS, DRAIN_SIGNAL))
        self._transport = transport
        self._drive = Drive(self, new_backoff=backoff, is_orphan=is_orphan)
        self._scheduler = Scheduler(Rules(strikes=strikes))
        self._losses = Losses(strikes, self.slaves, places)
        self._functions = Functions()
        self._encoder = Encoder()
        self._lock = threading.RLock()  # by one thread once; it is one that knows its owner: see `withdraw`
        self._discarded: deque[Future[Any]] = deque()
        """Calls that a finalizer gave up while this thread held the lock."""
        self._announcements: deque[Future[Any] | Batch] = deque()
        self._records: deque[Record] = deque()
        self._telling: set[object] = set()
        """One for each thread that runs code of the user now."""
        self._ids = count(1)
        self._queues: set[str] = set()
        self._pumps: dict[asyncio.AbstractEventLoop, Pump] = {}
        self._later = Later()
        self._overdue = Overdue(places)
        self._book: Book | None = None
        """What calls have returned, if that is to be kept."""
        self._sharing: Sharing[_Call] = Sharing()
        self._children = Children(self, self, self._scheduler)
        self._batches = Batches(self, self)
        self._present = [Rank(rank) for rank in range(1, transport.size)]
        for rank in self._present:
            self._scheduler.slave_joined(rank)

    # ---------------------------------------------------------------- the farm, for tasks and futures

    def submit(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], resource: Hashable) -> Future[Any]:
        """Take a call. Pickles the arguments before it returns.

        Raises:
            EncodeError: An argument can't be pickled; the message names it.
            FarmBroken: The farm has ended.
        """
        payload, claims = self._encoder.arguments(plan, args, kwargs)
        future: Future[Any] = Future(self, plan.name)
        call = future._call = _Call(CallId(next(self._ids)), plan, resource, payload, future)
        if (self._book is not None or plan.memo) and self._remember(call, args, kwargs):
            return future
        if plan.function is None and plan.setup is None and isinstance(payload, bytes):
            with self._lock:
                self._accept(call, claims)
        else:
            self._submit_unusual(call, claims)
        if self._announcements:
            self.announce()
        if self.interrupts.pending:
            self.interrupts.check()
        return future

    def _remember(self, call: _Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Find out which call it is. Whether its outcome is known already, and it has ended by that."""
        with self._lock:
            if self._closing or self._drive.broken is not None:
                self._refuse(call.plan)
            book = self._book = self._book or Book()
        return self._is_known(book, call, book.identities.of(call.plan, args, kwargs))

    def _is_known(self, book: Book, call: _Call, known: Known) -> bool:
        """Whether the outcome of a call is known already, and it has ended by that."""
        future = call.future
        value = book.find(known.key)
        if call.plan.id is not None and not call.plan.memo:
            book.identities.claim(known.key, call.plan, future, by=call.submitted_by, returned=value is not None)
        call.known, future._identity = known, known.key
        if value is None:
            return False
        self._recall(call, value)
        return True

    def _recall(self, call: _Call, value: wire.Payload) -> None:
        """A call ends by what an equal one has returned before; nobody can have begun to wait for it."""
        self._scheduler.refused(call)
        call.future._payload = value
        call.future._end(FINISHED)

    def _submit_unusual(self, call: _Call, claims: list[Any]) -> None:
        """Take a call that brings a function or large arguments."""
        plan, payload = call.plan, call.payload
        function = setup = None
        if plan.function is not None and not self._encoder.travels_by_name(plan.function):
            function = self._encoder.function(plan.function)
        if plan.setup is not None:
            setup = self._encoder.setup(plan.setup)
        # Buffers of the user's, who may write to them as soon as `delay` returns.
        shared = plan.copy and not all(memoryview(buffer).readonly for buffer in wire.buffers_of(payload))
        if shared and plan.retries is not None:  # it may be sent again, as it is now
            call.payload, shared = wire.snapshot(payload), False
        with self._lock:
            if plan.function is not None:
                call.target = None if function is None else self._functions.number_of(function)
            if setup is not None:
                call.setup = self._functions.number_for_ever(setup)
            self._accept(call, claims)
            leaving = shared and call.state == SENT
            if shared and not leaving:
                call.payload = wire.snapshot(payload)
        if leaving:
            self.wait(lambda: not self._is_sending(), threading.Event, None)

    def submit_many(self, plan: Plan, items: Sequence[Any], *, tuples: bool) -> Batch | None:
        """Take many calls at once; None: they can't be taken but one by one.

        Args:
            plan: How they are to be run.
            items: The arguments: one for each call.
            tuples: Whether an item is all arguments of a call, or the only one.

        Raises:
            FarmBroken: The farm has ended.
        """
        batch = self._batches.take(plan, items, tuples=tuples)
        if self._announcements:
            self.announce()
        if self.interrupts.pending:
            self.interrupts.check()
        return batch

    def takes_many(self, plan: Plan) -> bool:
        """Whether many calls of that plan may be taken at once: nothing has to be looked after for each by itself."""
        return self._book is None and not self.isolates and not self._losses.nobody_left and self._batches.suit(plan)

    def new_call(self, call_id: CallId, plan: Plan, payload: wire.Payload, future: Future[Any]) -> _Call:
        """One of many, which goes its own way."""
        return _Call(call_id, plan, PLAIN, payload, future)

    def withdraw(self, future: Future[Any]) -> bool:
        """Cancel a call; False if it is too late, and then tell the call to stop."""
        if self._lock._is_owned():  # type: ignore[attr-defined]  # not in typeshed; threading.Condition asks it too
            # The garbage collector runs a finalizer, such as a generator's, in the midst of a change to the scheduler.
            self._discarded.append(future)
            return False
        with self._lock:
            call = future._call
            if call is None:
                return False
            if self.interrupts.draining:
                self._begin_draining()  # before what main gives up now is counted no more
            cancelled = self.withdraw_child(call)
            self._children.settle()
        self.announce()
        return cancelled

    def fail(self, future: Future[Any], error: BaseException) -> None:
        """End a call with this error, if it has not been sent yet."""
        payload = encode_failure(error, f"task {future.task_name!r}, never begun")
        with self._lock:
            call = future._call
            if call is not None and self._give_up(_ours(call)):
                self._finish(_ours(call), payload, returned=False)
                self._children.settle()
        self.announce()

    def wait(self, done: Callable[[], bool], watch: Callable[[], threading.Event], timeout: float | None) -> bool:
        """Wait in the caller's thread, running the farm meanwhile; False if the time ran out.

        Raises:
            FarmBroken: The farm has ended, so that this would wait for ever.
        """
        return self._drive.wait(done, watch, timeout)

    def pump(self) -> None:
        """Let the asyncio loop that runs in this thread run the farm while it waits."""
        self._drive.check()
        self.interrupts.refuse_to_wait()
        loop = asyncio.get_running_loop()
        if loop not in self._pumps:
            self._pumps = {known: pump for known, pump in self._pumps.items() if not known.is_closed()}
            self._pumps[loop] = Pump(loop, self)
        self._pumps[loop].start()

    def statistics(self) -> Statistics:
        """What was done so far, and why."""
        with self._lock:
            return take(self._scheduler)

    # ---------------------------------------------------------------- for the session

    def start(self) -> None:
        """Begin to drive in the background."""
        self._drive.start()

    def finish(self) -> None:
        """Wait until every call has ended, and every callback, which may submit more.

        Raises:
            Drained: Main was told so, and has caught it.
        """
        self.interrupts.insist_on_drain()
        self.wait(lambda: not (self.is_busy or self._announcements or self._telling), threading.Event, None)
        self.interrupts.drain_no_more()
        if self._book is not None:
            self._book.tend()

    def keep_journal(self, path: Path) -> int:
        """Write down what calls return, and don't run again what is there.

        Returns:
            How many outcomes are there.

        Raises:
            JournalError: The file can't be used.
        """
        journal = self._book = Journal(path)
        with self._lock:
            self._children.keep(self._present)
        return journal.count

    @property
    def kept(self) -> int | None:
        """How many outcomes the journal holds, of this run and earlier ones; None: there is none."""
        return self._book.count if isinstance(self._book, Journal) else None

    def end_journal(self, kind: str, why: str = "") -> None:
        """Nothing more will be kept: write down how the run has ended, and why so. From any thread."""
        if self._book is not None:
            with self._lock:  # another thread may write an outcome right now, at the same place of the file
                self._book.end(kind, why)
                self._book.close()

    def abandon(self, grace: float) -> int:
        """Cancel every call that has not begun, and wait up to `grace` seconds for the others.

        Returns:
            How many calls were cancelled.
        """
        with self._lock:
            self._closing = True
            self._begin_draining()
            cancelled = self._cancel_waiting()
            self._children.settle()
        self.announce()
        self.interrupts.forget()
        with suppress(FarmBroken):
            self.wait(lambda: not self._scheduler.unfinished, threading.Event, grace)
        return cancelled

    @property
    def has_lost_slaves(self) -> bool:
        """Whether slaves have died, so that MPI can't be finalized."""
        return bool(self._losses or self._transport.deaths)

    def _begin_draining(self) -> None:
        """Have the slaves give back what they have not begun, and let what runs know that it should stop."""
        if not self._draining:
            self._draining = True
            self.left = self._scheduler.unfinished
            for rank in self._present:
                self._send(rank, (DRAIN,))

    def busy_ranks(self) -> dict[int, str]:
        """The slaves that are in a call, and of which task."""
        with self._lock:
            return {rank: _ours(call).plan.name for rank, call in self._scheduler.sent()}

    def left_in_calls(self) -> dict[int, str]:
        """The slaves that are in calls which were given up, and have not left; and of which task."""
        with self._lock:
            return {rank: name for rank, name in self._overdue.left.items() if rank in self._present}

    def close(self, grace: float) -> list[int]:
        """Stop the background thread and let the slaves go: up to `grace` seconds for those that are not in a call.

        Returns:
            The slaves that have not left: they are in a call, or release what they hold. Not those that are in calls which
            were given up.
        """
        self._closing = True
        self._drive.stop()
        told = self._part_with()
        with self._lock:
            self._dismissed = True
            stay = not told.isdisjoint(self._present)
            for rank in self._present:
                if rank not in told:
                    self._send(rank, (STAY if stay else LEAVE, bool(self._losses)))
        with suppress(FarmBroken):
            self.wait(self._have_left, threading.Event, grace)
        self._drive.broken = self._drive.broken or FarmBroken("the run has ended")
        self.end_all(self._drive.broken)
        return sorted(set(self._present).difference(self._overdue.left))

    def _part_with(self) -> set[Rank]:
        """Let those go first that are in calls which were given up: whether they can decides how the others leave."""
        with self._lock:
            told = set(self._present).intersection(self._overdue.left)
            for rank in told:
                self._send(rank, (LEAVE,))
        if any(rank < len(self.places) for rank in told):  # a thread can't leave
            with suppress(FarmBroken):
                self.wait(lambda: told.isdisjoint(self._present), threading.Event, LEAVE_WITHIN)
        return told

    def _have_left(self) -> bool:
        """All slaves have left that can."""
        with self._lock:
            busy = {*self._overdue.left, *(rank for rank, _ in self._scheduler.sent())}
            return busy.issuperset(self._present) and (bool(busy) or not self._transport.sending)

    def end_all(self, why: BaseException) -> None:
        """No outcome will come any more: end the calls that have none."""
        with self._lock:
            self._closing = True
            waiting = [*self._later.take_all(), *self._scheduler.waiting()]
            for call in [*waiting, *(call for _, call in self._scheduler.sent())]:
                self._lose(_ours(call), why)
            self._children.settle()
        self.announce()

    def check_interrupts(self) -> None:
        """Raise KeyboardInterrupt or SystemExit if a signal has come, into an event loop."""
        if self.interrupts.pending:
            self.interrupts.check_once()

    # ---------------------------------------------------------------- for calls of calls, under the lock

    def submit_child(self, plan: Plan, resource: Hashable, submission: Submission, child: Child, parent: Call | None) -> Call:
        """Take a call that another one submits.

        Raises:
            FarmBroken: The farm has ended.
            KeyError: A slave names a call that it can't know.
            ValueError: Its `id` names another call.
            NotRunning: The other one was given up.
        """
        if self._scheduler.is_given_up(child.home, submission[1]):  # its slave runs nothing, so it could wait for ever
            msg = f"{plan.name!r} can't be called here any more: that call has outlasted its timeout, and was given up"
            raise NotRunning(msg)
        _, _, _, _, payload, claims, after, function, identity, _ = submission
        if after:
            plan = replace(plan, after=tuple(self._child_of(child, number) for number in after))
        call = child._call = _Call(CallId(next(self._ids)), plan, resource, payload, child)
        if function is not None:
            call.target = self._functions.number_of(function) if function else None
        self._scheduler.nested(call, parent, child.home)
        if identity is not None and self._remember_child(call, identity, parent):
            return call
        self._admit(call, [self._child_of(child, one) if isinstance(one, int) else one for one in claims])
        return call

    def _child_of(self, child: Child, number: int) -> Future[Any]:
        """The future of another call that this one's slave has submitted."""
        return self._children.child_of(child.home, number)

    def _remember_child(self, call: _Call, identity: tuple[bytes, int, bool, str], parent: Call | None) -> bool:
        """As `_remember`, of a call that another one submits, by what its slave says of it."""
        same, place, relative, shown = identity
        book = self._book = self._book or Book()
        known = None
        if parent is not None:
            known = _ours(parent).known
            call.submitted_by = Attempt(parent.id, parent.attempt, _ours(parent).submitted_by)
        key = None if not relative else b"" if known is None else known.key
        return self._is_known(book, call, of_child(call.plan, same, place, shown, key))

    def future_of(self, call: Call) -> Future[Any]:
        """The outcome of a call."""
        return _ours(call).future

    def withdraw_child(self, call: Call) -> bool:
        """Cancel a call; False if it is too late, and then tell the call to stop."""
        if self._give_up(_ours(call)):
            self._cancelled(_ours(call))
            self._decide_at = 0.0  # another one may have waited for it
            return True
        rank = _ours(call).future.rank
        if call.state != ENDED and rank is not None:
            _ours(call).is_unwanted = True
            self._send(Rank(rank), (STOP, call.id))
        return False

    def end_joined(self, call: Call, how: int, payload: wire.Payload | Future[Any]) -> None:
        """A call ends as another one did, which it has given back."""
        ours = _ours(call)
        if how == CANCELLED:
            self._cancelled(ours)
        elif isinstance(payload, Future):
            self._end_because(ours, payload)
        else:
            if how == RETURNED:
                self.left -= self._draining and not ours.is_early
                if self._book is not None:
                    self._keep(self._book, [(ours, (call.id, None, None, payload))])
            self._finish(ours, payload, returned=how == RETURNED)

    def note_end(self, rank: Rank, call_id: CallId, *, was_given_up: bool) -> None:
        """A slave has ended a call without an outcome."""
        self._overdue.answered(rank, [(call_id, None, None, b"")])
        if was_given_up:
            self._without_late(rank, [], [])

    def send_if_there(self, rank: Rank, message: tuple[Any, ...]) -> None:
        """Send to a slave that has not been let go."""
        if rank in self._present and not self._dismissed and self._drive.broken is None:
            self._send(rank, message)

    # ---------------------------------------------------------------- for the watchdog

    def explain(self) -> why.Explanation:
        """What waits, and why; what the slaves do."""
        with self._lock:
            return why.explain(self._scheduler.state(monotonic()), self._later.calls())

    def progress(self) -> tuple[int, ...]:
        """Numbers of which one changes when anything happens."""
        with self._lock:
            return why.progress(self._scheduler.state(monotonic()))

    def ask_stacks(self) -> list[Rank]:
        """Ask the slaves where they are: their answers come into `stacks`. Who was asked."""
        with self._lock:
            self.stacks.clear()
            for rank in self._present:
                self._send(rank, (STACKS,))
            return list(self._present)

    def take_over(self) -> None:
        """Take in what has arrived, if nobody else does."""
        self._drive.take_over()

    # ---------------------------------------------------------------- driving

    def step(self) -> bool:
        """Take in what has arrived, hand out what can be handed out, and tell who waits. Whether anything arrived."""
        heard = self._drive.turn()
        self.announce()
        return heard

    def turn(self) -> bool:
        """As `step`, but tell nobody: this may run with the lead, and whoever is told may wait."""
        with self._lock:
            now = self._drive.stepped_at = monotonic()
            if self._book is not None:
                self._book.tend()
            heard = self._look(now)
            if self._transport.deaths:
                heard = self._bury()
            if self._later.due <= now:
                for call in self._later.take(now):
                    self._scheduler.resumed(call)
                heard = True
            if self._overdue.due <= now:
                for stuck in self._overdue.look(now):
                    self._leave_behind(stuck, now)
                heard = True
            self._children.settle()  # after all this: calls end by more than messages
            if self.interrupts.draining:
                self._begin_draining()
            elif heard or now >= self._decide_at:
                self._decide(now)
        return heard

    def has_news(self) -> bool:
        """Whether there is something to announce."""
        return bool(self._announcements or self._records or self._discarded)

    @property
    def is_busy(self) -> bool:
        """Whether calls have not ended."""
        return self._scheduler.unfinished > 0

    @property
    def broken(self) -> BaseException | None:
        """Why the farm has ended before its time, if it has."""
        return self._drive.broken

    def _is_sending(self) -> bool:
        with self._lock:
            return self._transport.sending

    def announce(self) -> None:
        """Tell who waits, and run callbacks and log handlers: code of the user, so without the lock and the lead."""
        while self._discarded:
            self.withdraw(self._discarded.popleft())
        while self._announcements or self._records:
            me = object()
            self._telling.add(me)
            try:
                if self._announcements:
                    self._announcements.popleft()._announce()
                else:
                    logs.replay(self._records.popleft())
            except IndexError:  # another thread was faster
                return
            finally:
                self._telling.discard(me)

    # ---------------------------------------------------------------- what happens under the lock

    def _accept(self, call: _Call, claims: list[Any]) -> None:
        """A call is submitted by main."""
        if not self._admit(call, claims):
            return
        self._drive.heard_at = now = monotonic()
        if self._scheduler.has_idle:
            self._decide(now)
            return
        self._unlooked += call.items
        if self._unlooked >= SUBMITS_A_LOOK:
            self._unlooked = 0
            self._drive.stepped_at = now
            if self._look(now):
                self._children.settle()
                self._decide(now)

    def _admit(self, call: _Call, claims: list[Any]) -> bool:
        """A call is submitted. False if it is not for the scheduler, or has ended already."""
        plan = call.plan
        if self._closing or self._drive.broken is not None:
            self._refuse(plan)
        if plan.queue not in self._queues:
            self._queues.add(plan.queue)
            self._scheduler.queue_defined(plan.queue, max_slaves=plan.max_slaves, weight=plan.weight)
        if self._losses.nobody_left:
            self._scheduler.refused(call)
            self._end_lost(call)
            return False
        if call.known is not None and plan.memo and self._follow(call, claims):
            return False
        if claims or plan.after:
            return self._tie(call, claims)
        self._scheduler.submitted(call)
        return True

    def _refuse(self, plan: Plan) -> NoReturn:
        msg = f"{plan.name!r} can't be called any more: the run is ending"
        raise FarmBroken(msg) from self._drive.broken

    def _follow(self, call: _Call, claims: list[Any]) -> bool:
        """Whether an equal call runs for this one, or has returned since it was submitted."""
        if self._book is None or call.known is None:
            return False
        value = self._book.find(call.known.key)
        if value is not None:
            self._recall(call, value)
            return True
        leader = self._sharing.join(call.known.key, call, claims)
        if leader is not None:
            self._scheduler.joined(call, leader)
        return leader is not None

    def _followers(self, call: _Call) -> Iterator[_Call]:
        """The calls that end with this one, as it does."""
        if call.known is not None:
            for follower in self._sharing.leave(call.known.key, call):
                self._scheduler.refused(follower)
                yield follower

    def _pass_on(self, call: _Call) -> None:
        """Let the first of those that followed a cancelled call run, and the others follow that."""
        if call.known is None:
            return
        for follower, claims in self._sharing.leave(call.known.key, call).items():
            if self._closing or self._drive.broken is not None:
                self._scheduler.refused(follower)
                self._cancelled(follower)
            else:
                self._accept(follower, claims)

    def _give_up(self, call: _Call) -> bool:
        """Take a call from the scheduler, if it has not been sent."""
        batch = call.future.batch if isinstance(call.future, ItemFuture) else None
        if batch is not None and (in_time := batch.give_up(cast("ItemFuture", call.future))) is not None:
            return in_time
        if not self._sharing.is_follower(call):
            return self._scheduler.cancelled(call)
        self._scheduler.refused(call)
        return True

    def _tie(self, call: _Call, claims: list[Any]) -> bool:
        """Let a call wait for its futures. False if it has ended already, because one of them failed."""
        places: dict[Future[Any], list[int]] = {}
        for place, future in enumerate(claims):
            if isinstance(future, Future):  # a call's child may have ended, and be its value
                places.setdefault(future, []).append(place)
        call.places = places
        call.values = [None if isinstance(one, Future) else one for one in claims]
        after: list[Call] = []
        for future in [*places, *call.plan.after]:
            other = future._call
            if other is not None and other.state != ENDED:
                after.append(other)
            elif not self._take_value(call, future):
                self._scheduler.refused(call)
                self._end_because(call, future)
                return False
        self._scheduler.submitted(call, after)
        return True

    def _take_value(self, call: _Call, future: Future[Any]) -> bool:
        """Put the value of an ended future where it goes. False if it has none: it failed."""
        if future._state != FINISHED or future._is_failure():
            return False
        payload = future._payload
        places = call.places.get(future) if call.places else None
        if places:
            future._lent = True
            if payload is None:  # somebody has decoded it since
                payload = wire.snapshot(wire.encode(future._result))
            values = list(call.values)
            for place in places:
                values[place] = payload
            call.values = values
        return True

    def _look(self, now: float) -> bool:
        """Take in what has arrived."""
        arrival = self._transport.receive()
        if arrival is None:
            return False
        while arrival is not None:
            self._take_in(arrival, now)
            arrival = self._transport.receive()
        self._drive.heard_at = now
        return True

    def _take_in(self, arrival: Arrival, now: float) -> None:
        """A slave's report, its goodbye, or another word of it."""
        message = wire.unpack(arrival.packet)
        if message[0] == REPORT:
            self._take_report(arrival.source, message, now)
        elif message[0] == MANY:
            self._batches.take_in(arrival.source, message[1:], now)
        elif message[0] == BYE:
            self._present.remove(arrival.source)
        elif message[0] == HEARD:
            self._hear(arrival.source, message[1])
        elif message[0] == STACKS:
            self.stacks[arrival.source] = message[1]
        elif message[0] == LIMIT:
            self._overdue.limited(arrival.source, None if message[1] is None else Limit(*message[1]), now)
        elif message[0] == STUCK:
            self._leave_behind(Stuck(arrival.source, *message[1:]), now)
        else:
            self._children.take_in(arrival.source, message, now)

    def _take_report(self, source: Rank, message: tuple[Any, ...], now: float) -> None:
        _, outcomes, given_back, records, holdings = message
        if outcomes:
            ended = self._scheduler.calls_finished(source, [(one[0], one[2]) for one in outcomes], now)
            calls = cast("list[_Call]", ended)
            self._overdue.answered(source, outcomes)
            if len(calls) < len(outcomes):
                outcomes = self._without_late(source, calls, outcomes)
            self._take_outcomes(calls, outcomes, now)
        if given_back is not None:
            self._scheduler.given_back(source, given_back, now)
            if self._closing:
                self._cancel_waiting()
        if holdings is not None:
            held, acquired = holdings
            known = [(_identity(named), seconds) for named, seconds in acquired]
            self._scheduler.resources_held(source, map(_identity, held), known, now)
        self._records.extend(records)

    def _take_outcomes(self, calls: list[_Call], outcomes: list[Outcome], now: float) -> None:
        if self._book is not None:
            self._keep(self._book, zip(calls, outcomes, strict=True))
        for call, (_, failure, _, payload) in zip(calls, outcomes, strict=True):
            if failure is None:
                self.left -= self._draining and not call.is_early
                self._finish(call, payload, returned=True)
            else:
                self._failed(call, failure, payload, now)

    def _failed(self, call: _Call, failure: Failure, payload: wire.Payload, now: float) -> None:
        """A call has failed: it runs again, or ends."""
        told = _with_crashes(call, failure, payload)
        if not self._again(call, failure, now):
            self._finish(call, told, returned=False)

    def _bury(self) -> bool:
        """Slaves have died; what they had sent is taken in."""
        while self._transport.deaths:
            death = self._transport.deaths.popleft()
            self._transport.drop(death.rank)
            if death.rank in self._present:
                self._present.remove(death.rank)
                if not self._dismissed or any(rank == death.rank for rank, _ in self._scheduler.sent()):
                    self._slave_lost(death)
                else:
                    self._losses.note(death, ())
        self._decide_at = 0.0
        return True

    def _slave_lost(self, death: Death) -> None:
        """A slave has died, and its calls are to run elsewhere."""
        self._functions.forget(death.rank)
        lost = self._scheduler.slave_lost(death.rank)
        self._losses.note(death, lost.calls)
        self._records.append(logs.record_of(self._losses.line(lost)))
        for call in lost.calls:
            if call.nest is not None:
                self._children.attempt_is_over(call)
            if not _ours(call).future.done():
                _ours(call).future._state, _ours(call).is_early = PENDING, False
        for call in lost.given_up:
            self._end_lost(_ours(call))
        if self._losses.nobody_left:
            for call in [*self._later.take_all(), *self._scheduler.waiting()]:
                if self._scheduler.cancelled(call):
                    self._end_lost(_ours(call))
        elif self._closing:
            self._cancel_waiting()

    def _end_lost(self, call: _Call) -> None:
        """A call fails, because its slave has died."""
        if call.is_many:
            for one in call.singles():
                one.state = ENDED
                self._end_lost(_ours(one))
            return
        error = self._losses.error(call, call.plan.name)
        self._finish(call, encode_failure(error, f"it was sent {times(call.attempt)}"), returned=False)

    def _hear(self, source: Rank, call_id: CallId) -> None:
        """That call knows that it should stop. One that was given up may run again elsewhere, and knows nothing there."""
        for rank, call in self._scheduler.sent():
            if isinstance(call, Items) and rank == source and call.has(call_id):
                call.batch.early.add(call_id)
            elif call.id == call_id and rank == source:
                _ours(call).is_early = True

    def _leave_behind(self, stuck: Stuck, now: float) -> None:
        """A call ends that goes on, and so do those below it there: the slave gets nothing more until all have ended."""
        rank, attempt, (call_id, failure, _, payload) = stuck
        calls = [_ours(call) for call in self._scheduler.given_up(rank, call_id, attempt, now)]
        if not calls or failure is None:  # it has just ended
            return
        name = self._overdue.left[rank] = next(call.plan.name for call in calls if call.id == call_id)
        self._records.append(logs.warning(f"slave {rank} is left in a call of {name!r} that has outlasted its timeout"))
        for call in calls:
            self._send(rank, (STOP, call.id))
            told = payload if call.id == call_id else along_with(call.plan.name, payload)
            self._failed(call, failure, told, now)

    def _without_late(self, rank: Rank, calls: list[_Call], outcomes: list[Outcome]) -> list[Outcome]:
        """The outcomes of these calls. Others were given up; with the last of them, its slave works again."""
        if rank not in dict(self._scheduler.left_in_calls()):
            name = self._overdue.left.pop(rank)
            text = f"slave {rank} has ended the call of {name!r} that had outlasted its timeout, and works again"
            self._records.append(logs.warning(text))
        ids = {call.id for call in calls}
        return [one for one in outcomes if one[0] in ids]

    def _keep(self, book: Book, ended: Iterable[tuple[_Call, Outcome]]) -> None:
        """Write down what calls have returned, before anybody hears of it; what can't be kept, nobody does."""
        kept = {
            call: Entry(call.known, payload, seconds, call.future.rank, call.attempt)
            for call, (_, failure, seconds, payload) in ended
            if failure is None and call.known is not None and not call.future.done() and not call.is_early
        }
        try:
            book.write(list(kept.values()))
        except JournalError as error:
            for call in kept:
                self._lose(call, error)

    def _again(self, call: _Call, failure: Failure, now: float) -> bool:
        """Have a failed call run again, after a pause. False if it does not."""
        call.failed += 1
        if call.nest is not None:
            self._children.attempt_is_over(call)
        retries = call.plan.retries
        is_last = retries is None or self._closing or self._draining or call.is_unwanted or call.future.done()
        pause = None if retries is None or is_last else retries.pause(call.failed, failure)
        if pause is None:
            return False
        call.future._state, call.is_early = PENDING, False
        self._scheduler.tally.queues[call.queue].retried += 1
        self._scheduler.postponed(call)
        self._later.add(call, now + pause)
        return True

    def _finish(self, call: _Call, payload: wire.Payload, *, returned: bool) -> None:
        """A call has its outcome."""
        future = call.future
        if future.done():  # given up meanwhile, by `end_all`
            return
        followers = list(self._followers(call)) if call.known is not None else ()
        if followers:
            future._lent = True
        future._payload = payload
        if not returned:
            future._failed = True
            self._scheduler.tally.queues[call.queue].failed += 1
        dependents = call.dependents
        # A failure that nobody holds is logged when it is forgotten; kept until then, it is so outside of the lock.
        if future._end(FINISHED) or not returned:
            self._announcements.append(future)
        if dependents:
            if returned:
                for dependent in dependents:
                    self._take_value(_ours(dependent), future)
                self._scheduler.call_succeeded(call)
            else:
                self._fail_dependents(call)
        self._let_go(call)
        for follower in followers:
            follower.future._lent = True
            self._finish(follower, payload, returned=returned)

    def _lose(self, call: _Call, why: BaseException) -> None:
        """No outcome of this call will come any more."""
        if isinstance(call, Items):
            call.batch.lost(call, why)
            return
        future = call.future
        if not future.done():
            future._exception = farm_ended(why)
            future._end(FINISHED)
            self._announcements.append(future)
            self._fail_dependents(call)
            for follower in self._followers(call):
                self._lose(follower, why)

    def _fail_dependents(self, call: Call) -> None:
        """What waited for a failed call fails too."""
        for ended, because in self._scheduler.call_failed(call):
            self._end_because(_ours(ended), _ours(because).future)

    def _end_because(self, call: _Call, other: Future[Any]) -> None:
        """A call will never run, because of another one that failed or was cancelled."""
        future = call.future
        if other._state == CANCELLED_AND_NOTIFIED:
            state = CANCELLED_AND_NOTIFIED
        else:
            state = FINISHED
            future._because = future._root = other._root or other
            other._retrieved = True  # it is told with this one
        future._end(state)
        self._announcements.append(future)
        self._let_go(call)
        self._fail_dependents(call)  # the scheduler knows of none, if it ran, or followed another
        if state == CANCELLED_AND_NOTIFIED:
            self._pass_on(call)
        for follower in self._followers(call):
            self._end_because(follower, other)

    def _cancelled(self, call: _Call) -> None:
        """A call was cancelled, and with it what waited for it."""
        if isinstance(call, Items):
            call.batch.cancelled(call)
            return
        if call.future.done():  # it ended with a broken farm, before the run was abandoned
            return
        if call.future._end(CANCELLED_AND_NOTIFIED):
            self._announcements.append(call.future)
        self._fail_dependents(call)
        self._let_go(call)
        self._pass_on(call)

    def _cancel_waiting(self) -> int:
        """Cancel what has not been sent."""
        before = self._scheduler.unfinished
        for call in [*self._later.take_all(), *self._scheduler.waiting()]:
            if self._scheduler.cancelled(call):
                self._cancelled(_ours(call))
        for _, sent in self._scheduler.sent():
            for call in (sent, *sent.inside()):
                for ended, _ in self._scheduler.call_failed(call):
                    self._cancelled(_ours(ended))
        return before - self._scheduler.unfinished

    def _let_go(self, call: _Call) -> None:
        """Nobody needs the arguments any more."""
        if isinstance(call.target, int):
            self._functions.release(call.target)

    def _decide(self, now: float) -> None:
        """Carry out what the scheduler says, unless nothing more is to begin."""
        if self.interrupts.draining:
            return
        if self._closing:
            self._cancel_waiting()  # what waited for a call that has ended, and ran nowhere itself
            self._children.settle()
            self._decide_at = inf
            return
        for order in self._scheduler.decide(now):
            self._carry_out(order)
        self._decide_at = self._scheduler.deadline()

    def _carry_out(self, order: Order) -> None:
        if isinstance(order, Send):
            self._send_window(order)
        else:
            self._send(order.rank, (BACK,))

    def _send_window(self, order: Send) -> None:
        calls: list[SentCall | SentMany] = []
        unwanted: list[CallId] = []
        numbers: set[int] = set()
        needed = order.calls[0].resource  # the same for all
        resource = (needed.kind.name, needed.args) if isinstance(needed, Provided) else None
        for call in cast("list[_Call]", order.calls):
            if isinstance(call, Items):
                many, stopped = call.batch.sent(call, order.rank)
                calls.append(many)
                unwanted += stopped
                continue
            future = call.future
            future._state = RUNNING
            future.rank, future.attempts = order.rank, call.attempt
            if isinstance(call.target, int):
                numbers.add(call.target)
            if call.setup is not None:
                numbers.add(call.setup)
            if call.is_unwanted:  # it has come back, or its slave has died
                unwanted.append(call.id)
            values = [wire.sendable(value) for value in call.values if value is not None] if call.values else ()
            payload = wire.sendable(call.payload)
            plan = call.plan
            isolate = plan.isolate or self.isolates
            terms = (plan.timeout, isolate) if isolate or plan.timeout is not None else None
            calls.append((call.id, plan.name, call.target, call.attempt, call.setup, payload, values, resource, terms))
        functions, dropped = self._functions.to_send(order.rank, numbers) if numbers else ({}, [])
        kind = (ABOVE, order.above) if order.above else (WINDOW,)
        self._send(order.rank, (*kind, functions, dropped, calls))
        for call_id in unwanted:
            self._send(order.rank, (STOP, call_id))

    def _send(self, rank: Rank, message: tuple[Any, ...]) -> None:
        self._transport.send(rank, wire.pack(message))
