"""A cluster that feels like a function call.

Decorate functions with `task`, call `f.delay(...)` in main, start main with `run(main)`, and the script with mpiexec.
"""

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
from .observe.counts import Statistics
from .registry import get
from .resources import Resource, resource
from .session import is_master, run
from .tasks import Task, task
from .version import __version__

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
