"""A slave's log records, in the master's logging.

On a slave, handlers that write to the terminal are replaced by one that sends. Every record, on every rank, has the
attributes `rank` and `task`, so a format may use `%(rank)s` and `%(task)s`.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..context import current, inside_a_call
from .messages import Record

_formatter = logging.Formatter()
_logger = logging.getLogger("mpitasks")


@contextmanager
def records_with_rank(rank: int) -> Iterator[None]:
    """Within, every log record says which rank and task it comes from."""
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(_factory(before, rank))
    try:
        yield
    finally:
        logging.setLogRecordFactory(before)


def _factory(make: Callable[..., logging.LogRecord], rank: int) -> Callable[..., logging.LogRecord]:
    def factory(*args: object, **kwargs: object) -> logging.LogRecord:
        record = make(*args, **kwargs)
        record.rank = current().rank if inside_a_call() else rank
        record.task = current().task_name if inside_a_call() else ""
        return record

    return factory


class Forwarder(logging.Handler):
    """Collects records until the slave sends them."""

    def __init__(self, records: deque[Record]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record, with all of it that is text only here made text."""
        try:
            self._keep(record)
        except Exception:  # noqa: BLE001  a wrong format, or a `__str__` that raises, as in every handler of logging
            self.handleError(record)

    def _keep(self, record: logging.LogRecord) -> None:
        kept = {name: value for name, value in vars(record).items() if isinstance(value, str | int | float | None)}
        kept["msg"] = record.getMessage()
        kept["args"] = None
        if record.exc_info:
            kept["exc_text"] = _formatter.formatException(record.exc_info)
        self._records.append(kept)


@contextmanager
def forwarding(records: deque[Record]) -> Iterator[None]:
    """Within, what this process logs is collected in `records` instead of written to the terminal."""
    root = logging.getLogger()
    terminals = [handler for handler in root.handlers if _writes_to_terminal(handler)]
    forwarder = Forwarder(records)
    for handler in terminals:
        root.removeHandler(handler)
    root.addHandler(forwarder)
    try:
        yield
    finally:
        root.removeHandler(forwarder)
        for handler in terminals:
            root.addHandler(handler)


def _writes_to_terminal(handler: logging.Handler) -> bool:
    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    return isinstance(handler, logging.StreamHandler) and handler.stream in streams


def warning(text: str) -> Record:
    """A warning of the master's own, to be replayed where no lock is held."""
    return vars(logging.getLogRecordFactory()("mpitasks", logging.WARNING, __file__, 0, text, None, None))


def record_of(text: str) -> Record:
    """An error of ours, to be logged where that may be done."""
    return vars(_logger.makeRecord(_logger.name, logging.ERROR, __file__, 0, text, (), None))


def replay(kept: Record) -> None:
    """Hand a slave's record to the logging of this process; what a filter or handler there raises is shown."""
    record = logging.makeLogRecord(kept)
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        try:
            logger.handle(record)
        except Exception:  # noqa: BLE001  filters and handlers are user code
            traceback.print_exc()
