"""Whether and when rank 0 answers other processes.

::

    python -m mpitasks has started the run ──► at once, in the folder that this has made
    a bare mpiexec has ──► after a moment, in a folder of its own: nobody knows of the run before

To be ready takes as long as all else of a short run's start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from . import surroundings

UNKNOWN_FOR = 0.3
"""Seconds."""


@contextmanager
def answering(commands: Mapping[str, Callable[[], Any]], **facts: object) -> Iterator[None]:
    """Within, other processes may ask this run for what it can do.

    Args:
        commands: As `control.serve` takes them.
        facts: As above.
    """
    with ExitStack() as stack:
        if surroundings.control_folder():
            _serve(stack, commands, facts)
        else:
            stack.enter_context(_in_a_moment(lambda inner: _serve(inner, commands, facts)))
        yield


def _serve(stack: ExitStack, commands: Mapping[str, Callable[[], Any]], facts: Mapping[str, object]) -> None:
    """Serve until the stack is closed."""
    from pathlib import Path  # noqa: PLC0415  with the next, 9 ms

    from . import control  # noqa: PLC0415  as above

    with suppress(OSError):  # no folder for temporary files can be written to: nobody can ask, and all else goes on
        given = surroundings.control_folder()
        folder = Path(given) if given else stack.enter_context(control.own_folder())
        stack.enter_context(control.serve(folder, commands, **facts))


@contextmanager
def _in_a_moment(begin: Callable[[ExitStack], None]) -> Iterator[None]:
    """Within, something is begun in a thread, if that takes long enough, and ended."""
    is_over = threading.Event()

    def wait() -> None:
        if not is_over.wait(UNKNOWN_FOR):
            with ExitStack() as stack:
                begin(stack)
                is_over.wait()

    thread = threading.Thread(target=wait, name="mpitasks-control", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
