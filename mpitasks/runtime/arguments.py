"""A call's arguments as bytes, and which of them can't be."""

from __future__ import annotations

import pickle
import types
from collections.abc import Callable
from typing import Any

from ..errors import EncodeError, NotRunning
from ..plans import Plan, Setup
from ..transport import wire
from .functions import dumps, is_known, names_known_everywhere


class Encoder:
    """Encodes what travels of a call, for one run."""

    def __init__(self) -> None:
        self._known = names_known_everywhere()
        self._setups: dict[str, tuple[bytes, list[Any]]] = {}
        """Each with the broadcasts that it holds."""

    def arguments(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[wire.Payload, list[Any]]:
        """The arguments of a call, and the futures among them, place by place. Numbers by position alone travel as they are.

        Raises:
            EncodeError: One of them can't be pickled; the message says which.
        """
        function = plan.function
        if function is None and not kwargs and wire.NUMBERS.issuperset(map(type, args)):
            return (args,), []
        named = function is not None and self.travels_by_name(function)
        try:
            return wire.encode_arguments((function, args, kwargs) if named else (args, kwargs))
        except NotRunning:  # a broadcast of another run, or one that was released
            raise
        except Exception as error:
            raise _which(plan, args, kwargs, error) from error

    def travels_by_name(self, function: Callable[..., Any]) -> bool:
        """Whether a function travels as the first of the arguments, as pickle's reference to it."""
        by_name = isinstance(function, types.FunctionType | types.BuiltinFunctionType | type)
        return by_name and is_known(function, self._known)

    def function(self, function: Callable[..., Any], claims: list[Any]) -> bytes:
        """A function that does not travel by name; broadcasts that it holds are added to the call's claims.

        Raises:
            EncodeError: It can't be pickled.
        """
        with wire.noting(claims):
            return dumps(function, self._known)

    def function_of_many(self, function: Callable[..., Any]) -> bytes | None:
        """A function that many calls share; None: one by one, since it can't be pickled or holds broadcasts."""
        if self.travels_by_name(function):
            return pickle.dumps(function, 5)
        claims: list[Any] = []
        try:
            pickled = self.function(function, claims)
        except Exception:  # noqa: BLE001  pickling runs user code; where they are taken one by one, the user hears of it
            return None
        return None if claims else pickled

    def setup(self, setup: Setup, claims: list[Any]) -> bytes:
        """An executor's initializer, as it was when the executor's first call was submitted."""
        known = self._setups.get(setup.name)
        if known is None:
            needed: list[Any] = []
            function = _Initializer(setup.name, setup.initializer, setup.initargs)
            known = self._setups[setup.name] = self.function(function, needed), needed
        claims += known[1]
        return known[0]


class _Initializer:
    """Calls an initializer with its arguments; equal only to itself, so that two executors both run theirs."""

    def __init__(self, name: str, initializer: Callable[..., object], initargs: tuple[Any, ...]) -> None:
        self._name = name
        self._initializer = initializer
        self._initargs = initargs

    def __call__(self) -> None:
        self._initializer(*self._initargs)

    def __repr__(self) -> str:
        return f"initializer {self._initializer!r} of {self._name}"


def _which(plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> EncodeError:
    """The error that names the argument."""
    for name, value in _named(plan, args, kwargs):
        why = _why_not(value)
        if why:
            msg = (
                f"argument {name!r} of {plan.name!r} can't be pickled: {why}; "
                f"pass what it is made from instead, and make it inside the task"
            )
            return EncodeError(msg)
    return EncodeError(f"the arguments of {plan.name!r} can't be pickled: {type(error).__name__}: {error}")


def _named(plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
    """The arguments, each with its parameter's name."""
    import inspect  # noqa: PLC0415  4 ms, which only an error takes

    signature = None if plan.signature is None else plan.signature()
    try:
        if signature is None and plan.function is not None:
            signature = inspect.signature(plan.function)
        bound = signature.bind(*args, **kwargs).arguments if signature is not None else {}
    except (TypeError, ValueError):  # no signature, or not that one
        bound = {}
    named: list[tuple[str, Any]] = []
    for name, value in bound.items():
        kind = signature.parameters[name].kind if signature is not None else None
        if kind is inspect.Parameter.VAR_POSITIONAL:
            named += [(f"{name}[{place}]", item) for place, item in enumerate(value)]
        elif kind is inspect.Parameter.VAR_KEYWORD:
            named += list(value.items())
        else:
            named.append((name, value))
    return named or [*((str(place), value) for place, value in enumerate(args)), *kwargs.items()]


def _why_not(value: object) -> str:
    """Why a value can't be pickled, in pickle's words; empty if it can."""
    try:
        wire.encode_arguments(value)
    except (pickle.PicklingError, TypeError, AttributeError) as error:  # as pickle itself complains
        return str(error)
    except Exception as error:  # noqa: BLE001  pickle hooks are user code and raise anything
        return f"{type(error).__name__}: {error}"
    return ""
