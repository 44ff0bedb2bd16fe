"""Futures: what `delay` gives back, and ways to wait for many.

::

    PENDING ──sent──► RUNNING ──outcome──► FINISHED      result() decodes it in the thread that asks
       └──cancel()──► CANCELLED_AND_NOTIFIED

A `Future` is a `concurrent.futures.Future`, so all of the standard library works on it; but it makes its condition only
when somebody needs one, since a lock and two lists would cost more than all the rest of a short call.
"""

from __future__ import annotations

import concurrent.futures
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, Self, TypeVar, cast, overload

from .errors import DependencyFailed, RemoteError, ResultTimeout
from .transport import wire
from .transport.failures import decode_failure

if TYPE_CHECKING:
    import asyncio

    from .core.calls import Call
    from .farm import Farm

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_logger = logging.getLogger("mpitasks")
_making = threading.RLock()  # again by the same thread, where the garbage collector runs a finalizer inside


class _Outcome:
    """One thing that stays as it is; equal to another of the same kind. No tuple, or Done(x) were Failed(x)."""

    __slots__ = ()
    __match_args__: tuple[str] = ("",)

    def __init__(self, thing: object) -> None:
        object.__setattr__(self, self.__match_args__[0], thing)

    def _thing(self) -> object:
        return getattr(self, self.__match_args__[0])

    def __setattr__(self, name: str, value: object) -> NoReturn:
        msg = f"{name!r} of {self!r} can't be set: an outcome stays as it is; make another one"
        raise AttributeError(msg)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Outcome) or type(other) is not type(self):
            return NotImplemented
        return (self._thing(),) == (other._thing(),)  # tuples look first whether it is the same

    def __delattr__(self, name: str) -> NoReturn:
        msg = f"{name!r} of {self!r} can't be deleted: an outcome stays as it is"
        raise AttributeError(msg)

    def __hash__(self) -> int:
        return hash((type(self), self._thing()))

    def __reduce__(self) -> tuple[type[Self], tuple[object]]:
        return type(self), (self._thing(),)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.__match_args__[0]}={self._thing()!r})"


class Done(_Outcome, Generic[T_co]):
    """The outcome of a call that returned."""

    __slots__ = __match_args__ = ("value",)
    value: T_co

    def __init__(self, value: T_co) -> None:
        super().__init__(value)


class Failed(_Outcome):
    """The outcome of a call that raised."""

    __slots__ = __match_args__ = ("error",)
    error: BaseException

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)


class Watcher:
    """Gathers futures as they end. Speaks the protocol of the standard library's waiters."""

    def __init__(self) -> None:
        self.ended: deque[concurrent.futures.Future[Any]] = deque()
        self.event = threading.Event()

    def add_result(self, future: concurrent.futures.Future[Any]) -> None:
        """A future ended."""
        self.ended.append(future)
        self.event.set()

    add_exception = add_cancelled = add_result


class _Bell(Watcher):
    """Tells that one has ended, which keeps this: to gather it would let both live until the garbage collector comes."""

    def add_result(self, future: concurrent.futures.Future[Any]) -> None:  # noqa: ARG002  as in the base class
        """It ended."""
        self.event.set()

    add_exception = add_cancelled = add_result


