"""A slave's loop: receive, run, answer. It never decides.

::

    WINDOW ──► inbox ──► run ──► outbox ──► REPORT
                 │ BACK, DRAIN: what is not begun goes back       a call outlasts its timeout ──► STUCK

The main thread runs the calls. Where one outlasts a tick, the listener thread looks for messages meanwhile: it takes
windows in, gives back what is not begun, and sends outcomes that wait. Both take from the inbox by one atomic `pop`, so no
call is both run and given back.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from types import FrameType
from typing import TYPE_CHECKING, Any

from .. import output
from ..ids import MASTER, CallId, Rank
from ..transport import wire
from ..transport.base import Transport
from . import columns
from .alarm import ENDED_FOR_ANOTHER, SOON, TIMED_OUT, Limit, Watched
from .backoff import Backoff
from .depth import one_level_deeper
from .drive import never
from .holding import SlaveHolding
from .loop import Loop
from .messages import (
    ABOVE,
    BACK,
    BYE,
    DRAIN,
    HEARD,
    LEAVE,
    LIMIT,
    OF_BROADCASTS,
    REPORT,
    STACKS,
    STAY,
    STOP,
    STUCK,
    WINDOW,
    Holdings,
    Named,
    Outcome,
    Record,
    SentCall,
    SentMany,
)
from .runner import Ran, Runner

if TYPE_CHECKING:
    from ..isolation.handle import Isolation
    from .nested import NestedFarm

TICK = 0.05
"""Seconds between two looks of the listener: 20 a second cost 0.1 % of a core."""
MOST_UNSENT, LONGEST_UNSENT = 128, 1e-3
"""Outcomes, and seconds, that are gathered into one report while calls go on."""

A_CALL = 9
"""Fields of one call that was sent; many as one have a further one."""

LONGEST_BYE = 2.0
"""Seconds that the last word may take to leave."""


class Slave:
    """Runs the calls that the master sends."""

    _level: FrameType | None = None
    """Where the call began that runs on top of others; None: none waits."""
    _draining = _leaving = False
    _above = 0.0
    """Seconds that the call which runs has waited by running others."""
    _both: tuple[Sequence[Named], Sequence[Named], Sequence[Named]] = (), (), ()
    """What is held in the child and here, and together."""

    _isolation: Isolation | None = None
    """What runs calls in a child, once there was one."""

    is_to_stay = False
    """The master has said that a rank is left in a call: this process ends with the job, and must not end MPI before."""
    after_deaths = False
    """Other ranks have died, so that MPI can't be finalized."""

    def __init__(  # noqa: PLR0913  all but two are for the tests, or for real processes
        self,
        transport: Transport,
        *,
        host: str,
        backoff: Backoff | None = None,
        is_orphan: Callable[[], bool] = never,
        is_draining: Callable[[], bool] = never,
        leave: Callable[[], object] | None = None,
    ) -> None:
        self.records: deque[Record] = deque()
        """Log records to be sent."""
        self._transport = transport
        self.rank = transport.rank
        self.backoff = backoff or Backoff()
        self._is_orphan = is_orphan
        self._is_draining = is_draining
        self._leave = leave
        """Ends this process in order, in the main thread; None: it can't be ended by itself."""
        self.wire: Any = threading.RLock()  # by one thread once, but for those that hold it to send two things as one
        self._inbox: deque[SentCall | SentMany] = deque()
        self._outbox: deque[Any] = deque()  # of outcomes: a cast for each would cost more than `append`
        self._unsent_for = 0.0
        """Seconds that the calls took whose outcomes are in the outbox."""
        self._stopped: set[CallId] = set()
        self._heard: CallId | None = None
        """The call that knows that it should stop."""
        self._holding = SlaveHolding(self._send, transport.is_sending_to, transport.drop)
        self._host = host
        self._runner = self._new_runner()
        self._keeper = self._runner.keeper
        self._loop = Loop(self, self._runner)
        self._acquired: list[tuple[Named, float]] = []
        self._held: Sequence[Named] | None = ()
        """What the master knows of `_holds`; None: something else, that it expected of a call which failed to acquire it."""
        self._given_up: Watched | None = None
        """What the master was told of last, because it can't be interrupted."""
        self._begun = 0
        self._thread = threading.current_thread()
        """In which calls run."""

    def _new_farm(self, slaves: int) -> NestedFarm:
        from .nested import NestedFarm  # noqa: PLC0415  see `Runner.farm`

        return NestedFarm(self, slaves)

    def _new_runner(self) -> Runner:
        """What runs calls here."""
        return Runner(
            self.rank,
            host=self._host,
            is_stopped=self.is_stopped,
            tell_acquired=self._tell_acquired,
            tell_limit=self._tell_limit,
            new_farm=partial(self._new_farm, self._transport.size - 1),
            known=self._holding,
        )

    def _new_isolation(self) -> Isolation:
        """What runs calls in a child."""
        from ..isolation.handle import Isolation  # noqa: PLC0415  3 ms, for those that have such calls

        made = Isolation(
            self.rank,
            host=self._host,
            is_stopped=self._is_unwanted,
            tell_heard=self._tell_heard,
            tell_acquired=self._tell_acquired,
            records=self.records,
            holding=self._holding,
        )
        with self.wire:  # a listener that hears of another function meanwhile must find it, or not have heard yet
            made.know(self._runner.functions, ())
            self._isolation = made
        return made

    # ---------------------------------------------------------------- the loop

    def serve(self) -> None:
        """Run calls until the master says that no more will come."""
        closing, self._thread = threading.Event(), threading.current_thread()
        listener = threading.Thread(target=self._listen, args=(closing,), name="mpitasks-listener", daemon=True)
        listener.start()
        try:
            while self.step() or not self._leaving:
                pass
        finally:
            closing.set()
            listener.join()
        self.close()

    def step(self) -> bool:
        """Run a call, or else look for messages, or else pause. False if there was nothing to do."""
        if self._inbox and self._run_next():
            return True
        if self.receive():
            self.backoff.reset()
            return True
        if perf_counter() >= self._keeper.due:
            self._keeper.release_idle()
        if self._isolation is not None:
            self._isolation.look()
        if self._runner.made is not None:
            self._runner.made.settle()
        if self._outbox or self.records or self._held is not self._holds:
            self._report()
        if self._stopped:
            self._forget_stops()
        if not self._leaving:
            self.backoff.pause()
        return False

    def run_all(self) -> None:
        """Run everything that has been sent so far, and return."""
        self._thread = threading.current_thread()
        while self.receive() or self._inbox:
            if self._inbox and not self._run_next():
                return

    def close(self) -> None:
        """Release what is held, end what async tasks ran on, send what is unsent, and say goodbye."""
        self._runner.close()
        if self._isolation is not None:
            self._isolation.close()
        if self._runner.made is not None:
            self._runner.made.close()
        self.finish_sending()
        self._finish_passing_on()
        with self.wire:
            self._transport.send(MASTER, wire.pack((BYE, self._unretrieved())))
        until = perf_counter() + LONGEST_BYE if self.after_deaths else 0.0
        while perf_counter() < until and self._is_sending():  # else MPI_Finalize sees to that
            self.backoff.pause()

    # ---------------------------------------------------------------- messages

    def receive(self) -> bool:
        """Take in one message, if there is one."""
        with self.wire:
            arrival = self._transport.receive()
            if arrival is None:
                return False
            self._take_in(wire.unpack(arrival.packet))
        return True

    def _take_in(self, message: tuple[Any, ...]) -> None:
        kind = message[0]
        if kind == WINDOW:
            self._take_window(*message[1:])
        elif kind == STOP:
            first, count = message[1], (*message, 1)[2]
            self._stopped.update(map(CallId, range(first, first + count)))
        elif kind in (BACK, DRAIN):
            self._draining = self._draining or kind == DRAIN
            self._loop.split()
            self._send_report([], self.unbegun())
        elif kind in (LEAVE, STAY):
            self._leaving, self.is_to_stay = True, kind == STAY
            self.after_deaths = message[1:] == (True,)
        elif kind == ABOVE:
            self._take_above(*message[1:])
        elif kind in OF_BROADCASTS:
            self._holding.take_in(*message)
        elif kind != STACKS:
            self._runner.farm().take_in(message)
        elif self._isolation is None or not self._isolation.ask_stack(self._tell_stacks):
            self._transport.send(MASTER, wire.pack((STACKS, self._stacks())))

    def _take_window(
        self,
        functions: dict[int, Callable[..., Any]],
        dropped: list[int],
        calls: list[SentCall | SentMany] | columns.Calls,
    ) -> None:
        """Calls came to be run."""
        self._know(functions, dropped)
        each = columns.calls_of(calls) if isinstance(calls, tuple) else calls
        if self._waits:  # it was on its way when a call began to wait; the main thread is not to see it
            self._send_report([], [call[0] for call in each])
        else:
            self._inbox.extend(each)

    def _take_above(
        self, wait: int, functions: dict[int, Callable[..., Any]], dropped: list[int], calls: list[SentCall]
    ) -> None:
        """Calls came to be run while a call waits; they go back if it goes on by now."""
        self._know(functions, dropped)
        if self._waits and self._waits[-1] == wait:
            self._inbox.extend(calls)
        else:
            self._send_report([], [call[0] for call in calls])

    def _know(self, functions: dict[int, Callable[..., Any]], dropped: list[int]) -> None:
        """Take in functions that calls will name by number, and forget others."""
        if functions or dropped:
            self._runner.know(functions, dropped)
            if self._isolation is not None:
                self._isolation.know(functions, dropped)

    @property
    def _waits(self) -> Sequence[int]:
        """The numbers of the waits of calls here, the lowest first."""
        return () if self._runner.made is None else self._runner.made.waits

    def _tell_stacks(self, text: str) -> None:
        with self.wire:
            self._transport.send(MASTER, wire.pack((STACKS, text)))

    def _stacks(self) -> str:
        """Where this slave is; one that is a thread of a process tells of itself alone."""
        from . import stacks  # noqa: PLC0415  3 ms, for what seldom happens

        if self._thread is threading.main_thread():
            return stacks.of_this_process()
        return stacks.of_thread(self._thread.ident or 0)

    def _forget_stops(self) -> None:
        """Nothing is left to stop: what was meant has ended before the word came."""
        with self.wire:
            if not self._inbox:
                self._stopped.clear()

    def unbegun(self) -> list[CallId]:
        """Take back out of the inbox what has not begun."""
        ids: list[CallId] = []
        while True:
            try:
                ids.append(self._inbox.pop()[0])
            except IndexError:
                return ids

    def _report(self) -> None:
        """Send the outcomes so far. Large ones are on their way, or have arrived, when this returns."""
        with self.wire:
            outcomes: list[Outcome] = []
            while self._outbox:
                outcomes.append(self._outbox.popleft())
            if outcomes or self.records or self._held is not self._holds:
                self._send_report(outcomes, None)
        self._unsent_for = 0.0

    def _send_report(self, outcomes: list[Outcome], given_back: list[CallId] | None) -> None:
        records: list[Record] = []
        while self.records:
            records.append(self.records.popleft())
        holdings: Holdings | None = None
        held = self._holds  # read once: the main thread may acquire while the listener sends
        if given_back or held is not self._held:
            acquired, self._acquired = self._acquired, []
            holdings, self._held = (held, acquired), held
        told = columns.as_columns(outcomes) if len(outcomes) > 1 else outcomes
        self._transport.send(MASTER, wire.pack((REPORT, told, given_back, records, holdings)))

    def finish_sending(self) -> None:
        """Wait until large outcomes are sent: their memory is the user's, and the next call may write to it."""
        self._report()
        while self._is_sending():
            if self.receive():
                self.backoff.reset()
            else:
                self.backoff.pause()

    def _finish_passing_on(self) -> None:
        """Let broadcasts arrive between slaves that came too late for any call, or MPI would wait for them at its end."""
        until = perf_counter() + LONGEST_BYE
        while not self.after_deaths and self._is_passing_on() and perf_counter() < until:
            self.receive()
            self.backoff.pause()

    def _is_passing_on(self) -> bool:
        with self.wire:
            return self._transport.sending or self._transport.receiving

    def _is_sending(self) -> bool:
        with self.wire:
            return self._transport.is_sending_to(MASTER)

    def _send(self, rank: Rank, message: tuple[Any, ...]) -> None:
        """Send to any rank; whoever calls this has the wire's lock."""
        self._transport.send(rank, wire.pack(message))

    # ---------------------------------------------------------------- while a call waits

    def is_here(self) -> bool:
        """Whether this is the thread that runs the calls."""
        return threading.get_ident() == self._thread.ident

    def step_above(self) -> bool:
        """Run a call on top of the one that waits, or else look for messages. False if there was nothing to do."""
        if not self._inbox or not self._is_next_ready():
            return self.receive()
        above, level, frame = self._above, self._level, sys._getframe()
        self._above, began = 0.0, perf_counter()
        self._keeper.on_top()
        try:
            with self._runner.alarm.on_top(), one_level_deeper(frame, level):
                self._level = frame
                self._run_next()
        finally:
            self._level = level
            self._keeper.below()
            self._above = above + perf_counter() - began
        return True

    def _is_next_ready(self) -> bool:
        try:
            call = self._inbox[0]
        except IndexError:  # the listener has just given it back
            return False
        return not call[6] or self._is_ready(call)

    def check_time(self) -> None:
        """Raise if the time of the call is up that waits here: an alarm raises nothing in code of ours."""
        self._runner.alarm.check()

    def tell(self, message: tuple[Any, ...]) -> None:
        """Send something besides reports: what has ended before is told before."""
        with self.wire:
            self._report()
            self._transport.send(MASTER, wire.pack(message))

    def _listen(self, closing: threading.Event) -> None:
        """While one call goes on for long, do what the main thread can't."""
        seen = -1
        while not closing.wait(TICK):
            if self._is_orphan():
                os._exit(1)  # with the launcher, everybody has gone who could end this process
            if self._begun == seen:
                while self.receive():
                    pass
                if self._loop.is_running:
                    self._let_others_go_on()
                if self._outbox or self.records or self._held is not self._holds:
                    self._report()
                self._watch()
            seen = self._begun
            if self._runner.made is not None:
                self._runner.made.announce_aside()

    def _let_others_go_on(self) -> None:
        """One of many takes long, or all do: nothing is to wait for that."""
        with self.wire:
            self._loop.split()
            unbegun = self.unbegun()
            if unbegun:
                self._send_report([], unbegun)

    def stand_alone(self) -> None:
        """The call that runs must be known to the master: it submits others, or waits for some."""
        self._loop.split(alone=True)

    def _watch(self) -> None:
        """Look whether a call goes on although its time is up."""
        watched = self._runner.alarm.overdue()
        if watched is None:
            return
        if watched is not self._given_up:
            self._give_up(watched)
        elif self._leaving and self._leave is not None:
            self._runner.alarm.interrupt(self._leave_in_call)

    def _give_up(self, watched: Watched) -> None:
        """Tell the master that its call can't be interrupted, once what has not begun is out of its way."""
        self._given_up = watched
        told = (STUCK, *self._runner.given_up(watched))
        with self.wire:
            self._report()  # or the master could not tell which of those on top of a call that waits it is
            unbegun = self.unbegun()
            if unbegun:
                self._send_report([], unbegun)
            self._transport.send(MASTER, wire.pack(told))
        self._stopped.add(watched.limit.call_id)  # not before: a call that asks would end at once, and its outcome come first

    def _unretrieved(self) -> int:
        """Failures of calls' calls that nobody has asked for."""
        return 0 if self._runner.made is None else self._runner.made.unretrieved

    def _leave_in_call(self) -> None:
        """Say goodbye and end this process: runs in the main thread, in the midst of a call. What is held is not released."""
        self.wire.acquire()  # for ever: the listener is to touch nothing any more
        self._transport.send(MASTER, wire.pack((BYE, self._unretrieved())))
        if self._leave is not None:
            self._leave()

    # ---------------------------------------------------------------- calls

    def _run_next(self) -> bool:
        """Run one call. False if it must wait for a broadcast."""
        try:
            call = self._inbox.popleft()
        except IndexError:  # the listener has just given it back
            return True
        if call[6] and not self._is_ready(call):
            self._inbox.appendleft(call)
            return False
        self._run_and_report(call)
        return True

    def _is_ready(self, call: SentCall | SentMany) -> bool:
        """Whether the broadcasts are here that it needs."""
        with self.wire:
            return self._holding.is_ready(call[6])

    def _run_and_report(self, call: SentCall | SentMany) -> None:
        """Run one call, and send outcomes where it is time to."""
        self._begun += 1
        outcome = self._run(call)
        if outcome is None:  # many, told by themselves
            self._go_on()
            return
        _, _, seconds, payload = outcome
        if not isinstance(payload, wire.ENCODED):
            self.tell(self._runner.farm().joins(outcome))
            output.flush()
            return
        self._outbox.append(outcome)
        if seconds is None:
            with self.wire:
                self._held = None  # not before the outcome is there: a report without it would not undo the expectation
        else:
            self._unsent_for += seconds
        if not isinstance(payload, bytes) and len(payload) > 1:  # it has buffers: see `wire.Payload`
            self.finish_sending()
        elif not self._inbox or self._unsent_for > LONGEST_UNSENT or len(self._outbox) >= MOST_UNSENT:
            self._go_on()

    def _go_on(self) -> None:
        """Send outcomes, and do what must be done now and then."""
        if perf_counter() >= self._keeper.due:
            self._keeper.release_idle()
        self._report()
        if self._inbox:
            self.receive()
        else:
            output.flush()

    def _run(self, call: SentCall | SentMany) -> Ran | None:
        """Run one call, here or in a child; or many. None: there is nothing to tell, but what was told."""
        sent: Any = call  # mypy can't tell them apart by their lengths, and a cast would cost some of a call's time
        outcome: Ran | None
        if len(call) != A_CALL:
            outcome = self._loop.run(sent)
        elif call[7] is None and call[8] is None:
            outcome = self._runner.run(sent)
        else:
            outcome = self._run_on_terms(sent)
        if outcome is None:
            return None
        if self._runner.made is not None and self._runner.made.parents:
            self._runner.made.parent_ended(outcome[0], returned=outcome[1] is None and outcome[0] not in self._stopped)
        if self._stopped:
            self._stopped.discard(outcome[0])
        return self._own_seconds(outcome) if self._above else outcome

    def _run_on_terms(self, call: SentCall) -> Ran:
        """Run one call that needs a resource, or has a limit, or runs in a child."""
        resource, terms = call[7], call[8]
        is_isolated = terms is not None and terms[1]
        if resource is not None:
            self._let_go(here=is_isolated)
        return self._run_elsewhere(call) if is_isolated else self._runner.run(call)

    def _run_elsewhere(self, call: SentCall) -> Ran:
        """Run one call in a child, where no alarm of ours reaches it: what waits for it here may have less time than it."""
        alarm, terms = self._runner.alarm, call[8]
        below, cut = alarm.next_below(), None
        if below is not None and terms is not None:
            left = max(SOON, below.until - perf_counter())
            if terms[0] is None or left < terms[0]:
                call, cut = (*call[:8], (left, terms[1])), below.limit
        alarm.is_elsewhere = True
        try:
            outcome = (self._isolation or self._new_isolation()).run(call)
        finally:
            alarm.is_elsewhere = False
        if cut is None or outcome[1] != TIMED_OUT:
            return outcome
        from .overdue import ended_elsewhere  # noqa: PLC0415  for what seldom happens

        return (call[0], ENDED_FOR_ANOTHER, outcome[2], ended_elsewhere(cut, outcome[3]))

    def _own_seconds(self, outcome: Ran) -> Ran:
        """Of what the call took, what it took itself: the others that ran on top of it are told by themselves."""
        call_id, failure, seconds, payload = outcome
        above, self._above = self._above, 0.0
        return call_id, failure, None if seconds is None else max(0.0, seconds - above), payload

    @property
    def _holds(self) -> Sequence[Named]:
        """What this slave holds: here or in its child; in both only while a call waits here that holds something."""
        here = self._keeper.held
        if self._isolation is None:
            return here
        inside = self._isolation.held
        if not (inside and here):
            return inside or here
        if self._both[0] is not inside or self._both[1] is not here:
            self._both = inside, here, (*here, *inside)
        return self._both[2]

    def _let_go(self, *, here: bool) -> None:
        """Release what is held here, or in the child, since the other is to acquire: they would hold too much together."""
        if not here:
            if self._isolation is not None:
                self._isolation.release_all()
        elif self._keeper.held:
            self._keeper.release_unused()

    def is_stopped(self, call_id: CallId) -> bool:
        """As `_is_unwanted`, asked by the call itself."""
        if not self._is_unwanted(call_id):
            return False
        self._tell_heard(call_id)
        return True

    def _is_unwanted(self, call_id: CallId) -> bool:
        """Whether the outcome of that call is not wanted any more."""
        return self._draining or call_id in self._stopped or self._is_draining()

    def _tell_heard(self, call_id: CallId) -> None:
        """That call knows that it should stop, and the master is to know before it has the outcome."""
        if self._heard != call_id:
            self._heard = call_id
            with self.wire:
                self._transport.send(MASTER, wire.pack((HEARD, call_id)))

    def _tell_limit(self, limit: Limit | None) -> None:
        """Let the master know how long to wait: what begins now may keep even the listener from telling."""
        with self.wire:
            self._transport.send(MASTER, wire.pack((LIMIT, limit and tuple(limit))))

    def _tell_acquired(self, acquired: list[tuple[Named, float]]) -> None:
        """Let the master know at once what is held now: others may wait for that."""
        with self.wire:
            self._acquired += acquired
        self._report()
