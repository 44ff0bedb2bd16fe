"""When a failed call runs again, and after what pause.

Which exceptions count is decided by name: the slave tells the names of the type and of all that it inherits from, so the
master need not unpickle an exception to know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

LONGEST = 3600.0
"""Seconds of a pause at most, before jitter."""
MOST_DOUBLINGS = 1000
"""Of a pause: with a few more, numbers end, and the longest pause is reached long before."""

Failure = tuple[tuple[str, ...], float | None]
"""The names of a failure's type and of what that inherits from; the pause for which the task asked, if it did."""

ASKED = "mpitasks.ctx.retry"
"""The name that stands for a call of `Context.retry()`."""


CUT_SHORT = "mpitasks.cut short"
"""The name that stands for an end which was not the call's own fault: the time of a call that waited for it was up."""

OVERRAN = "mpitasks.errors.TaskTimeout"
"""An OSError by inheritance, as every TimeoutError is: `retry_for=OSError` means what the task itself met, and not this."""
_NOT_MEANT = ("builtins.TimeoutError", "builtins.OSError")


class Retries(NamedTuple):
    """How often, for what, and how soon."""

    most: int
    """Times that a call may run again."""
    names: frozenset[str] | None = None
    """Of the exceptions that count; None: every `Exception`."""
    backoff: float = 0.0
    """Seconds before the second run; each further pause is twice as long."""

    def pause(self, failed: int, failure: Failure, dice: Callable[[], float] | None = None) -> float | None:
        """Seconds to wait before a call runs again, which has failed so often; None: it does not.

        Args:
            failed: How often it has failed, the last time included.
            failure: What happened the last time.
            dice: Numbers from 0 to 1, by default by chance: calls that failed together had better not come back together.
        """
        kinds, asked = failure
        if failed > self.most or not (ASKED in kinds or self._counts(kinds)):
            return None
        if asked is not None:
            return asked
        return min(LONGEST, self.backoff * 2.0 ** min(failed - 1, MOST_DOUBLINGS)) * (0.5 + (dice or _dice())())

    def _counts(self, kinds: Sequence[str]) -> bool:
        if self.names is None:
            return name_of(Exception) in kinds
        if kinds[0] == OVERRAN:
            kinds = [kind for kind in kinds if kind not in _NOT_MEANT]
        return not self.names.isdisjoint(kinds)


def _dice() -> Callable[[], float]:
    from random import random  # noqa: PLC0415  most calls fail never

    return random


class RetryAsked(BaseException):
    """A task asked to run again; no `Exception`, so that a task which catches all of those lets it through."""

    def __init__(self, delay: float | None) -> None:
        super().__init__("the task asked to run again, and has no retries left: @task(retries=...) says how many it has")
        self.delay = delay


def name_of(kind: type[BaseException]) -> str:
    """How a type of exceptions is called on every rank, and in children of slaves."""
    module = "__main__" if kind.__module__ == "__mp_main__" else kind.__module__
    return f"{module}.{kind.__qualname__}"


def names_of(error: BaseException) -> tuple[str, ...]:
    """The names of an exception's type, and of what it inherits from."""
    return tuple(name_of(kind) for kind in type(error).__mro__ if issubclass(kind, BaseException))
