"""The farm as a call on a slave sees it.

::

    f.delay() ──► SUBMIT ──► master           result(), wait(), await ──► WAITS ──► master
    Future    ◄── ANSWER ◄──                    meanwhile: inbox ◄── ABOVE: calls that descend from the one that waits
                                              the answer is there     ──► GOES_ON

The slave's main thread waits by running what comes, on top of the call that waits; so a recursion needs no second slave,
and no thread for each level. What comes while nothing waits for it goes back unbegun: a message that was on its way when
a wait began or ended does no harm.
"""

from __future__ import annotations

import pickle
import threading
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future as AnyFuture
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import replace
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, cast

from .. import loops
from ..backports import override
from ..broadcasts import handed_on
from ..context import Context, Parent, current, inside_a_call
from ..core.calls import PLAIN, Provided
from ..errors import Deadlock, NotRunning
from ..futures import Future
from ..ids import CallId
from ..journal.identity import unplaced
from ..plans import Plan
from ..transport import wire
from ..transport.failures import encode_failure
from .arguments import Encoder
from .backoff import Backoff
from .depth import CStack
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
)
from .pump import Pump

if TYPE_CHECKING:
    import asyncio

    from ..observe.counts import Statistics

FIRST_SILENCE, LONGEST_SILENCE = 10e-3, 1.0
"""Seconds without a message after which a slave says that it still waits; twice as long each time."""
ASLEEP_AT_MOST = 0.05
"""Seconds that a thread of a task sleeps before it looks for itself."""
LONGEST_CALLBACKS = 2.0
"""Seconds that callbacks get at the end which still run then."""
MOST_PLANS = 64


class _Slave(Protocol):
    """What is needed of the slave."""

    backoff: Backoff
    wire: Any  # threading.RLock, of which typeshed makes a function

    def is_here(self) -> bool: ...
    def step_above(self) -> bool: ...
    def check_time(self) -> None: ...
    def receive(self) -> bool: ...
    def unbegun(self) -> list[CallId]: ...
    def tell(self, message: tuple[Any, ...]) -> None: ...
    def finish_sending(self) -> None: ...
    def stand_alone(self) -> None: ...


class OwnChild(Future[Any]):
    """The outcome of a call that a call on this slave has submitted."""

    _number = 0
    _parent = CallId(0)
    _submitter: Parent
    _relative = True
    """Whether its identity tells it from others of the same parent alone."""

    def __mpitasks_id__(self) -> bytes:
        """What tells its value from others in a journal."""
        if self._relative:
            self._nested.took_relative = True
        return super().__mpitasks_id__()

    @override
    def add_done_callback(self, fn: Callable[[AnyFuture[Any]], object]) -> None:
        """As on the master, and for the call that asks: what `fn` submits are calls of that, whichever runs here by then."""
        context = copy_context()
        super().add_done_callback(lambda future: context.run(fn, future))

    @override
    def _end(self, state: str) -> bool:
        if self._is_failure():
            self._nested.failures.add(self)
        return super()._end(state)

    @override
    def _count_unretrieved(self) -> None:  # also by the garbage collector, in any thread: `append` is one step
        self._nested.unasked.append(self._submitter)

    @property
    def _nested(self) -> NestedFarm:
        return cast("NestedFarm", self._farm)


class _Silence:
    """When to say that a wait goes on."""

    def __init__(self) -> None:
        self.broken()

    def broken(self) -> None:
        """Something came."""
        self._since, self._pause = perf_counter(), FIRST_SILENCE

    def is_due(self) -> bool:
        """Whether it is time to say so; this counts as said."""
        now = perf_counter()
        if now - self._since < self._pause:
            return False
        self._since, self._pause = now, min(2 * self._pause, LONGEST_SILENCE)
        return True


