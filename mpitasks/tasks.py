"""`@task`: a plain function that slaves can call too."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import replace
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, Self, TypeVar, overload

from typing_extensions import Unpack

from . import registry
from .context import Context, here, late
from .core.calls import PLAIN
from .farm import Farm, is_late, running
from .futures import Future, Futures
from .many import Calls, submit_all
from .options import (
    CallOptions,
    Chunks,
    Identify,
    Makes,
    Plan,
    TaskOptions,
    check_names,
    check_values,
    chunk_of,
    identify_by,
    plain_id,
    retries_of,
    with_call_options,
)
from .stream import stream, stream_many

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class Task(Generic[P, R_co]):
    """A function with a name that every rank knows.

    Called, it is the plain function, here and now. `delay` has a slave call it.
    """

    def __init__(self, fn: Callable[..., R_co], name: str, plan: Plan, *, bind: bool, identify: Identify | None) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        """The plain function."""
        self.name = name
        """The name that every rank knows it by."""
        self.bind = bind
        """Whether the function takes its `Context` first."""
        self.isolate = plan.isolate
        """Whether its calls run in a child of the slave, if `options` don't say otherwise."""
        self._identify = identify
        self._parameters = _parameters_of(fn, bind=bind)
        # What is made while the farm runs is on this rank only, and travels.
        self._plan = replace(plan, signature=self._parameters, function=late(fn, bind=bind) if is_late() else None)
        self._check = _compiled(self._parameters)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the plain function, here and now."""
        mpitasks_calls = "caller"  # noqa: F841  what follows is the user's code, as what called this: see interrupts.MARK
        return self.fn(here(self.name), *args, **kwargs) if self.bind else self.fn(*args, **kwargs)

    @overload
    def delay(self: Task[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
    @overload
    def delay(self, /, *args: P.args, **kwargs: P.kwargs) -> Future[R_co]: ...
    def delay(self, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have a slave call the function; takes exactly the function's own arguments.

        They are pickled before this returns: what is changed afterwards does not reach the call.

        Raises:
            TypeError: The function can't be called like this.
            EncodeError: An argument can't be pickled.
            NotRunning: There is no farm here: this is neither main nor a task.
        """
        farm = running(self.name, "delay()")
        if self._identify is not None:
            return self._submit(farm, args, kwargs)
        try:  # as `_submit`, without a further call: many do nothing but this
            self._check(*args, **kwargs) if kwargs else self._check(*args)
        except TypeError as error:
            raise _in_words_of_bind(self.name, error, self._parameters, args, kwargs) from None
        plan = self._plan
        return farm.submit(plan, args, kwargs, plan.resource)

    def options(self, **options: Unpack[CallOptions]) -> Self:
        """The same task with other options for the calls that are made through what this returns.

        Raises:
            TypeError: An option is unknown.
        """
        changed = object.__new__(type(self))
        changed.__dict__.update(self.__dict__)
        changed._plan = with_call_options(self._plan, options, f"{self.name}.options()")
        if "resource" in options:
            changed._identify = None
        return changed

    @overload
    def map(self: Task[..., Coroutine[Any, Any, T]], *iterables: Iterable[Any], chunksize: Chunks = "auto") -> Futures[T]: ...
    @overload
    def map(self: Task[..., T], *iterables: Iterable[Any], chunksize: Chunks = "auto") -> Futures[T]: ...
    def map(self, *iterables: Iterable[Any], chunksize: Chunks = "auto") -> Futures[Any]:
        """One call for each item, as `map(f, *iterables)`; each has a future of its own, and fails by itself.

        Args:
            *iterables: One for each parameter; the shortest ends it.
            chunksize: Calls that travel together; "auto" lets the farm find out.
        """
        items, tuples = _items(iterables)
        return self._submit_all(running(self.name, "map()"), items, chunksize, tuples=tuples)

    @overload
    def starmap(
        self: Task[..., Coroutine[Any, Any, T]], iterable: Iterable[Iterable[Any]], *, chunksize: Chunks = "auto"
    ) -> Futures[T]: ...
    @overload
    def starmap(self: Task[..., T], iterable: Iterable[Iterable[Any]], *, chunksize: Chunks = "auto") -> Futures[T]: ...
    def starmap(self, iterable: Iterable[Iterable[Any]], *, chunksize: Chunks = "auto") -> Futures[Any]:
        """One call for each item, which holds all its arguments."""
        return self._submit_all(running(self.name, "map()"), map(_arguments, iterable), chunksize, tuples=True)

    def _submit_all(self, farm: Farm, items: Iterable[Any], chunksize: Chunks, *, tuples: bool) -> Futures[Any]:
        """One call for each item: all its arguments in a tuple, or the only one."""
        chunked = self._in_chunks(chunksize)
        if not chunked._suits_many(farm):
            return Futures([chunked._submit(farm, item if tuples else (item,), {}) for item in items])
        return submit_all(chunked._calls(farm), items, tuples=tuples)

    def _suits_many(self, farm: Farm) -> bool:
        """Whether many of its calls may be taken at once."""
        return self._identify is None and farm.takes_many(self._plan)

    def _calls(self, farm: Farm) -> Calls:
        """What submits many calls of this task."""
        return Calls(farm, self._plan, lambda args: self._submit(farm, args, {}), self._takes)

    def _takes(self, count: int) -> bool:
        """Whether a call may have so many arguments."""
        try:
            self._check(*[None] * count)
        except TypeError:
            return False
        return True

    @overload
    def imap(
        self: Task[..., Coroutine[Any, Any, T]],
        *iterables: Iterable[Any],
        chunksize: Chunks = "auto",
        buffersize: int | None = None,
        ordered: bool = True,
    ) -> Iterator[T]: ...
    @overload
    def imap(
        self: Task[..., T],
        *iterables: Iterable[Any],
        chunksize: Chunks = "auto",
        buffersize: int | None = None,
        ordered: bool = True,
    ) -> Iterator[T]: ...
    def imap(
        self, *iterables: Iterable[Any], chunksize: Chunks = "auto", buffersize: int | None = None, ordered: bool = True
    ) -> Iterator[Any]:
        """The values of one call for each item, lazily: works on endless iterables, in bounded memory.

        Leaving the iterator cancels the calls that were drawn and not returned.

        Args:
            *iterables: One for each parameter; the shortest ends it.
            chunksize: Calls that travel together; "auto" lets the farm find out.
            buffersize: Calls drawn and not yet returned, at most; None: 128 a slave.
            ordered: Values in the order of the items; False: as they come.

        Raises:
            Exception: While iterating: what a call raised.
        """
        farm, chunked = running(self.name, "imap()"), self._in_chunks(chunksize)
        if chunked._suits_many(farm):
            items, tuples = _items(iterables)
            return stream_many(chunked._calls(farm), items, tuples=tuples, buffersize=buffersize, ordered=ordered)
        calls = (chunked._submit(farm, args, {}) for args in zip(*iterables, strict=False))
        return stream(calls, farm, buffersize=buffersize, ordered=ordered)

    def _submit(self, farm: Farm, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        try:
            self._check(*args, **kwargs)
        except TypeError as error:
            raise _in_words_of_bind(self.name, error, self._parameters, args, kwargs) from None
        identify = self._identify
        resource = self._plan.resource if identify is None else identify(self._parameters, args, kwargs)
        return farm.submit(self._plan, args, kwargs, resource)

    def _in_chunks(self, chunksize: Chunks) -> Self:
        """The same task, whose calls travel in chunks of that size."""
        changed = self.options()
        changed._plan = replace(self._plan, chunk=chunk_of(chunksize))
        return changed

    def __reduce__(self) -> tuple[Callable[[str], Task[..., Any]], tuple[str]]:
        """A task travels as its name."""
        return registry.get, (self.name,)

    def __mpitasks_id__(self) -> tuple[str, str | int | None]:
        """What tells it from other tasks in a journal."""
        return self.name, self._plan.version

    def __repr__(self) -> str:
        return f"<Task {self.name!r}>"


def _items(iterables: tuple[Iterable[Any], ...]) -> tuple[Iterable[Any], bool]:
    """What `map` makes calls of, and whether each of that is a tuple of arguments, or the only one."""
    return (iterables[0], False) if len(iterables) == 1 else (zip(*iterables, strict=False), True)


def _arguments(item: Any) -> tuple[Any, ...]:  # noqa: ANN401  whatever the user iterates over
    """One item of `starmap` as arguments.

    Raises:
        TypeError: It is no iterable.
    """
    try:
        return tuple(item)
    except TypeError:
        msg = (
            f"starmap() takes argument tuples, such as [(1, 2), (3, 4)], and got the item {item!r}; for one argument, use map()"
        )
        raise TypeError(msg) from None


class _Decorator(Protocol):
    def __call__(self, fn: Callable[P, R], /) -> Task[P, R]: ...


class _BoundDecorator(Protocol):
    def __call__(self, fn: Callable[Concatenate[Context, P], R], /) -> Task[P, R]: ...


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(name: str | None = None, /, *, bind: Literal[False] = False, **options: Unpack[TaskOptions]) -> _Decorator: ...
@overload
def task(name: str | None = None, /, *, bind: Literal[True], **options: Unpack[TaskOptions]) -> _BoundDecorator: ...
def task(fn_or_name: Any = None, /, *, bind: bool = False, **options: Any) -> Any:
    """Make a task of a function: `@task`, `@task("name")`, `@task("name", max_slaves=2)`.

    Args:
        fn_or_name: The function, or the name; by default the function's module and qualified name.
        bind: Give the function its `Context` as first argument.
        **options: See `TaskOptions`.

    Raises:
        DuplicateTask: Another function has that name.
        TypeError: An option is unknown, or this can't be a task: a method, a class, a local function without a name.
        ValueError: An option's value makes no sense.
    """
    if fn_or_name is None or isinstance(fn_or_name, str):
        return functools.partial(_make, name=fn_or_name, bind=bind, options=options)
    return _make(fn_or_name, name=None, bind=bind, options=options)


def _make(fn: Callable[..., R], *, name: str | None, bind: bool, options: dict[str, Any]) -> Task[..., R]:
    """Check, build and register a task."""
    _refuse_what_is_no_function(fn, name)
    name = name or registry.default_name(fn)
    where = f"@task({name!r})"
    check_names(options, [*TaskOptions.__annotations__, "bind"], where)
    check_values(options, where)
    made: Task[..., R] = Task(fn, name, _plan(name, options), bind=bind, identify=_identify(options, where))
    if made._identify is not None:
        made._identify.check(made._parameters)
    registry.register(made)
    return made


def _plan(name: str, options: dict[str, Any]) -> Plan:
    """The plan of a task's calls."""
    resource = options.get("resource")
    same = isinstance(resource, str) or (isinstance(resource, Makes) and options.get("key") is None)
    return Plan(
        name=name,
        queue=name,
        max_slaves=options.get("max_slaves"),
        priority=options.get("priority", 0),
        weight=float(options.get("weight", 1.0)),
        retries=retries_of(options),
        timeout=options.get("timeout"),
        version=options.get("version"),
        memo=options.get("memo", False),
        isolate=options.get("isolate", False),
        resource=plain_id(resource, f"@task({name!r})") if same else PLAIN,
    )


def _identify(options: dict[str, Any], where: str) -> Identify | None:
    """What makes the resource id of each call, if the calls don't all need the same."""
    resource, key = options.get("resource"), options.get("key")
    if key is not None and resource is None:
        msg = f'{where}: key={key!r} says which resource a call needs, so it goes with resource="name"'
        raise TypeError(msg)
    if not (resource is None or isinstance(resource, str | Makes) or callable(resource)):
        msg = (
            f"{where}: resource={resource!r} must be what @resource made, a name, "
            f"or a function that makes the id from the call's arguments"
        )
        raise TypeError(msg)
    return None if resource is None else identify_by(resource, key, where)


def _refuse_what_is_no_function(fn: object, name: str | None) -> None:
    """Raise TypeError for what other ranks couldn't find by a name."""
    if not callable(fn) or isinstance(fn, type | staticmethod | classmethod):
        msg = f"@task is for functions, and this is {fn!r}; define a function at the top level of a module"
        raise TypeError(msg)
    qualname = getattr(fn, "__qualname__", "<nameless>")
    outer = qualname.rpartition(".")[0]
    if outer and not outer.endswith("<locals>"):
        msg = (
            f"{qualname} is a method, and slaves know only functions: "
            f"define a function at the top level of the module that takes the object as an argument"
        )
        raise TypeError(msg)
    if "<" in qualname and name is None:
        msg = (
            f"{qualname} has no name that other ranks could know: move it to the top level of the module, "
            f'give it a name with @task("name"), or run it by mpitasks.submit(fn, ...)'
        )
        raise TypeError(msg)


def _parameters_of(fn: Callable[..., Any], *, bind: bool) -> inspect.Signature:
    """What `delay` takes."""
    try:
        signature = inspect.signature(fn)
    except ValueError:  # some C functions have none
        anything = [
            inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
            inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
        ]
        return inspect.Signature(anything)
    if not bind:
        return signature
    parameters = list(signature.parameters.values())
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        msg = f"{fn!r} has bind=True, so it takes its Context as first positional parameter; it takes {signature}"
        raise TypeError(msg)
    return signature.replace(parameters=parameters[1:])


def _in_words_of_bind(
    name: str, error: TypeError, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> TypeError:
    """The error that the user should read, of a call that the signature does not take."""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as better:
        error = better.with_traceback(None)
    error.add_note(f"task {name!r} takes {signature}")
    return error


def _compiled(signature: inspect.Signature) -> Callable[..., None]:
    """A function that takes what the signature takes and does nothing: 0.1 µs, where `bind` takes 2-3 µs."""
    blank = [
        parameter.replace(annotation=parameter.empty, default=parameter.empty if parameter.default is parameter.empty else None)
        for parameter in signature.parameters.values()
    ]
    text = str(inspect.Signature(blank))
    made: Callable[..., None] = eval(f"lambda {text[1:-1]}: None", {"__builtins__": {}})  # noqa: S307  parameter names only
    return made
