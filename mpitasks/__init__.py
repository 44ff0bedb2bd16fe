"""A cluster that feels like a function call.

Decorate functions with `task`, call `f.delay(...)` in main, start main with `run(main)`, and the script with mpiexec.
"""

from . import guard
from .context import Context, current
from .errors import (
    DependencyFailed,
    DuplicateTask,
    EncodeError,
    FarmBroken,
    MpiTasksError,
    NotRunning,
    RemoteError,
    RemoteTraceback,
    ResultTimeout,
    StartError,
    UnknownTask,
)
from .futures import Done, Failed, Future, Futures, as_completed, gather, wait
from .registry import get
from .session import is_master, run
from .submit import submit
from .tasks import Task, task
from .version import __version__

__all__ = [
    "Context",
    "DependencyFailed",
    "Done",
    "DuplicateTask",
    "EncodeError",
    "Failed",
    "FarmBroken",
    "Future",
    "Futures",
    "MpiTasksError",
    "NotRunning",
    "RemoteError",
    "RemoteTraceback",
    "ResultTimeout",
    "StartError",
    "Task",
    "UnknownTask",
    "__version__",
    "as_completed",
    "current",
    "gather",
    "get",
    "is_master",
    "run",
    "submit",
    "task",
    "wait",
]

guard.watch()
