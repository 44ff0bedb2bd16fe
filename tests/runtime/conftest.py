"""A world for each test, with a clock that stands still."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mpitasks import farm, registry
from tests.runtime import world as worlds
from tests.runtime.world import Clock, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The master's clock, and that of the slaves."""
    clock = Clock()
    monkeypatch.setattr("mpitasks.runtime.master.monotonic", clock)
    for part in ("slave", "runner"):
        monkeypatch.setattr(f"mpitasks.runtime.{part}.perf_counter", clock)
    return clock


@pytest.fixture
def new_world(clock: Clock) -> Iterator[Callable[..., World]]:
    """`new_world(slaves)`."""

    def make(slaves: int, **options: Any) -> World:
        return World(slaves, **options)

    yield make
    farm.unbind()
    worlds.inside.clear()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))
