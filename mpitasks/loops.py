"""Which event loop runs here, without importing asyncio.

asyncio takes 10 ms to import, a tenth of what a rank needs to start, and most programs have no use for it. Where nobody has
imported it, no loop runs; so those who only ask need not.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import asyncio


def running() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, if one does."""
    if "asyncio.events" not in sys.modules:
        return None
    ask = getattr(sys.modules.get("asyncio.events"), "_get_running_loop", None)  # None, too, while a thread imports it
    return None if ask is None else cast("asyncio.AbstractEventLoop | None", ask())


def is_loop(thing: object) -> bool:
    """Whether that is an event loop. Safe in the handler of a signal, where nothing is to be imported."""
    kind: Any = getattr(sys.modules.get("asyncio.events"), "AbstractEventLoop", None)
    return kind is not None and isinstance(thing, kind)
