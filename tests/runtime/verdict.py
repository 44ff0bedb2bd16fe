"""What was called and what was seen of it, and whether it is what a serial run would give.

The model knows no scheduler: what a call gives follows from the program and from how its dependencies ended; what may happen
while it runs, from the limits.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mpitasks import DependencyFailed
from mpitasks.broken import InitializerFailed
from mpitasks.errors import Deadlock, FarmBroken, NotRunning, RemoteError, TaskTimeout

from .programs import ALWAYS, Call, Pool, Program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpitasks import Future

    from .stage import Actor

CANCELLED, VALUE, LOST = "cancelled", "value", "SlaveLost"
KID_FAILED = LookupError.__name__
"""How a call fails because one has that it submitted."""
UNBEGUN = {CANCELLED, LOST, DependencyFailed.__name__, FarmBroken.__name__, NotRunning.__name__}
"""How calls end that have not begun, perhaps."""
STRIKES = 3
"""Of a call, until it counts as the one that kills."""
Key = tuple[int, int]
"""A call that a call submits, as the wire names it: the slave, and the slave's number for it."""
Token = tuple[int, str, int]
"""What a slave holds: slave, resource, key."""


@dataclass(eq=False)
class Made:
    """A call that was made."""

    number: int
    """Equal calls, of a task with `memo`, have one number."""
    call: Call
    queue: str
    limit: int | None
    inputs: list[Made]
    after: list[Made]
    pool: Pool | None = None
    parent: Attempt | None = None
    """What submitted it; None: main."""
    future: Future[Any] | None = None
    asked: bool = False
    """Whether somebody asked to cancel it."""
    cancelled: bool = False
    """Whether it was told that this came in time."""
    is_called_back: bool = False
    """Whether a callback has submitted it: nobody waits for it."""

    def __repr__(self) -> str:
        return f"call {self.number} of {self.queue!r}"

    @property
    def key(self) -> Key | None:
        """How the wire names it; None: main made it, or it ended before it was sent."""
        number = getattr(self.future, "_number", 0)
        return None if self.parent is None or not number else (int(self.parent.actor.rank), number)


@dataclass(eq=False)
class Due:
    """A callback that was added to the future of a call."""

    made: Made
    parent: Attempt | None
    """What has added it; None: main."""
    count: int = 0
    """How often it ran."""


@dataclass(eq=False)
class Attempt:
    """One time that a call ran."""

    made: Made
    actor: Actor
    upsets: int = 0
    """How many there were when it began."""
    kids: list[Made] = field(default_factory=list)
    waits: bool = False
    """Whether it waits for these now."""
    is_inside: bool = True
    value: tuple[int, Any] | None = None
    joined: Made | None = None
    """What it returned, one of both."""
    raised: str = ""
    """Why it failed because of what it submitted."""

    @property
    def returned(self) -> bool:
        """Whether it has, and its slave was there to say so."""
        return (self.value is not None or self.joined is not None) and not self.actor.is_dead

    @property
    def is_called_back(self) -> bool:
        """Whether it runs for a callback: what has added that waits for nothing of it."""
        return any(made.is_called_back for made in self.ancestors())

    def ancestors(self) -> Iterator[Made]:
        """What it runs for."""
        here: Attempt | None = self
        while here is not None:
            yield here.made
            here = here.made.parent


@dataclass
class Seen:
    """What the bodies have seen."""

    begun: Counter[int] = field(default_factory=Counter)
    attempts: dict[int, list[Attempt]] = field(default_factory=lambda: defaultdict(list))
    inside: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    """The slaves that are in a queue's bodies."""
    stacks: dict[int, list[Attempt]] = field(default_factory=lambda: defaultdict(list))
    """What each slave is in, the top one last."""
    held: Counter[Token] = field(default_factory=Counter)
    using: Counter[Token] = field(default_factory=Counter)
    """What bodies use that have not ended."""
    answers: dict[Key, Future[Any]] = field(default_factory=dict)
    """How calls ended that calls have submitted, as the master knows it."""


