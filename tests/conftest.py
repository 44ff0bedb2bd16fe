"""Fixtures for all tests, and the marks that nobody has to remember."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mpi.launcher import Mpiexec, find_mpiexec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `mpi` what uses mpiexec, and as `faults` what lies in that folder."""
    for item in items:
        if "mpiexec" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.mpi)
        if item.path.parent.name == "faults":
            item.add_marker(pytest.mark.faults)


@pytest.fixture(autouse=True)
def as_in_one_process() -> Iterator[None]:
    """A worker of pytest-xdist looks like pytest itself, without a thread that talks to others."""
    frames = sys._current_frames
    strangers = frames().keys() - {thread.ident for thread in threading.enumerate()}

    def without_strangers() -> dict[int, FrameType]:
        found = {ident: frame for ident, frame in frames().items() if ident not in strangers}
        return found | {threading.get_ident(): sys._getframe(1)}

    with pytest.MonkeyPatch.context() as patch:  # of its own: a test's patches are to end before what it has asked for
        if strangers:
            patch.setattr(sys, "_current_frames", without_strangers)
        yield


@pytest.fixture
def nothing_is_left_in_memory() -> Iterator[None]:
    """No shared memory that bears our name."""
    yield
    assert [path.name for path in Path("/dev/shm").iterdir() if "mpitasks" in path.name] == []  # noqa: S108  to look


@pytest.fixture
def mpiexec(tmp_path: Path) -> Iterator[Mpiexec]:
    """Run scripts under mpiexec, each with a time limit, and leave no process behind.

    Use it as `ended = mpiexec(4, script_or_source, "an argument", timeout=30, env={"COLOUR": "red"})`.
    """
    path = find_mpiexec()
    if path is None:
        pytest.skip("no mpiexec beside this Python: install mpitasks[mpich] or mpitasks[openmpi]")
    launcher = Mpiexec(path, tmp_path)
    yield launcher
    for app in launcher.apps:
        app.kill()
