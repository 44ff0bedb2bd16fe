"""For users' own tests: run code that submits calls, without MPI.

    from mpitasks.testing import farm

    def test_mean(farm):
        assert farm(main, 3) == 1.5

`farm` is a pytest fixture. What it gives is `run` with `backend="threads"`: the real scheduler and the real wire format,
with slaves that are threads of the test's process.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from .session import run

__all__ = ["farm"]


@pytest.fixture
def farm() -> Callable[..., Any]:
    """`farm(main, *args, slaves=3)`: what main returns; raises what main raises."""
    return partial(run, backend="threads", slaves=3)
