"""Name -> task, and name -> resource, alike on every rank."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from os.path import basename, splitext
from typing import TYPE_CHECKING, Any, NamedTuple

from .digests import blake2b
from .errors import DuplicateTask, UnknownTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from .resources import Resource
    from .tasks import Task


class Place(NamedTuple):
    """Where a function stands in the source."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


MAIN_ELSEWHERE = "__mp_main__"
"""The script, as a module of a process that it does not run: see `isolation.importing`."""
MAIN = ("__main__", MAIN_ELSEWHERE)

_tasks: dict[str, Task[..., Any]] = {}
_resources: dict[str, Resource[Any]] = {}


def register(task: Task[..., Any]) -> None:
    """Add a task. The same function again, imported under a second module name, takes the place of the first.

    Raises:
        DuplicateTask: Another function has that name.
    """
    _refuse_another(_tasks.get(task.name), task, "task")
    _tasks[task.name] = task


def register_resource(resource: Resource[Any]) -> Resource[Any] | None:
    """Add a resource, as `register` adds a task. Returns the one whose place it takes.

    Raises:
        DuplicateTask: Another provider has that name.
    """
    known = _resources.get(resource.name)
    _refuse_another(known, resource, "resource")
    _resources[resource.name] = resource
    return known


def _refuse_another(known: Task[..., Any] | Resource[Any] | None, new: Task[..., Any] | Resource[Any], what: str) -> None:
    if known is not None and place_of(known.fn) != place_of(new.fn):
        msg = (
            f"two {what}s are named {new.name!r}: {place_of(known.fn)} and {place_of(new.fn)}; "
            f'give one of them a name of its own: @{what}("another.name")'
        )
        raise DuplicateTask(msg)


def get(name: str) -> Task[..., Any]:
    """The task of that name.

    Raises:
        UnknownTask: There is none; the message names similar ones.
    """
    try:
        return _tasks[name]
    except KeyError:
        raise UnknownTask(unknown(name)) from None


def resource(name: str) -> Resource[Any]:
    """The resource of that name.

    Raises:
        UnknownTask: There is none; the message names similar ones.
    """
    try:
        return _resources[name]
    except KeyError:
        raise UnknownTask(unknown(name, _resources, "resource")) from None


def unknown(name: str, known: Iterable[str] | None = None, what: str = "task") -> str:
    """What to say when no task, or none of these, has that name."""
    import difflib  # noqa: PLC0415  only who mistypes needs it

    names = sorted(_tasks if known is None else known)
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.4) or names[:5]
    listed = ", ".join(repr(other) for other in near) or "none"
    return f"no {what} named {name!r}; known: {listed}. Is the module that defines it imported on every rank?"


def known_names() -> list[str]:
    """All names, sorted."""
    return sorted([*_tasks, *(f"{name} (a resource)" for name in _resources)])


def modules() -> list[str]:
    """Where tasks and resources are defined, in the order of their definition."""
    functions = [*(task.fn for task in _tasks.values()), *(resource.fn for resource in _resources.values())]
    return list(dict.fromkeys(fn.__module__ for fn in functions))


def wants_isolation() -> bool:
    """Whether calls of a task run in a child of the slave."""
    return any(task.isolate for task in _tasks.values())


def digest(names: Iterable[str]) -> str:
    """A short text that is equal for equal names."""
    return blake2b("\0".join(names).encode(), digest_size=16).hexdigest()


def place_of(fn: Callable[..., Any]) -> Place:
    """Where a function is defined."""
    from inspect import unwrap  # noqa: PLC0415  with what it brings along it takes 4 ms, and names are seldom given twice

    code = getattr(unwrap(fn), "__code__", None)
    if code is None:
        return Place(getattr(fn, "__module__", None) or "?", 0)
    return Place(code.co_filename, code.co_firstlineno)


def default_name(fn: Callable[..., Any]) -> str:
    """`module.qualname`, with the module's real name also where it runs as a script."""
    module = fn.__module__
    if module in MAIN:
        module = _name_of_main()
    return f"{module}.{fn.__qualname__}"


def _name_of_main() -> str:
    """The name under which another module would import the script."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        name: str = spec.name
        return name.removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    return splitext(basename(file))[0] if file else "interactive"
