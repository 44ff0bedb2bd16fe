"""What fault tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.hosts import Hosts, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    """Two of them."""
    reason = why_not()
    if reason:
        pytest.skip(f"no hosts can be made here: {reason}")
    made = Hosts(tmp_path)
    yield made
    made.close()
