"""How a call is to be run, as its options say."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from .core.calls import PLAIN
from .retries import Retries

if TYPE_CHECKING:
    from inspect import Signature

    from .futures import Future

__all__ = ["Plan", "Setup", "replace"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a call is to be run: all of it but its arguments."""

    name: str
    """The task's name, in notes and logs."""
    queue: str
    """The queue in which its calls wait, with the limit `max_slaves`."""
    max_slaves: int | None = None
    priority: int = 0
    weight: float = 1.0
    resource: Hashable = PLAIN
    after: tuple[Future[Any], ...] = ()
    copy: bool = True
    cost: float = 0.0
    retries: Retries | None = None
    timeout: float | None = None
    """Seconds that the call may take, without what acquiring takes."""
    isolate: bool = False
    """Whether the call runs in a child of the slave."""
    version: str | int | None = None
    memo: bool = False
    id: str | int | None = None
    """What names the call in a journal, in place of its arguments."""
    chunk: int = 0
    """Calls that travel together; 0: as the scheduler sees fit."""
    function: Callable[..., Any] | None = None
    """What is called, if the slaves don't know it by the task's name."""
    setup: Setup | None = None
    """What a slave does once, before it runs the first of these calls."""
    signature: Callable[[], Signature] | None = field(default=None, compare=False)
    """Gives what a task takes: to name an argument in errors."""


class Setup(NamedTuple):
    """What a slave does once for an executor."""

    name: str
    initializer: Callable[..., object]
    initargs: tuple[Any, ...]
