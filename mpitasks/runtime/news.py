"""What the user is to hear, outside of our locks."""

from __future__ import annotations

from collections import deque
from typing import Any

from ..futures import Future
from . import logs
from .items import Batch
from .messages import Record


class News:
    """Gathers what ended and what was logged, until some thread may run code of the user."""

    def __init__(self) -> None:
        self.ended: deque[Future[Any] | Batch] = deque()
        self.records: deque[Record] = deque()
        self._telling: set[object] = set()
        """One for each thread that runs code of the user now."""

    def __bool__(self) -> bool:
        return bool(self.ended or self.records)

    @property
    def is_being_told(self) -> bool:
        """Whether something is to be told of what ended, or is being told."""
        return bool(self.ended or self._telling)

    def tell(self) -> None:
        """Wake who waits, and run callbacks and log handlers: without the lock and the lead."""
        while self:
            me = object()
            self._telling.add(me)
            try:
                if self.ended:
                    self.ended.popleft()._announce()
                else:
                    logs.replay(self.records.popleft())
            except IndexError:  # another thread was faster
                return
            finally:
                self._telling.discard(me)
