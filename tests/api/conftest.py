"""A farm on each backend that needs no MPI."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import mpitasks
from mpitasks import farm as the_farm
from mpitasks import registry
from mpitasks.runtime import keeper, runner, slave
from tests.api import tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Run = Callable[..., Any]


@pytest.fixture(params=["threads", "inline"])
def farm(request: pytest.FixtureRequest) -> Run:
    """`run` on either backend, with 2 slaves and no patience at the end."""
    return partial(mpitasks.run, backend=request.param, slaves=2, grace=0.0)


@pytest.fixture
def threads() -> Run:
    """`run` with slaves that are threads, where calls can wait and be late."""
    return partial(mpitasks.run, backend="threads", slaves=2, grace=0.0)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))
    monkeypatch.setattr(registry, "_resources", dict(registry._resources))


class Recorder:
    """A farm that only writes down what it is given."""

    slaves = 2

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def submit(self, plan: Any, args: tuple[Any, ...], kwargs: dict[str, Any], resource: Any) -> None:
        self.calls.append((args, kwargs))


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """A farm that runs nothing."""
    recorder = Recorder()
    the_farm.bind(recorder)
    yield recorder
    the_farm.unbind()


class Clock:
    """The real one, and seconds that providers say they have taken."""

    def __init__(self, real: Any) -> None:
        self.real, self.extra = real, 0.0

    def __call__(self) -> float:
        return float(self.real()) + self.extra


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of slaves and their keepers."""
    clock = Clock(runner.perf_counter)
    monkeypatch.setattr(slave, "perf_counter", clock)
    monkeypatch.setattr(runner, "perf_counter", clock)
    monkeypatch.setattr(keeper, "perf_counter", clock)
    return clock


_fresh = pytest.fixture(autouse=True)(tasks.fresh)
