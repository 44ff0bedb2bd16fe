"""What can go wrong, as one tree of exceptions.

::

    MpiTasksError
    ├── NotRunning          delay() or get-a-result outside run()          (also RuntimeError)
    ├── StartError          run() cannot begin: ranks differ, nested run() (also RuntimeError)
    ├── FarmBroken          the farm ended under a waiting caller          (also RuntimeError)
    ├── HostLost            because a host does not answer any more        (also FarmBroken)
    ├── InitializerFailed   an Executor's initializer raised, see `broken` (also BrokenExecutor)
    ├── DuplicateTask       one name, two functions                        (also ValueError)
    ├── UnknownTask         no task or resource of that name               (also LookupError)
    ├── NotHeld             get() of a resource that the call doesn't need (also LookupError)
    ├── EncodeError         an argument cannot be pickled                  (also pickle.PicklingError)
    ├── JournalError        the journal cannot be used, or written on      (also RuntimeError)
    ├── NoIdentity          nothing tells a call from others in a journal  (also TypeError)
    ├── SlaveLost           the slave that had the call died, and it does not run again
    ├── RemoteError         a task's error that cannot travel as itself
    ├── SlaveNotReady       classic: a slave was asked for what it can't  (also RuntimeError)
    ├── TaskCrashed         the process of an isolated call ended
    ├── TaskTimeout         a call took longer than its timeout=           (also TimeoutError)
    ├── Deadlock            a call waits for calls that can't run           (also RuntimeError)
    ├── DependencyFailed    a future given as argument failed; see __cause__
    └── ResultTimeout       result(timeout=) ran out                       (also TimeoutError)

    Terminated              SIGTERM came: ends main                    (a SystemExit)
    Drained                 the walltime is over: ends main            (a SystemExit)
    RemoteTraceback         never raised: the __cause__ that carries a slave's traceback text
"""

from __future__ import annotations

import os
import pickle
import signal


class MpiTasksError(Exception):
    """The root of every error that mpitasks raises by itself."""


class NotRunning(MpiTasksError, RuntimeError):
    """A call was made where no farm is running."""


class StartError(MpiTasksError, RuntimeError):
    """`run()` cannot begin here."""


class FarmBroken(MpiTasksError, RuntimeError):
    """The farm ended while somebody still waited for it."""


class HostLost(FarmBroken):
    """A host with slaves does not answer any more."""


def farm_ended(why: BaseException) -> FarmBroken:
    """What a caller is told who waits for a farm that has ended: of the same kind as the reason, and caused by it."""
    error = (HostLost if isinstance(why, HostLost) else FarmBroken)(f"the farm has ended: {why}")
    error.__cause__ = why
    return error


class DuplicateTask(MpiTasksError, ValueError):
    """Two different functions claim one task name."""


class UnknownTask(MpiTasksError, LookupError):
    """No task, or no resource, of that name is registered."""


class NotHeld(MpiTasksError, LookupError):
    """A resource was asked for where it is not held."""


class EncodeError(MpiTasksError, pickle.PicklingError):
    """A value cannot be pickled, so it cannot travel."""


class JournalError(MpiTasksError, RuntimeError):
    """A journal can't be opened, or nothing more can be written to it."""


class NoIdentity(MpiTasksError, TypeError):
    """A call has an argument by which a later run can't know it again."""


class SlaveLost(MpiTasksError):
    """The slaves that had this call have died, or all slaves, so that it does not run, or not again.

    The message lists which ranks those were, on which hosts, and how each of them ended.
    """


class RemoteError(MpiTasksError):
    """A task failed with an exception that cannot travel as itself.

    Attributes:
        type_name: Qualified name of the exception's type on the slave.
    """

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(type_name, message)
        self.type_name = type_name
        self.message = message

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}" if self.message else self.type_name


class SlaveNotReady(MpiTasksError, RuntimeError):
    """A slave of a classic `Master` was given data while it could take none, or asked for a result that it had not."""


class TaskCrashed(MpiTasksError):
    """The process of an isolated call ended before the call did.

    Attributes:
        signal: The number of the signal that killed it, or None.
        code: Its exit code, if it has left by itself, or None.
        perhaps_out_of_memory: Whether the kernel has probably killed it for want of memory.
        stack: Where the call was, as far as the process could still write it.
    """

    def __init__(
        self,
        message: str,
        *,
        signal: int | None = None,
        code: int | None = None,
        perhaps_out_of_memory: bool = False,
        stack: str = "",
    ) -> None:
        super().__init__(message)
        self.signal = signal
        self.code = code
        self.perhaps_out_of_memory = perhaps_out_of_memory
        self.stack = stack


class TaskTimeout(MpiTasksError, TimeoutError):
    """A call took longer than its `timeout=` lets it.

    Attributes:
        seconds: The limit.
        stack: Where the call was, as Python prints a stack; empty if that could not be had.
    """

    def __init__(self, message: str, seconds: float = 0.0, stack: str = "") -> None:
        super().__init__(message)
        self.seconds = seconds
        self.stack = stack


class Deadlock(MpiTasksError, RuntimeError):
    """A call waits for other calls, and none of them can ever run: what they need is kept by calls that wait too."""


class DependencyFailed(MpiTasksError):
    """A future that this call takes as an argument, or comes after, failed."""


class ResultTimeout(MpiTasksError, TimeoutError):
    """The time given to wait for an outcome ran out; the call itself goes on."""


class Terminated(SystemExit):
    """SIGTERM came; ends main as `sys.exit(143)` would."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class Drained(SystemExit):
    """The walltime is over, or SIGUSR1 came, so that nothing more is handed out; ends main as `sys.exit(75)` would."""

    def __init__(self) -> None:
        super().__init__(os.EX_TEMPFAIL)


class RemoteTraceback(Exception):
    """Carries the text of a traceback from a slave; the `__cause__` of a task's own exception."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"
