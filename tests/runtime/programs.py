"""Random programs: what main does, as data that reads as a program."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")

LIMITS = (None, 1, 2)
RESOURCES = (None, "plain", "file", "license", "page")
"""Of tasks: none, an id, and three that providers make."""
ALWAYS = 99
"""Fails as often as it runs."""


class TaskKind(NamedTuple):
    """Which of the tasks that are there."""

    limit: int | None = None
    resource: str | None = None
    memo: bool = False

    @property
    def name(self) -> str:
        """As users would name it."""
        return f"limit {self.limit}, {self.resource or 'nothing'}{', memo' if self.memo else ''}"


ANY_SLAVE = TaskKind()


class Terse:
    """Shows what differs from the usual alone, so that a program can be read."""

    def __repr__(self) -> str:
        values = {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name) != one.default}
        shown = [f"{name}={value.__name__ if isinstance(value, type) else repr(value)}" for name, value in values.items()]
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, repr=False)
class Call(Terse):
    """One call. `inputs` and `after` count back from the last call that is there."""

    task: TaskKind = ANY_SLAVE
    key: int = 0
    """Of its resource; below 0, the provider fails."""
    seconds: float = 0.0
    fails: int = 0
    """So many times, before it returns."""
    error: type[Exception] = ValueError
    retries: int = 0
    backoff: float = 0.0
    asks: bool = False
    """Whether it fails by asking to be run again."""
    inputs: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    priority: int = 0
    cost: float = 0.0
    kills: int = 0
    """So many times, before it fails or returns, it takes its slave with it."""
    size: int = 0
    """Bytes that travel both ways beside the number."""
    timeout: float | None = None
    """Nothing on the stage can interrupt it: it is given up, and goes on."""
    nest: Nest | None = None
    """What it submits itself, each time that it runs."""
    then: Call | None = None
    """What a callback of its future submits, once it has ended."""


@dataclass(frozen=True, repr=False)
class Nest(Terse):
    """Calls that a call submits. Their `inputs` and `after` count back among these alone."""

    calls: tuple[Call | Again, ...]
    how: str = "wait"
    """"wait": for all, and fail if one has; "try": for all; "leave" them; "join": return the future of the last."""
    regrets: tuple[int, ...] = ()
    """Those that are given up at once."""
    late: bool = False
    """Whether it submits them when its seconds are over, and not before."""


@dataclass(frozen=True, repr=False)
class Delay(Terse):
    """One call."""

    call: Call


@dataclass(frozen=True, repr=False)
class Map(Terse):
    """Many calls alike."""

    call: Call
    count: int
    chunk: int | str = "auto"
    slow: int = -1
    """One of them that takes long, so that what waits behind it is taken back."""
    regrets: tuple[int, ...] = ()
    """Those that are given up at once."""


@dataclass(frozen=True, repr=False)
class Stream(Terse):
    """`imap`, left after so many values."""

    call: Call
    count: int
    buffersize: int
    ordered: bool
    leave_after: int


@dataclass(frozen=True, repr=False)
class Pool(Terse):
    """An executor; with an initializer that may fail."""

    limit: int | None
    setup: str
    """"none", "good" or "bad"."""
    calls: tuple[Call, ...]


@dataclass(frozen=True, repr=False)
class Again(Terse):
    """An earlier call of a task with `memo`, once more."""

    which: int


@dataclass(frozen=True, repr=False)
class Twins(Terse):
    """Equal calls of a task with `memo`, so that one runs for all; some are given up at once."""

    call: Call
    count: int
    regrets: tuple[int, ...] = ()


@dataclass(frozen=True, repr=False)
class Cancel(Terse):
    """Give up an earlier call."""

    which: int


@dataclass(frozen=True, repr=False)
class Wait(Terse):
    """Wait for an earlier call."""

    which: int


@dataclass(frozen=True, repr=False)
class Compute(Terse):
    """Main does something else for so long; the farm goes on for some turns."""

    seconds: float
    turns: int


@dataclass(frozen=True, repr=False)
class Kill(Terse):
    """A slave dies, and some of what it has sent last with it."""

    which: int
    lost: int = 0


Step = Delay | Map | Stream | Pool | Again | Twins | Cancel | Wait | Compute | Kill


@dataclass(frozen=True, repr=False)
class Program(Terse):
    """What main does, on how many slaves, and by which dice who goes on is chosen."""

    slaves: int
    seed: int
    steps: tuple[Step, ...]
    raises: bool = False
    """Whether main fails at its end, so that what has not begun is cancelled."""


# ---------------------------------------------------------------- strategies


class Flaw(NamedTuple):
    """How a call fails, and what is done about that."""

    fails: int = 0
    error: type[Exception] = ValueError
    retries: int = 0
    backoff: float = 0.0
    asks: bool = False


NO_FLAW = Flaw()
KILLS = st.sampled_from([*[0] * 30, 1, ALWAYS])
FLAWS = st.sampled_from([
    *[NO_FLAW] * 14,
    Flaw(ALWAYS),
    Flaw(1, OSError),
    Flaw(1, ValueError, retries=2),  # only an OSError is tried again
    Flaw(1, OSError, retries=1),
    Flaw(2, OSError, retries=2, backoff=0.01),
    Flaw(ALWAYS, OSError, retries=1, backoff=5.0),
    Flaw(1, retries=1, asks=True),
    Flaw(3, retries=2, backoff=5.0, asks=True),
])  # fmt: skip
SECONDS = st.sampled_from([0.0, 0.0, 0.0, 0.001, 0.02, 1.0])
BACK = st.sampled_from([(), (), (), (0,), (1,), (5,), (0, 1), (2, 4), (3, 3)])
NONE_BACK: st.SearchStrategy[tuple[int, ...]] = st.just(())
REGRETS = st.sampled_from([(), (), (), (0,), (1,), (0, 1), (2, 1), (4, 9), (7, 0)])
WHICH = st.integers(0, 8)
TIMEOUTS = st.none()


def kinds() -> st.SearchStrategy[TaskKind]:
    """Any task without `memo`."""
    return st.builds(TaskKind, st.sampled_from(LIMITS), st.sampled_from(RESOURCES))


def calls(
    task: st.SearchStrategy[TaskKind],
    back: st.SearchStrategy[tuple[int, ...]] = BACK,
    nest: st.SearchStrategy[Nest | None] | None = None,
) -> st.SearchStrategy[Call]:
    """Any call of these tasks; one in eight submits calls itself."""
    return st.builds(
        _call,
        FLAWS,
        task=task,
        key=st.sampled_from([0, 0, 0, 1, 1, 2, -1]),
        seconds=SECONDS,
        inputs=back,
        after=back,
        priority=st.sampled_from([0, 0, 0, 1, -1]),
        kills=KILLS,
        cost=st.sampled_from([0.0, 0.0, 1.0]),
        size=st.sampled_from([0, 0, 0, 0, 70_000]),
        timeout=TIMEOUTS,
        nest=some_times(NESTS, 8) if nest is None else nest,
        then=some_times(THENS, 10),
    )


def _call(flaw: Flaw, **others: Any) -> Call:
    return Call(**flaw._asdict(), **others)


def some_times(strategy: st.SearchStrategy[T], one_in: int) -> st.SearchStrategy[T | None]:
    """None, but for one in so many."""
    return st.integers(1, one_in).flatmap(lambda number: strategy if number == one_in else st.none())


LAST_THENS = st.builds(
    *(Call, st.sampled_from([TaskKind(limit) for limit in LIMITS])),
    seconds=SECONDS,
    fails=st.sampled_from([0, 0, 0, ALWAYS]),
)
THENS = st.one_of(LAST_THENS, st.builds(Call, seconds=SECONDS, then=LAST_THENS))

PLAIN_NESTS = st.builds(
    Nest,
    st.lists(st.builds(Call, task=st.just(ANY_SLAVE), seconds=SECONDS), min_size=1, max_size=3).map(tuple),
    *(st.sampled_from(["wait", "wait", "try", "leave", "join"]), REGRETS, st.booleans()),
)


def plain_calls() -> st.SearchStrategy[Call]:
    """Those of which many travel as one."""
    return st.builds(
        _call,
        st.sampled_from([*[NO_FLAW] * 6, Flaw(ALWAYS), Flaw(1, OSError), Flaw(1, asks=True)]),
        task=st.sampled_from([TaskKind(limit) for limit in LIMITS]),
        seconds=st.sampled_from([0.0, 0.0, 0.0, 0.0, 0.001, 0.02]),
        priority=st.sampled_from([0, 0, 0, 1, -1]),
        kills=KILLS,
        nest=some_times(PLAIN_NESTS, 8),
        then=some_times(LAST_THENS, 10),
    )


MEMO = st.builds(TaskKind, st.sampled_from(LIMITS), st.sampled_from([None, "file"]), st.just(True))
NO_NEST: st.SearchStrategy[Nest | None] = st.none()
AGAIN = st.builds(Again, WHICH)


def nests(kinds_of: st.SearchStrategy[TaskKind], nest: st.SearchStrategy[Nest | None]) -> st.SearchStrategy[Nest]:
    """Calls of these tasks, that submit these."""
    kids = st.one_of(*[calls(kinds_of, nest=nest)] * 5, calls(MEMO, nest=nest), AGAIN)
    how = st.sampled_from(["wait", "wait", "try", "leave", "join"])
    return st.builds(Nest, st.lists(kids, min_size=1, max_size=3).map(tuple), how, REGRETS, st.booleans())


TIGHT = st.builds(TaskKind, st.sampled_from([None, 1, 1, 2]), st.sampled_from([None, None, "license", "page"]))
"""Tasks that have to wait for each other: what else they need matters less."""
LEAVES = nests(kinds(), NO_NEST)
INNER = nests(TIGHT, some_times(LEAVES, 2))
NESTS = st.one_of(LEAVES, nests(kinds(), some_times(LEAVES, 2)), nests(TIGHT, some_times(INNER, 2)))
STEPS = st.one_of(
    st.builds(Delay, calls(kinds())),
    st.builds(
        Map,
        calls(kinds()),
        st.integers(1, 24),
        st.sampled_from(["auto", "auto", 1, 3]),
        st.sampled_from([-1, -1, 0, 3, 8]),
        REGRETS,
    ),
    st.builds(Map, calls(TIGHT, nest=NESTS), st.integers(2, 5)),
    st.builds(Stream, calls(kinds(), NONE_BACK), st.integers(1, 9), st.integers(1, 5), st.booleans(), st.integers(0, 9)),
    st.builds(
        Pool,
        st.sampled_from(LIMITS),
        st.sampled_from(["none", "none", "good", "bad"]),
        st.lists(calls(st.just(TaskKind())), max_size=4).map(tuple),
    ),
    st.builds(Delay, calls(MEMO)),
    st.builds(Twins, calls(MEMO), st.integers(2, 4), REGRETS),
    st.builds(Again, WHICH),
    st.builds(Cancel, WHICH),
    st.builds(Wait, WHICH),
    st.builds(Compute, SECONDS, st.integers(0, 4)),
    st.builds(Kill, st.integers(1, 4), st.integers(0, 2)),
)
PROGRAMS = st.builds(
    Program,
    slaves=st.integers(1, 4),
    seed=st.integers(0, 2**16),
    steps=st.lists(STEPS, min_size=1, max_size=24).map(tuple),
    raises=st.sampled_from([False, False, False, True]),
)

MAPS = st.builds(
    *(Map, plain_calls(), st.integers(2, 60), st.sampled_from(["auto", "auto", 4, 20])),
    *(st.sampled_from([-1, -1, 0, 5, 12, 40]), REGRETS),
)
STREAMS = st.builds(
    *(Stream, plain_calls(), st.integers(1, 60), st.sampled_from([1, 2, 5, 8, 30])),
    *(st.booleans(), st.integers(0, 60)),
)
OF_MANY = st.one_of(
    *(MAPS, MAPS, MAPS, STREAMS, st.builds(Delay, plain_calls()), st.builds(Cancel, WHICH), st.builds(Wait, WHICH)),
    *(st.builds(Compute, SECONDS, st.integers(0, 4)), st.builds(Kill, st.integers(1, 4), st.integers(0, 2))),
)
MAP_PROGRAMS = st.builds(
    Program,
    slaves=st.integers(1, 4),
    seed=st.integers(0, 2**16),
    steps=st.lists(OF_MANY, min_size=1, max_size=10).map(tuple),
    raises=st.sampled_from([False, False, False, True]),
)
"""Those of many calls that travel as one."""