class NestedFarm:
    """What runs the calls that the calls of this slave submit."""

    took_relative = False
    """A child's identity was asked for that tells it from others of the same parent alone."""
    _keeps = False
    """Whether the master wants to know what tells calls from others."""
    _seen = 0
    """Answers that have come."""
    _settle_until: float | None = None
    """When to say that callbacks have run, at last; None: nobody has asked."""

    def __init__(self, slave: _Slave, slaves: int) -> None:
        self.slaves = slaves
        self.waits: list[int] = []
        """Numbers of the waits that go on here, the top one last."""
        self._waiters: list[CallId] = []
        """The calls that wait so."""
        self._slave = slave
        self._encoder = Encoder()
        self._numbers, self._wait_numbers = count(1), count(1)
        self._pending: dict[int, OwnChild] = {}
        """Calls that were submitted here, and have no answer."""
        self._ended: deque[OwnChild] = deque()
        """To be announced: that runs code of the user, and so neither under a lock nor in the midst of a message."""
        self._told = self._seen_told = 0
        """How many were, and how many when the listener last looked."""
        self._tellers: list[threading.Thread] = []
        """Threads that tell while a call runs."""
        self._discarded: deque[OwnChild] = deque()
        """Calls that a finalizer gave up while this thread was in the midst of a message."""
        self._failed: weakref.WeakValueDictionary[int, OwnChild] = weakref.WeakValueDictionary()
        """Failed ones that somebody still holds, by number."""
        self.failures: weakref.WeakSet[OwnChild] = weakref.WeakSet()
        """All of these, and those that were never sent or wait in vain."""
        self.unasked: list[Parent] = []
        """Whose calls have failed without being asked for: once for each that is logged."""
        self.parents: dict[CallId, Parent] = {}
        """Calls that run and have submitted others."""
        self._withdrawn: dict[int, bool] = {}
        self._deadlocks: dict[int, str] = {}
        """Waits that can't end, and why."""
        self._plans: dict[int, tuple[Plan, bytes]] = {}
        self._stack = CStack()
        self._loops: dict[asyncio.AbstractEventLoop, _LoopWait] = {}
        """Of async calls that have waited."""
        self._loop_of: dict[CallId, asyncio.AbstractEventLoop] = {}
        """Of async calls that run."""

    # ---------------------------------------------------------------- the farm, for tasks and futures

    def submit(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], resource: Hashable) -> Future[Any]:
        """Have the master run a call. Pickles the arguments before it returns.

        Raises:
            EncodeError: An argument can't be pickled; the message names it.
        """
        self._slave.stand_alone()
        if current()._given:
            args, kwargs = handed_on(args, kwargs)
        payload, claims = self._encoder.arguments(plan, args, kwargs)
        child = OwnChild(self, plan.name)
        child._parent, child._submitter = current()._call, self._submitter(current())
        identity = self._identify(child, plan, args, kwargs) if self._keeps or plan.memo else None
        for other in [*(one for one in claims if isinstance(one, Future)), *plan.after]:
            self._refuse_foreign(other, plan)
            if other.done() and (other.cancelled() or other._is_failure()):
                return self._never_ran(child, other)
        function, seen = self._function(plan, claims), self._seen  # before numbers are named: answers may come in meanwhile
        values = [_value_of(one) if isinstance(one, OwnChild) else one for one in claims]
        after = [other._number for other in cast("Sequence[OwnChild]", plan.after) if not other.done()]
        child._number = next(self._numbers)
        self._pending[child._number] = child
        sent = child._number, child._parent, self._pickled(plan), _travelling(resource), wire.sendable(payload)
        self._slave.tell((SUBMIT, *sent, values, after, function, identity, seen))
        if wire.buffers_of(payload):  # of the user's, who may write to them as soon as `delay` returns
            self._slave.finish_sending()
        return child

    def _submitter(self, context: Context) -> Parent:
        """The call that submits, to know of its children's failures whether it could have asked for them."""
        if context._as_parent is None:
            context._as_parent = self.parents[context._call] = Parent()
        return context._as_parent

    def takes_many(self, plan: Plan) -> bool:  # noqa: ARG002  as on the master
        """Each has its parent."""
        return False

    def submit_many(self, plan: Plan, items: Sequence[Any], *, tuples: bool) -> None:
        """They are taken one by one."""

    def withdraw(self, future: Future[Any]) -> bool:
        """Cancel a call; False if it is too late, and then the master tells the call to stop."""
        child = cast("OwnChild", future)
        if self._slave.wire._is_owned():
            # The garbage collector runs a finalizer, such as a generator's, in the midst of a message.
            self._discarded.append(child)
            return False
        self._slave.tell((WITHDRAW, child._number))
        self._slave.backoff.reset()
        while child._number not in self._withdrawn:
            if not self._slave.receive():
                self._slave.backoff.pause()
        return self._withdrawn.pop(child._number)

    def fail(self, future: Future[Any], error: BaseException) -> None:
        """Executors do this, and they belong to main."""
        raise NotImplementedError

    def wait(self, done: Callable[[], bool], watch: Callable[[], threading.Event], timeout: float | None) -> bool:
        """Wait in the caller's thread; in the slave's main thread, by running what may be run meanwhile.

        Returns:
            False if the time ran out.

        Raises:
            Deadlock: This can be waited for in vain only.
            RecursionError: Too many calls wait here, one on top of the other.
        """
        deadline = None if timeout is None else perf_counter() + timeout
        if not self._slave.is_here():
            self._wake_loop()
            return _sleep(done, watch(), deadline)
        self.announce()
        if done():
            return True
        if self._loops:
            self._leave_to_coroutine()
        call = current()._call
        if call in self._waiters[-1:]:  # a callback waits, which was run because its call does
            return self._run_until(done, self.waits[-1], deadline)
        self._stack.check(len(self.waits))
        with self._waiting(call) as number:
            return self._run_until(done, number, deadline)

    def _leave_to_coroutine(self) -> None:
        """A coroutine waits as plain code does: then its loop can't."""
        loop = loops.running()  # None: this is plain code, on top of async calls
        loop_wait = None if loop is None else self._loops.get(loop)
        if loop_wait is not None:
            loop_wait.pause()

    def pump(self) -> None:
        """Let the asyncio loop that runs in this thread run calls while it waits."""
        if not self._slave.is_here():
            return
        import asyncio  # noqa: PLC0415  a coroutine waits

        self._begin_on(asyncio.get_running_loop(), current()._call)

    def _begin_on(self, loop: asyncio.AbstractEventLoop, call: CallId) -> None:
        if loop not in self._loops:
            self._loops[loop] = _LoopWait(self, self._slave, loop)
        self._loops[loop].begin(call)

    def _wake_loop(self) -> None:
        """A thread waits that an async call has started: the call's own loop runs what that waits for."""
        call = current()._call if inside_a_call() else None
        loop = None if call is None else self._loop_of.get(call)
        if loop is not None and call is not None:
            with suppress(RuntimeError):  # it has just closed
                loop.call_soon_threadsafe(self._begin_if_running, loop, call)

    def _begin_if_running(self, loop: asyncio.AbstractEventLoop, call: CallId) -> None:
        if self._loop_of.get(call) is loop:
            self._begin_on(loop, call)

    def keep(self, payload: wire.Payload) -> wire.Reference:
        """Main alone broadcasts."""
        raise NotImplementedError

    def statistics(self) -> Statistics:
        """Main alone sees all of the farm."""
        msg = "statistics() was called inside a task: call it in main(), or after the run"
        raise NotRunning(msg)

    # ---------------------------------------------------------------- for the slave

    def take_in(self, message: tuple[Any, ...]) -> None:
        """A message of the master's that is about calls of calls."""
        kind = message[0]
        if kind == ANSWER:
            self._answered(message[1])
        elif kind == WITHDRAWN:
            self._withdrawn[message[1]] = message[2]
        elif kind == DEADLOCK:
            self._deadlocks[message[1]] = message[2]
        elif kind == KEEP:
            self._keeps = True
        elif kind == SETTLE:
            self._settle_until = perf_counter() + LONGEST_CALLBACKS

    def announce(self) -> bool:
        """Tell who waits here, and run callbacks of the call that does, which may take long. Whether there was something.

        Those of other calls have a thread: if one waited here, what it waits for could not run on top of this call.
        """
        while self._discarded:
            self.withdraw(self._discarded.popleft())
        call = current()._call
        return self._tell(lambda child: child._parent == call)

    def settle(self) -> None:
        """If the master wants to know it: run callbacks, and say so when they have run, or take too long."""
        if self._settle_until is None:
            return
        if not any(one.is_alive() for one in self._tellers):  # else the listener starts another one, where that takes long
            self.announce_aside()
        is_left = self._ended or self._discarded or any(one.is_alive() for one in self._tellers)
        if not is_left or perf_counter() >= self._settle_until:
            self._settle_until = None
            self._slave.tell((SETTLED, self._seen))

    def announce_aside(self) -> None:
        """The same for the other calls, in a thread in which callbacks may take long and wait; in another one if they do."""
        with self._slave.wire:  # both threads of the slave come here
            self._tellers = [one for one in self._tellers if one.is_alive()]
            goes_on, self._seen_told = bool(self._tellers) and self._told != self._seen_told, self._told
            if (self._discarded or any(map(self._is_told_aside, self._ended.copy()))) and not goes_on:
                teller = threading.Thread(target=self._tell_aside, name="mpitasks-callbacks", daemon=True)
                self._tellers.append(teller)
                teller.start()

    def _is_told_aside(self, child: OwnChild) -> bool:
        """Whether the call that submitted it does not wait on top, which then tells itself of it."""
        return child._parent not in self._waiters[-1:]

    def _tell_aside(self) -> None:
        while self._discarded:
            self.withdraw(self._discarded.popleft())
        while self._tell(self._is_told_aside):
            pass

    def _tell(self, fits: Callable[[OwnChild], bool]) -> bool:
        """Announce the ends of these. Whether there was one."""
        told = False
        for _ in range(len(self._ended)):
            try:
                child = self._ended.popleft()
            except IndexError:  # another thread was faster
                break
            if not fits(child):
                self._ended.append(child)
                continue
            try:
                child._announce()
            finally:
                self._told += 1
            told = True
        return told

    def joins(self, outcome: tuple[CallId, object, float | None, object]) -> tuple[Any, ...]:
        """The message that a call has ended by giving back the future of another, which need not have ended."""
        call_id, _, seconds, _ = outcome
        child = cast("OwnChild", outcome[3])
        child._retrieved = True  # whoever waits for the call is told of it
        if not child.done():
            return JOINS, call_id, seconds, child._number, None
        return JOINS, call_id, seconds, 0, _answer_of(child)

    def entered(self, loop: asyncio.AbstractEventLoop) -> None:
        """The call that runs here is to run on this loop."""
        self._loop_of[current()._call] = loop

    def left(self, loop: asyncio.AbstractEventLoop) -> None:
        """It has ended."""
        self._loop_of.pop(current()._call, None)
        loop_wait = self._loops.pop(loop, None)
        if loop_wait is not None:
            loop_wait.close()

    def close(self) -> None:
        """Nobody will ask any more: let callbacks end, and log the failures that nobody has asked for."""
        self.announce_aside()
        until = perf_counter() + LONGEST_CALLBACKS
        for teller in self._tellers:
            teller.join(max(0.0, until - perf_counter()))
        for child in list(self.failures):
            if not child._retrieved:
                child._report_unretrieved()

    def parent_ended(self, call: CallId, *, returned: bool) -> None:
        """A call has ended that may have submitted others."""
        parent = self.parents.pop(call, None)
        if parent is not None:
            parent.returned = returned

    @property
    def unretrieved(self) -> int:
        """How many failures nobody has asked for, so far, although the call has returned that could."""
        return sum(parent.returned for parent in self.unasked)

    # ---------------------------------------------------------------- waiting

    @contextmanager
    def _waiting(self, call: CallId) -> Iterator[int]:
        number = self.begin_wait(call)
        try:
            yield number
        finally:
            self.end_wait()

    def begin_wait(self, call: CallId) -> int:
        """A call waits: what is here unbegun goes back. Returns the number of the wait."""
        self._slave.stand_alone()
        number = next(self._wait_numbers)
        with self._slave.wire:  # in one step, or the listener might take a window in between
            self.waits.append(number)
            self._waiters.append(call)
            self._slave.tell((WAITS, call, number, self._slave.unbegun()))
        return number

    def end_wait(self) -> None:
        """The call that waits on top goes on."""
        with self._slave.wire:
            number = self.waits.pop()
            self._waiters.pop()
            self._deadlocks.pop(number, None)
            self._slave.tell((GOES_ON, number, self._slave.unbegun()))

    def _run_until(self, done: Callable[[], bool], number: int, deadline: float | None) -> bool:
        """Run what comes until it is done; False if the time ran out."""
        silence, backoff = _Silence(), self._slave.backoff
        backoff.reset()
        while not done():
            if self._slave.step_above():
                silence.broken()
                backoff.reset()
            elif deadline is not None and perf_counter() >= deadline:
                return done()
            else:
                if deadline is None and silence.is_due():  # else time may end it too
                    self.say_still(number)
                backoff.pause()
            self.announce()
            self._slave.check_time()
            if number in self._deadlocks and not done():
                raise Deadlock(self._deadlocks.pop(number))
        return True

    def say_still(self, number: int) -> None:
        """Nothing but an answer can end this wait: let the master find out whether one can come."""
        self._slave.tell((STILL, number, self._seen))

    def fail_deadlocked(self, number: int, call: CallId) -> bool:
        """End the futures of an async call that waits in vain. Whether it does."""
        why = self._deadlocks.pop(number, None)
        if why is None:
            return False
        for child in [one for one in self._pending.values() if one._parent == call]:
            del self._pending[child._number]
            child._exception = Deadlock(why)
            if child._end(FINISHED):
                self._ended.append(child)
        return True

    # ---------------------------------------------------------------- answers

    def _answered(self, answer: Answer) -> None:
        """A call that was submitted here has ended."""
        number, how, payload, child_rank, attempts = answer
        self._seen += 1
        child = self._pending.pop(number, None)
        if child is None:
            return
        child.rank, child.attempts = child_rank, attempts
        if how == NEVER_RAN:
            child._because = child._root = self._failed_one(*cast("tuple[int, str, wire.Payload]", payload))
        elif how != CANCELLED:
            child._payload, child._failed = cast("wire.Payload", payload), how == FAILED
        if how in (FAILED, NEVER_RAN):
            self._failed[number] = child
        # A failure that nobody holds is logged when it is forgotten; kept until then, it is so outside of the lock.
        if child._end(CANCELLED_AND_NOTIFIED if how == CANCELLED else FINISHED) or how in (FAILED, NEVER_RAN):
            self._ended.append(child)

    def _never_ran(self, child: OwnChild, other: Future[Any]) -> OwnChild:
        """A call ends at once, because one has failed or was cancelled that it needs."""
        if other.cancelled():
            child._end(CANCELLED_AND_NOTIFIED)
            return child
        child._because = child._root = other._root or other
        other._retrieved = True  # it is told with this one
        child._end(FINISHED)
        return child

    def _failed_one(self, number: int, name: str, payload: wire.Payload) -> Future[Any]:
        """The failed call that kept another from running: one of ours, if that is still here."""
        other: Future[Any] | None = self._failed.get(number)
        if other is None:
            other = Future(self, name)
            other._payload, other._failed, other._state = payload, True, FINISHED
        other._retrieved = True  # it is told with the other one
        return other

    # ---------------------------------------------------------------- what travels

    def _refuse_foreign(self, other: Future[Any], plan: Plan) -> None:
        if other._farm is not self:
            msg = (
                f"{other!r} was given to {plan.name!r} inside a task that has not submitted it: "
                f"a task hands on the futures of its own calls, and the values of others"
            )
            raise NotRunning(msg)

    def _identify(
        self, child: OwnChild, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[bytes, int, bool, str]:
        """What tells the call from others: its digest, how many equal ones came before, whether of its parent, and in words.

        Raises:
            NoIdentity: An argument can't be told from others in another run.
        """
        self.took_relative, context = False, current()
        same, shown = unplaced(plan, args, kwargs)
        relative = plan.id is None and (not plan.memo or self.took_relative)
        place = 0
        if plan.id is None and not plan.memo:
            counts = context._counts = {} if context._counts is None else context._counts
            place = counts.get(same, 0)
            counts[same] = place + 1
        child._identity, child._relative = same + place.to_bytes(4, "little"), relative
        return same, place, relative, shown

    def _function(self, plan: Plan, claims: list[Any]) -> bytes | None:
        """A function that is no task: as bytes; empty if it travels by name, among the arguments."""
        if plan.function is None:
            return None
        return b"" if self._encoder.travels_by_name(plan.function) else self._encoder.function(plan.function, claims)

    def _pickled(self, plan: Plan) -> bytes:
        """How it is to be run, without what travels by itself."""
        known = self._plans.get(id(plan))
        if known is not None and known[0] is plan:
            return known[1]
        bare = replace(plan, signature=None, after=(), function=None, setup=None, resource=None)
        pickled = pickle.dumps(bare, 5)
        if len(self._plans) >= MOST_PLANS:
            self._plans.clear()
        self._plans[id(plan)] = plan, pickled
        return pickled


class _LoopWait:
    """Lets the loop of an async call run what comes while the call waits."""

    def __init__(self, farm: NestedFarm, slave: _Slave, loop: asyncio.AbstractEventLoop) -> None:
        self._farm = farm
        self._slave = slave
        self._loop = loop
        self._pump = Pump(loop, self)
        self._silence = _Silence()
        self._call = CallId(0)
        self._number: int | None = None
        """Of the wait that goes on; None: coroutines run."""

    def begin(self, call: CallId) -> None:
        """A coroutine of that call waits."""
        self._call = call
        self._pump.start()

    @property
    def is_busy(self) -> bool:
        """Whether an answer may come."""
        return bool(self._farm._pending)

    def step(self) -> bool:
        """Run what has come, and let coroutines go on whose call has ended."""
        if self._number is None and self.is_busy:
            self._number = self._farm.begin_wait(self._call)
            self._silence.broken()
        heard = self._slave.step_above()
        told = self._farm.announce()
        if self._number is not None and self._farm.fail_deadlocked(self._number, self._call):
            told = self._farm.announce() or told
        if told or not self.is_busy:
            self.pause()
        elif heard:
            self._silence.broken()
        elif self._number is not None and _has_nothing_else(self._loop) and self._silence.is_due():
            self._farm.say_still(self._number)
        return heard or told

    def check_interrupts(self) -> None:
        """A slave has none."""

    def close(self) -> None:
        """The call has ended."""
        self._pump.stop()
        self.pause()

    def pause(self) -> None:
        """Coroutines run."""
        if self._number is not None:
            self._number = None
            self._farm.end_wait()


def _has_nothing_else(loop: Any) -> bool:  # noqa: ANN401  what asyncio does not show
    """Whether nothing but us can wake this loop: no timer, no socket, no thread. Where that can't be seen: no."""
    try:
        is_still = not loop._ready and not loop._scheduled and loop._default_executor is None
        return bool(is_still and len(loop._selector.get_map()) <= 1)  # its own pipe
    except AttributeError:
        return False


def _sleep(done: Callable[[], bool], event: threading.Event, deadline: float | None) -> bool:
    """Wait in a thread that a task has started; False if the time ran out."""
    while not done():
        left = ASLEEP_AT_MOST if deadline is None else min(ASLEEP_AT_MOST, deadline - perf_counter())
        if left <= 0:
            return done()
        event.wait(left)
        event.clear()
    return True


def _value_of(child: OwnChild) -> int | wire.Payload:
    """A child among the arguments of another: its number, or its value if that is here."""
    if not child.done():
        return child._number
    child._lent = True
    payload = child._payload
    return wire.sendable(wire.snapshot(wire.encode(child._result)) if payload is None else payload)


def _answer_of(child: OwnChild) -> Answer:
    """How a call has ended that was submitted here."""
    if child.cancelled():
        return 0, CANCELLED, b"", child.rank, child.attempts
    if not child._is_failure():
        return 0, RETURNED, _as_payload(child), child.rank, child.attempts
    payload = child._payload
    if payload is None:
        child._load()
        assert child._exception is not None  # noqa: S101  it has failed
        payload = encode_failure(child._exception, f"task {child.task_name!r}")
    return 0, FAILED, wire.sendable(payload), child.rank, child.attempts


def _as_payload(child: OwnChild) -> wire.Payload:
    value = _value_of(child)
    assert not isinstance(value, int)  # noqa: S101  it has ended
    return value


def _travelling(resource: Hashable) -> wire.Payload | None:
    """What a call needs; None for nothing.

    Raises:
        Exception: What pickling a plain id raises.
    """
    if resource is PLAIN:
        return None
    is_made = isinstance(resource, Provided)
    return wire.encode((is_made, (resource.kind.name, resource.args) if isinstance(resource, Provided) else resource))
