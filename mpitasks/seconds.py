"""What may be given as seconds."""

from __future__ import annotations

from typing import Any, cast

MOST = 1e9
"""31 years: clocks of the system end at 292, and some arithmetic of seconds before that."""


def is_seconds(given: object) -> bool:
    """Whether that is a length of time which every clock can count; 0 is one."""
    from numbers import Real  # noqa: PLC0415  most programs give none

    return not isinstance(given, bool) and isinstance(given, Real) and 0 <= cast("Any", given) <= MOST
