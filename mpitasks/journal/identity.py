"""Which call is which, in this run and in the next.

::

    options(id=...)                        ─┐
    arguments, each by what it is, named   ─┼─ + task, version ──► digest ─┬─ + how many equal calls came before
                                            ┘                              └─ memo: nothing more
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from reprlib import Repr
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import NoIdentity
from ..ids import CallId
from ..plans import Plan
from .canonical import canonical, digest

if TYPE_CHECKING:
    from inspect import Parameter

    from ..futures import Future

_WIDTH = 60
"""Letters of the arguments that a journal tells its readers."""


class Known(NamedTuple):
    """A call that a later run will know again."""

    key: bytes
    task: str
    arguments: str
    """For a human reader."""


class Attempt(NamedTuple):
    """One attempt of a call that submits others."""

    call: CallId
    number: int
    above: Attempt | None
    """Of the call that has submitted that one; None: main has."""

    def replaces(self, other: Attempt) -> bool:
        """Whether it is a later attempt of the same call, or both are of calls that two attempts of one call have submitted."""
        numbers = {one.call: one.number for one in self._line()}
        return any(numbers.get(one.call, one.number) > one.number for one in other._line())

    def _line(self) -> Iterator[Attempt]:
        """It, and those above."""
        here: Attempt | None = self
        while here is not None:
            yield here
            here = here.above


class _Claim(NamedTuple):
    """A call that has an `id=` of the user's."""

    future: weakref.ref[Future[Any]]
    by: Attempt | None

    def holds(self, by: Attempt | None, *, returned: bool) -> bool:
        """Whether nobody else may have the name."""
        if by is not None and self.by is not None and by.replaces(self.by):
            return False
        future = self.future()
        return returned or (future is not None and not future.done())


class Identities:
    """The calls of this run: each has a key of its own, equal ones by the order in which they are submitted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[bytes, int] = {}
        """How many calls of each digest main has submitted; a call that submits others counts its own."""
        self._named: dict[bytes, _Claim] = {}

    def of(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Known:
        """What tells this call from others; counts it.

        Raises:
            NoIdentity: An argument can't be told from others in another run.
        """
        same, shown = unplaced(plan, args, kwargs)
        place = 0 if plan.id is not None or plan.memo else self._count(same)
        return Known(_placed(same, place), plan.name, shown)

    def claim(self, key: bytes, plan: Plan, future: Future[Any], *, by: Attempt | None, returned: bool) -> None:
        """Let the user's `id=` name this call alone, unless an earlier one of that name has failed, or its caller runs again.

        Args:
            key: The call's.
            plan: With the `id`.
            future: The call's.
            by: Who submits it; None: main.
            returned: Whether the outcome of a call of this key is known.

        Raises:
            ValueError: It names another call of this run.
        """
        with self._lock:
            earlier = self._named.get(key)
            if earlier is None or not earlier.holds(by, returned=returned):
                self._named[key] = _Claim(weakref.ref(future), by)
                return
        msg = (
            f"id={plan.id!r} names another call of {plan.name!r} in this run already; each call needs one of its own, "
            f"such as f.options(id=f'part-{{n}}').delay(n); calls that are to share an outcome are memo=True"
        )
        raise ValueError(msg)

    def _count(self, same: bytes) -> int:
        with self._lock:
            place = self._seen.get(same, 0)
            self._seen[same] = place + 1
        return place


def unplaced(plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, str]:
    """What tells a call from those that are not equal to it, and its arguments for a human reader.

    Raises:
        NoIdentity: An argument can't be told from others in another run.
    """
    if plan.id is not None:
        return digest([b"id", *_task(plan), canonical(plan.id)]), _shown(plan, args, kwargs)
    return digest([b"arguments", *_task(plan), *_arguments(plan, args, kwargs)]), _shown(plan, args, kwargs)


def of_child(plan: Plan, same: bytes, place: int, shown: str, parent: bytes | None) -> Known:
    """What tells a call from others that a call has submitted.

    Args:
        plan: How it is run.
        same: What tells it from those that are not equal to it.
        place: How many equal calls its parent had submitted before.
        shown: For a human reader.
        parent: The parent's key; None: whoever submits it, the outcome is the same.
    """
    return Known(_placed(same if parent is None else digest([b"child", parent, same]), place), plan.name, shown)


def _placed(same: bytes, place: int) -> bytes:
    return same + place.to_bytes(4, "little")


def _task(plan: Plan) -> tuple[bytes, bytes]:
    """What runs, and which state of it: a function without a name of its own stands among the arguments."""
    return canonical(plan.name), canonical(plan.version)


def _arguments(plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[bytes]:
    """Each argument with its name: `f(1, b=2)` and `f(1, 2)` are equal calls.

    Raises:
        NoIdentity: One has no identity; the message names it.
    """
    if plan.signature is None:  # of `submit` and executors
        yield _function(plan)
        yield _argument(plan, "args", args)
        yield _argument(plan, "kwargs", kwargs)
        return
    signature = plan.signature()
    bound = signature.bind(*args, **kwargs)
    given = set(bound.arguments)
    bound.apply_defaults()
    for name, value in bound.arguments.items():
        if name in given:
            yield _argument(plan, name, value)
        elif (default := _default(signature.parameters[name])) is not None:
            yield canonical(name) + default


def _function(plan: Plan) -> bytes:
    """A function that is no task."""
    try:
        return canonical(plan.function)
    except NoIdentity as why:
        msg = (
            f"{plan.name!r} is called in a run with a journal, and is or holds {why}, so that another run can't know it again: "
            f"make it a function at the top level of a module, or give it a name: @task({plan.name!r})"
        )
    raise NoIdentity(msg)


def _argument(plan: Plan, name: str, value: object) -> bytes:
    try:
        return canonical(name) + canonical(value)
    except NoIdentity as why:
        msg = (
            f"argument {name!r} of {plan.name!r} is or holds {why}, and nothing tells that from others in another run. "
            f'Give the call a name, as f.options(id="...").delay(...), or the class a method __mpitasks_id__ that returns '
            f"what tells its objects apart, such as a tuple of their attributes"
        )
    except RecursionError:
        msg = f'argument {name!r} of {plan.name!r} holds itself; give the call a name, as f.options(id="...").delay(...)'
    raise NoIdentity(msg)


def _default(parameter: Parameter) -> bytes | None:
    """A default that was not given; one without identity is part of the code, as the function's body is."""
    try:
        return canonical(parameter.default)
    except NoIdentity:
        return None


class _Short(Repr):
    """Shows plain values, and of all others the type: their `__repr__` may take long."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 30
        self.maxlevel = 2

    def repr_instance(self, x: object, level: int) -> str:
        """What is of no plain type."""
        if isinstance(x, bool | float | complex | bytes | None):
            return super().repr_instance(x, level)
        return f"<{type(x).__name__}>"


_short = _Short()


def _shown(plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The arguments for a human reader, or the `id`."""
    if plan.id is not None:
        return f"id={_short.repr(plan.id)}"
    shown = ", ".join([*map(_short.repr, args[:8]), *(f"{name}={_short.repr(value)}" for name, value in kwargs.items())])
    return shown if len(shown) <= _WIDTH else f"{shown[: _WIDTH - 3]}..."
