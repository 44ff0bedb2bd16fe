"""The standard library's Executor, over the running farm.

::

    submit ──► Plan(queue="executor-1", max_slaves=max_workers) ──► farm ──► Future
    map    ──► blocks of items, or submit, item by item ──► values in the order of the items
    initializer ──► Plan(setup=...) ──► every slave, before its first call of this executor

An executor owns no ranks: several share the farm, each with its own limit. All that it keeps of its calls are weak references
to their futures and to blocks of its maps, so that a result lives only as long as somebody wants it.
"""

from __future__ import annotations

import concurrent.futures
import operator
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures._base import FINISHED, PENDING
from functools import partial
from itertools import count
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, overload
from weakref import WeakSet, WeakValueDictionary

from . import loops
from .broken import InitializerFailed
from .callables import name_of
from .context import inside_a_call
from .core.calls import PLAIN
from .errors import Drained, FarmBroken, NotRunning, ResultTimeout, Terminated
from .farm import Farm, running
from .futures import Future, _deadline, _left
from .many import Batch, Calls, Source
from .plans import Plan, Setup, replace
from .tasks import Task

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_Send = Callable[[tuple[Any, ...], dict[str, Any]], Future[Any]]

_numbers = count(1)

MOST_AT_ONCE = 256
"""Values that are decoded before the first of them is given."""


