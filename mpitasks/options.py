"""The options of tasks and calls: their names, types and checks."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable, Iterable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, cast, runtime_checkable

from .broadcasts import as_key
from .core.calls import PLAIN
from .retries import Retries, name_of
from .seconds import is_seconds

if TYPE_CHECKING:
    from inspect import Signature

    from .futures import Future
    from .plans import Plan
    from .resources import Resource


class TaskOptions(TypedDict, total=False):
    """What `@task(...)` takes."""

    max_slaves: int | None
    """Slaves that may run the task at one time, or None for all."""
    priority: int
    """Higher goes first, across all tasks."""
    weight: float
    """Its part of the slaves where tasks compete. Twice the weight, twice the slaves."""
    resource: str | Resource[Any] | Callable[..., Hashable] | None
    """Calls of one resource go to a slave that holds it: what `@resource` made, a name, or a callable that makes the id from
    the call's arguments."""
    key: str | Callable[..., Hashable]
    """One resource for each value of this parameter, or of what this callable makes of the arguments."""
    retries: int
    """How often a call that failed runs again; 0 by default."""
    retry_for: type[BaseException] | tuple[type[BaseException], ...]
    """The exceptions that count; by default every `Exception`."""
    backoff: float
    """Seconds before the second run; each further pause is twice as long, and all are 0.5 to 1.5 times that by dice."""
    isolate: bool
    """Whether calls run in a child of the slave, which may crash, or be killed, alone."""
    timeout: float | None
    """Seconds that a call may take, without what acquiring its resource takes; None: any. A call that takes longer fails with
    `TaskTimeout`."""
    version: str | int
    """Of what the function does: what a journal holds of another version is not used."""
    memo: bool
    """Whether equal calls share one outcome: in this run, and with a journal between runs."""


class CallOptions(TypedDict, total=False):
    """What `f.options(...)` takes."""

    priority: int
    """Higher goes first, across all tasks."""
    resource: Hashable
    """The id of what the calls need, or None for nothing."""
    after: Iterable[Future[Any]]
    """The calls begin when these have ended well."""
    cost: float
    """How long the calls take beside others of the task, in any unit: of those that could go next, the highest goes first."""
    retries: int
    """How often a call that failed runs again; 0 by default."""
    retry_for: type[BaseException] | tuple[type[BaseException], ...]
    """The exceptions that count; by default every `Exception`."""
    backoff: float
    """Seconds before the second run; each further pause is twice as long, and all are 0.5 to 1.5 times that by dice."""
    isolate: bool
    """Whether calls run in a child of the slave, which may crash, or be killed, alone."""
    timeout: float | None
    """Seconds that a call may take, without what acquiring its resource takes; None: any."""
    id: str | int
    """What names the call in a journal, in place of its arguments; each call has its own."""
    memo: bool
    """Whether equal calls share one outcome: in this run, and with a journal between runs."""
    copy: bool
    """Whether large writable arguments are copied. If not, leave them alone until the call has ended."""


