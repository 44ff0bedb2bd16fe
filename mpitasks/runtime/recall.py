"""Gives equal calls one outcome: that of the first.

Everything here but `knows` happens under the master's lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures._base import FINISHED
from typing import TYPE_CHECKING, Any

from ..core.calls import Call
from ..core.scheduler import Scheduler
from ..transport import wire
from .calls import FarmCall, ours
from .sharing import Sharing

if TYPE_CHECKING:
    from pathlib import Path

    from ..journal.book import Book, Journal
    from ..journal.identity import Known


class Recall:
    """Knows what calls have returned, if that is to be kept, and which calls follow an equal one."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.book: Book | None = None
        """None: nothing is to be kept yet."""
        self._journal: Journal | None = None
        """The same, if it is kept in a file."""
        self._scheduler = scheduler
        self._sharing: Sharing[FarmCall] = Sharing()

    def open(self) -> Book:
        """The book, made if this is the first call whose outcome is to be kept."""
        if self.book is None:
            from ..journal.book import Book  # noqa: PLC0415  5 ms, for those whose outcomes are kept

            self.book = Book()
        return self.book

    def keep_journal(self, path: Path) -> Journal:
        """Write down what calls return, and don't run again what is there.

        Raises:
            JournalError: The file can't be used.
        """
        from ..journal.book import Journal  # noqa: PLC0415  as above

        self.book = self._journal = Journal(path)
        return self._journal

    @property
    def kept(self) -> int | None:
        """How many outcomes the journal holds; None: there is none."""
        return None if self._journal is None else self._journal.count

    # ---------------------------------------------------------------- outcomes of earlier calls

    def knows(self, book: Book, call: FarmCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether the outcome of a call of main is known already, and it has ended by that."""
        return self._is_known(book, call, book.identities.of(call.plan, args, kwargs))

    def knows_child(self, call: FarmCall, identity: tuple[bytes, int, bool, str], parent: Call | None) -> bool:
        """As `knows`, of a call that another one submits, by what its slave says of it."""
        from ..journal.identity import Attempt, of_child  # noqa: PLC0415  as above

        same, place, relative, shown = identity
        book, known = self.open(), None
        if parent is not None:
            known = ours(parent).rare.known
            call.own().submitted_by = Attempt(parent.id, parent.attempt, ours(parent).rare.submitted_by)
        key = None if not relative else b"" if known is None else known.key
        return self._is_known(book, call, of_child(call.plan, same, place, shown, key))

    def _is_known(self, book: Book, call: FarmCall, known: Known) -> bool:
        """Whether the outcome of a call is known already, and it has ended by that."""
        future = call.future
        value = book.find(known.key)
        if call.plan.id is not None and not call.plan.memo:
            book.identities.claim(known.key, call.plan, future, by=call.rare.submitted_by, returned=value is not None)
        call.own().known, future._identity = known, known.key
        if value is None:
            return False
        self._end_by(call, value)
        return True

    def _end_by(self, call: FarmCall, value: wire.Payload) -> None:
        """A call ends by what an equal one has returned before; nobody can have begun to wait for it."""
        self._scheduler.refused(call)
        call.future._payload = value
        call.future._end(FINISHED)

    # ---------------------------------------------------------------- outcomes of calls under way

    def follows(self, call: FarmCall, claims: list[Any]) -> bool:
        """Whether an equal call runs for this one, or has returned since it was submitted."""
        known = call.rare.known
        if self.book is None or known is None:
            return False
        value = self.book.find(known.key)
        if value is not None:
            self._end_by(call, value)
            return True
        leader = self._sharing.join(known.key, call, claims)
        if leader is not None:
            self._scheduler.joined(call, leader)
        return leader is not None

    def followers(self, call: FarmCall) -> Iterator[FarmCall]:
        """The calls that end with this one, as it does."""
        for follower, _ in self.left_alone(call):
            self._scheduler.refused(follower)
            yield follower

    def left_alone(self, call: FarmCall) -> list[tuple[FarmCall, list[Any]]]:
        """The calls that followed this one, each with its claims; from now on they follow nobody."""
        known = call.rare.known
        return [] if known is None else list(self._sharing.leave(known.key, call).items())

    def give_up(self, call: FarmCall) -> bool:
        """Take a call from the scheduler, if it has not been sent."""
        if not self._sharing.is_follower(call):
            return self._scheduler.cancelled(call)
        self._scheduler.refused(call)
        return True
