"""The master: what main sees of the farm, and drives.

::

    delay() ──► Submissions ──► Scheduler ──► Post ──► WINDOW ──► slaves
                                   ▲                                │
    Future ◄── News ◄── Endings ◄──┴── Intake ◄────── REPORT ◄──────┘

`step` drives all this, in whichever thread `drive` lets. A hand-over to a manager thread for every call would cost
625 µs, measured; driving in place costs 14.

`_lock` guards the scheduler, the transport and all these parts; it is held for microseconds, and never while code of the
user runs: pickling happens before, decoding in the thread that asks for the result, callbacks after.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..core import why
from ..core.calls import ENDED, Call
from ..core.scheduler import Rules, Scheduler
from ..errors import FarmBroken
from ..futures import Future
from ..ids import CallId, Rank
from ..plans import Plan
from ..transport import wire
from ..transport.base import Transport
from ..transport.failures import encode_failure
from .backoff import Backoff
from .batches import Batches
from .calls import FarmCall, ours
from .children import Children
from .drive import Drive, never
from .endings import Endings
from .functions import Functions
from .intake import Intake
from .interrupts import DRAIN as DRAIN_SIGNAL
from .interrupts import ENDS, Interrupts
from .items import Batch, Items, Parts
from .leaving import Leaving
from .losses import Losses
from .messages import CANCELLED, DRAIN, RETURNED, STACKS, STOP
from .news import News
from .overdue import Overdue
from .places import Place
from .post import Post
from .pump import Pumps
from .recall import Recall
from .shipping import Shipping
from .submissions import Submissions

if TYPE_CHECKING:
    from pathlib import Path

    from ..observe.counts import Statistics

KEPT_APART = 0.02
"""Seconds from which on calls are worth to be in the journal before the slave has the next one."""
SETTLE_WITHIN = 30.0
"""Seconds that slaves get at the end to say that no callback is left; they need milliseconds."""


class Master:
    """The running farm, on rank 0."""

    is_inline = False
    """Whether main runs the calls."""

    _decide_at = 0.0

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
        self.interrupts = Interrupts((*ENDS, DRAIN_SIGNAL))
        self._transport = transport
        self._lock = threading.RLock()  # by one thread once; it is one that knows its owner: see `withdraw`
        self._discarded: deque[Future[Any] | Batch] = deque()
        """Calls that a finalizer gave up while this thread held the lock."""
        self._pumps = Pumps(self)
        self._drive = Drive(self, new_backoff=backoff, is_orphan=is_orphan)
        self._scheduler = Scheduler(Rules(strikes=strikes))
        self._assemble(strikes)
        for rank in self._post.present:
            self._scheduler.slave_joined(rank)

    def _assemble(self, strikes: int) -> None:
        """Make the parts, and tell each of those that it works with."""
        transport, scheduler, drive = self._transport, self._scheduler, self._drive
        functions = self._functions = Functions()
        shipping = self._shipping = Shipping(self.send_if_there, self.places, range(1, transport.size))
        news = self._news = News()
        losses = self._losses = Losses(strikes, self.slaves, self.places)
        overdue = self._overdue = Overdue(self.places)
        recall = self._recall = Recall(scheduler)
        post = self._post = Post(transport, functions, shipping)
        endings = self._endings = Endings(scheduler, recall, functions, news=news, drive=drive, accept=self.accept)
        self._leaving = Leaving(
            transport, scheduler, post=post, overdue=overdue, losses=losses, lock=self._lock, wait=self.wait
        )
        submissions = self._submissions = Submissions(
            self,
            self._lock,
            scheduler,
            recall=recall,
            endings=endings,
            functions=functions,
            shipping=shipping,
            losses=losses,
            drive=drive,
        )
        self._children = Children(self, self, submissions, scheduler)
        parts = Parts(self, self._lock, scheduler, endings, news.ended, post.send, set(), functions)
        self._batches = Batches(parts, endings, submissions)
        self._intake = self._new_intake()

    def _new_intake(self) -> Intake:
        """What takes in what slaves tell."""
        return Intake(
            self._transport,
            self._scheduler,
            endings=self._endings,
            batches=self._batches,
            children=self._children,
            post=self._post,
            functions=self._functions,
            overdue=self._overdue,
            losses=self._losses,
            news=self._news,
        )

    # ---------------------------------------------------------------- the farm, for tasks and futures

    def submit(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], resource: Hashable) -> Future[Any]:
        """Take a call. Pickles the arguments before it returns.

        Raises:
            EncodeError: An argument can't be pickled; the message names it.
            FarmBroken: The farm has ended.
        """
        future = self._submissions.submit(plan, args, kwargs, resource)
        if self._news.ended:
            self.announce()
        if self.interrupts.pending:
            self.interrupts.check()
        return future

    def takes_many(self, plan: Plan) -> bool:
        """Whether many calls of that plan may be taken at once: nothing has to be looked after for each by itself."""
        is_usual = self._recall.book is None and not self._post.isolates and not self._losses.nobody_left
        return is_usual and self._batches.suit(plan)

    def submit_many(self, plan: Plan, items: Sequence[Any], *, tuples: bool) -> Batch | None:
        """Take the first of these at once, as many as can go together; None: they can't be taken but one by one.

        Raises:
            FarmBroken: The farm has ended.
        """
        batch = self._batches.take(plan, items, tuples=tuples)
        if self._news.ended:
            self.announce()
        if self.interrupts.pending:
            self.interrupts.check()
        return batch

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

    def withdraw_many(self, batch: Batch) -> bool:
        """Cancel many calls; False if it is too late for some, which are told to stop."""
        if self._lock._is_owned():  # type: ignore[attr-defined]  # as above
            self._discarded.append(batch)
            return False
        with self._lock:
            if self.interrupts.draining:
                self._begin_draining()  # as above
            in_time = batch.give_up_all()
            self._decide_at = 0.0  # another call may have waited for them
            self._children.settle()
        self.announce()
        return in_time

    def withdraw_unsent(self, batch: Batch) -> None:
        """Cancel those of many calls that have not been sent."""
        with self._lock:
            batch.give_up_unsent()
            self._decide_at = 0.0  # as above
            self._children.settle()
        self.announce()

    def fail(self, future: Future[Any], error: BaseException) -> None:
        """End a call with this error, if it has not been sent yet."""
        payload = encode_failure(error, f"task {future.task_name!r}, never begun")
        with self._lock:
            call = future._call
            if call is not None and self._endings.give_up(ours(call)):
                self._endings.finish(ours(call), payload, returned=False)
                self._children.settle()
        self.announce()

    def keep(self, payload: wire.Payload) -> wire.Reference:
        """Keep a value for slaves that need it, while anybody has the reference.

        Raises:
            FarmBroken: The farm has ended.
        """
        return self._submissions.keep(payload)

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
        self._pumps.start()

    def statistics(self) -> Statistics:
        """What was done so far, and why."""
        from ..observe.counts import take  # noqa: PLC0415  with dataclasses it takes 6 ms, and most programs never ask

        with self._lock:
            return take(self._scheduler)

    # ---------------------------------------------------------------- for the session

    def isolate(self) -> None:
        """Have all calls run in children of slaves."""
        self._post.isolates = True

    def start(self) -> None:
        """Begin to drive in the background."""
        self._drive.start()

    def finish(self) -> None:
        """Wait until every call has ended, and every callback, which may submit more.

        Raises:
            Drained: Main was told so, and has caught it.
        """
        self.interrupts.insist_on_drain()
        is_over = False
        while not is_over:
            self.wait(lambda: not (self.is_busy or self._news.is_being_told), threading.Event, None)
            self.wait(lambda: self.is_busy or self.have_settled(), threading.Event, SETTLE_WITHIN)
            is_over = not self.is_busy
        self.interrupts.drain_no_more()
        if self._recall.book is not None:
            self._recall.book.tend()

    def have_settled(self) -> bool:
        """Whether no callback of a call's call is left, on the slaves that can answer."""
        with self._lock:
            return self._children.have_settled(set(self._post.present).difference(self._overdue.left))

    def last_statistics(self) -> Callable[[], Statistics]:
        """What gives the same for whoever asks after the run, when nothing changes any more."""
        scheduler = self._scheduler

        def last() -> Statistics:
            from ..observe.counts import take  # noqa: PLC0415  as above

            return take(scheduler)

        return last

    def keep_journal(self, path: Path) -> int:
        """Write down what calls return, and don't run again what is there.

        Returns:
            How many outcomes are there.

        Raises:
            JournalError: The file can't be used.
        """
        journal = self._recall.keep_journal(path)
        with self._lock:
            self._children.keep(self._post.present)
            self._scheduler.keep_apart(KEPT_APART)
        return journal.count

    @property
    def kept(self) -> int | None:
        """How many outcomes the journal holds, of this run and earlier ones; None: there is none."""
        return self._recall.kept

    def end_journal(self, kind: str, why: str = "") -> None:
        """Nothing more will be kept: write down how the run has ended, and why so. From any thread."""
        if self._recall.book is not None:
            with self._lock:  # another thread may write an outcome right now, at the same place of the file
                self._recall.book.end(kind, why)
                self._recall.book.close()

    def abandon(self, grace: float) -> int:
        """Cancel every call that has not begun, and wait up to `grace` seconds for the others.

        Returns:
            How many calls were cancelled.
        """
        with self._lock:
            self._endings.closing = True
            self._begin_draining()
            cancelled = self._endings.cancel_waiting()
            self._children.settle()
        self.announce()
        self.interrupts.forget()
        with suppress(FarmBroken):
            self.wait(lambda: not self._scheduler.unfinished, threading.Event, grace)
        return cancelled

    @property
    def unretrieved(self) -> int:
        """Failures that calls on slaves which have left should have asked for, and did not."""
        return self._intake.unretrieved

    @property
    def has_lost_slaves(self) -> bool:
        """Whether slaves have died, so that MPI can't be finalized."""
        return bool(self._losses or self._transport.deaths)

    @property
    def left(self) -> int:
        """Calls that had not ended when the run was drained, and have not since."""
        return self._endings.left

    def _begin_draining(self) -> None:
        """Have the slaves give back what they have not begun, and let what runs know that it should stop."""
        if not self._endings.draining:
            self._endings.count_left()
            self._post.send_all((DRAIN,))

    def busy_ranks(self) -> dict[int, str]:
        """The slaves that are in a call, and of which task."""
        return self._leaving.busy_ranks()

    def left_in_calls(self) -> dict[int, str]:
        """The slaves that are in calls which were given up, and have not left; and of which task."""
        return self._leaving.left_in_calls()

    def close(self, grace: float) -> list[int]:
        """Stop the background thread and let the slaves go: up to `grace` seconds for those that are not in a call.

        Returns:
            The slaves that have not left: they are in a call, or release what they hold. Not those that are in calls which
            were given up.
        """
        self._endings.closing = True
        self._drive.stop()
        self._leaving.let_go(grace, len(self.places))
        self._drive.broken = self._drive.broken or FarmBroken("the run has ended")
        self.end_all(self._drive.broken)
        self._shipping.close()
        return self._leaving.not_left()

    def end_all(self, why: BaseException) -> None:
        """No outcome will come any more: end the calls that have none."""
        with self._lock:
            self._endings.lose_all(why)
            self._children.settle()
        self.announce()

    def check_interrupts(self) -> None:
        """Raise KeyboardInterrupt or SystemExit if a signal has come, into an event loop."""
        if self.interrupts.pending:
            self.interrupts.check_once()

    # ---------------------------------------------------------------- for calls of calls, under the lock

    def future_of(self, call: Call) -> Future[Any]:
        """The outcome of a call."""
        return ours(call).future

    def withdraw_child(self, call: Call) -> bool:
        """Cancel a call; False if it is too late, and then tell the call to stop."""
        if self._endings.give_up(ours(call)):
            self._endings.cancelled(ours(call))
            self._decide_at = 0.0  # another one may have waited for it
            return True
        rank = ours(call).future.rank
        if call.state != ENDED and rank is not None:
            ours(call).own().is_unwanted = True
            self._post.send(Rank(rank), (STOP, call.id))
        return False

    def end_joined(self, call: Call, how: int, payload: wire.Payload | Future[Any]) -> None:
        """A call ends as another one did, which it has given back."""
        if how == CANCELLED:
            self._endings.cancelled(ours(call))
        elif isinstance(payload, Future):
            self._endings.end_because(ours(call), payload)
        else:
            if how == RETURNED:
                self._endings.counted(ours(call))
                self._endings.returned([ours(call)], [(call.id, None, None, payload)])
            self._endings.finish(ours(call), payload, returned=how == RETURNED)

    def note_end(self, rank: Rank, call_id: CallId, *, was_given_up: bool) -> None:
        """A slave has ended a call without an outcome."""
        self._intake.note_end(rank, call_id, was_given_up=was_given_up)

    def send_if_there(self, rank: Rank, message: tuple[Any, ...]) -> None:
        """Send to a slave that has not been let go."""
        if rank in self._post.present and not self._post.dismissed and self._drive.broken is None:
            self._post.send(rank, message)

    # ---------------------------------------------------------------- for the watchdog

    def explain(self) -> why.Explanation:
        """What waits, and why; what the slaves do."""
        with self._lock:
            return why.explain(self._scheduler.state(monotonic()), self._endings.later.calls())

    def progress(self) -> tuple[int, ...]:
        """Numbers of which one changes when anything happens."""
        with self._lock:
            return why.progress(self._scheduler.state(monotonic()))

    @property
    def stacks(self) -> dict[Rank, str]:
        """What slaves have said since they were asked where they are."""
        return self._intake.stacks

    def ask_stacks(self) -> list[Rank]:
        """Ask the slaves where they are: their answers come into `stacks`. Who was asked."""
        with self._lock:
            self.stacks.clear()
            self._post.send_all((STACKS,))
            return list(self._post.present)

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
            if self._recall.book is not None:
                self._recall.book.tend()
            heard = self._look(now)
            if self._transport.deaths:
                self._intake.bury()
                self._decide_at, heard = 0.0, True
            if self._endings.later.due <= now:
                for call in self._endings.later.take(now):
                    self._scheduler.resumed(call)
                heard = True
            if self._shipping.due <= now:
                self._shipping.look(now)
            if self._overdue.due <= now:
                for stuck in self._overdue.look(now, self._intake.minds_a_child):
                    self._intake.leave_behind(stuck, now)
                heard = True
            self._children.settle()  # after all this: calls end by more than messages
            if self.interrupts.draining:
                self._begin_draining()
            elif heard or now >= self._decide_at:
                self._decide(now)
        return heard

    def seldom_driven(self, gap: float) -> None:
        """So many seconds pass between two turns, where nobody waits."""
        with self._lock:
            if self.is_busy:
                self._scheduler.seldom_driven(gap)

    def has_news(self) -> bool:
        """Whether there is something to announce."""
        return bool(self._news or self._discarded)

    @property
    def is_busy(self) -> bool:
        """Whether calls have not ended."""
        return self._scheduler.unfinished > 0

    @property
    def broken(self) -> BaseException | None:
        """Why the farm has ended before its time, if it has."""
        return self._drive.broken

    def announce(self) -> None:
        """Tell who waits, and run callbacks and log handlers: code of the user, so without the lock and the lead."""
        while self._discarded:
            self._discarded.popleft().cancel()
        self._news.tell()

    def wait_for_sends(self) -> None:
        """Wait until all that was sent is on its way."""
        self.wait(lambda: not self._is_sending(), threading.Event, None)

    def _is_sending(self) -> bool:
        with self._lock:
            return self._transport.sending

    # ---------------------------------------------------------------- under the lock

    def accept(self, call: FarmCall | Items, claims: list[Any]) -> None:
        """A call is submitted by main."""
        self._submissions.accept(call, claims)

    def decide_now(self) -> None:
        """A call was submitted that a slave may run at once."""
        self._drive.heard_at = now = monotonic()
        self._decide(now)

    def look_now(self) -> None:
        """Many calls were submitted, and nobody has driven the farm meanwhile."""
        self._drive.heard_at = self._drive.stepped_at = now = monotonic()
        if self._look(now):
            self._children.settle()
            self._decide(now)

    def _look(self, now: float) -> bool:
        """Take in what has arrived."""
        heard = self._intake.look(now)
        if heard:
            self._drive.heard_at = now
        return heard

    def _decide(self, now: float) -> None:
        """Carry out what the scheduler says, unless nothing more is to begin."""
        if self.interrupts.draining:
            return
        if self._endings.closing:
            self._endings.cancel_waiting()  # what waited for a call that has ended, and ran nowhere itself
            self._children.settle()
            self._decide_at = inf
            return
        for order in self._scheduler.decide(now):
            self._post.carry_out(order)
        self._decide_at = self._scheduler.deadline()
