"""The resources that a slave holds: acquires, keeps, releases them.

::

    use(chain) ──► release what would be too much ──► acquire what is lacking, the innermost first
    idle_timeout ──► release            the end ──► release all, the one acquired last first

Everything here runs in the slave's main thread, where the calls run; `held` alone is read by the listener thread too.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from functools import partial
from math import inf
from time import perf_counter
from typing import Any, cast

from .. import registry
from ..context import Context, enter, leave
from ..core.calls import Provided, chain_of, surplus
from ..ids import Rank
from ..transport import wire
from .messages import Named

_END = object()


class _Holding:
    """A provider between its yield and its end."""

    __slots__ = ("generator", "idle_timeout", "inner", "used_at", "value")

    def __init__(self, generator: Generator[Any], value: object, inner: dict[str, Any], idle_timeout: float | None) -> None:
        self.generator = generator
        self.value = value
        self.inner = inner
        """What the provider needs itself, by name: its release may use that too."""
        self.idle_timeout = inf if idle_timeout is None else idle_timeout
        self.used_at = perf_counter()


def _freely(_: Provided, acquire: Callable[[], _Holding]) -> _Holding:
    """Acquire without limit."""
    return acquire()


class Keeper:
    """What one slave holds."""

    def __init__(self, rank: Rank) -> None:
        self._rank = rank
        self._holdings: dict[Provided, _Holding] = {}
        """In the order of acquisition."""
        self._used: dict[Provided, None] = {}
        """The same, the longest unused first."""
        self.held: tuple[Named, ...] = ()
        """The same, as the master is told."""
        self.due = inf
        """When something has been unused for too long, on the clock of `perf_counter`."""
        self._in_use: list[Provided] = []
        self._under: list[list[Provided]] = []
        """What calls use that wait, while another runs on top of them."""

    def use(
        self,
        wanted: Provided,
        values: dict[str, Any],
        acquired: list[tuple[Named, float]],
        acquiring: Callable[[Provided, Callable[[], _Holding]], _Holding] = _freely,
    ) -> None:
        """Hold a resource, and what its provider needs.

        Args:
            wanted: The resource.
            values: What the providers yielded goes in here, by the provider's name, as soon as it is there.
            acquired: What had to be acquired, and the seconds that took, goes in here.
            acquiring: Runs what acquires, so that it may be limited.

        Raises:
            BaseException: Whatever a provider raises; a note says that it was acquiring. It is not held then.
        """
        chain: list[Provided] = [one for one in chain_of(wanted) if isinstance(one, Provided)]
        used = [one for one in self._used if one not in chain]
        gone = [one for one in surplus([*used, *chain], 0) if isinstance(one, Provided)]
        self._release(one for one in gone if not self._is_under(one))
        self._in_use = chain
        try:
            for one in chain:
                if one not in self._holdings:
                    began = perf_counter()
                    self._holdings[one] = acquiring(one, partial(_acquire, one, values))
                    acquired.append((_named(one), perf_counter() - began))
                self._used.pop(one, None)
                self._used[one] = None
                values[one.kind.name] = self._holdings[one].value
        finally:
            self._changed()

    def rest(self) -> None:
        """The call that used something has ended: from now on that is idle."""
        now = perf_counter()
        for one in self._in_use:
            if one in self._holdings:
                self._holdings[one].used_at = now
        self._in_use = []
        self._changed()

    def on_top(self) -> None:
        """A call is to run on top of the one that uses something, which keeps that."""
        self._under.append(self._in_use)
        self._in_use = []

    def below(self) -> None:
        """That one goes on."""
        self._in_use = self._under.pop()

    def _is_under(self, one: Provided) -> bool:
        return any(one in chain for chain in self._under) if self._under else False

    def release_idle(self) -> bool:
        """Release what was unused for longer than its `idle_timeout`. Whether there was something."""
        now = perf_counter()
        idle = [
            one
            for one, holding in self._holdings.items()
            if holding.used_at + holding.idle_timeout <= now and not self._is_under(one)
        ]
        needed = {inner for one in self._holdings if one not in idle for inner in chain_of(one)}
        return self._release(one for one in idle if one not in needed)

    def release_unused(self) -> bool:
        """Release everything but what calls use that wait. Whether there was something."""
        return self._release([one for one in self._holdings if not self._is_under(one)])

    def release_all(self) -> bool:
        """Release everything. Whether there was something."""
        return self._release(list(self._holdings))

    def _release(self, unwanted: Iterable[Provided]) -> bool:
        """Release these, the one acquired last first; what they raise is logged."""
        some = set(unwanted)
        gone = [one for one in reversed(self._holdings) if one in some]
        for one in gone:
            del self._used[one]
            context = Context("", self._rank)
            context._resources = self._holdings[one].inner
            token = enter(context)
            _end(one, self._holdings.pop(one))
            leave(token)
        self._changed()
        return bool(gone)

    def _changed(self) -> None:
        held = tuple(map(_named, self._used))
        if held != self.held:
            self.held = held
        pinned = {one.inner for one in self._holdings}
        idle = [
            holding.used_at + holding.idle_timeout
            for one, holding in self._holdings.items()
            if one not in pinned and not self._is_under(one)
        ]
        self.due = min(idle, default=inf)


def _named(one: Provided) -> Named:
    return one.kind.name, one.args


def _acquire(one: Provided, inner: dict[str, Any]) -> _Holding:
    """Run a provider up to its yield."""
    mpitasks_calls = "task"  # noqa: F841  what follows is the user's code: see interrupts.MARK
    try:
        provider = registry.resource(one.kind.name)
        args = [wire.decode(arg) if isinstance(arg, wire.Reference) else arg for arg in one.args]  # a broadcast
        generator = cast("Generator[Any]", provider.fn(*args))
        value = next(generator, _END)
    except BaseException as error:
        error.add_note(f"while acquiring resource {one!r}")
        raise
    if value is _END:
        msg = f"the provider of resource {one!r} ended without a yield: it has to acquire, yield once, and release"
        raise RuntimeError(msg)
    return _Holding(generator, value, dict(inner), provider.idle_timeout)


def _end(one: Provided, holding: _Holding) -> None:
    """Run a provider from its yield to its end."""
    mpitasks_calls = "task"  # noqa: F841  as above
    try:
        if next(holding.generator, _END) is not _END:
            import logging  # noqa: PLC0415  4 ms, for what seldom happens

            logging.getLogger("mpitasks").error("the provider of resource %r yielded a second time instead of ending", one)
            holding.generator.close()
    except BaseException:
        import logging  # noqa: PLC0415  as above

        logging.getLogger("mpitasks").exception("releasing resource %r failed", one)
