"""What newer Pythons have for type checkers, without `typing_extensions`.

That takes each rank 2 ms to import.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer, override
elif sys.version_info >= (3, 12):
    from collections.abc import Buffer
    from typing import override
else:

    class Buffer:
        """Stands in annotations for what type checkers alone look at."""

    def override(method: object) -> object:
        """Says that the method takes the place of one of the base class; type checkers alone look at it."""
        return method


__all__ = ["Buffer", "override"]
