"""A slave whose calls are profiled."""

from __future__ import annotations

from collections.abc import Callable

from ..backports import override
from ..profiles import RankProfile
from ..transport.base import Transport
from .messages import SentCall, SentMany
from .runner import Ran
from .slave import Slave


class ProfiledSlave(Slave):
    """Measures each call from its arguments to its pickled result, and never the wait for the next.

    A class of its own, so that a slave without profile does no work for it.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        host: str,
        is_orphan: Callable[[], bool],
        leave: Callable[[], object],
        profile: RankProfile,
    ) -> None:
        super().__init__(transport, host=host, is_orphan=is_orphan, leave=leave)
        self._profile = profile

    @override
    def close(self) -> None:
        """Write the profile, then say goodbye: rank 0 may add up when all have."""
        self._profile.write(self.rank)
        super().close()

    # Around `_run`, not around the task: what a task raises is caught within, so no frame of cProfile is in its traceback.
    @override
    def _run(self, call: SentCall | SentMany) -> Ran | None:
        if self._waits:  # it runs within another that is measured
            return super()._run(call)
        return self._profile.call(super()._run, call)
