"""Same events, same decisions: in this process, in the next, and whatever the hashes."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mpitasks import core

from .history import history

ROOT = Path(__file__).parents[2]
MODULES = sorted(Path(core.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_same_events_same_decisions(seed: int) -> None:
    """Two schedulers to which the same happens decide the same."""
    assert history(seed) == history(seed)


def test_hashes_decide_nothing() -> None:
    """In other processes, with other hashes of strings, the decisions are the same."""
    command = [sys.executable, "-m", "tests.core.history", "7"]
    processes = [
        subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE, text=True)
        for seed in ("0", "12345")
    ]
    printed = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    assert printed == [history(7)] * 2


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_the_core_has_no_clock_no_dice_no_threads_and_no_files(module: Path) -> None:
    """The core imports nothing by which two runs could differ."""
    imported = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add("." * node.level + (node.module or ""))
    allowed = {"__future__", "bisect", "collections", "collections.abc", "dataclasses", "enum", "heapq", "itertools"}
    allowed |= {"math", "operator", "typing", "..ids"} | {f".{path.stem}" for path in MODULES}
    assert imported - allowed == set()
