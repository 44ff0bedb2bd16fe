"""A slave's side of isolated calls: asks and minds the child.

::

    run(call) ──CALL──► child ──DONE──► outcome
        │ it ended before ───────────► TaskCrashed
        │ its time is over ── STACK, KILL ──► TaskTimeout
        └ then the next call gets a new child, 3 ms later

All of it happens in the slave's main thread, which waits in `poll` without the interpreter, so that the listener thread
goes on.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from ..errors import StartError
from ..ids import CallId, Rank
from ..retries import names_of
from ..runtime.alarm import PATIENCE, Limit
from ..runtime.holding import Holding
from ..runtime.messages import Named, Outcome, Record, SentCall
from ..transport import wire
from ..transport.failures import encode_failure
from . import endings, line, memory, start
from .messages import BROKEN, CALL, DONE, DROP, ENDED, FORK, HELD, HOLD, KILL, LEAVE, LIMIT, RECORD, RELEASE, RELEASED, STACK
from .page import Page

TICK = 0.05
"""Seconds between two looks whether the call is to stop, or its time is over."""
LONGEST_START = 120.0
"""Seconds until a child has taken a call; a new nanny has to import the program before."""
LONGEST_END, LONGEST_LEAVE = 15.0, 30.0
"""Seconds until a killed child is gone; until one has released what it holds, at the end."""
_TRIES = 5


class Isolation:
    """Runs calls in a child of this process.

    Args:
        rank: Of the slave.
        host: Its name, for the notes of errors.
        is_stopped: Whether the outcome of that call is not wanted any more.
        tell_heard: Told when a call has asked for that, before its outcome is given back.
        tell_acquired: As in `Runner`.
        holding: The broadcasts of the slave, which the child maps too.
        records: Where log records go.
    """

    def __init__(  # noqa: PLR0913  what a child and its slave tell each other
        self,
        rank: Rank,
        *,
        host: str,
        is_stopped: Callable[[CallId], bool],
        tell_heard: Callable[[CallId], None],
        tell_acquired: Callable[[list[tuple[Named, float]]], None],
        records: deque[Record],
        holding: Holding | None = None,
    ) -> None:
        self.held: tuple[Named, ...] = ()
        """What the child holds."""
        self._rank = rank
        self._host = host
        self._is_stopped = is_stopped
        self._tell_heard = tell_heard
        self._tell_acquired = tell_acquired
        self._records = records
        self._holding = holding or Holding()
        self._functions: dict[int, Callable[..., Any]] = {}
        self._nanny: start.Nanny | None = None
        self._child: _Child | None = None
        self._poll = select.poll()
        self._children = self._calls = 0
        self._in_call = False
        self._asking: deque[Callable[[str], None]] = deque()
        """Who wants to know where the child is."""

    def know(self, functions: dict[int, Callable[..., Any]], dropped: Iterable[int]) -> None:
        """As `Runner.know`."""
        self._functions.update(functions)
        for number in dropped:
            self._functions.pop(number, None)

    def run(self, call: SentCall) -> Outcome:
        """Run one call; every end of it is an outcome."""
        self._in_call = True
        try:
            return self._run(call)
        finally:
            self._in_call = False
            while self._asking:
                self._asking.popleft()("")

    def ask_stack(self, tell: Callable[[str], None]) -> bool:
        """Tell soon where the child is, from the main thread. False: it is in no call. From any thread."""
        self._asking.append(tell)
        if self._in_call:
            return True
        try:
            self._asking.pop()
        except IndexError:  # the call has just ended, and the main thread has told that
            return True
        return False

    def _run(self, call: SentCall) -> Outcome:
        try:
            for _ in range(_TRIES):
                outcome = self._ask(self._child or self._start(), call)
                if outcome is not None:
                    return outcome
            error: BaseException = StartError(f"{_TRIES} processes for the call ended before they could begin it")
        except (StartError, OSError) as why:
            error = why
        except (KeyboardInterrupt, SystemExit) as why:  # Ctrl-C in a program that runs inline
            self._drop()
            error = why
        return self._failed(call, error, None)

    def look(self) -> None:
        """Take in what the child says between calls: it may release what is idle, or end."""
        child = self._child
        if child is not None:
            self._listen(child, 0)
            self._let_forget(child)
            if child.has_ended:
                self._bury(child)

    def release_all(self) -> None:
        """Have the child release what it holds; one that does not is ended, and what it held goes with it."""
        child = self._child
        if child is None or not self.held:
            return
        child.has_released = False
        child.send((RELEASE,))
        self._await(lambda: child.has_released or child.has_ended, child, LONGEST_LEAVE)
        if not (child.has_released or child.has_ended):
            held = ", ".join(repr(name) for name, _ in self.held)
            import logging  # noqa: PLC0415  4 ms, for what seldom happens

            said = "an isolated call's process did not release %s within %g s, and was killed"
            logging.getLogger("mpitasks").error(said, held, LONGEST_LEAVE)
            self._kill(child)
        if child.has_ended:
            self._bury(child)

    def close(self) -> None:
        """Let the child release what it holds and leave, and the nanny too."""
        if self._child is not None:
            self._let_leave(self._child)
        if self._nanny is not None:
            self._nanny.close()
            self._nanny = None

    # ---------------------------------------------------------------- one call

    def _ask(self, child: _Child, call: SentCall) -> Outcome | None:
        """Have that child run it. None: it ended before it took the call."""
        self._calls += 1
        number = self._calls
        child.begin()
        self._hand_over(child, call)
        child.send((CALL, number, *self._functions_for(child, call), _sendable(call)))
        asked = monotonic()
        while True:
            self._listen(child, TICK)
            if child.outcome is not None or child.has_ended:
                break
            self._mind(child, call, number, asked)
        if child.has_ended:
            self._bury(child)
        if child.outcome is None:
            return self._crashed(child, call, number)
        outcome = child.outcome
        if child.page.was_heard():
            self._tell_heard(call[0])
        if outcome[1] is not None and endings.MEMORY in outcome[1][0] and not child.has_ended:
            self._let_leave(child)  # the task may have set a limit, which would lame the calls that follow
        return (*outcome[:3], wire.sendable(outcome[3]))

    def _hand_over(self, child: _Child, call: SentCall) -> None:
        """Let the child have the broadcasts that the call needs, in the same memory."""
        self._let_forget(child)
        for number in {value.number for value in call[6] if isinstance(value, wire.Reference)} - child.holds:
            child.holds.add(number)
            copy = self._holding.copy(number)
            if copy.where is None:
                child.send((HOLD, number, wire.sendable(copy.payload)))
            else:
                _, descriptor, secret, sizes = copy.where
                child.send((HOLD, number, secret, sizes), (descriptor,))

    def _let_forget(self, child: _Child) -> None:
        """What the slave has dropped, the child drops too."""
        for number in [one for one in child.holds if not self._holding.has(one)]:
            child.holds.remove(number)
            child.send((DROP, number))

    def _crashed(self, child: _Child, call: SentCall, number: int) -> Outcome | None:
        """What that child's end is for the call. None: it never took it."""
        began = None
        if child.page.taken() == number:
            began = child.page.began()
        elif child.trouble is None:
            return None
        seconds = None if began is None else monotonic() - began
        return self._failed(call, child.trouble or endings.crash(child.status, child.last_words, child.memory_before), seconds)

    def _functions_for(self, child: _Child, call: SentCall) -> tuple[dict[int, Callable[..., Any]], list[int]]:
        """What the child lacks for this call, and what it may forget."""
        needed = {number for number in (call[2], call[4]) if isinstance(number, int)}
        if not needed:
            return {}, []
        lacking = needed - child.functions
        dropped = [number for number in child.functions if number not in self._functions]
        child.functions.update(lacking)
        child.functions.difference_update(dropped)
        return {number: self._functions[number] for number in lacking if number in self._functions}, dropped

    def _mind(self, child: _Child, call: SentCall, number: int, asked: float) -> None:
        """In the midst of a call: let it know that it should stop, or end it."""
        child.page.tell_stop(wanted=not self._is_stopped(call[0]))
        while self._asking:
            self._asking.popleft()(self._stack_of(child))
        now = monotonic()
        if child.page.taken() != number:
            if now > asked + LONGEST_START:
                child.trouble = StartError(f"no process for the call came up within {LONGEST_START:.0f} s")
                self._kill(child)
            return
        if child.limit is not None and now > child.limited_at + child.limit.seconds + PATIENCE:
            child.trouble = endings.overrun(child.limit, self._stack_of(child))
            self._kill(child)
        elif child.deaf_since is not None and now > child.deaf_since + PATIENCE:
            child.trouble = endings.deaf()
            self._kill(child)

    def _failed(self, call: SentCall, error: BaseException, seconds: float | None) -> Outcome:
        """The outcome of a call that has none of its own."""
        note = f"task {call[1]!r}, call {call[0]}, attempt {call[3]}, slave rank {self._rank} on {self._host}, isolated"
        return call[0], (names_of(error), None), seconds, wire.sendable(encode_failure(error, note))

    def _stack_of(self, child: _Child) -> str:
        """Where the child is now, by its own word; in C too."""
        from ..runtime import stacks  # noqa: PLC0415  3 ms, for what seldom happens

        before = child.stacks_size()
        self._tell_nanny((STACK, child.number))
        stacks.await_quiet(child.stacks_file, before, monotonic() + stacks.ANSWER_WITHIN)
        return child.stacks(before)

    # ---------------------------------------------------------------- children

    def _start(self) -> _Child:
        """A new child.

        Raises:
            StartError: No nanny can make one.
            OSError: There is no process or memory for it.
        """
        for _ in range(_TRIES):
            nanny = self._nanny = self._nanny or start.take()
            self._children += 1
            child = _Child(self._children, self)
            self._poll = select.poll()
            for end in (nanny.line, child.line):
                self._poll.register(end, select.POLLIN)
            is_told = self._tell_nanny((FORK, child.number, self._rank, self._host), child.descriptors())
            child.hand_over()
            if is_told:
                self._child = child
                return child
            child.close()
        msg = f"{_TRIES} processes that were to make children for isolated calls ended at once"
        raise StartError(msg)

    def _tell_nanny(self, message: tuple[Any, ...], hand_over: tuple[int, ...] = ()) -> bool:
        """False if it is gone."""
        if self._nanny is None:
            return False
        try:
            self._nanny.line.send(message, hand_over)
        except OSError:
            self._lose_nanny()
            return False
        return True

    def _listen(self, child: _Child, seconds: float) -> None:
        """Take in what child and nanny say, within that time."""
        for descriptor in _ready(self._poll, seconds):
            if self._nanny is not None and descriptor == self._nanny.line.fileno():
                self._hear_nanny(self._nanny.line, child)
            elif not child.take_in():
                self._poll.unregister(descriptor)

    def _hear_nanny(self, its: line.Line, child: _Child) -> None:
        try:
            its.take_in()
        except (EOFError, OSError):
            self._lose_nanny()
            return
        while (message := its.next()) is not None:
            kind, number, told = message
            if number != child.number:
                continue
            if kind == ENDED:
                child.has_ended, child.status = True, told
            elif kind == BROKEN:
                child.has_ended, child.trouble = True, endings.broken(told)

    def _lose_nanny(self) -> None:
        """Somebody has killed it, and with it its child."""
        if self._nanny is not None:
            self._poll.unregister(self._nanny.line)
            self._nanny.close()
            self._nanny = None
        if self._child is not None:
            self._child.has_ended = True

    def hear_child(self, kind: int, *said: Any) -> None:  # noqa: ANN401  see the messages
        """What the child says beside its outcomes."""
        if kind == HELD:
            self.held, acquired = said
            self._tell_acquired(acquired)
        elif kind == RECORD:
            self._records.append(said[0])

    def _kill(self, child: _Child) -> None:
        """End it, and all that came of it."""
        self._tell_nanny((KILL, child.number))
        self._await(lambda: child.has_ended, child, LONGEST_END)
        if not child.has_ended:
            self._lose_nanny()  # it does not answer; a child goes with its nanny

    def _let_leave(self, child: _Child) -> None:
        """Let it release what it holds, and go."""
        child.send((LEAVE,))
        self._await(lambda: child.has_ended, child, LONGEST_LEAVE)
        if not child.has_ended:
            self._kill(child)
        self._bury(child)

    def _await(self, done: Callable[[], bool], child: _Child, limit: float) -> None:
        until = monotonic() + limit
        while not done() and monotonic() < until:
            self._listen(child, TICK)

    def _drop(self) -> None:
        """End the child in the midst of a call."""
        if self._child is not None:
            self._kill(self._child)
            self._bury(self._child)

    def _bury(self, child: _Child) -> None:
        """It has ended: take in its last words."""
        while child.deaf_since is None and select.select([child.line], [], [], 0)[0]:
            child.take_in()
        child.last_words = child.stacks()
        child.close()
        if self._child is child:
            self._child = None
        self.held = ()


