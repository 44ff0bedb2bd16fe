"""Where asyncio's tasks wait: no thread's stack shows it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from .. import loops

if TYPE_CHECKING:
    import asyncio

MOST_TASKS = 10
"""That are told of a loop: the oldest."""


def waiting_in(frame: FrameType | None) -> list[tuple[str, traceback.StackSummary]]:
    """Name and stack of each task that waits on the loops which a thread runs, the outermost call first.

    Args:
        frame: The innermost of the thread.
    """
    found: list[tuple[str, traceback.StackSummary]] = []
    while frame is not None:
        loop = frame.f_locals.get("self") if frame.f_code.co_name == "run_forever" else None
        if loops.is_loop(loop):
            import asyncio  # noqa: PLC0415  it is there, since a loop is

            tasks = sorted(asyncio.all_tasks(loop), key=lambda one: (len(one.get_name()), one.get_name()))  # 2 before 10
            found += [(one.get_name(), traceback.StackSummary.extract(_frames(one))) for one in tasks[:MOST_TASKS]]
        frame = frame.f_back
    return found


def _frames(task: asyncio.Task[object]) -> Iterator[tuple[FrameType, int]]:
    """The frames of a task, from its own coroutine to the one that waits; none of one that runs now."""
    coroutine: object = task.get_coro()
    while coroutine is not None and not getattr(coroutine, "cr_running", False):
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            yield frame, frame.f_lineno
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