class Future(concurrent.futures.Future[T]):
    """The outcome of one call, now or later."""

    # Defaults of the class: what most calls never set costs them nothing.
    rank: int | None = None
    """Rank of the slave that ran the call, or runs it now; None before."""
    attempts: int = 0
    """How often the call was begun."""
    _state = PENDING
    _call: Call | None = None
    _made: threading.Condition | None = None
    _watcher: Watcher | None = None
    _waiters: Any = ()
    _done_callbacks: Any = ()
    _to_tell: Sequence[Any] = ()
    """The waiters that were there when the call ended."""
    _result: Any = None
    _exception: BaseException | None = None
    _retrieved = False
    _payload: wire.Payload | None = None
    """The outcome as it came, until somebody asks for it."""
    _failed = False
    """Whether `_payload` is a failure."""
    _lent = False
    """Whether another call takes `_payload` as it is: what main then does to the value must not reach that call."""
    _told_by: int | None = None
    """The thread that runs the callbacks just now."""
    _because: Future[Any] | None = None
    """The failed future that kept this call from running: the first of a chain. None once that is decoded."""
    _root: Future[Any] | None = None
    """The same, for good."""

    _identity: bytes | None = None
    """What tells the call from others in a journal, if the run keeps one."""

    def __init__(self, farm: Farm, task_name: str) -> None:  # the base class would make locks and lists
        self._farm = farm
        self.task_name = task_name
        """Name of the task."""

    # ------------------------------------------------------------ for users

    def result(self, timeout: float | None = None) -> T:
        """The value that the call returned.

        Args:
            timeout: Seconds to wait; None: as long as it takes.

        Raises:
            ResultTimeout: The time ran out. The call goes on.
            concurrent.futures.CancelledError: The call was cancelled.
            Exception: What the call raised, with the remote traceback as its cause.
        """
        if self._state != FINISHED:
            self._await_end(timeout)
        self._retrieved = True
        result: T
        payload = self._payload
        if type(payload) is tuple and len(payload) == 1:  # a number: to ask for anything else would take longer than all this
            (result,) = payload
            return result
        if payload is not None or self._because is not None:
            self._load()
        error = self._exception
        if error is not None:
            try:
                raise error
            finally:
                # The traceback now holds this frame; without this, frame, error and future would keep each other alive.
                del error, self
        result = self._result
        return result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the call raised; None if it returned.

        Raises:
            ResultTimeout: The time ran out.
            concurrent.futures.CancelledError: The call was cancelled.
        """
        return self._error(timeout)

    def cancel(self) -> bool:
        """Give the call up: True if it had not been sent to a slave.

        Else False, and `Context.should_stop()` becomes true inside the call.
        """
        if self._state == CANCELLED_AND_NOTIFIED:
            return True
        return self._state != FINISHED and self._farm.withdraw(self)

    def arg(self) -> T:
        """The future itself, typed as its value: hand it to another call's `delay`."""
        return cast("T", self)

    def done(self) -> bool:
        """Whether the call has ended or was cancelled."""
        return self._state in (FINISHED, CANCELLED_AND_NOTIFIED)

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[T]], object]) -> None:
        """Call `fn(future)` when the call has ended, in whichever thread runs the farm then; at once if it has."""
        with self._condition:
            if not self.done():
                self._done_callbacks.append(fn)
                return
        self._call_back([fn])

    def __await__(self) -> Generator[Any, None, T]:
        if not self.done():
            import asyncio  # noqa: PLC0415  only async programs need it

            self._farm.pump()
            return (yield from asyncio.wrap_future(self).__await__())
        return self.result()

    def __reduce__(self) -> Any:  # noqa: ANN401  as object.__reduce__
        """As an argument of a call, a future travels as a place for its value."""
        payload = self._payload
        if self._retrieved and type(payload) is tuple and len(payload) == 1:
            self._load()  # `result` has left it as it came
        if self._state == FINISHED and self._payload is None and self._exception is None and self._because is None:
            return wire.itself, (self._result,)
        return wire.claim(self)

    def __mpitasks_id__(self) -> bytes:
        """What tells its value from others in a journal: which call gives it; at least, in this run."""
        self._identity = self._identity or os.urandom(16)
        return self._identity

    def __repr__(self) -> str:
        return f"<Future of {self.task_name!r}: {self._state.lower().replace('_and_notified', '')}>"

    def __del__(self) -> None:
        if self._state == FINISHED and not self._retrieved:
            self._report_unretrieved()

    # ------------------------------------------------------------ for the farm

    def _make_condition(self) -> threading.Condition:
        made = self._made
        if made is None:
            with _making:
                made = self._made
                if made is None:
                    self._waiters, self._done_callbacks = [], []
                    made = self._made = threading.Condition()
        return made

    if not TYPE_CHECKING:  # to type checkers it stays the base class's attribute, as concurrent.futures.as_completed asks
        _condition = property(_make_condition)

    def _end(self, state: str) -> bool:
        """The call has ended, and the outcome is set. Returns whether somebody must be told, by `_announce`.

        The state and who is to be told of it are one step: a waiter that comes later finds the call ended.
        """
        if self._failed or self._because is not None:
            _failures.alive.add(self)
        self._call = None
        with _making:
            made = self._made
            if made is None:
                self._state = state
                return False
        with made:
            self._state = state
            self._to_tell = list(self._waiters)
        return True

    def _announce(self) -> None:
        """Wake who waits, and run the callbacks; what those raise is logged."""
        with self._condition:
            failed = self._is_failure()
            told, self._to_tell = self._to_tell, ()
            for waiter in told:  # concurrent.futures.wait tells them apart
                (waiter.add_exception if failed else waiter.add_result)(self)
            self._condition.notify_all()
            self._told_by = threading.get_ident()
            callbacks, self._done_callbacks = self._done_callbacks, []
        try:
            self._call_back(callbacks)
        finally:
            self._told_by = None

    def _has_told(self, thread: int) -> bool:
        """Whether the call has ended, and the callbacks have; for the thread that is inside of one, that one has."""
        return self.done() and not self._done_callbacks and self._told_by in (None, thread)

    def _call_back(self, callbacks: Iterable[Callable[[concurrent.futures.Future[T]], object]]) -> None:
        for callback in callbacks:
            try:
                callback(self)
            except Exception:
                _logger.exception("a callback of %r raised", self)

    def _watch(self, watcher: Watcher) -> None:
        """Tell the watcher when this ends; at once if it has."""
        with self._condition:
            if not self.done():
                self._waiters.append(watcher)
                return
        watcher.add_result(self)

    def _unwatch(self, watcher: Watcher) -> None:
        with self._condition:
            if watcher in self._waiters:
                self._waiters.remove(watcher)

    def _event(self) -> threading.Event:
        """An event that is set when this ends; one for all who wait, however often."""
        with _making:
            known = self._watcher
            watcher = self._watcher = known or _Bell()
        if known is None:
            self._watch(watcher)
        return watcher.event

    def _error(self, timeout: float | None) -> BaseException | None:
        """Wait, decode, and say what went wrong."""
        if self._state != FINISHED:
            self._await_end(timeout)
        self._retrieved = True
        if self._payload is not None or self._because is not None:
            self._load()
        return self._exception

    def _await_end(self, timeout: float | None) -> None:
        """Wait until the call has ended.

        Raises:
            ResultTimeout: The time ran out.
            concurrent.futures.CancelledError: The call was cancelled.
        """
        if not self.done() and not self._farm.wait(self.done, self._event, timeout):
            msg = f"the call of {self.task_name!r} has not ended within {timeout} s; it goes on, ask again later"
            raise ResultTimeout(msg)
        if self._state == CANCELLED_AND_NOTIFIED:
            raise concurrent.futures.CancelledError

    def _load(self) -> None:
        """Decode the outcome, once."""
        payload = self._payload
        because = self._because
        if because is not None:  # read once: another thread may be here too
            self._exception = self._blame(because)
            self._because = None
        if payload is None:
            return
        if self._failed:
            self._exception = decode_failure(payload)
        elif isinstance(payload, tuple) and len(payload) == 1:
            self._result = payload[0]
        else:
            try:
                self._result = wire.decode(wire.snapshot(payload) if self._lent else payload)
            except Exception as error:  # noqa: BLE001  unpickling runs user code
                self._exception = self._not_decoded(error)
        self._payload = None

    def _blame(self, other: Future[Any]) -> DependencyFailed:
        """The error of a call that never ran, because of another one."""
        error = DependencyFailed(
            f"the call of {self.task_name!r} never ran: it needs a call of {other.task_name!r}, which failed"
        )
        error.__cause__ = other._error(None)
        return error

    def _not_decoded(self, error: Exception) -> RemoteError:
        """The value came, but cannot be unpickled here."""
        wrapped = RemoteError(
            type(error).__qualname__, f"what {self.task_name!r} returned can't be unpickled on the master: {error}"
        )
        wrapped.__cause__ = error
        return wrapped

    def _is_failure(self) -> bool:
        """Whether the ended call has raised, or could not run; a value that can't be unpickled becomes one by `_load`."""
        return self._failed or self._because is not None or self._exception is not None

    def _report_unretrieved(self) -> None:
        """Log a failure that nobody asked for."""
        if not self._is_failure():
            return
        self._retrieved = True
        self._load()
        if self._exception is not None:
            self._count_unretrieved()
            _logger.error("a call of %r failed, and nobody asked for its result", self.task_name, exc_info=self._exception)

    def _count_unretrieved(self) -> None:
        _failures.reported += 1


