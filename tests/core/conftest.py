"""The worlds of a test, checked when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def world_of(request: pytest.FixtureRequest) -> Iterator[Callable[..., World]]:
    """A maker of worlds, as in `world_of(slaves=3, keep=2)`; an order that nobody compared fails the test."""
    worlds: list[World] = []

    def make(slaves: int = 0, **rules: Any) -> World:
        worlds.append(World(slaves, **rules))
        return worlds[-1]

    failed_before = request.session.testsfailed
    yield make
    if request.session.testsfailed == failed_before:  # else the test has said already what is wrong
        for world in worlds:
            world.check()
