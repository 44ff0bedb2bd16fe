"""Shows what was printed, whatever stands for stdout."""

from __future__ import annotations

import sys


def flush() -> None:
    """Flush stdout and stderr; a program may have put anything in their place, or closed them."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # None, a broken pipe or a full disk, closed
            continue


def flush_logs() -> None:
    """Flush the handlers of logging, and close them, as Python does at its end. Nobody has any who has not imported it."""
    if "logging" in sys.modules:
        import logging  # noqa: PLC0415  it is there

        logging.shutdown()
