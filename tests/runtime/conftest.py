"""A world for each test, with a clock that stands still."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mpitasks import farm, registry
from mpitasks.runtime.calls import PLAINLY, Rare
from tests.runtime import world as worlds
from tests.runtime.world import Clock, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The master's clock, and that of the slaves."""
    clock = Clock()
    monkeypatch.setattr("mpitasks.runtime.master.monotonic", clock)
    for part in ("slave", "runner", "loop", "alarm"):
        monkeypatch.setattr(f"mpitasks.runtime.{part}.perf_counter", clock)
    return clock


@pytest.fixture
def new_world(clock: Clock) -> Iterator[Callable[..., World]]:
    """`new_world(slaves)`."""
    made: list[World] = []

    def make(slaves: int, **options: Any) -> World:
        made.append(World(slaves, **options))
        return made[-1]

    yield make
    assert [getattr(PLAINLY, name) for name in Rare.__slots__] == [getattr(Rare(), name) for name in Rare.__slots__]
    for world in made:
        for slave in world.slaves.values():
            slave._runner.close()  # event loops
    farm.unbind()
    worlds.inside.clear()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))
    monkeypatch.setattr(registry, "_resources", dict(registry._resources))