class _Child:
    """A child, as its slave knows it."""

    def __init__(self, number: int, owner: Isolation) -> None:
        self.number = number
        self.page = Page()
        self.line, self._its_line = line.pair()
        self._owner = owner
        self.stacks_file = memory.new(0)
        self.functions: set[int] = set()
        """Numbers of those that it has."""
        self.holds: set[int] = set()
        """Numbers of the broadcasts that it has."""
        self.outcome: Outcome | None = None
        """Of the call that runs."""
        self.has_released = self.has_ended = False
        self.deaf_since: float | None = None
        """When it closed its end of the line."""
        self.limit: Limit | None = None
        """What it has begun, and may take so long."""
        self.limited_at = 0.0
        self.status: int | None = None
        """How it ended, as `waitpid` says."""
        self.trouble: Exception | None = None
        """Why the slave ended it."""
        self.last_words = ""
        """Its stack, if it could write that when it crashed."""
        self.memory_before = endings.MemoryKills()

    def descriptors(self) -> tuple[int, ...]:
        """What the nanny is to hand to it."""
        return self._its_line.fileno(), self.page.descriptor, self.stacks_file

    def hand_over(self) -> None:
        """The nanny has them: the child's end of the line is to be its own, and the page is mapped here."""
        self._its_line.close()
        self.page.close_descriptor()

    def begin(self) -> None:
        """A call is about to be sent."""
        self.outcome = self.limit = None
        self.page.tell_stop(wanted=True)
        self.memory_before.note()

    def send(self, message: tuple[Any, ...], hand_over: tuple[int, ...] = ()) -> None:
        """Tell it something; if it is gone, the nanny is about to say so."""
        try:
            self.line.send(message, hand_over)
        except (BrokenPipeError, ConnectionResetError):
            return

    def take_in(self) -> bool:
        """Take in what it says; False if it has closed its end."""
        try:
            self.line.take_in()
        except (EOFError, OSError):
            self.deaf_since = monotonic()
            return False
        while (message := self.line.next()) is not None:
            if message[0] == DONE:
                self.outcome = message[1]
            elif message[0] == LIMIT:
                self.limit, self.limited_at = message[1], monotonic()
            elif message[0] == RELEASED:
                self.has_released = True
            else:
                self._owner.hear_child(*message)
        return True

    def stacks_size(self) -> int:
        """Bytes of stacks that it has written so far."""
        return os.fstat(self.stacks_file).st_size

    def stacks(self, start: int = 0) -> str:
        """What it has written of its stacks."""
        from ..runtime import stacks  # noqa: PLC0415  as above

        return stacks.readable(os.pread(self.stacks_file, endings.LONGEST_STACKS, start).decode(errors="replace"))

    def close(self) -> None:
        """It is gone."""
        self.line.close()
        os.close(self.stacks_file)


def _ready(poll: select.poll, seconds: float) -> list[int]:
    """The descriptors on which something has come."""
    mpitasks_calls = "child"  # noqa: F841  Ctrl-C is for the task that is waited for: see interrupts.MARK
    return [descriptor for descriptor, _ in poll.poll(seconds * 1000)]


def _sendable(call: SentCall) -> SentCall:
    """A call as part of a message, as the master has sent it."""
    call_id, name, target, attempt, setup, arguments, filled, resource, terms = call
    values = [wire.sendable(value) for value in filled] if filled else ()
    return call_id, name, target, attempt, setup, wire.sendable(arguments), values, resource, terms