class Executor(concurrent.futures.Executor):
    """Runs calls on the slaves of the running farm; what works with `ProcessPoolExecutor` works with this.

    It takes more than that one does. Lambdas, closures and what only this rank has defined travel by cloudpickle; futures
    may be arguments; a task keeps its priority, its resource and its limit.

    One thing is different on purpose: leaving a `with` block by Ctrl-C or SIGTERM does not wait for the calls. What has not
    begun is cancelled, and `run()` gives the rest its grace.

    Args:
        max_workers: Slaves that may run its calls at one time; None: all.
        mp_context: Only None: slaves are ranks that mpiexec has started.
        initializer: Called on a slave before its first call of this executor.
        initargs: The initializer's arguments.
        max_tasks_per_child: Only None: a slave stays until the run ends.

    Raises:
        NotRunning: There is no farm here: this is not main.
        TypeError: The initializer can't be called, or `max_workers` is no whole number.
        ValueError: `max_workers` is below 1, or an option makes no sense where slaves are ranks.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        max_tasks_per_child: None = None,
    ) -> None:
        _refuse_in_a_call()
        self._farm = running("mpitasks", "Executor()")
        _refuse_process_options(mp_context, max_tasks_per_child)
        self._limit = None if max_workers is None else _checked_limit(max_workers)
        self._max_workers = self._limit or self._farm.slaves
        """Not used here; but libraries ask the standard library's executors for it."""
        self._queue = f"executor-{next(_numbers)}"
        self._setup = None if initializer is None else _checked_setup(self._queue, initializer, initargs)
        self._lock = threading.Lock()
        self._futures: WeakValueDictionary[int, Future[Any]] = WeakValueDictionary()
        """Of its calls, in the order in which they were submitted."""
        self._blocks: WeakSet[Batch] = WeakSet()
        """Of its maps. Calls of a block that were submitted one by one are among the futures too."""
        self._count = count()
        self._submitting: list[int] = []
        """The threads that are inside `submit`; twice, where a callback submits inside it."""
        self._is_shut_down = self._cancels_waiting = False
        self._broken: InitializerFailed | None = None
        """Never raised itself: a traceback would keep the caller's frames alive."""

    # ---------------------------------------------------------------- for users

    @overload
    def submit(self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
    @overload
    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]: ...
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have a slave call `fn(*args, **kwargs)`.

        What can't be pickled fails the call and not this: the future raises an `EncodeError`, which is a `PicklingError`.

        Args:
            fn: Any callable, or a task.
            *args: Its arguments, pickled before this returns.
            **kwargs: Its named arguments.

        Raises:
            RuntimeError: This executor was shut down, or the run is over.
            concurrent.futures.BrokenExecutor: The initializer has raised on a slave.
            NotRunning: This is the inside of a task.
            ValueError: Task and executor both have a limit.
        """
        return self._submit(fn, self._sender(fn), args, kwargs)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """The values of `map(fn, *iterables)`, computed on the slaves.

        All calls are submitted before this returns, unless there is a `buffersize`. An item that raises ends the iterator;
        that and leaving it early cancels what has not begun. In a chunk, too, an item fails by itself, at its place.

        Args:
            fn: Any callable, or a task.
            *iterables: One for each parameter; the shortest ends it.
            timeout: Seconds from now, for all values together.
            chunksize: Calls that travel together; 1: as the farm sees fit.
            buffersize: Chunks submitted of which no value was given yet, at most. As in Python 3.14, the next chunk is drawn
                when the first value of one is given.

        Raises:
            TypeError: `chunksize` or `buffersize` is no whole number.
            ValueError: One of them is below 1.
            RuntimeError: This executor was shut down, or the run is over.
            TimeoutError: While iterating: the time ran out.
            Exception: While iterating: what a call raised.
        """
        _check_sizes(chunksize, buffersize)
        deadline = _deadline(timeout)
        calls = self._calls(fn, 0 if chunksize == 1 else chunksize)
        source = Source(zip(*iterables, strict=False), calls.first)
        drawn = deque(self._drawn(calls, source, sys.maxsize if buffersize is None else buffersize * chunksize))
        ended = _in_blocks(drawn, calls, deadline)
        return _values(ended, drawn, None if buffersize is None else partial(self._drawn, calls, source, chunksize), chunksize)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  as in the base class
        """Take no more calls. May be called several times, from any thread.

        Args:
            wait: Return when all calls of this executor have ended, with their callbacks; what other executors run does not
                matter.
            cancel_futures: Cancel those that have not been sent to a slave.
        """
        with self._lock:
            self._is_shut_down = True
            self._cancels_waiting = self._cancels_waiting or cancel_futures
            blocks = list(self._blocks)
        if cancel_futures:
            for future in self._known():
                self._overtake(future)
            for block in blocks:
                block.cancel_unsent()
        if wait:
            self._wait()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        interrupted = isinstance(exc_val, KeyboardInterrupt | Terminated | Drained)
        self.shutdown(wait=not interrupted, cancel_futures=interrupted)

    # ---------------------------------------------------------------- submitting

    def _sender(self, fn: Callable[..., Any], *, chunk: int = 0) -> _Send:
        """What submits a call of `fn`, given the arguments."""
        _refuse_in_a_call()
        running("mpitasks.Executor", "submit()")
        plan = self._plan(fn, chunk)
        if not isinstance(fn, Task):
            return partial(self._farm.submit, plan, resource=PLAIN)
        changed = fn.options()
        changed._plan = plan
        return partial(changed._submit, self._farm)

    def _calls(self, fn: Callable[..., Any], chunk: int) -> Calls:
        """What submits many calls of `fn`; those that can't go together, or can't go at all, one by one."""
        send = self._sender(fn, chunk=chunk)

        def fits(count: int) -> bool:
            return fn._identify is None and fn._takes(count) if isinstance(fn, Task) else callable(fn)

        return Calls(self._farm, self._plan(fn, chunk), lambda args: self._submit(fn, send, args, {}), fits)

    def _plan(self, fn: Callable[..., Any], chunk: int) -> Plan:
        """How the calls of `fn` are to be run."""
        if isinstance(fn, Task):
            return self._task_plan(fn, chunk)
        return Plan(name_of(fn), self._queue, self._limit, chunk=chunk, function=fn, setup=self._setup)

    def _task_plan(self, task: Task[..., Any], chunk: int) -> Plan:
        """A task's calls wait in the task's queue, with the task's limit, unless this executor has a limit.

        Raises:
            ValueError: Both have one.
        """
        plan = replace(task._plan, chunk=chunk, setup=self._setup)
        if self._limit is None:
            return plan
        if plan.max_slaves is not None:
            msg = (
                f"task {task.name!r} has max_slaves={plan.max_slaves} and this executor has max_workers={self._limit}, and a "
                f"call waits in one queue only: make an executor without max_workers, or use {task.name}.delay()"
            )
            raise ValueError(msg)
        return replace(plan, queue=self._queue, max_slaves=self._limit)

    def _submit(self, fn: Callable[..., Any], send: _Send, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Take a call, and note it."""
        thread = threading.get_ident()
        self._enter(thread)
        try:
            future = self._sent(fn, send, args, kwargs)
            with self._lock:
                self._futures[next(self._count)] = future
        finally:
            with self._lock:
                self._submitting.remove(thread)
        if self._setup is not None:
            future.add_done_callback(self._look_for_failed_initializer)
        self._overtake(future)
        if not future.done() and loops.running() is not None:
            self._farm.pump()  # `run_in_executor` leaves no other trace of who waits
        return future

    def _drawn(self, calls: Calls, source: Source, most: int) -> Iterator[Batch]:
        """Submit so many calls, in blocks as they come."""
        while most and (items := source.draw(most)):
            most -= len(items)
            yield from self._submit_many(calls, items)

    def _submit_many(self, calls: Calls, items: list[Any]) -> list[Batch]:
        """Take many calls, and note them."""
        thread = threading.get_ident()
        self._enter(thread)
        try:
            blocks = list(calls.submit(items, tuples=True))
            with self._lock:
                self._blocks.update(blocks)
        finally:
            with self._lock:
                self._submitting.remove(thread)
        if self._cancels_waiting:
            for block in blocks:
                block.cancel_unsent()
        return blocks

    def _enter(self, thread: int) -> None:
        """A thread submits from now on; `shutdown` waits until it has.

        Raises:
            InitializerFailed: The initializer has raised on a slave.
            RuntimeError: This executor was shut down.
        """
        with self._lock:
            if self._broken is not None:
                raise InitializerFailed(str(self._broken)) from self._broken.__cause__
            if self._is_shut_down:
                msg = "cannot schedule new futures after shutdown"
                raise RuntimeError(msg)
            self._submitting.append(thread)

    def _sent(self, fn: Callable[..., Any], send: _Send, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """The future of a call; it has failed already if the call can't travel."""
        try:
            if not callable(fn):
                msg = f"{fn!r} is not callable"
                raise TypeError(msg)  # noqa: TRY301  all that fails the call fails it here
            return send(args, kwargs)
        except FarmBroken:
            raise
        except Exception as error:  # noqa: BLE001  pickle hooks and key functions are user code
            return _failed(self._farm, fn.name if isinstance(fn, Task) else name_of(fn), error)

    # ---------------------------------------------------------------- ending

    def _known(self) -> list[Future[Any]]:
        with self._lock:
            return list(self._futures.values())

    def _overtake(self, future: Future[Any]) -> None:
        """Let a call that still waits share what has happened to this executor."""
        if self._cancels_waiting and future._state == PENDING:
            future.cancel()
        elif self._broken is not None:
            self._farm.fail(future, self._broken)

    def _wait(self) -> None:
        """Wait until all calls have ended, with their callbacks, and those that other threads submit just now."""
        thread = threading.get_ident()
        self._farm.wait(lambda: all(one == thread for one in self._submitting), threading.Event, None)
        with self._lock:
            blocks = list(self._blocks)
        for future in self._known():
            self._farm.wait(partial(future._has_told, thread), future._event, None)
        for block in blocks:
            self._farm.wait(partial(_has_ended, block), block.event, None)

    def _look_for_failed_initializer(self, future: concurrent.futures.Future[Any]) -> None:
        """If that is why the call failed, nothing more can run here."""
        error = _failure_of(future)
        if isinstance(error, InitializerFailed):
            self._break(error)

    def _break(self, error: InitializerFailed) -> None:
        """Let what waits fail, and what will be submitted."""
        with self._lock:
            if self._broken is not None:
                return
            self._broken = InitializerFailed(str(error))
            self._broken.__cause__ = error.__cause__
        for future in self._known():
            self._overtake(future)


# ---------------------------------------------------------------- values of map


_Draw = Callable[[], Iterable[Batch]]


def _values(ended: Iterator[deque[T]], drawn: deque[Batch], draw: _Draw | None, chunksize: int) -> Iterator[T]:
    """The values in order; draws a chunk when the first value of one is there."""
    given = 0
    try:
        for values in ended:
            while values:
                if draw is not None and given % chunksize == 0:
                    drawn.extend(draw())
                given += 1
                # Not by way of a variable: it would keep the value alive for as long as the user works on the next.
                yield values.popleft()
    finally:
        for block in drawn:
            block.cancel()
            block.forgive()  # nobody can ask for them any more


def _in_blocks(drawn: deque[Batch], calls: Calls, deadline: float | None) -> Iterator[deque[Any]]:
    """Values of calls that have ended, in order.

    Raises:
        ResultTimeout: The time ran out.
        Exception: What a call raised.
    """
    while drawn:
        block, place = drawn[0], 0
        while place < block.count:
            if not calls.farm.wait(partial(block.has_ended, place), block.event, _left(deadline)):
                msg = f"the calls of {calls.name!r} have not ended in the time that map() was given, and are cancelled"
                raise ResultTimeout(msg)
            values = deque(block.values_from(place, MOST_AT_ONCE))
            place += len(values)
            yield values
        drawn.popleft()


def _has_ended(block: Batch) -> bool:
    return block.ended() == block.count


# ---------------------------------------------------------------- futures


def _failed(farm: Farm, name: str, error: Exception) -> Future[Any]:
    """The future of a call that never was."""
    future: Future[Any] = Future(farm, name)
    future._exception = error
    future._failed = True
    future._end(FINISHED)
    return future


def _failure_of(future: Any) -> BaseException | None:  # noqa: ANN401  ours; callbacks are typed for the standard's
    """What the call raised, if it did. Does not count as asking for it."""
    if future._failed:
        future._load()
    error: BaseException | None = future._exception
    return error


# ---------------------------------------------------------------- checks


def _refuse_in_a_call() -> None:
    if inside_a_call():
        msg = "mpitasks.Executor was used inside a task, and belongs to main(); in a task, use f.delay() or mpitasks.submit()"
        raise NotRunning(msg)


def _refuse_process_options(mp_context: object, max_tasks_per_child: object) -> None:
    """Refuse what only makes sense where workers are processes of this machine.

    Raises:
        ValueError: One of them is given.
    """
    if mp_context is not None:
        msg = f"mp_context={mp_context!r} must be None: slaves are ranks, which mpiexec starts and not this"
        raise ValueError(msg)
    if max_tasks_per_child is not None:
        msg = f"max_tasks_per_child={max_tasks_per_child!r} must be None: slaves are ranks, and a rank can't be replaced"
        raise ValueError(msg)


def _checked_limit(max_workers: int) -> int:
    """A number of slaves.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is below 1.
    """
    try:
        limit = operator.index(max_workers)
    except TypeError:
        msg = f"max_workers={max_workers!r} must be a whole number, or None for no limit"
        raise TypeError(msg) from None
    if limit < 1:
        msg = f"max_workers must be greater than 0, and is {limit}; None means no limit"
        raise ValueError(msg)
    return limit


def _checked_setup(name: str, initializer: Callable[..., object], initargs: Iterable[Any]) -> Setup:
    """What slaves do first.

    Raises:
        TypeError: The initializer can't be called.
    """
    if not callable(initializer):
        msg = f"initializer must be a callable, and is {initializer!r}"
        raise TypeError(msg)
    return Setup(name, initializer, tuple(initargs))


def _check_sizes(chunksize: int, buffersize: int | None) -> None:
    """Check what `map` takes.

    Raises:
        TypeError: One of them is no whole number.
        ValueError: One of them is below 1.
    """
    if not isinstance(chunksize, int):
        msg = f"chunksize must be an integer, and is {chunksize!r}"
        raise TypeError(msg)
    if chunksize < 1:
        msg = f"chunksize must be >= 1, and is {chunksize}"
        raise ValueError(msg)
    if buffersize is not None and not isinstance(buffersize, int):
        msg = f"buffersize must be an integer or None, and is {buffersize!r}"
        raise TypeError(msg)
    if buffersize is not None and buffersize < 1:
        msg = f"buffersize must be None or > 0, and is {buffersize}"
        raise ValueError(msg)
