"""A cluster that feels like a function call.

Decorate functions with `task`, call `f.delay(...)` in main, start main with `run(main)`, and the script with mpiexec.
"""

from typing import TYPE_CHECKING

from . import guard
from .broadcasts import Broadcast, broadcast
from .callables import submit
from .context import Context, current
from .errors import (
    Deadlock,
    DependencyFailed,
    Drained,
    DuplicateTask,
    EncodeError,
    FarmBroken,
    HostLost,
    InitializerFailed,
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
from .executor import Executor
from .farm import statistics
from .futures import Done, Failed, Future, Futures, as_completed, gather, wait
from .registry import get
from .resources import Resource, resource
from .session import is_master, run
from .tasks import Task, task
from .version import __version__

if TYPE_CHECKING:
    from .observe.counts import Statistics
else:

    def __getattr__(name: str) -> object:
        """`Statistics`, when it is first asked for: with the scheduler, which slaves don't need, it takes 8 ms to import."""
        if name == "Statistics":
            from .observe.counts import Statistics  # noqa: PLC0415  see above

            return Statistics
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)


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
