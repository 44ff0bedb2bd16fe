"""A slave runs many calls, sent as one, in one loop.

::

    items ──popleft──► the function ──► values ──► MANY, at the end
      └──pop, by any thread: `split`─────────────► MANY, so far; the rest goes back; what runs is a call of its own now

What any one of them needs beside its arguments is made only where it asks for it: its context, or a message of its own. So
most cost a tenth of a microsecond beside what they do themselves. Items are taken by one atomic step, as calls are from the
inbox, so that none is both run and given back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from time import perf_counter
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from ..context import Context, LateContext, enter, leave
from ..ids import CallId
from ..retries import Failure
from ..transport import wire
from .messages import EACH_PICKLED, MANY, ONE_ARGUMENT, SentMany, Target
from .runner import Ran, Runner

if TYPE_CHECKING:
    from ..futures import Future

T = TypeVar("T")

PLAIN_VALUES = frozenset((int, float, bool, complex, type(None)))
TEXTS = frozenset((str, bytes))
"""What can't change, so that values of several calls may be pickled together, and later than they are made."""
LONGEST_TEXT = 4096
_NEVER = object()


class _Slave(Protocol):
    """What is needed of the slave."""

    wire: Any  # threading.RLock, of which typeshed makes a function

    def is_here(self) -> bool: ...
    def tell(self, message: tuple[Any, ...]) -> None: ...


class _Run:
    """Many calls, of which one runs."""

    is_split = is_one_by_one = False
    """Whether only the one that runs is left; whether each gets a context when it begins."""
    count_told = left = 0
    """How many were told together; 1: that one is told as a call of its own."""
    alone: wire.Payload | Future[Any] | None = None
    """What that one has returned, if it is too large to go with others, or a future."""

    def __init__(self, sent: SentMany, function: Callable[[Target], tuple[Callable[..., Any], bool]]) -> None:
        self.first, self.name, target, self.attempt, _, given, *_, self.shape = sent
        self.fn, self.binds = function(target)
        self.items = deque(given)
        self.count = len(given)
        self.later: list[Any] = []
        """Items that are put back as soon as the one that runs has ended."""
        self.values: list[Any] = []
        """Of those that have ended: None for those in the next two."""
        self.encoded: dict[int, bytes] = {}
        self.failures: dict[int, tuple[Failure, wire.Payload]] = {}
        self.began = perf_counter()

    def unbegun(self) -> int:
        """Take away what has not begun. How many."""
        count = len(self.later)
        self.later.clear()
        while True:
            try:
                self.items.pop()
            except IndexError:
                return count
            count += 1


