"""`broadcast(value)`: a value that travels to each host once.

::

    main    f.delay(table, 1) ──► Reference ──► in the task: the value
    task    g.delay(value, 2) ──► the same number again, since the call was given that very object

A `Broadcast` is pickled as a number, and unpickled as the value that the process knows by it. The master keeps the value
for as long as anybody holds its `Reference`: the handle, and each call that waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar, cast

from .context import current, inside_a_call
from .errors import EncodeError, NotRunning
from .farm import Farm, running
from .transport import wire
from .transport.wire import Reference

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_NOT_YET = object()


class Owner(Protocol):
    """What keeps a value on the master."""

    payload: wire.Payload
    """The value, as it was broadcast."""


class Broadcast(Generic[T_co]):
    """A value that slaves get once, and calls by reference: what `broadcast` gives back.

    Among the arguments of a call it stands for the value, by itself or inside of anything; so it does in a function that
    travels. Slaves keep the value until this handle is gone and no call that needs it waits.
    """

    def __init__(self, farm: Farm, reference: Reference, name: str) -> None:
        self._farm = farm
        self._reference: Reference | None = reference
        self._name = name
        self._value: Any = _NOT_YET
        self._content: bytes | None = None

    def arg(self) -> T_co:
        """The broadcast itself, typed as its value: hand it to a call's `delay`."""
        return cast("T_co", self)

    @property
    def value(self) -> T_co:
        """The value as calls see it: as it was when it was broadcast, and arrays can't be written to.

        Raises:
            NotRunning: It was released.
        """
        owner = cast("Owner", self._held().owner)
        if self._value is _NOT_YET:
            self._value = wire.decode(owner.payload)
        return cast("T_co", self._value)

    def release(self) -> None:
        """Let slaves forget the value, once the calls have ended that were given it. No new call can be given it."""
        self._reference, self._value = None, _NOT_YET

    def _held(self) -> Reference:
        if self._reference is None:
            msg = f"{self!r} is used after release(): release it when no more calls are to be given it, or broadcast it again"
            raise NotRunning(msg)
        return self._reference

    def _given_to(self, farm: Farm) -> Reference:
        """What stands for it in this farm.

        Raises:
            NotRunning: It was released, or is of another run.
        """
        reference = self._held()
        if inside_a_call():
            msg = f"{self!r} was taken from outside into a task: hand it to the task as an argument, where it is the value"
            raise NotRunning(msg)
        if farm is not self._farm:
            msg = f"{self!r} belongs to a run that has ended: broadcast the value again, inside the main of this run"
            raise NotRunning(msg)
        return reference

    def __reduce__(self) -> tuple[Callable[[int], Any], tuple[int]]:
        reference = self._given_to(running("mpitasks", "broadcast()"))
        wire.need(reference)
        return value_of, (reference.number,)

    def __mpitasks_content__(self, identify: Callable[[Any], bytes]) -> bytes:
        """What tells it from others in a journal: what its value does."""
        if self._content is None:
            self._content = identify(self.value)
        return self._content

    def __repr__(self) -> str:
        return f"<Broadcast of {self._name}{'' if self._reference else ': released'}>"


def broadcast(value: T) -> Broadcast[T]:
    """Give slaves a value that many calls need: it travels to each host once, when the first call there needs it.

    The slaves of a host share one copy of what is large in it, such as numpy arrays; these can't be written to. All calls of
    a slave get the same object, so that none should change it.

    Args:
        value: Anything that can be pickled. It is pickled before this returns: what is changed afterwards reaches nobody.

    Raises:
        EncodeError: It can't be pickled.
        NotRunning: There is no farm here, or this is the inside of a task.
    """
    if inside_a_call():
        msg = (
            "broadcast() was called inside a task: call it in main(), and hand what it gives to the task, which may hand the "
            "value on to its own calls"
        )
        raise NotRunning(msg)
    farm = running("mpitasks", "broadcast()")
    try:
        payload = wire.encode(value)
    except Exception as error:
        msg = (
            f"broadcast() of {type(value).__qualname__}, which can't be pickled: {error}; broadcast what it is made from, and "
            f"make it inside the task, or in a @resource"
        )
        raise EncodeError(msg) from error
    return Broadcast(farm, farm.keep(payload), type(value).__qualname__)


def reference_to(number: int, owner: object = None) -> Reference:
    """What stands for the value of that number."""
    pickled = wire.encode(_Named(number))
    assert isinstance(pickled, bytes)  # noqa: S101  no buffer is in it
    return Reference(pickled, number, owner)


class _Named:
    """What unpickles as the value of a number."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Callable[[int], Any], tuple[int]]:
        return value_of, (self._number,)


def as_key(value: Any) -> Any:  # noqa: ANN401  any argument
    """What stands for an argument as the key of a resource.

    For a broadcast, a reference that owns nothing: whoever holds the resource has made it of the value by then.
    """
    if isinstance(value, Broadcast):
        return reference_to(value._held().number)
    number = _given_as(value) if inside_a_call() else None
    return value if number is None else reference_to(number)


def value_of(number: int) -> Any:  # noqa: ANN401  whatever was broadcast
    """The value of that number, for the call that runs here."""
    context = current()
    known = context._known
    if known is None:
        msg = f"broadcast {number} was unpickled where it is not known"
        raise NotRunning(msg)
    value = known.value(number)
    if known.is_large(number):
        context._given = context._given or {}
        context._given[id(value)] = number, value
    return value


# ---------------------------------------------------------------- handed on by calls


def _given_as(value: object) -> int | None:
    """The number under which the call that runs here was given this very object, if it was."""
    number, known = (current()._given or {}).get(id(value), (0, _NOT_YET))
    return number if known is value else None


class _HandedOn(_Named):
    """A value that a call was given by reference, and gives to another call."""

    def __reduce__(self) -> tuple[Callable[[int], Any], tuple[int]]:
        wire.need(reference_to(self._number))
        return super().__reduce__()

    def __mpitasks_content__(self, identify: Callable[[Any], bytes]) -> bytes:
        """As of a `Broadcast`."""
        known = current()._known
        assert known is not None  # noqa: S101  the call was given it
        return known.content(self._number, identify)


def handed_on(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call that a call submits; what that was given by reference goes on so."""

    def stand_in(value: Any) -> Any:  # noqa: ANN401  any argument
        number = _given_as(value)
        return value if number is None else _HandedOn(number)

    return tuple(map(stand_in, args)), {name: stand_in(value) for name, value in kwargs.items()}