def check_names(given: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Refuse what is no option.

    Raises:
        TypeError: An option is unknown; the message names the nearest known one.
    """
    names = sorted(known)
    for name in given:
        if name not in names:
            import difflib  # noqa: PLC0415  only who mistypes needs it

            near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]!r}? " if near else ""
            msg = f"{where} has no option {name!r}; {hint}known: {', '.join(names)}"
            raise TypeError(msg)


def check_values(given: Mapping[str, Any], where: str) -> None:
    """Refuse values that make no sense.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: A value is out of range.
    """
    check_count(given.get("max_slaves"), "max_slaves", where)
    cost = given.get("cost", 0.0)
    if not isinstance(cost, int | float) or not 0 <= cost < inf:
        msg = f"{where}: cost={cost!r} must be a number, 0 or more; higher goes first"
        raise ValueError(msg)
    priority = given.get("priority", 0)
    if not isinstance(priority, int):
        msg = f"{where}: priority={priority!r} must be a whole number; higher goes first"
        raise TypeError(msg)
    _check_retries(given, where)
    check_timeout(given, where)
    _check_identity(given, where)
    check_isolate(given.get("isolate", False), where)
    weight = given.get("weight", 1.0)
    if not isinstance(weight, int | float) or not 0 < weight < inf:
        msg = f"{where}: weight={weight!r} must be a number above 0, and finite"
        raise ValueError(msg)


def _check_retries(given: Mapping[str, Any], where: str) -> None:
    retries, kinds, backoff = given.get("retries", 0), given.get("retry_for", ()), given.get("backoff", 0.0)
    if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        msg = f"{where}: retries={retries!r} must be a whole number, 0 or more: how often a failed call runs again"
        raise ValueError(msg)
    for kind in kinds if isinstance(kinds, tuple) else (kinds,):
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            msg = f"{where}: retry_for={kinds!r} must be a type of exceptions, or a tuple of them, such as (OSError,)"
            raise TypeError(msg)
    if not is_seconds(backoff):
        msg = f"{where}: backoff={backoff!r} must be seconds, from 0 to 1e9: the pause before the second run"
        raise ValueError(msg)
    if retries == 0 and "retries" not in given and ("retry_for" in given or "backoff" in given):
        msg = f"{where}: retry_for and backoff say how to retry, so they go with retries=, how often"
        raise TypeError(msg)


def check_timeout(given: Mapping[str, Any], where: str) -> None:
    """Refuse what is no limit in seconds.

    Raises:
        TypeError: It is no number.
        ValueError: It is no number above 0.
    """
    timeout = given.get("timeout")
    if timeout is None:
        return
    if not isinstance(timeout, int | float) or isinstance(timeout, bool):
        msg = f"{where}: timeout={timeout!r} must be seconds, or None for no limit"
        raise TypeError(msg)
    if not (timeout and is_seconds(timeout)):
        msg = f"{where}: timeout={timeout!r} must be seconds, more than 0 and at most 1e9, or None for no limit"
        raise ValueError(msg)


def _check_identity(given: Mapping[str, Any], where: str) -> None:
    for name in ("version", "id"):
        value = given.get(name, "")
        if not isinstance(value, str | int) or isinstance(value, bool):
            msg = f"{where}: {name}={value!r} must be a string or a whole number, the same in every run"
            raise TypeError(msg)
    if not isinstance(given.get("memo", False), bool):
        msg = f"{where}: memo={given['memo']!r} must be True or False: whether equal calls share one outcome"
        raise TypeError(msg)


def check_isolate(isolate: object, where: str) -> None:
    """Refuse what does not say whether.

    Raises:
        TypeError: It is neither True nor False.
    """
    if not isinstance(isolate, bool):
        msg = f"{where}: isolate={isolate!r} must be True or False: whether calls run in a child of the slave, which may crash"
        raise TypeError(msg)


def retries_of(given: Mapping[str, Any], before: Retries | None = None) -> Retries | None:
    """The retries that the options say; what they don't say stays as before."""
    if "retries" not in given:
        return before
    kinds = given.get("retry_for")
    names = None if kinds is None else frozenset(map(name_of, kinds if isinstance(kinds, tuple) else (kinds,)))
    return Retries(given["retries"], names, float(given.get("backoff", 0.0)))


def check_count(limit: object, name: str, where: str) -> None:
    """Refuse what is no number of slaves or things.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is below 1.
    """
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool)):
        msg = f"{where}: {name}={limit!r} must be a whole number, or None for no limit"
        raise TypeError(msg)
    if limit is not None and limit < 1:
        msg = f"{where}: {name}={limit} must be 1 or more, or None for no limit"
        raise ValueError(msg)


def with_call_options(plan: Plan, options: CallOptions, where: str) -> Plan:
    """The plan, changed as the user wants for some calls.

    Raises:
        TypeError: An option is unknown, or has the wrong type.
    """
    check_names(options, CallOptions.__annotations__, where)
    check_values(options, where)
    from .plans import replace  # noqa: PLC0415  see `__getattr__`

    changes = cast("dict[str, Any]", dict(options))
    if "after" in changes:
        changes["after"] = _futures(changes["after"], where)
    if "resource" in changes:
        changes["resource"] = plain_id(changes["resource"], where)
    changes["retries"] = retries_of(options, plan.retries)
    for name in ("retry_for", "backoff"):
        changes.pop(name, None)
    return replace(plan, **changes)


def _futures(after: object, where: str) -> tuple[Future[Any], ...]:
    """What must have ended before."""
    futures = tuple(after) if isinstance(after, Iterable) else (after,)
    for one in futures:
        if not hasattr(one, "task_name"):
            msg = f"{where}: after={after!r} must hold futures of calls, such as [f.delay()], and {one!r} is none"
            raise TypeError(msg)
    return futures


def plain_id(resource: Hashable, where: str) -> Hashable:
    """A resource id; None stands for no resource, what `@resource` made for its provider without arguments."""
    if resource is None:
        return PLAIN
    if isinstance(resource, Makes):
        resource.check(where, keyed=False)
        return resource.identity(())
    return _hashed(resource, where)


