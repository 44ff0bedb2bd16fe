"""Tasks that the tests of this folder call, and gates at which a call waits until its test lets it go on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from mpitasks import Context, current, task

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 10.0
"""Seconds after which a call at a closed gate gives up, so that a failing test ends."""


class Gate:
    """Where a call waits; works because slaves are threads of the test's process."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        """A call has come."""
        self.opened = threading.Event()
        """Calls may pass."""

    def wait_for_a_call(self) -> None:
        """Return when a call is at the gate."""
        assert self.begun.wait(PATIENCE)


gates: dict[str, Gate] = {}
ran: list[Any] = []
"""What the calls of `note` were given, in the order in which they ran."""


def fresh() -> Iterator[None]:
    """Within, there are no gates and no notes of earlier tests."""
    gates.clear()
    ran.clear()
    yield
    for gate in gates.values():
        gate.opened.set()


def gate(name: str = "gate") -> Gate:
    """Make a gate."""
    made = gates[name] = Gate()
    return made


@task
def add(x: int, y: int = 1) -> int:
    """Add."""
    return x + y


@task
def echo(value: Any = None) -> Any:
    """Give back what it is given."""
    return value


@task
def fail(text: str = "no") -> None:
    """Fail."""
    raise ValueError(text)


@task
def note(what: Any) -> None:
    """Write down that it ran."""
    ran.append(what)


@task(max_slaves=1)
def hold(name: str = "gate", value: Any = None) -> Any:
    """Wait at the gate; one call at a time."""
    gates[name].begun.set()
    assert gates[name].opened.wait(PATIENCE)
    return value


@task
def rank_here() -> int:
    """Tell the rank that runs it."""
    return current().rank


@task(bind=True)
def attempt_of(ctx: Context, factor: int = 1) -> tuple[str, int]:
    """Tell what its context says."""
    return ctx.task_name, ctx.attempt * factor


@task
async def add_later(x: int, y: int = 1) -> int:
    """Add, asynchronously."""
    return x + y


class Locked:
    """A value that can't be pickled."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Picky(Exception):
    """Can be pickled and not unpickled: its `__init__` takes two."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")
