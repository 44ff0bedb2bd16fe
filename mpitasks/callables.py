"""Calls of plain functions, which are no tasks."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, overload

from .core.calls import PLAIN
from .farm import running
from .futures import Future
from .plans import Plan
from .tasks import Task

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_HAVE_NAMES = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, type)


@overload
def submit(fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
@overload
def submit(fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]: ...
def submit(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
    """Have a slave call any callable: a lambda, a closure, a library's function.

    What a slave can't import travels by cloudpickle, once to each slave.

    Raises:
        EncodeError: The callable or an argument can't be pickled.
        NotRunning: There is no farm here: this is neither main nor a task.
        TypeError: `fn` can't be called.
    """
    if not callable(fn):
        msg = f"submit() takes a callable and its arguments, and {fn!r} can't be called"
        raise TypeError(msg)
    if isinstance(fn, Task):
        return fn.delay(*args, **kwargs)
    name = name_of(fn)
    return running("mpitasks", "submit()").submit(Plan(name=name, queue=f"submit:{name}", function=fn), args, kwargs, PLAIN)


def name_of(fn: Callable[..., Any]) -> str:
    """How notes and logs call a callable."""
    inner = fn.func if isinstance(fn, functools.partial) else fn
    named = inner if isinstance(inner, _HAVE_NAMES) else type(inner)
    module = named.__module__
    return f"{module}.{named.__qualname__}" if module and module != "__main__" else named.__qualname__
