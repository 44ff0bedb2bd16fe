"""Lines of Python that something takes, since times depend on the machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, ModuleType

    Tracer = Callable[[FrameType, str, Any], "Tracer | None"]


def lines_of(package: ModuleType, event: Callable[[], object]) -> int:
    """Lines of this package that an event executes, loops included."""
    assert package.__file__ is not None
    home, lines = str(Path(package.__file__).parent), 0

    def on_line(_frame: FrameType, kind: str, _arg: object) -> Tracer:
        nonlocal lines
        lines += kind == "line"
        return on_line

    def on_call(frame: FrameType, _kind: str, _arg: object) -> Tracer | None:
        return on_line if frame.f_code.co_filename.startswith(home) else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        event()
    finally:
        sys.settrace(before)
    return lines