def end_returned(ended: Iterable[tuple[Future[Any], wire.Payload]]) -> list[Future[Any]]:
    """Calls have returned these values: end their futures, under one lock. Of which somebody must be told, by `_announce`."""
    watched: list[Future[Any]] = []
    with _making:
        for future, payload in ended:
            future._payload, future._call = payload, None
            if future._made is None:
                future._state = FINISHED
            else:
                watched.append(future)
    for future in watched:
        future._end(FINISHED)
    return watched


class _Failures:
    """The failures of this run that nobody has asked for."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """A new run begins."""
        self.alive: weakref.WeakSet[Future[Any]] = weakref.WeakSet()
        self.reported = 0


_failures = _Failures()


def begin_counting() -> None:
    """A new run begins."""
    _failures.forget()


def report_unretrieved() -> int:
    """Log the failures that nobody has asked for and that are not logged yet; how many there were in this run."""
    for future in list(_failures.alive):
        if not future._retrieved:
            future._report_unretrieved()
    return _failures.reported


def forgive_unretrieved() -> None:
    """Failures that nobody has asked for are of no interest: the run was cut short, and they run again."""
    for future in list(_failures.alive):
        future._retrieved = True


class Futures(Sequence[Future[T_co]]):
    """Many futures, in the order of their calls; never changes."""

    def __init__(self, futures: Iterable[Future[T_co]]) -> None:
        self._futures = tuple(futures)

    @overload
    def __getitem__(self, index: int) -> Future[T_co]: ...
    @overload
    def __getitem__(self, index: slice) -> Futures[T_co]: ...
    def __getitem__(self, index: int | slice) -> Future[T_co] | Futures[T_co]:
        """One future, or some."""
        return Futures(self._futures[index]) if isinstance(index, slice) else self._futures[index]

    def __len__(self) -> int:
        return len(self._futures)

    def __iter__(self) -> Iterator[Future[T_co]]:
        return iter(self._futures)

    def results(self, timeout: float | None = None) -> list[T_co]:
        """All values, in the order of the calls.

        Args:
            timeout: Seconds to wait for all of them together.

        Raises:
            ResultTimeout: The time ran out.
            Exception: What the first failed call raised; a note says how many more have failed.
        """
        deadline = _deadline(timeout)
        values = self._all_values(deadline)
        return [self._value(place, deadline, timeout) for place in range(len(self))] if values is None else values

    def outcomes(self, timeout: float | None = None) -> list[Done[T_co] | Failed]:
        """All outcomes, in the order of the calls; a cancelled call counts as failed.

        Raises:
            ResultTimeout: The time ran out.
        """
        deadline = _deadline(timeout)
        values = self._all_values(deadline)
        return [self._outcome(future, deadline, timeout) for future in self] if values is None else list(map(Done, values))

    def _all_values(self, deadline: float | None) -> list[T_co] | None:  # noqa: ARG002  some know how
        """All values at once; None: one by one, they tell better what is wrong."""
        return None

    def _value(self, place: int, deadline: float | None, timeout: float | None) -> T_co:
        future = self[place]
        error = self._error(future, deadline, timeout)
        if error is not None:
            _note_others(error, self[place + 1 :])
            raise error
        return future.result()

    def _outcome(self, future: Future[T_co], deadline: float | None, timeout: float | None) -> Done[T_co] | Failed:
        try:
            error = self._error(future, deadline, timeout)
        except concurrent.futures.CancelledError as cancelled:
            return Failed(cancelled)
        return Failed(error) if error is not None else Done(future.result())

    def _error(self, future: Future[T_co], deadline: float | None, timeout: float | None) -> BaseException | None:
        """What one of them has raised; None if it returned.

        Raises:
            ResultTimeout: The time for all of them ran out.
            concurrent.futures.CancelledError: It was cancelled.
        """
        try:
            return future.exception(_left(deadline))
        except ResultTimeout:
            left = f"{len(self) - self._ended()} of {len(self)} calls have not ended in {timeout} s"
            msg = f"{left}, the first of them one of {future.task_name!r}; they go on, ask again later"
            raise ResultTimeout(msg) from None

    def _ended(self) -> int:
        return sum(future.done() for future in self._futures)

    def _each_once(self) -> Futures[T_co]:
        return Futures(dict.fromkeys(self._futures))

    def _watch(self, watcher: Watcher) -> None:
        """Tell the watcher what ends, and what has."""
        for future in self._futures:
            future._watch(watcher)

    def _unwatch(self, watcher: Watcher) -> None:
        for future in self._futures:
            future._unwatch(watcher)

    def cancel(self) -> bool:
        """Cancel them all: True if all of them were cancelled in time."""
        cancelled = [future.cancel() for future in self._futures]
        return all(cancelled)

    def arg(self) -> list[T_co]:
        """These futures, typed as the list of their values: hand them to another call's `delay`."""
        return cast("list[T_co]", self)

    def __reduce__(self) -> Any:  # noqa: ANN401  as object.__reduce__
        """As an argument of a call, they travel as the list of their values."""
        return wire.itself, (list(self._futures),)

    def __repr__(self) -> str:
        return f"<Futures: {self._ended()} of {len(self)} ended>"


