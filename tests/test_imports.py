"""What a rank does not import until it needs it: each import is paid on every rank, before anything runs.

On a machine whose cores the ranks share, a run of a second starts by importing; see "Start-up" in docs/performance.md.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

NEEDED_BY_FEW = {
    "asyncio": "async programs",
    "cloudpickle": "who submits functions that are no tasks",
    "concurrent.futures.thread": "nobody",
    "decimal": "who has such values already",
    "difflib": "who mistypes",
    "hmac": "ranks on several hosts, and guarded ones",
    "mpi4py": "run()",
    "mpitasks.core.scheduler": "rank 0",
    "mpitasks.isolation.child": "who isolates calls",
    "mpitasks.isolation.nanny": "who isolates calls",
    "mpitasks.journal.book": "rank 0",
    "mpitasks.journal.canonical": "rank 0, and calls that submit others",
    "mpitasks.observe.counts": "rank 0",
    "mpitasks.runtime.master": "rank 0",
    "mpitasks.runtime.slave": "the other ranks",
    "mpitasks.runtime.watchdog": "rank 0",
    "mpitasks.simulator": "who simulates",
    "platform": "cloudpickle, uuid",
    "ssl": "asyncio",
    "subprocess": "who starts ranks",
    "uuid": "who has such values already",
    "zoneinfo": "who has such values already",
}
"""Modules, and who needs them."""
NEEDED_BY_OTHER_RANKS = {"mpitasks.core.scheduler", "mpitasks.isolation.child", "mpitasks.runtime.master", "asyncio", "ssl"}
"""Modules that do not come with a slave."""


def imported_by(program: str) -> set[str]:
    """The modules that a fresh Python has after that, beyond those which it has at its start: some sites import their own."""
    show = f"import sys; before = set(sys.modules); {program}; print(*(set(sys.modules) - before), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def test_importing_the_library_imports_nothing_that_few_need() -> None:
    """What is paid for by all is used by most; if this fails, import the module in the function that needs it."""
    assert imported_by("import mpitasks") & NEEDED_BY_FEW.keys() == set()


def test_a_slave_does_without_the_master() -> None:
    """And without what only async tasks and isolated calls need."""
    assert imported_by("import mpitasks, mpitasks.runtime.slave") & NEEDED_BY_OTHER_RANKS == set()


@pytest.mark.parametrize("name", ["Statistics", "Executor"])
def test_public_names_that_come_later_are_there(name: str) -> None:
    """A name that is imported when it is asked for is found by `import` and by `from`, and no other is."""
    same = f"from mpitasks import {name}; assert mpitasks.{name} is {name}"
    assert "mpitasks" in imported_by(f"import mpitasks; {same}; assert not hasattr(mpitasks, 'x')")
