"""Pickles what only this rank has, by its value.

Apart, since few programs need cloudpickle, which takes 3 ms to import.
"""

from __future__ import annotations

import io
import types
from collections.abc import Callable
from typing import Any

import cloudpickle


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """By reference what every rank can import, by value what only this rank has."""

    def __init__(self, file: io.BytesIO, is_known: Callable[[Any], bool]) -> None:
        super().__init__(file, 5)
        self._is_known = is_known

    def reducer_override(self, obj: Any) -> Any:  # noqa: ANN401  as in pickle
        """As pickle does it, where that is enough."""
        if isinstance(obj, types.FunctionType | type) and self._is_known(obj):
            return NotImplemented
        return super().reducer_override(obj)