def _note_others(error: BaseException, others: Iterable[Future[Any]]) -> None:
    """Say how many others have failed so far; they count as retrieved."""
    failed = [other for other in others if other._state == FINISHED and other.exception() is not None]
    note = f"and {len(failed)} more of these calls have failed"
    if failed and note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else monotonic() + timeout


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - monotonic())


# ---------------------------------------------------------------- waiting for many


class DoneAndNotDone(NamedTuple, Generic[T]):
    """What `wait` gives back; named as in concurrent.futures."""

    done: set[Future[T]]
    not_done: set[Future[T]]


def wait(
    fs: Iterable[Future[T]], timeout: float | None = None, return_when: str = concurrent.futures.ALL_COMPLETED
) -> DoneAndNotDone[T]:
    """Wait for futures, as `concurrent.futures.wait`.

    Args:
        fs: The futures.
        timeout: Seconds; None: as long as it takes.
        return_when: `FIRST_COMPLETED`, `FIRST_EXCEPTION` or `ALL_COMPLETED` of concurrent.futures.

    Raises:
        TypeError: `fs` is no iterable of futures.
        ValueError: `return_when` is none of the three.
    """
    known = (concurrent.futures.FIRST_COMPLETED, concurrent.futures.FIRST_EXCEPTION, concurrent.futures.ALL_COMPLETED)
    if return_when not in known:
        msg = f"return_when={return_when!r} is not known; known: {', '.join(known)}"
        raise ValueError(msg)
    given = _checked(fs, "wait()")
    done: set[Future[T]] = set()
    with _watching(given) as waiting:
        for future in waiting.until(_deadline(timeout)):
            done.add(future)
            stop_at_failure = return_when == concurrent.futures.FIRST_EXCEPTION and _has_failed(future)
            if return_when == concurrent.futures.FIRST_COMPLETED or stop_at_failure:
                break
    futures = set(given)
    done |= {future for future in futures if future.done()}
    return DoneAndNotDone(done, futures - done)


