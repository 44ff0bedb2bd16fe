"""`@resource`: what a slave acquires once, and keeps between calls."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from math import inf
from typing import Any, Generic, NoReturn, Protocol, TypedDict, TypeVar, Unpack, overload

from . import registry
from .context import current, inside_a_call
from .core.calls import Kind, Provided
from .errors import NotHeld
from .farm import is_running
from .options import Identify, check_count, check_names, check_timeout, identify_by, is_key
from .seconds import is_seconds

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_NOTHING: dict[str, Any] = {}
_here: ContextVar[dict[str, Any]] = ContextVar("mpitasks_here", default=_NOTHING)
"""What `hold` has acquired in this thread."""


class ResourceOptions(TypedDict, total=False):
    """What `@resource(...)` takes."""

    max_holders: int | None
    """Slaves that may hold it at one time, for each value of its first argument; None for all."""
    keep: int
    """How many of it, with different arguments, a slave keeps; the longest unused is released. 1 by default."""
    idle_timeout: float | None
    """Seconds without a call that needs it, after which a slave releases it; None: never."""
    timeout: float | None
    """Seconds that acquiring it may take; None: any. If it takes longer, the call that needs it fails with `TaskTimeout`."""
    resource: Resource[Any]
    """Another resource, which the provider needs: `other.get()` works inside, and it is released later than this one."""
    key: str | Callable[..., Hashable]
    """Which of the other resource, as for tasks: this parameter of the provider, or what this callable makes of them."""


class Resource(Generic[T_co]):
    """A generator function that acquires something, yields it once, and releases it.

    Tasks name it with `@task(resource=...)`; each slave runs the generator up to its yield before its first such call, and
    to its end when it releases the resource.
    """

    def __init__(self, fn: Callable[..., Iterator[T_co]], name: str, kind: Kind, *, idle_timeout: float | None) -> None:
        self.__doc__, self.__module__, self.__wrapped__ = fn.__doc__, fn.__module__, fn
        self.fn = fn
        """The generator function."""
        self.name = name
        """The name that every rank knows it by."""
        self.idle_timeout = idle_timeout
        self.timeout: float | None = None
        """Seconds that acquiring it may take."""
        self._kind = kind
        self._parameters = inspect.signature(fn)
        self._default = _first_default(self._parameters)
        self._inner: Identify | Provided | None = None

    def get(self) -> T_co:
        """What the provider yielded, on the slave that runs this call.

        Raises:
            NotHeld: No call runs here, or it does not need this resource.
        """
        values = _held_here()
        if self.name not in values:
            _not_held(self.name)
        value: T_co = values[self.name]
        return value

    @contextmanager
    def hold(self, *args: Hashable) -> Iterator[T_co]:
        """Acquire it here and now, for plain calls of functions that need it: within, `get()` works in this thread.

        Args:
            *args: What the provider takes.
        """
        inner = self.identity(args).inner
        with ExitStack() as stack:
            if inner is not None:
                stack.enter_context(registry.resource(inner.kind.name).hold(*inner.args))
            value = stack.enter_context(contextmanager(self.fn)(*args))
            before = _held_here()
            _hold_here({**before, self.name: value})
            try:
                yield value
            finally:
                _hold_here(before)

    def identity(self, args: tuple[Hashable, ...]) -> Provided:
        """The id of what the provider makes of these arguments; a default that was spelled out is no other thing."""
        args, inner = args or self._default, self._inner
        if isinstance(inner, Identify):
            made = inner(self._signature, args, {})
            inner = made if isinstance(made, Provided) else None
        return Provided(self._kind, args, inner)

    def _signature(self) -> inspect.Signature:
        """What the provider takes."""
        return self._parameters

    def check(self, where: str, *, keyed: bool) -> None:
        """Refuse a task that names this with too much or too little.

        Raises:
            TypeError: The provider needs an argument and there is no key, or the other way round.
        """
        try:
            self._parameters.bind(*((None,) if keyed else ()))
        except TypeError as error:
            way_out = "leave key= out" if keyed else 'say which by key="parameter" on the decorator'
            msg = f"{where}: the provider of resource {self.name!r} takes {self._parameters}: {error}; {way_out}"
            raise TypeError(msg) from None

    def __reduce__(self) -> tuple[Callable[[str], Resource[Any]], tuple[str]]:
        """A resource travels as its name."""
        return registry.resource, (self.name,)

    def __mpitasks_id__(self) -> str:
        """What tells it from other resources in a journal."""
        return self.name

    def __repr__(self) -> str:
        return f"<Resource {self.name!r}>"


def _held_here() -> dict[str, Any]:
    """What the call that runs here may get; where none runs, what `hold` has acquired."""
    return current()._resources if inside_a_call() else _here.get()


def _hold_here(values: dict[str, Any]) -> None:
    """From now on, this is what `get` finds here."""
    if inside_a_call():
        current()._resources = values
    else:
        _here.set(values)


def _first_default(parameters: inspect.Signature) -> tuple[Hashable, ...]:
    """The default of the first parameter, which says which of the resources is meant; empty if there is none."""
    first = next(iter(parameters.parameters.values()), None)
    if first is None or first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD) or first.default is first.empty:
        return ()
    return (first.default,) if is_key(first.default) else ()


def _not_held(name: str) -> NoReturn:
    if inside_a_call():
        msg = f"resource {name!r} is not held here: say @task(resource=...) or @resource(resource=...) of what calls get()"
    else:
        msg = (
            f"resource {name!r} is not held here, since no call runs: get() is for the inside of tasks, in the thread that "
            f"runs the task (hand what it gives to other threads); "
            f"for a plain call of the function: with {name.rpartition('.')[2]}.hold(): ..."
        )
    raise NotHeld(msg)


class _Decorator(Protocol):
    def __call__(self, fn: Callable[..., Iterator[T]], /) -> Resource[T]: ...


@overload
def resource(fn: Callable[..., Iterator[T]], /) -> Resource[T]: ...
@overload
def resource(name: str | None = None, /, **options: Unpack[ResourceOptions]) -> _Decorator: ...
def resource(fn_or_name: Any = None, /, **options: Any) -> Any:
    """Make a resource of a generator function: `@resource`, `@resource("db", max_holders=2)`.

    Args:
        fn_or_name: The function, or the name; by default the function's module and qualified name.
        **options: See `ResourceOptions`.

    Raises:
        DuplicateTask: Another provider has that name.
        TypeError: An option is unknown, or this is no generator function.
        ValueError: An option's value makes no sense.
    """
    if fn_or_name is None or isinstance(fn_or_name, str):
        return functools.partial(_make, name=fn_or_name, options=options)
    return _make(fn_or_name, name=None, options={})


def _make(fn: Callable[..., Iterator[T]], *, name: str | None, options: dict[str, Any]) -> Resource[T]:
    """Check, build and register a resource."""
    _refuse_what_is_no_provider(fn)
    name = name or registry.default_name(fn)
    where = f"@resource({name!r})"
    check_names(options, list(ResourceOptions.__annotations__), where)
    check_count(options.get("max_holders"), "max_holders", where)
    _check_keep(options.get("keep", 1), where)
    check_timeout(options, where)
    timeout = options.get("idle_timeout")
    if timeout is not None and timeout != inf and not is_seconds(timeout):
        msg = f"{where}: idle_timeout={timeout!r} must be a number of seconds, at most 1e9, or None for never"
        raise ValueError(msg)
    kind = Kind(name, max_holders=options.get("max_holders"), keep=options.get("keep", 1))
    made: Resource[T] = Resource(fn, name, kind, idle_timeout=timeout)
    made.timeout = options.get("timeout")
    made._inner = _inner(made, options, where)
    before = registry.register_resource(made)
    if before is not None:  # imported under a second module name: there is one thing to hold all the same
        made._kind = before._kind
    return made


def _check_keep(keep: object, where: str) -> None:
    """Refuse what is no number of things to keep."""
    if keep is None:
        msg = f"{where}: keep=None must be a whole number: a slave that keeps everything fills up"
        raise TypeError(msg)
    check_count(keep, "keep", where)


def _inner(made: Resource[Any], options: dict[str, Any], where: str) -> Identify | Provided | None:
    """What the provider needs itself."""
    other, key = options.get("resource"), options.get("key")
    if other is None:
        if key is not None:
            msg = f"{where}: key={key!r} says which of another resource the provider needs, so it goes with resource=other"
            raise TypeError(msg)
        return None
    if not isinstance(other, Resource):
        msg = f"{where}: resource={other!r} must be a resource, made by @resource"
        raise TypeError(msg)
    identify = identify_by(other, key, where)
    if identify is None:
        return other.identity(())
    identify.check(made._signature)
    return identify


def _refuse_what_is_no_provider(fn: object) -> None:
    if not inspect.isgeneratorfunction(fn):
        msg = f"@resource is for generator functions, which acquire, yield once, and release; and this is {fn!r}"
        raise TypeError(msg)
    if is_running():
        msg = f"{fn!r} was made a resource while the farm runs, and slaves don't know it: put it at the top level of a module"
        raise TypeError(msg)