def _hashed(value: Hashable, where: str, what: str = "resource=") -> Hashable:
    try:
        hash(value)
    except TypeError:
        msg = f"{where}: {what}{value!r} must be hashable: it is an id, such as a string, a number or a tuple of them"
        raise TypeError(msg) from None
    return value


def _key_of(value: Hashable, where: str) -> Hashable:
    """What a provider is to be given; slaves tell the master by it what they hold."""
    _hashed(value, where, "key ")
    if type(value) not in _SURE_KEYS and not is_key(value):
        msg = f"{where}: key {value!r} must be equal to itself after pickling: it is an id, such as a string or a tuple of them"
        raise TypeError(msg)
    return value


def is_key(value: Hashable) -> bool:
    """Whether this is hashable, and the same on every rank."""
    try:
        elsewhere = pickle.loads(pickle.dumps(value))  # noqa: S301  it was pickled here
        return hash(elsewhere) == hash(value) and bool(elsewhere == value)
    except Exception:  # noqa: BLE001  whatever the pickling and comparing of a user's object raises, it is no key
        return False


_SURE_KEYS = {str, int, bytes, bool, type(None)}

Chunks = int | Literal["auto"]


def chunk_of(chunksize: object) -> int:
    """A chunk size as the scheduler takes it.

    Raises:
        ValueError: It is neither "auto" nor a whole number above 0.
    """
    if chunksize == "auto":
        return 0
    if not isinstance(chunksize, int) or chunksize < 1:
        msg = f'chunksize={chunksize!r} must be a whole number above 0, or "auto"'
        raise ValueError(msg)
    return chunksize


@runtime_checkable
class Makes(Protocol):
    """What `@resource` made."""

    def identity(self, args: tuple[Hashable, ...]) -> Hashable:
        """The id of what its provider makes of these arguments."""

    def check(self, where: str, *, keyed: bool) -> None:
        """Refuse a task that names it with too many arguments or too few."""


Resources = str | Makes | Callable[..., Hashable]
Key = str | Callable[..., Hashable] | None
Gives = Callable[[], "Signature"]
"""What a function takes, found out when somebody asks."""


def identify_by(resource: Resources, key: Key, where: str) -> Identify | None:
    """What makes the resource id of each call; None if all calls need the same.

    Raises:
        TypeError: The provider takes an argument and there is no key, or the other way round.
    """
    if isinstance(resource, Makes):
        resource.check(where, keyed=key is not None)
        return None if key is None else Identify(resource, key, where)
    return None if key is None and not callable(resource) else Identify(resource, key, where)


class Identify:
    """Makes the resource id of a call from its arguments."""

    def __init__(self, resource: Resources, key: Key, where: str) -> None:
        self._resource = resource
        self._key = key
        self._where = where

    def check(self, signature: Gives) -> None:
        """Refuse a key that is no parameter.

        Raises:
            TypeError: The key is neither a name nor a callable, or the resource is a provider without `@resource`.
            ValueError: The task has no parameter of that name.
        """
        if not (self._key is None or isinstance(self._key, str) or callable(self._key)):
            msg = f"{self._where}: key={self._key!r} must be the name of a parameter, or a callable that makes the key"
            raise TypeError(msg)
        if callable(self._resource) and _is_generator_function(self._resource):
            msg = f"{self._where}: resource={self._resource!r} is a generator function: put @resource on it"
            raise TypeError(msg)
        if isinstance(self._key, str) and self._key not in (known := signature().parameters):
            msg = f"{self._where}: key={self._key!r} is no parameter; it has: {', '.join(known) or 'none'}"
            raise ValueError(msg)

    def __call__(self, signature: Gives, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
        """The id that this call needs.

        Raises:
            TypeError: It can't be an id.
        """
        return plain_id(self._made(signature, args, kwargs), self._where)

    def _made(self, signature: Gives, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
        resource = self._resource
        if isinstance(resource, Makes):
            return resource.identity((_key_of(self._value(signature, args, kwargs), self._where),))
        name = resource if isinstance(resource, str) else resource(*args, **kwargs)
        return name if self._key is None else (name, self._value(signature, args, kwargs))

    def _value(self, signature: Gives, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
        """The value of the key."""
        if callable(self._key):
            return self._key(*args, **kwargs)
        bound = signature().bind(*args, **kwargs)
        bound.apply_defaults()
        value: Hashable = as_key(bound.arguments[self._key]) if self._key is not None else None
        return value


def _is_generator_function(fn: object) -> bool:
    from inspect import isgeneratorfunction  # noqa: PLC0415  4 ms, for those who have such functions

    return isgeneratorfunction(fn)
