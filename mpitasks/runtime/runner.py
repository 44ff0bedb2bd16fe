"""Runs single calls, and keeps what they need between them.

::

    call ──► hold its resource ──► set up, once ──► decode ──► the function ──► encode ──► outcome

Every exception is an outcome. All of it happens in one thread, the main one of a process where there is a choice.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from time import perf_counter
from types import CoroutineType, FrameType
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from .. import loops, registry
from ..context import Context, Known, current, enter, leave
from ..core.calls import Provided
from ..errors import EncodeError, RemoteTraceback
from ..ids import CallId, Rank
from ..retries import ASKED, Failure, RetryAsked, names_of
from ..transport import wire
from ..transport.failures import encode_failure
from .alarm import ENDED_FOR_ANOTHER, TIMED_OUT, Alarm, Limit, Watched, ended_with_its_waiter, timed_out
from .keeper import Keeper
from .messages import Named, Outcome, SentCall, Target

if TYPE_CHECKING:
    import asyncio

    from ..futures import Future
    from .nested import NestedFarm

T = TypeVar("T")

_HERE = __name__.rpartition(".")[0] + "."


Ran = tuple[CallId, Failure | None, float | None, "wire.Payload | Future[Any]"]
"""An outcome; or in place of a value, the future of a call of its own, by whose outcome it is to end."""


class Runner:
    """Runs calls, one at a time.

    Args:
        rank: Of the slave.
        host: Its name, for the notes of errors.
        is_stopped: Whether the outcome of that call is not wanted any more.
        tell_acquired: Told at once when what is held has changed, with what was acquired: others may wait for that.
        tell_limit: Told just before something with a limit begins: nobody here may be able to tell later. None: what comes
            next has none.
        new_farm: Makes what runs the calls that these calls submit; None: they can submit none.
        known: The values here that references stand for.
    """

    def __init__(  # noqa: PLR0913  what a slave and its child each have of their own
        self,
        rank: Rank,
        *,
        host: str,
        is_stopped: Callable[[CallId], bool],
        tell_acquired: Callable[[list[tuple[Named, float]]], None],
        tell_limit: Callable[[Limit | None], object] = bool,
        new_farm: Callable[[], NestedFarm] | None = None,
        known: Known | None = None,
    ) -> None:
        self.alarm = Alarm()
        self.keeper = Keeper(rank)
        self._rank = rank
        self._host = host
        self._is_stopped = is_stopped
        self._tell_acquired = tell_acquired
        self._tell_limit = tell_limit
        self.made: NestedFarm | None = None
        """What runs the calls that these calls submit, once one has submitted some."""
        self._new_farm = new_farm
        self._farm = None if new_farm is None else self.farm
        self._making = threading.Lock()
        self._known = known
        self.functions: dict[int, Callable[..., Any]] = {}
        """Those that calls name by number."""
        self._set_up: dict[int, BaseException | None] = {}
        self._loops: list[asyncio.Runner] = []
        """For async tasks: one, unless some run on top of others that wait."""

    def farm(self) -> NestedFarm:
        """What runs the calls that these calls submit, made when the first does: most never do, and it takes 5 ms to import."""
        with self._making:  # a task may have threads
            if self.made is None:
                assert self._new_farm is not None  # noqa: S101  nobody asks else
                self.made = self._new_farm()
        return self.made

    def know(self, functions: dict[int, Callable[..., Any]], dropped: Iterable[int]) -> None:
        """Take in functions that calls will name by number, and forget others."""
        self.functions.update(functions)
        for number in dropped:
            self.functions.pop(number, None)

    def function(self, target: Target) -> tuple[Callable[..., Any], bool]:
        """The function of that task or of that number, and whether it takes a context first."""
        if isinstance(target, int):
            return self.functions[target], False
        task = registry.get(str(target))
        return task.fn, task.bind

    def close(self) -> None:
        """Release what is held, and end what async tasks ran on."""
        self.keeper.release_all()
        for loop in self._loops:
            loop.close()

    def run(self, call: SentCall) -> Ran:
        """Run one call; every exception is an outcome."""
        call_id, name, _, attempt, _, _, _, wanted, _ = call
        began: float | None = None
        failure: Failure | None
        payload: wire.Payload | Future[Any]
        context = Context(name, self._rank, attempt, self._is_stopped, call_id, self._farm, self._known)
        token, outer = enter(context), loops.running()
        if outer is not None:  # inline under an async main, and on top of an async call: it stands still
            _stand_in_for(None)
        try:
            if wanted is not None:
                self._hold(call, wanted, context)
            began = perf_counter()
            failure, payload = None, self._value(call)
        except BaseException as error:  # noqa: BLE001  a task raises anything, SystemExit and KeyboardInterrupt too
            failure, payload = self.failure_of(error, self.note(name, call_id, attempt))
        finally:
            leave(token)
            if outer is not None:
                _stand_in_for(outer)
        if wanted is not None:
            self.keeper.rest()
        seconds = None if began is None else perf_counter() - began
        if not (type(payload) is tuple and len(payload) == 1):
            payload = wire.sendable(payload) if isinstance(payload, wire.ENCODED) else payload
        return call_id, failure, seconds, payload

    def given_up(self, watched: Watched) -> tuple[int, Outcome]:
        """How a call ends that goes on, and can't be interrupted: its attempt, and the outcome. For any thread."""
        call_id, name, attempt, *_ = limit = watched.limit
        from . import stacks  # noqa: PLC0415  3 ms, for what seldom happens

        stack = stacks.of_thread(watched.thread) or watched.stack or ""
        error = timed_out(limit, f"can't be interrupted; slave {self._rank} is left in it", stack)
        error.__cause__ = RemoteTraceback(stack)
        return attempt, (call_id, TIMED_OUT, None, encode_failure(error, self.note(name, call_id, attempt)))

    def context(self, name: str, attempt: int, call_id: CallId) -> Context:
        """What that call may know of itself."""
        return Context(name, self._rank, attempt, self._is_stopped, call_id, self._farm, self._known)

    def note(self, name: str, call_id: CallId, attempt: int) -> str:
        """Which call, and where: for its failure."""
        return f"task {name!r}, call {call_id}, attempt {attempt}, slave rank {self._rank} on {self._host}"

    def _hold(self, call: SentCall, wanted: Named, context: Context) -> None:
        """Acquire what the call needs, if it is not held."""
        name, args = wanted
        provided = registry.resource(name).identity(args)
        before = set(self.keeper.held)
        acquired: list[tuple[Named, float]] = []
        try:
            self.keeper.use(provided, context._resources, acquired, partial(self._acquire, call))
        finally:
            if before != set(self.keeper.held):
                self._tell_acquired(acquired)

    def _acquire(self, call: SentCall, one: Provided, work: Callable[[], T]) -> T:
        """Acquire something, in as many seconds as that may take."""
        seconds = registry.resource(one.kind.name).timeout
        if seconds is None:
            return work()
        try:
            return self._limited(call, seconds, f"acquiring resource {one!r}", work)
        finally:
            self._tell_limit(None)

    def _limited(self, call: SentCall, seconds: float, what: str, work: Callable[[], T]) -> T:
        """Do this for the call, in so many seconds."""
        call_id, name, _, attempt = call[:4]
        limit = Limit(call_id, name, attempt, seconds, what)
        self._tell_limit(limit)
        return self.alarm.within(limit, work)

    def _value(self, call: SentCall) -> wire.Payload | Future[Any]:
        """What the call returns, encoded; or the future by which it is to end."""
        _, name, target, _, setup, arguments, filled, _, terms = call
        if setup is not None:
            self._do_setup(setup)
        values = [wire.decode(value) for value in filled] if filled else ()
        if isinstance(arguments, tuple) and len(arguments) == 1:
            decoded: tuple[Any, ...] = arguments[0], {}
        else:
            decoded = wire.decode_filled(arguments, values) if values else wire.decode(arguments)
        if terms is None or terms[0] is None:
            value = self._call(target, decoded)
            if isinstance(value, CoroutineType):
                value = self.awaited(value)
        else:
            value = self._limited(call, terms[0], f"a call of {name!r}", partial(self._returned, target, decoded))
        if type(value) in wire.NUMBERS:
            return (value,)
        return self.encoded(name, value)

    def encoded(self, name: str, value: Any) -> wire.Payload | Future[Any]:  # noqa: ANN401  whatever the function returns
        """What a call has returned, encoded; or the future by which it is to end.

        Raises:
            EncodeError: It can't be pickled.
        """
        if self.made is not None and _is_of(self.made, value):
            own: Future[Any] = value
            return own
        try:
            return wire.encode(value)
        except Exception as error:
            msg = f"{name!r} returned {type(value).__qualname__}, which can't be pickled: {error}"
            raise EncodeError(msg) from error

    def _returned(self, target: Target, decoded: tuple[Any, ...]) -> Any:  # noqa: ANN401  whatever the function returns
        """What the function returns, once it has ended."""
        value = self._call(target, decoded)
        return self.awaited(value) if isinstance(value, CoroutineType) else value

    def awaited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401  whatever it returns
        """What an async task returns, once it has ended."""
        return self._await(self.alarm.as_task(coroutine))

    def _call(self, target: Target, decoded: tuple[Any, ...]) -> Any:  # noqa: ANN401  whatever the function returns
        mpitasks_calls = "task"  # noqa: F841  what follows is the user's code: see interrupts.MARK
        if isinstance(target, str):
            args, kwargs = decoded
            task = registry.get(target)
            if task.bind:
                return task.fn(current(), *args, **kwargs)
            return task.fn(*args, **kwargs) if kwargs else task.fn(*args)  # to pass on no keywords takes a third of all this
        if target is None:
            function, args, kwargs = decoded
            return function(*args, **kwargs)
        args, kwargs = decoded
        return self.functions[target](*args, **kwargs)

    def _await(self, coroutine: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401  whatever it returns
        """Run an async task to its end, on the event loop of this slave; on one of its own, while that runs another."""
        mpitasks_calls = "loop"  # noqa: F841  what follows is the user's code, and asyncio's: see interrupts.MARK
        import asyncio  # noqa: PLC0415  most tasks are plain

        loop = self._loops.pop() if self._loops else asyncio.Runner()
        try:
            if self._farm is not None:
                self._farm().entered(loop.get_loop())
            return loop.run(coroutine, context=contextvars.copy_context())
        finally:
            if self._farm is not None:
                self._farm().left(loop.get_loop())
            self._loops.append(loop)

    def failure_of(self, error: BaseException, note: str) -> tuple[Failure, wire.Payload]:
        """How a call failed, and the exception as it travels."""
        if error is self.alarm.raised:
            if error.__cause__ is not None:
                error.__cause__ = _without_our_frames(error.__cause__)
            return TIMED_OUT, encode_failure(error.with_traceback(None), note)
        below = self.alarm.ended_for()
        if below is not None:
            ended = ended_with_its_waiter(below.limit, below.stack or "")
            ended.__cause__ = _without_our_frames(error)
            return ENDED_FOR_ANOTHER, encode_failure(ended, note)
        if not isinstance(error, RetryAsked):
            return (names_of(error), None), encode_failure(_without_our_frames(error), note)
        handled = error.__context__
        return ((ASKED,), error.delay), encode_failure(error if handled is None else _without_our_frames(handled), note)

    def _do_setup(self, number: int) -> None:
        """Run an executor's initializer, the first time.

        Raises:
            InitializerFailed: It raised, now or before.
        """
        if number not in self._set_up:
            try:
                self.functions[number]()
                self._set_up[number] = None
            except BaseException as error:  # noqa: BLE001  an initializer is user code
                self._set_up[number] = error
        failure = self._set_up[number]
        if failure is not None:
            from ..broken import InitializerFailed  # noqa: PLC0415  see there

            msg = f"the initializer of this executor raised {type(failure).__qualname__}: {failure}"
            raise InitializerFailed(msg) from failure


def _is_of(farm: NestedFarm, value: object) -> TypeGuard[Future[Any]]:
    """Whether this is the future of a call that a call here has submitted."""
    from ..futures import Future  # noqa: PLC0415  it is there, since calls have submitted some

    return isinstance(value, Future) and value._farm is farm


def _stand_in_for(loop: asyncio.AbstractEventLoop | None) -> None:
    """Make asyncio believe that this loop runs in this thread; None: none does."""
    import asyncio  # noqa: PLC0415  it is there, since a loop is

    asyncio._set_running_loop(loop)


def _without_our_frames(error: BaseException) -> BaseException:
    """The traceback from the first frame that is the user's."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None and _is_ours(traceback.tb_frame):
        traceback = traceback.tb_next
    return error.with_traceback(traceback)


def _is_ours(frame: FrameType) -> bool:
    name: str = frame.f_globals.get("__name__", "")
    return name.startswith(_HERE)
