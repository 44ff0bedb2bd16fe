"""The end of a rank after others have died.

MPI_Finalize would wait for them: measured, it hangs always on MPICH, and in one of six runs on Open MPI.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn

from .. import ending
from ..ending import End
from . import link

LEAVE_WITHIN = 10.0
"""Seconds for handlers of `atexit` and the last output."""


def leave(code: int) -> NoReturn:
    """End this process, and MPI with it, by itself."""
    link.leaving(LEAVE_WITHIN)
    os._exit(code)


class Departure:
    """On rank 0: lets the program go on after the run, and then ends it, with the code that it would have had.

    Python tells nobody with which code it ends, and ends MPI where none of us can step in: so the code is taken from what
    decides on it, `sys.exit` and the exception that nobody has caught.

    Args:
        tidy: What Python does at its end.
        code: With which code it would end now.
    """

    def __init__(self, tidy: Callable[[], None], code: int) -> None:
        self._tidy = tidy
        self._code = code
        self._begun = False
        self._exit, self._hook = sys.exit, sys.excepthook

    def install(self) -> None:
        """From now on, the program ends here."""
        sys.exit, sys.excepthook = self._note_exit, self._note_exception
        atexit.register(self._leave)

    def _note_exit(self, code: object = None) -> NoReturn:
        self._code = code & 0xFF if isinstance(code, int) else int(code is not None)
        self._exit(code)  # type: ignore[arg-type]  # as the user has called it

    def _note_exception(self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        self._code = 1
        self._hook(kind, error, traceback)

    def _leave(self) -> None:
        """Python is about to end; it calls this first, and the handlers of others are called by `tidy`."""
        if not self._begun:
            self._begun = True
            self._tidy()
            end = ending.said() or End(0)
            code = self._code or (end.code if end.stands else 0)
            ending.tell(end._replace(code=code, stands=True))
            leave(code)
