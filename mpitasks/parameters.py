"""What a function takes, without `inspect` where that is plain.

With what that brings along it takes each rank 4 ms to import.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inspect import Signature

_HAS_ARGS, _HAS_KWARGS = 0x04, 0x08
"""Flags of code objects."""


class Parameters:
    """What `delay` takes.

    Args:
        fn: The task's function.
        bind: Whether its first parameter is its context.

    Raises:
        TypeError: It can't take that.
    """

    def __init__(self, fn: Callable[..., Any], *, bind: bool) -> None:
        self._fn = fn
        self._bind = bind
        self._signature: Signature | None = None
        plain = _plain(fn, bind=bind)
        # A function that takes the same and does nothing: 0.1 µs, where `Signature.bind` takes 2-3 µs.
        self.check: Callable[..., None] = eval(  # noqa: S307  parameter names only
            f"lambda {_blank(self.signature()) if plain is None else plain}: None", {"__builtins__": {}}
        )
        """Raises a TypeError where the function can't be called with these arguments."""

    def signature(self) -> Signature:
        """The same, as `inspect` has it."""
        if self._signature is None:
            self._signature = _signature_of(self._fn, bind=self._bind)
        return self._signature

    def in_words_of_bind(self, name: str, error: TypeError, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TypeError:
        """The error that the user should read, of a call of that task that `check` refuses."""
        try:
            self.signature().bind(*args, **kwargs)
        except TypeError as better:
            error = better.with_traceback(None)
        error.add_note(f"task {name!r} takes {self.signature()}")
        return error


def _plain(fn: Callable[..., Any], *, bind: bool) -> str | None:
    """The parameters of a plain function, as of a lambda; None: `inspect` must look."""
    if type(fn) is not FunctionType or hasattr(fn, "__wrapped__") or hasattr(fn, "__signature__"):
        return None
    code, bound = fn.__code__, int(bind)
    if code.co_argcount < bound:
        return None
    optional = code.co_argcount - len(fn.__defaults__ or ())
    named = [name if place < optional else f"{name}=None" for place, name in enumerate(code.co_varnames[: code.co_argcount])]
    if code.co_posonlyargcount > bound:
        named.insert(code.co_posonlyargcount, "/")
    return ", ".join([*named[bound:], *_by_keyword(fn)])


def _by_keyword(fn: FunctionType) -> list[str]:
    """The further parameters: `*args`, those that go by keyword alone, `**kwargs`."""
    code, defaults = fn.__code__, fn.__kwdefaults__ or {}
    end = code.co_argcount + code.co_kwonlyargcount
    alone = [f"{name}=None" if name in defaults else name for name in code.co_varnames[code.co_argcount : end]]
    rest = list(code.co_varnames[end : end + 2])
    if code.co_flags & _HAS_ARGS:
        alone.insert(0, f"*{rest.pop(0)}")
    elif alone:
        alone.insert(0, "*")
    return [*alone, f"**{rest[0]}"] if code.co_flags & _HAS_KWARGS else alone


def _blank(signature: Signature) -> str:
    """The same of a signature."""
    blank = [
        parameter.replace(annotation=parameter.empty, default=parameter.empty if parameter.default is parameter.empty else None)
        for parameter in signature.parameters.values()
    ]
    return str(type(signature)(blank))[1:-1]


def _signature_of(fn: Callable[..., Any], *, bind: bool) -> Signature:
    from inspect import Parameter, Signature, signature  # noqa: PLC0415  only errors, and functions that are not plain, need it

    try:
        found = signature(fn)
    except ValueError:  # some C functions have none
        return Signature([Parameter("args", Parameter.VAR_POSITIONAL), Parameter("kwargs", Parameter.VAR_KEYWORD)])
    if not bind:
        return found
    parameters = list(found.parameters.values())
    if not parameters or parameters[0].kind not in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD):
        msg = f"{fn!r} has bind=True, so it takes its Context as first positional parameter; it takes {found}"
        raise TypeError(msg)
    return found.replace(parameters=parameters[1:])
