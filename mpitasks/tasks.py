"""`@task`: a plain function that slaves can call too."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Hashable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, Protocol, Self, TypeVar, Unpack, overload

from . import registry
from .context import Context, here, late
from .core.calls import PLAIN
from .farm import Farm, is_late, running
from .options import (
    CallOptions,
    Chunks,
    Identify,
    Makes,
    TaskOptions,
    check_names,
    check_values,
    chunk_of,
    identify_by,
    plain_id,
    retries_of,
    with_call_options,
)
from .parameters import Parameters

if TYPE_CHECKING:
    from .futures import Future, Futures
    from .many import Calls
    from .plans import Plan

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class Task(Generic[P, R_co]):
    """A function with a name that every rank knows.

    Called, it is the plain function, here and now. `delay` has a slave call it.
    """

    def __init__(self, fn: Callable[..., R_co], name: str, options: dict[str, Any], *, bind: bool) -> None:
        functools.update_wrapper(self, fn)
        where = f"@task({name!r})"
        self.fn = fn
        """The plain function."""
        self.name = name
        """The name that every rank knows it by."""
        self.bind = bind
        """Whether the function takes its `Context` first."""
        self.isolate: bool = options.get("isolate", False)
        """Whether its calls run in a child of the slave, if `options` don't say otherwise."""
        self._options = options
        self._resource = _same_resource(options, where)
        self._identify = _identify(options, where)
        self._parameters = Parameters(fn, bind=bind)
        self._check = self._parameters.check
        self._function = late(fn, bind=bind) if is_late() else None
        """What is made while the farm runs is on this rank only, and travels."""
        if self._identify is not None:
            self._identify.check(self._parameters.signature)

    @cached_property
    def _plan(self) -> Plan:
        """How its calls are to be run. Slaves that submit none make none."""
        from .plans import Plan  # noqa: PLC0415  with dataclasses and inspect, it takes 6 ms to import

        options = self._options
        return Plan(
            name=self.name,
            queue=self.name,
            max_slaves=options.get("max_slaves"),
            priority=options.get("priority", 0),
            weight=float(options.get("weight", 1.0)),
            retries=retries_of(options),
            timeout=options.get("timeout"),
            version=options.get("version"),
            memo=options.get("memo", False),
            isolate=self.isolate,
            resource=self._resource,
            function=self._function,
            signature=self._parameters.signature,
        )

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
            raise self._parameters.in_words_of_bind(self.name, error, args, kwargs) from None
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
            chunksize: Calls that travel together, at most; "auto" lets the farm find out. What a slave has not begun of them
                after 50 to 100 ms goes back, and on to whoever is free.
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
        from .futures import Futures  # noqa: PLC0415  no slave needs it that submits no calls
        from .many import submit_all  # noqa: PLC0415  as above

        chunked = self._in_chunks(chunksize)
        if not chunked._suits_many(farm):
            return Futures([chunked._submit(farm, item if tuples else (item,), {}) for item in items])
        return submit_all(chunked._calls(farm), items, tuples=tuples)

    def _suits_many(self, farm: Farm) -> bool:
        """Whether many of its calls may be taken at once."""
        return self._identify is None and farm.takes_many(self._plan)

    def _calls(self, farm: Farm) -> Calls:
        """What submits many calls of this task."""
        from .many import Calls  # noqa: PLC0415  as above

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
            chunksize: Calls that travel together, at most; "auto" lets the farm find out. What a slave has not begun of them
                after 50 to 100 ms goes back, and on to whoever is free.
            buffersize: Calls drawn and not yet returned, at most; None: 128 a slave, and up to 16,384 while they come and go
                fast.
            ordered: Values in the order of the items; False: as they come.

        Raises:
            Exception: While iterating: what a call raised.
        """
        from .stream import stream, stream_many  # noqa: PLC0415  as above

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
            raise self._parameters.in_words_of_bind(self.name, error, args, kwargs) from None
        identify = self._identify
        resource = self._plan.resource if identify is None else identify(self._parameters.signature, args, kwargs)
        return farm.submit(self._plan, args, kwargs, resource)

    def _in_chunks(self, chunksize: Chunks) -> Self:
        """The same task, whose calls travel in chunks of that size."""
        from .plans import replace  # noqa: PLC0415  as `Plan` above

        changed = self.options()
        changed._plan = replace(self._plan, chunk=chunk_of(chunksize))
        return changed

    def __reduce__(self) -> tuple[Callable[[str], Task[..., Any]], tuple[str]]:
        """A task travels as its name."""
        return registry.get, (self.name,)

    def __mpitasks_id__(self) -> tuple[str, str | int | None]:
        """What tells it from other tasks in a journal."""
        return self.name, self._options.get("version")

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
    made: Task[..., R] = Task(fn, name, options, bind=bind)
    registry.register(made)
    return made


def _same_resource(options: dict[str, Any], where: str) -> Hashable:
    """What all calls need, if they need the same."""
    resource = options.get("resource")
    same = isinstance(resource, str) or (isinstance(resource, Makes) and options.get("key") is None)
    return plain_id(resource, where) if same else PLAIN


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
