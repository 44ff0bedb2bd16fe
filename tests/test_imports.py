"""What a rank does not import until it needs it: each import is paid on every rank, before anything runs.

On a machine whose cores the ranks share, a run of a second starts by importing; see "Start-up" in docs/performance.md.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import mpitasks

if TYPE_CHECKING:
    from tests.mpi.launcher import Mpiexec

NEEDED_BY_FEW = {
    "asyncio": "async programs",
    "cloudpickle": "who submits functions that are no tasks",
    "concurrent.futures": "rank 0",
    "dataclasses": "rank 0",
    "decimal": "who has such values already",
    "difflib": "who mistypes",
    "hashlib": "ranks on several hosts, and guarded ones",
    "hmac": "as hashlib",
    "inspect": "errors, and tasks that are no plain functions",
    "json": "rank 0",
    "logging": "rank 0, and tasks that log",
    "mpi4py": "run()",
    "mpitasks.control": "rank 0",
    "mpitasks.core.scheduler": "rank 0",
    "mpitasks.executor": "who uses an Executor",
    "mpitasks.futures": "rank 0",
    "mpitasks.isolation.child": "who isolates calls",
    "mpitasks.isolation.nanny": "who isolates calls",
    "mpitasks.journal.book": "who keeps a journal",
    "mpitasks.journal.canonical": "who keeps a journal",
    "mpitasks.launch": "who starts ranks",
    "mpitasks.lifeline": "ranks on several hosts",
    "mpitasks.observe.counts": "who asks for statistics",
    "mpitasks.plans": "rank 0",
    "mpitasks.resources": "who has resources",
    "mpitasks.runtime.master": "rank 0",
    "mpitasks.runtime.slave": "the other ranks",
    "mpitasks.runtime.stacks": "who asks where a run is",
    "mpitasks.runtime.watchdog": "rank 0",
    "mpitasks.simulator": "who simulates",
    "mpitasks.walltime": "rank 0",
    "pathlib": "rank 0",
    "platform": "cloudpickle, uuid",
    "random": "calls that run again",
    "selectors": "rank 0",
    "shutil": "rank 0",
    "socket": "rank 0, ranks on several hosts, and guarded ones",
    "ssl": "asyncio",
    "subprocess": "who starts ranks",
    "tempfile": "rank 0",
    "traceback": "rank 0, and calls that fail",
    "typing_extensions": "type checkers",
    "uuid": "who has such values already",
    "zoneinfo": "who has such values already",
}
"""Modules, and who needs them."""
NOT_ON_SLAVES = {
    *(NEEDED_BY_FEW.keys() - {"mpi4py", "mpitasks.runtime.slave"}),
    *("mmap", "mpitasks.isolation.handle", "mpitasks.runtime.copies", "mpitasks.runtime.logs", "mpitasks.runtime.nested"),
}
"""Modules that do not come with a slave."""
NOT_ON_RANK_0 = {
    *("asyncio", "hashlib", "ssl", "subprocess", "typing_extensions"),
    *("mpitasks.journal.book", "mpitasks.observe.counts"),
    *("mpitasks.runtime.nested", "mpitasks.runtime.situation", "mpitasks.runtime.slave", "mpitasks.runtime.stacks"),
}
"""Modules that do not come with a master."""


def imported_by(program: str) -> set[str]:
    """The modules that a fresh Python has after that, beyond those which it has at its start: some sites import their own."""
    show = f"import sys; before = set(sys.modules); {program}; print(*(set(sys.modules) - before), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def test_importing_the_library_imports_nothing_that_few_need() -> None:
    """What is paid for by all is used by most; if this fails, import the module in the function that needs it."""
    assert imported_by("import mpitasks") & NEEDED_BY_FEW.keys() == set()


def test_a_slave_does_without_the_master() -> None:
    """And without what only calls need that submit others, are isolated, get broadcasts, log or fail."""
    assert imported_by("import mpitasks, mpitasks.runtime.slave") & NOT_ON_SLAVES == set()


def test_a_master_does_without_what_few_programs_ask_for() -> None:
    """Such as statistics, a journal, or where the run is."""
    program = "import mpitasks, mpitasks.runtime.master, mpitasks.runtime.watchdog"
    assert imported_by(program) & NOT_ON_RANK_0 == set()


@pytest.mark.parametrize("name", ["Statistics", "Executor", "Future", "broadcast", "resource", "submit", "InitializerFailed"])
def test_public_names_that_come_later_are_there(name: str) -> None:
    """A name that is imported when it is asked for is found by `import` and by `from`, and no other is."""
    same = f"from mpitasks import {name}; assert mpitasks.{name} is {name}"
    assert "mpitasks" in imported_by(f"import mpitasks; {same}; assert not hasattr(mpitasks, 'x')")


def test_all_public_names_are_there() -> None:
    """Those that come later too, and `dir` knows them."""
    assert set(mpitasks.__all__) <= {name for name in dir(mpitasks) if getattr(mpitasks, name) is not None}


HELLO = """
import sys
before = set(sys.modules)
import mpitasks

@mpitasks.task
def loaded(number):
    return mpitasks.current().rank, sys.modules.keys() - before

def main():
    for rank, names in loaded.map(range(3)).results():
        print(rank, *names)
    print(0, *(sys.modules.keys() - before))

if __name__ == "__main__":
    mpitasks.run(main)
"""


def test_a_hello_imports_nothing_that_few_need(mpiexec: Mpiexec) -> None:
    """Rank 0, and another rank."""
    ended = mpiexec(2, HELLO)
    found = {rank: set(names) for rank, *names in map(str.split, ended.stdout.splitlines())}
    assert found.keys() == {"0", "1"}, ended.stderr
    assert (found["0"] & NOT_ON_RANK_0, found["1"] & NOT_ON_SLAVES) == (set(), set())