class Loop:
    """Runs many calls, and lets the rest go where one of them takes long."""

    def __init__(self, slave: _Slave, runner: Runner) -> None:
        self._slave = slave
        self._runner = runner
        self._run: _Run | None = None
        self._paces: dict[str, float] = {}
        """By task: seconds that each call has taken of the last ones."""

    @property
    def is_running(self) -> bool:
        """Whether some are left to be given back, or to be told."""
        return self._run is not None

    def run(self, sent: SentMany) -> Ran | None:
        """Run them. The outcome of the last one, if it became a call of its own; the others are told."""
        run = self._run = _Run(sent, self._runner.function)
        token = enter(LateContext(lambda: self._context_now(run)))
        try:
            if run.binds:
                run.is_one_by_one = True
            else:
                self._run_through(run)
        finally:
            leave(token)
        if run.is_one_by_one:
            self._run_one_by_one(run)
        with self._slave.wire:
            self._run = None
            if not run.is_split:
                seconds, run.count_told = perf_counter() - run.began, run.count
                self._paces[run.name] = seconds / run.count
                self._tell(run, 0, seconds, alone=False)
        return self._last(run) if run.left else None

    def split(self, *, alone: bool = False) -> None:
        """Tell what has ended, give back what has not begun, and let the one that runs be a call of its own. For any thread.

        Args:
            alone: Others like these had better be sent one by one.
        """
        if self._run is None:
            return
        with self._slave.wire:
            run, self._run = self._run, None
            if run is None:  # another thread was faster
                return
            unbegun = run.unbegun()
            done = run.count_told = len(run.values)
            run.is_split, run.left = True, run.count - done - unbegun
            seconds = min(perf_counter() - run.began, done * self._paces.get(run.name, 0.0))
            self._tell(run, run.left, seconds, alone=alone)
            run.began += seconds

    # ---------------------------------------------------------------- in the thread that runs calls

    def _run_through(self, run: _Run) -> None:
        """Run them until none is left, or one asks for its context."""
        mpitasks_calls = "task"  # noqa: F841  what follows is the user's code: see interrupts.MARK
        call, append = _callable(run), run.values.append
        try:
            for item in iter(run.items.popleft, _NEVER):
                try:
                    value = call(item)
                    kind = type(value)
                    if kind in PLAIN_VALUES or (kind in TEXTS and len(value) < LONGEST_TEXT):
                        append(value)
                    else:
                        self._keep(run, value)
                except BaseException as error:  # noqa: BLE001  as in `Runner.run`
                    self._fail(run, error)
        except IndexError:
            pass  # by `popleft`: nothing is left

    def _run_one_by_one(self, run: _Run) -> None:
        """The same, each with its context."""
        mpitasks_calls = "task"  # noqa: F841  as above
        call, with_context = _callable(run), run.binds
        for item in self._rest_of(run):
            context = self._context(run, len(run.values))
            token = enter(context)
            try:
                self._keep(run, call(item, context) if with_context else call(item))
            except BaseException as error:  # noqa: BLE001  as in `Runner.run`
                self._fail(run, error)
            finally:
                leave(token)

    def _rest_of(self, run: _Run) -> Iterator[Any]:
        with self._slave.wire:
            run.items.extend(run.later)
            run.later.clear()
        while run.items:
            try:
                item = run.items.popleft()
            except IndexError:  # another thread has just given it back
                return
            yield item

    def _keep(self, run: _Run, value: Any) -> None:  # noqa: ANN401  whatever the function returns
        """One has ended like this; what it gave back may change as soon as the next one begins."""
        if isinstance(value, CoroutineType):
            value = self._runner.awaited(value)
        kind = type(value)
        if kind in PLAIN_VALUES or (kind in TEXTS and len(value) < LONGEST_TEXT):
            run.values.append(value)
            return
        payload = self._runner.encoded(run.name, value)
        if isinstance(payload, bytes) and len(payload) < wire.INLINE:
            run.encoded[len(run.values)] = payload
        else:
            self.split(alone=True)
            run.alone = payload
        run.values.append(None)

    def _fail(self, run: _Run, error: BaseException) -> None:
        place = len(run.values)
        note = self._runner.note(run.name, CallId(run.first + place), run.attempt)
        failure, payload = self._runner.failure_of(error, note)
        run.failures[place] = failure, wire.sendable(payload)
        run.values.append(None)

    def _last(self, run: _Run) -> Ran:
        """The outcome of the one that became a call of its own."""
        place, seconds = run.count_told, perf_counter() - run.began
        call_id = CallId(run.first + place)
        if place in run.failures:
            return call_id, run.failures[place][0], seconds, run.failures[place][1]
        if run.alone is not None:
            return call_id, None, seconds, wire.sendable(run.alone) if isinstance(run.alone, wire.ENCODED) else run.alone
        encoded = run.encoded.get(place)
        return call_id, None, seconds, wire.encode(run.values[place]) if encoded is None else encoded

    # ---------------------------------------------------------------- contexts and messages

    def _context_now(self, run: _Run) -> Context:
        """The context of the one that runs, which has asked for it; those behind it get theirs before they ask."""
        with self._slave.wire:
            if self._slave.is_here() and not run.is_one_by_one:
                run.is_one_by_one = True
                while run.items:
                    run.later.append(run.items.popleft())
        return self._context(run, min(len(run.values), run.count - 1))

    def _context(self, run: _Run, place: int) -> Context:
        return self._runner.context(run.name, run.attempt, CallId(run.first + place))

    def _tell(self, run: _Run, left: int, seconds: float, *, alone: bool) -> None:
        done = run.count_told
        encoded, failures = _first(run.encoded, done), _first(run.failures, done)
        self._slave.tell((MANY, run.first, done, left, seconds, run.values[:done], encoded, failures, alone))


def _first(by_place: dict[int, T], count: int) -> dict[int, T]:
    """What is there of the first; the thread that runs calls may add to it meanwhile."""
    return {place: one for place, one in list(by_place.items()) if place < count} if by_place else {}


def _callable(run: _Run) -> Callable[..., Any]:
    """What takes an item as it was sent; and the context first, if the task is bound."""
    fn, shape = run.fn, run.shape
    if run.binds:
        return lambda item, context: fn(context, *_arguments(item, shape))
    if shape == ONE_ARGUMENT:
        return fn
    if shape == EACH_PICKLED:
        return lambda item: fn(*wire.decode(item)[0])
    return lambda item: fn(*item)


def _arguments(item: Any, shape: int) -> tuple[Any, ...]:  # noqa: ANN401  whatever was given
    if shape == ONE_ARGUMENT:
        return (item,)
    return cast("tuple[Any, ...]", wire.decode(item)[0] if shape == EACH_PICKLED else item)
