"""A cluster that feels like a function call.

Decorate functions with `task`, call `f.delay(...)` in main, start main with `run(main)`, and the script with mpiexec.
"""

from typing import TYPE_CHECKING

from . import guard
from .context import Context, current
from .errors import (
    Deadlock,
    DependencyFailed,
    Drained,
    DuplicateTask,
    EncodeError,
    FarmBroken,
    HostLost,
    JournalError,
    MpiTasksError,
    NoIdentity,
    NotHeld,
    NotRunning,
    RemoteError,
    RemoteTraceback,
    ResultTimeout,
    SlaveLost,
    SlaveNotReady,
    StartError,
    TaskCrashed,
    TaskTimeout,
    Terminated,
    UnknownTask,
)
from .farm import statistics
from .registry import get
from .session import is_master, run
from .tasks import Task, task
from .version import __version__

if TYPE_CHECKING:
    from .broadcasts import Broadcast, broadcast
    from .broken import InitializerFailed
    from .callables import submit
    from .executor import Executor
    from .futures import Done, Failed, Future, Futures, as_completed, gather, wait
    from .observe.counts import Statistics
    from .resources import Resource, resource
else:
    _LATER = {
        **dict.fromkeys(("Broadcast", "broadcast"), "broadcasts"),
        "InitializerFailed": "broken",
        "submit": "callables",
        "Executor": "executor",
        **dict.fromkeys(("Done", "Failed", "Future", "Futures", "as_completed", "gather", "wait"), "futures"),
        "Statistics": "observe.counts",
        **dict.fromkeys(("Resource", "resource"), "resources"),
    }
    """Names that are imported when they are first asked for, and from where: no slave that runs plain tasks needs them."""

    def __getattr__(name: str) -> object:
        if name not in _LATER:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        from importlib import import_module  # noqa: PLC0415  see above

        found = globals()[name] = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
        return found

    def __dir__() -> list[str]:
        return [*globals(), *_LATER]


__all__ = [
    "Broadcast",
    "Context",
    "Deadlock",
    "DependencyFailed",
    "Done",
    "Drained",
    "DuplicateTask",
    "EncodeError",
    "Executor",
    "Failed",
    "FarmBroken",
    "Future",
    "Futures",
    "HostLost",
    "InitializerFailed",
    "JournalError",
    "MpiTasksError",
    "NoIdentity",
    "NotHeld",
    "NotRunning",
    "RemoteError",
    "RemoteTraceback",
    "Resource",
    "ResultTimeout",
    "SlaveLost",
    "SlaveNotReady",
    "StartError",
    "Statistics",
    "Task",
    "TaskCrashed",
    "TaskTimeout",
    "Terminated",
    "UnknownTask",
    "__version__",
    "as_completed",
    "broadcast",
    "current",
    "gather",
    "get",
    "is_master",
    "resource",
    "run",
    "statistics",
    "submit",
    "task",
    "wait",
]

guard.watch()