class Verdict:
    """Whether calls ended as they might.

    Args:
        program: What was played.
        seen: What was seen of it.
    """

    deaths = 0
    has_raised = False
    """Whether main has, and what had not begun was cancelled."""

    def __init__(self, program: Program, seen: Seen) -> None:
        self.program, self.seen = program, seen
        self.made: list[Made] = []
        """By main, in order."""
        self.numbered: list[Made] = []
        """All, by number."""
        self.kids: list[Made] = []
        """By other calls, and by callbacks."""
        self.due: list[Due] = []
        self.left: set[int] = set()
        """Slaves that are still in a call which was given up, at the end."""

    def judge(self) -> None:
        """The outcomes are some that a serial run gives, and the bodies ran as often as there."""
        for made in self.made:
            self._judge(made, outcome_of(made.future))
        for kid in self.kids:
            ended = self.ended(kid)
            if ended:
                self._judge(kid, ended)
            if kid.future is not None and kid.key and kid.future.done():
                assert outcome_of(kid.future) == ended, f"{kid} ended by {ended}, and its slave knows another end"

        for due in self.due:
            assert due.count == 1 or (due.count == 0 and self._may_be_lost(due)), f"{due.count} callbacks of {due.made}"

    def _may_be_lost(self, due: Due) -> bool:
        """Whether its slave could not run it: it died, or was left or let go before that."""
        return due.parent is not None and (self.has_raised or due.parent.actor.is_dead or due.parent.actor.rank in self.left)

    def ended(self, made: Made) -> str:
        """How a call has ended; empty: it was made on a slave that died before it was told, or that is left in a call."""
        future = made.future if made.key is None else self.seen.answers.get(made.key)
        if made.parent is None or (future is not None and future.done()):
            return outcome_of(future)
        rank = made.parent.actor.rank
        assert future is None, f"{made}, of slave {rank}, has not ended"
        assert made.parent.actor.is_dead or rank in self.left, f"{made}, of slave {rank}, was never heard of"
        return ""

    def values(self, made: Made) -> list[tuple[int, Any]]:
        """What it may return: each time that it ran."""
        known: set[int] = set()
        todo, values = [made.number], []
        while todo:
            number = todo.pop()
            if number not in known:
                known.add(number)
                values += [attempt.value for attempt in self.seen.attempts[number] if attempt.value is not None]
                todo += [attempt.joined.number for attempt in self.seen.attempts[number] if attempt.joined is not None]
        return values

    def _judge(self, made: Made, ended: str) -> None:
        permitted = self._permitted(made)
        assert ended in permitted, f"{made} ended by {ended}, and might by {permitted}"
        if made.cancelled:
            assert ended == CANCELLED, f"{made} was cancelled in time and ended by {ended}"
        if ended == VALUE:
            future = made.future if made.key is None else self.seen.answers[made.key]
            assert future is not None
            assert future.result() in self.values(made)
        least, most = self._runs(made, ended)
        assert least <= self.seen.begun[made.number] <= most, f"{made} ended by {ended}, after {self.seen.begun} runs"

    def _permitted(self, made: Made) -> set[str]:
        """How it may end, in view of how its dependencies have."""
        permitted: set[str] = set()
        for other in made.inputs + made.after:
            ended = self.ended(other)
            if ended != VALUE:
                permitted.add(CANCELLED if ended == CANCELLED else DependencyFailed.__name__)
        if not permitted:
            permitted = self._own(made)
        if made.pool is not None and made.pool.setup == "bad":
            permitted.add(InitializerFailed.__name__)
        if self.deaths >= STRIKES or self.deaths >= self.program.slaves - 1 > 0 or self.deaths == self.program.slaves:
            permitted.add(LOST)
        if made.asked or ((made.call.task.memo or made.parent is not None or made.is_called_back) and self.has_raised):
            permitted.add(CANCELLED)
        if made.parent is not None:
            permitted |= self._by_parent(made.parent)
        return permitted

    def _by_parent(self, parent: Attempt) -> set[str]:
        """How it may end because of what submitted it."""
        was_given_up = parent.made.call.timeout is not None
        permitted = {CANCELLED} if _is_over(parent) else set()
        if was_given_up or self.has_raised:
            permitted.add(FarmBroken.__name__)
        if was_given_up:
            permitted.add(NotRunning.__name__)
        if any(made.call.timeout is not None for made in _line_of(parent)):
            permitted.add(TaskTimeout.__name__)
        return permitted

    def _own(self, made: Made) -> set[str]:
        """How it may end by itself."""
        call = made.call
        if made.pool is not None and made.pool.setup == "bad":
            return {InitializerFailed.__name__}
        if self._needs_what_fails(made):
            return {ConnectionError.__name__}
        permitted = self._by_kids(made)
        failure = RemoteError.__name__ if call.asks else call.error.__name__
        if call.timeout is not None:
            permitted |= {TaskTimeout.__name__, *([failure] if call.fails else [])}
        elif call.fails > self._tries(made) - 1:
            if self.deaths and call.fails != ALWAYS:
                permitted.add(failure)
            else:
                permitted = (permitted - self._good(made)) | {failure}
        elif call.fails and self._is_unwanted(made):  # it does not run again
            permitted.add(failure)
        return permitted

    def _is_unwanted(self, made: Made) -> bool:
        """Whether nobody may have wanted its outcome any more when it failed."""
        return self.has_raised or made.asked or (made.parent is not None and _is_over(made.parent))

    def _by_kids(self, made: Made) -> set[str]:
        """How it may end by what it submits: as it was seen, the last time that it ran."""
        if made.call.nest is None:
            return {VALUE}
        attempts = self.seen.attempts[made.number]
        permitted: set[str] = set() if attempts else {VALUE}
        for attempt in attempts if made.call.task.memo else attempts[-1:]:
            if attempt.raised:
                permitted.add(attempt.raised)
            elif attempt.joined is not None:
                permitted.add(self.ended(attempt.joined))
                if self._ends_after(attempt.joined, made.number):
                    permitted.add(DEADLOCK)
            else:
                permitted.add(VALUE)
        return permitted

    def _ends_after(self, made: Made, number: int) -> bool:
        """Whether a call waits for that one, by whatever it comes after or gives back."""
        known: set[int] = set()
        todo = [made]
        while todo:
            here = todo.pop()
            if here.number == number:
                return True
            if here.number not in known:
                known.add(here.number)
                joined = [attempt.joined for attempt in self.seen.attempts[here.number] if attempt.joined is not None]
                todo += here.inputs + here.after + joined
        return False

    def _good(self, made: Made) -> set[str]:
        """How it ends if it fails in no way of its own."""
        joined = [attempt.joined for attempt in self.seen.attempts[made.number] if attempt.joined is not None]
        return {VALUE, *map(self.ended, joined)}

    def _needs_what_fails(self, made: Made) -> bool:
        return made.pool is None and made.call.key < 0 and made.call.task.resource in {"file", "page"}

    def _tries(self, made: Made) -> int:
        """How often it runs at most."""
        call = made.call
        return 1 + call.retries if call.asks or call.error is OSError or call.timeout is not None else 1

    def _runs(self, made: Made, ended: str) -> tuple[int, int]:
        """How often the body ran, at least and at most."""
        if self._needs_what_fails(made):
            return 0, self.deaths
        fails = ALWAYS if made.call.timeout is not None else made.call.fails
        most = min(self._tries(made), fails + 1)
        if made.call.task.memo:
            together = [self.ended(other) for other in [*self.made, *self.kids] if other.number == made.number]
            fails = fails or made.call.nest is not None
            return int(ended not in UNBEGUN), self.deaths + (len(together) if fails else 1)
        if ended in {*UNBEGUN, InitializerFailed.__name__}:
            joins = made.call.nest is not None and made.call.nest.how == "join"
            return 0, most - (not joins) + self.deaths
        is_usual = not (self._is_unwanted(made) or self.deaths or made.call.timeout is not None or made.call.nest is not None)
        return most if is_usual else 1, most + self.deaths


def _is_over(attempt: Attempt) -> bool:
    """Whether it may have ended without a value, so that nobody asks for what it has submitted."""
    return attempt.made.call.timeout is not None or not attempt.returned


def _line_of(parent: Attempt) -> Iterator[Made]:
    """The call of this attempt, the one that has submitted that, and so on."""
    here: Attempt | None = parent
    while here is not None:
        yield here.made
        here = here.made.parent


def outcome_of(future: Future[Any] | None) -> str:
    """How a call has ended, in a word."""
    assert future is not None
    assert future.done(), f"{future} has not ended"
    if future.cancelled():
        return CANCELLED
    error = future.exception()
    return VALUE if error is None else type(error).__name__


DEADLOCK = Deadlock.__name__