def _checked(fs: Iterable[Future[T]], where: str) -> Futures[T]:
    """Each future once, in order.

    Raises:
        TypeError: Something else is among them.
    """
    if isinstance(fs, Futures):
        return fs._each_once()
    given: list[Any] = list(fs) if hasattr(fs, "__iter__") else [None]
    if not all(isinstance(one, Future) for one in given):
        msg = f"{where} takes an iterable of futures, such as [f.delay()] or f.map(items), and got {fs!r}"
        raise TypeError(msg)
    return Futures(given)._each_once()


def _has_failed(future: Future[Any]) -> bool:
    """Whether the call raised; does not count as asking for its result."""
    if future.cancelled():
        return False
    future._load()
    return future._exception is not None


class _watching(Generic[T]):  # noqa: N801  a context manager, used like a function
    """Yields futures as they end."""

    def __init__(self, futures: Futures[T]) -> None:
        self._futures = futures
        self._watcher = Watcher()

    def __enter__(self) -> _watching[T]:
        self._futures._watch(self._watcher)
        return self

    def __exit__(self, *_: object) -> None:
        self._futures._unwatch(self._watcher)

    def until(self, deadline: float | None) -> Iterator[Future[T]]:
        """The futures as they end; stops when all have, or when the time runs out."""
        ended, left = self._watcher.ended, len(self._futures)
        while left:
            if not ended and not self._wait(deadline):
                return
            for future in _told(ended.popleft()):
                left -= 1
                yield future

    def _wait(self, deadline: float | None) -> bool:
        farm = self._futures[0]._farm
        return farm.wait(lambda: bool(self._watcher.ended), lambda: self._watcher.event, _left(deadline))


