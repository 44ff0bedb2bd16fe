"""One submitted call, as the scheduler sees it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from ..ids import CallId

if TYPE_CHECKING:
    from .nesting import Nest


class _Plain:
    """The resource of a call that needs none; a type of its own, so that None stays a value."""

    def __repr__(self) -> str:
        return "PLAIN"


PLAIN: Final[Hashable] = _Plain()


class Kind:
    """What the scheduler knows of a provider; equal only to itself."""

    __slots__ = ("keep", "max_holders", "name")

    def __init__(self, name: str, *, max_holders: int | None = None, keep: int = 1) -> None:
        self.name = name
        self.max_holders = max_holders
        """Slaves that may hold one of its resources at a time, for each of them; None: all."""
        self.keep = keep
        """How many of its resources a slave keeps."""

    def __repr__(self) -> str:
        return f"<Kind {self.name!r}>"


class Provided(NamedTuple):
    """The id of a resource that a provider makes. Every other id is plain: the scheduler only prefers who had it last."""

    kind: Kind
    args: tuple[Hashable, ...] = ()
    inner: Provided | None = None
    """The resource that the provider itself needs; who holds this one holds that one too."""

    def __repr__(self) -> str:
        return f"{self.kind.name}({', '.join(map(repr, self.args))})"


def chain_of(resource: Hashable) -> Iterator[Hashable]:
    """A resource and all that it needs, the innermost first."""
    if isinstance(resource, Provided):
        if resource.inner is not None:
            yield from chain_of(resource.inner)
        yield resource
    elif resource is not PLAIN:
        yield resource


def kind_of(resource: Hashable) -> Kind | None:
    """The kind of a provided resource; None for a plain id."""
    return resource.kind if isinstance(resource, Provided) else None


def gate_of(resource: Hashable) -> Provided | None:
    """What a slave must be able to hold before it may hold this, if not every slave is; calls with one gate share its fate."""
    inner = resource.inner if isinstance(resource, Provided) else None
    while inner is not None and inner.kind.max_holders is None:
        inner = inner.inner
    return inner


def surplus(held: Iterable[Hashable], keep: int) -> list[Hashable]:
    """What a slave drops, of all that it holds in the order of its use, the longest unused first.

    Of each kind it keeps the last `Kind.keep`, of plain ids the last `keep`, and whatever another one that stays needs.
    """
    left: dict[Kind | None, int] = {}
    needed: set[Hashable] = set()
    dropped: list[Hashable] = []
    for resource in reversed(list(held)):
        kind = kind_of(resource)
        left.setdefault(kind, keep if kind is None else kind.keep)
        if left[kind] > 0 or resource in needed:
            left[kind] -= 1
            needed.update(chain_of(resource))
        else:
            dropped.append(resource)
    return [one for one in reversed(dropped) if one not in needed]


class State(IntEnum):
    """Where a call is.

    ::

        BLOCKED ──► WAITING ──► SENT ──► ENDED
           │           │  ▲──────┘ given back, or the slave was lost
           └───────────┴──────────────► ENDED   cancelled, or a dependency failed
    """

    BLOCKED = 0
    WAITING = 1
    SENT = 2
    ENDED = 3


# Plain ints in the hot path: an IntEnum comparison costs five times an int's.
BLOCKED, WAITING, SENT, ENDED = (int(state) for state in State)


class Call:
    """A call and its place in the scheduler. Who submits calls may add to it in a subclass."""

    __slots__ = (
        "attempt",
        "blockers",
        "chunk",
        "cost",
        "dependents",
        "id",
        "nest",
        "priority",
        "queue",
        "resource",
        "size",
        "state",
    )

    is_many = False
    """Whether it stands for many, see `many`; in the class, since it costs a single call nothing there."""
    items = 1
    """For how many."""

    def __init__(  # noqa: PLR0913, PLR0917  one flat record on the hot path, where keywords cost a tenth of the call
        self,
        id: CallId,  # noqa: A002  the field's own name
        queue: str,
        priority: int = 0,
        resource: Hashable = PLAIN,
        chunk: int = 0,
        size: int = 0,
        cost: float = 0.0,
    ) -> None:
        self.id = id
        """Grows with every call, so it is the call's age too."""
        self.queue = queue
        self.priority = priority
        """Higher goes first, across all queues."""
        self.resource = resource
        self.chunk = chunk
        """Calls that travel together, as the user wished; 0: as the scheduler sees fit."""
        self.size = size
        """Bytes of its arguments that travel."""
        self.cost = cost
        """How long it takes beside other calls of its queue, as the user guesses; higher goes first."""
        self.state: int = BLOCKED
        self.attempt = 0
        """How often it was sent."""
        self.blockers = 0
        """Dependencies that have not ended."""
        self.dependents: list[Call] | None = None
        """Calls that wait for this one; no list until there is one: a list costs 56 bytes a call."""

        self.nest: Nest | None = None
        """Its place among calls that submit calls, if it submits some or was submitted by another."""

    def needs(self) -> Sequence[Call]:
        """The calls that have to end before this one may run, as far as whoever submitted it knows them."""
        return ()

    def cut(self, most: int) -> Call:  # noqa: ARG002  see `many`
        """The first of these, taken out of them."""
        return self

    def inside(self) -> Sequence[Call]:
        """Of those that this stands for, the ones that are known by themselves too."""
        return ()

    def singles(self) -> list[Call]:
        """All of these, as calls of their own."""
        return [self]

    def __repr__(self) -> str:
        return f"<Call {self.id} of {self.queue}, {State(self.state).name.lower()}>"
