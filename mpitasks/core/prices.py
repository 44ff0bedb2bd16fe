"""What calls and acquisitions cost, as far as measured.

A moving average for each resource, and one for all of its kind (of a plain id: of the task whose calls need it), which
stands in for a resource that was never acquired.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from .calls import Provided, kind_of

WEIGHT = 0.3
"""Of the latest measurement: a file that is in the page cache now will be the next time too."""
MOST_KNOWN = 10_000
"""Resources whose own price is remembered, those measured last; a sweep over a million files must not fill the memory."""


class Prices:
    """Seconds that things are expected to take."""

    def __init__(self) -> None:
        self.calls: dict[str, float] = {}
        """Seconds of a call, by queue, of an earlier run."""
        self._of_resource: OrderedDict[tuple[str, Hashable], float] = OrderedDict()
        self._of_kind: dict[tuple[str, str], float] = {}

    def __bool__(self) -> bool:
        return bool(self._of_kind)

    def learn(self, queue: str, resource: Hashable, seconds: float) -> None:
        """An acquisition took so long; below 0 counts as 0."""
        seconds = max(0.0, seconds)
        kind, key = _kind(queue, resource), _key(queue, resource)
        self._of_kind[kind] = _averaged(self._of_kind.get(kind), seconds)
        self._of_resource[key] = _averaged(self._of_resource.get(key), seconds)
        self._of_resource.move_to_end(key)
        if len(self._of_resource) > MOST_KNOWN:
            self._of_resource.popitem(last=False)

    def of(self, queue: str, resource: Hashable) -> float | None:
        """Seconds to acquire this for a call of that queue; None while nothing like it was measured."""
        price = self._of_resource.get(_key(queue, resource))
        return self._of_kind.get(_kind(queue, resource)) if price is None else price

    def plain(self) -> dict[str, Any]:
        """All of it as lists, strings and numbers; without resources whose ids are anything else."""
        return {
            "calls": self.calls,
            "kinds": [[*kind, seconds] for kind, seconds in self._of_kind.items()],
            "resources": [[*key, seconds] for key, seconds in self._of_resource.items() if _is_plain(key)],
        }

    @classmethod
    def from_plain(cls, data: dict[str, Any]) -> Prices:
        """What `plain` gave, perhaps by way of JSON.

        Raises:
            KeyError: That is something else.
            TypeError: As above.
            ValueError: As above.
        """
        prices = cls()
        prices.calls.update({name: float(seconds) for name, seconds in data["calls"].items()})
        prices._of_kind.update({(what, name): float(seconds) for what, name, seconds in data["kinds"]})
        prices._of_resource.update({(queue, _hashable(one)): float(seconds) for queue, one, seconds in data["resources"]})
        return prices


def _is_plain(value: object) -> bool:
    return all(map(_is_plain, value)) if isinstance(value, tuple) else isinstance(value, str | int | float | None)


def _hashable(value: Any) -> Hashable:  # noqa: ANN401  whatever JSON holds
    """JSON has lists where there were tuples."""
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _averaged(before: float | None, seconds: float) -> float:
    return seconds if before is None else before + WEIGHT * (seconds - before)


def _kind(queue: str, resource: Hashable) -> tuple[str, str]:
    """Providers by name. Plain ids by task: they are global, but what a task does at its first call is its own affair."""
    kind = kind_of(resource)
    return ("", kind.name) if kind is not None else ("task", queue)


def _key(queue: str, resource: Hashable) -> tuple[str, Hashable]:
    if isinstance(resource, Provided):
        return "", (resource.kind.name, resource.args)
    return queue, resource