def _told(one: Any) -> Iterable[Future[Any]]:  # noqa: ANN401  a future, or what a block of a map tells: see many.Batch
    """The futures that a watcher was told of; those of a block are made now, which costs little once they have ended."""
    if not isinstance(one, tuple):
        return (one,)
    block, first, count = one
    return (block.future(place) for place in range(first, first + count))


class as_completed(Generic[T]):  # noqa: N801  a class that is used like concurrent.futures.as_completed
    """Iterate over futures as they end, with `for` or with `async for`.

    Args:
        fs: The futures.
        timeout: Seconds for all of them together.

    Raises:
        TypeError: `fs` is no iterable of futures.
        ResultTimeout: While iterating: the time ran out.
    """

    def __init__(self, fs: Iterable[Future[T]], timeout: float | None = None) -> None:
        self._futures = _checked(fs, "as_completed()")
        self._timeout = timeout
        self._deadline = _deadline(timeout)

    def __iter__(self) -> Iterator[Future[T]]:
        count = 0
        with _watching(self._futures) as waiting:
            for future in waiting.until(self._deadline):
                count += 1
                yield future
        if count < len(self._futures):
            raise self._timed_out(count)

    async def __aiter__(self) -> AsyncIterator[Future[T]]:
        import asyncio  # noqa: PLC0415  as above

        loop = asyncio.get_running_loop()
        ended: asyncio.Queue[Future[T]] = asyncio.Queue()

        def note(future: concurrent.futures.Future[T]) -> None:
            if not loop.is_closed():  # else nobody iterates any more
                loop.call_soon_threadsafe(ended.put_nowait, cast("Future[T]", future))

        for future in self._futures:
            future.add_done_callback(note)
        for count in range(len(self._futures)):
            self._futures[0]._farm.pump()
            try:
                yield await asyncio.wait_for(ended.get(), _left(self._deadline))
            except TimeoutError:
                raise self._timed_out(count) from None

    def _timed_out(self, count: int) -> ResultTimeout:
        return ResultTimeout(f"{len(self._futures) - count} of {len(self._futures)} calls have not ended in {self._timeout} s")


async def gather(*fs: Future[T] | Iterable[Future[T]], return_exceptions: bool = False) -> list[T]:
    """Wait for futures in an async main, as `asyncio.gather`: the values in order, or the first exception.

    Args:
        *fs: Futures, or iterables of futures such as what `map` gives.
        return_exceptions: Put exceptions into the list instead of raising the first.
    """
    import asyncio  # noqa: PLC0415  as above

    futures: list[Future[T]] = []
    for item in fs:
        futures.extend([item] if isinstance(item, concurrent.futures.Future) else item)
    awaited = [_awaited(future) for future in futures]
    return cast("list[T]", await asyncio.gather(*awaited, return_exceptions=return_exceptions))


async def _awaited(future: Future[T]) -> T:
    return await future
