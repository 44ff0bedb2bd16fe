"""What is to run: queues, resources and calls, from JSON.

::

    {"queues":    {"render": {"max_slaves": 4}},
     "resources": {"scene": {"acquire": 12}},
     "calls":     [{"queue": "render", "n": 200, "seconds": [1, 3], "resource": "scene", "keys": 5}]}
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple, TypeVar

from ..core.calls import PLAIN, Kind, Provided
from ..errors import MpiTasksError


class WorkloadError(MpiTasksError, ValueError):
    """A workload says something that can't be run."""


class Pareto(NamedTuple):
    """Durations with a heavy tail: most are short, a few are very long."""

    mean: float
    tail: float
    """Above 1; the closer to it, the longer the longest."""


Seconds = float | tuple[float, float] | Pareto
"""A duration, a range of even chances, or a heavy tail."""


@dataclass(frozen=True, slots=True)
class QueueOf:
    """One task, as `@task` would declare it."""

    name: str
    max_slaves: int | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class ResourceOf:
    """What slaves keep between calls; a family of them, where calls have `keys`."""

    name: str
    acquire: float = 0.0
    """Seconds to acquire one."""
    provider: bool = False
    """Made by a provider, which tells the master; else a plain id, whose first call takes longer."""
    max_holders: int | None = None
    """Only of a provider."""
    keep: int = 1
    """Only of a provider."""


@dataclass(frozen=True, slots=True)
class CallsOf:
    """Calls that are alike."""

    queue: str
    n: int = 1
    seconds: Seconds = 1.0
    resource: str | None = None
    keys: int = 1
    """So many resources of that family, numbered and taken in turn."""
    first_key: int = 0
    """The first of them."""
    drawn: bool = False
    """Or drawn for each call."""
    priority: int = 0
    at: float = 0.0
    """When they are submitted."""
    cost: float | Literal["seconds"] = 0.0
    """How long each takes beside others of its queue, as the user guesses; "seconds": each as long as it will take."""


class Planned(NamedTuple):
    """One call that will be submitted."""

    at: float
    queue: str
    seconds: float
    resource: Hashable
    priority: int
    cost: float = 0.0


class Plan(NamedTuple):
    """Every call, in the order of submission, and what each resource costs."""

    calls: list[Planned]
    acquiring: dict[Hashable, float]


@dataclass(frozen=True, slots=True)
class Workload:
    """What is to run."""

    name: str
    queues: tuple[QueueOf, ...]
    calls: tuple[CallsOf, ...]
    resources: tuple[ResourceOf, ...] = ()
    slaves: tuple[int, ...] = (8,)
    """With how many it is run if nobody says otherwise."""
    mixed: bool = False
    """Calls of the same moment come in a drawn order instead of as written."""
    seed: int = 1
    about: str = ""

    def plan(self) -> Plan:
        """All calls; the same ones each time."""
        random = Random(self.seed)  # noqa: S311  a workload to be repeated, no secret
        resources = {one.name: one for one in self.resources}
        kinds = {one.name: Kind(one.name, max_holders=one.max_holders, keep=one.keep) for one in self.resources}
        acquiring: dict[Hashable, float] = {}
        calls: list[Planned] = []
        for each in self.calls:
            ids: list[Hashable] = [PLAIN]
            if each.resource is not None:
                family = resources[each.resource]
                keys = range(each.first_key, each.first_key + each.keys)
                ids = [_id(family, kinds[family.name], key) for key in keys]
                acquiring.update(dict.fromkeys(ids, family.acquire))
            for number in range(each.n):
                resource = random.choice(ids) if each.drawn else ids[number % len(ids)]
                seconds = _drawn(each.seconds, random)
                cost = seconds if each.cost == "seconds" else each.cost
                calls.append(Planned(each.at, each.queue, seconds, resource, each.priority, cost))
        if self.mixed:
            random.shuffle(calls)
        calls.sort(key=lambda call: call.at)
        return Plan(calls, acquiring)


def _id(family: ResourceOf, kind: Kind, key: int) -> Hashable:
    return Provided(kind, (key,)) if family.provider else f"{family.name}/{key}"


def _drawn(seconds: Seconds, random: Random) -> float:
    if isinstance(seconds, Pareto):
        return random.paretovariate(seconds.tail) * seconds.mean * (seconds.tail - 1) / seconds.tail
    if isinstance(seconds, tuple):
        return random.uniform(*seconds)
    return seconds


# ---------------------------------------------------------------- JSON

_T = TypeVar("_T", QueueOf, ResourceOf)
_TOP = ("queues", "resources", "calls", "slaves", "mixed", "seed", "about")


def read(path: Path) -> Workload:
    """The workload in that file.

    Raises:
        WorkloadError: It is no JSON, or says what can't be run.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        msg = f"{path} is no JSON: {error}; it must be an object in UTF-8, as `simulate --help` shows one"
        raise WorkloadError(msg) from error
    return parse(path.stem, data)


def parse(name: str, data: Any) -> Workload:  # noqa: ANN401  whatever JSON holds
    """The workload that was written as JSON.

    Raises:
        WorkloadError: It says what can't be run.
    """
    if not isinstance(data, dict):
        msg = f"a workload is an object with 'queues' and 'calls', and this is {_short(data)}"
        raise WorkloadError(msg)
    _check_names("a workload", data, _TOP)
    queues = tuple(_named(QueueOf, "queue", each, given) for each, given in _table(data, "queues").items())
    resources = tuple(_named(ResourceOf, "resource", each, given) for each, given in _table(data, "resources").items())
    calls = tuple(_calls(given, queues, resources) for given in _listed(data.get("calls")))
    slaves = tuple(_whole("slaves", each) for each in _listed_or_one(data.get("slaves", 8)))
    _check_options("a workload", data, _OF_WORKLOADS)
    return Workload(name, queues, calls, resources, slaves, **{each: data[each] for each in _OF_WORKLOADS if each in data})


def _table(data: Mapping[str, Any], field: str) -> dict[str, Any]:
    found = data.get(field, {})
    if not isinstance(found, dict) or (field == "queues" and not found):
        msg = f'{field!r} must be an object, name to options, such as {{"render": {{}}}}; it is {_short(found)}'
        raise WorkloadError(msg)
    return found


def _listed(calls: Any) -> list[dict[str, Any]]:  # noqa: ANN401  whatever JSON holds
    if not isinstance(calls, list) or not calls or not all(isinstance(each, dict) for each in calls):
        msg = f'\'calls\' must be a list of objects, such as {{"queue": "render", "n": 100}}; it is {_short(calls)}'
        raise WorkloadError(msg)
    return calls


def _listed_or_one(found: Any) -> list[Any]:  # noqa: ANN401  whatever JSON holds
    if found == []:
        msg = "slaves must be a whole number, 1 or more, or a list of some; it is [], so leave it out for 8"
        raise WorkloadError(msg)
    return found if isinstance(found, list) else [found]


def _named(kind: type[_T], what: str, name: str, given: Any) -> _T:  # noqa: ANN401  whatever JSON holds
    """A queue or a resource, of which JSON gives the options."""
    if not isinstance(given, dict):
        msg = f"the options of {what} {name!r} must be an object, {{}} for none; they are {_short(given)}"
        raise WorkloadError(msg)
    where = f"{what} {name!r}"
    _check_names(where, given, [field.name for field in fields(kind)[1:]])
    _check_options(where, given, _OF_QUEUES if kind is QueueOf else _OF_RESOURCES)
    of_provider = [option for option in ("max_holders", "keep") if given.get(option) is not None]
    if of_provider and not given.get("provider"):
        msg = f'{where} has {of_provider[0]}, which only a provider keeps; add "provider": true'
        raise WorkloadError(msg)
    return kind(name, **given)


def _calls(given: dict[str, Any], queues: Iterable[QueueOf], resources: Iterable[ResourceOf]) -> CallsOf:
    _check_names("calls", given, [field.name for field in fields(CallsOf)])
    _check_known("queue", given.get("queue"), [one.name for one in queues])
    if given.get("resource") is not None:
        _check_known("resource", given["resource"], [one.name for one in resources])
    _check_options("calls", given, _OF_CALLS)
    return CallsOf(**{**given, "seconds": _seconds(given.get("seconds", 1.0))})


def _seconds(given: Any) -> Seconds:  # noqa: ANN401  whatever JSON holds
    """A number, `[least, most]`, or `{"mean": 1, "tail": 1.5}`."""
    if isinstance(given, list) and len(given) == 2:  # noqa: PLR2004  from and to
        least, most = (_positive("seconds of calls", each, or_zero=True) for each in given)
        if least > most:
            msg = f"seconds of calls must be [least, most], and {given!r} runs backwards; write {given[::-1]!r}"
            raise WorkloadError(msg)
        return least, most
    if isinstance(given, dict):
        _check_names("seconds of calls", given, Pareto._fields)
        mean, tail = (_positive(f"{each} of seconds", given.get(each), or_zero=False) for each in Pareto._fields)
        if tail <= 1:
            msg = f"tail of seconds must be above 1, else the mean is endless; it is {tail!r}"
            raise WorkloadError(msg)
        return Pareto(mean, tail)
    return _positive("seconds of calls", given, or_zero=True)


def _check_names(where: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
    for name in given:
        if name not in known:
            _check_known(f"field in {where}", name, known)


def _check_known(what: str, name: Any, known: Iterable[str]) -> None:  # noqa: ANN401  whatever JSON holds
    names = list(known)
    if name not in names:
        near = get_close_matches(str(name), names, n=1)
        meant = f"; did you mean {near[0]!r}? Known: " if near else "; known: "
        msg = f"no {what} is named {name!r}{meant}{', '.join(map(repr, names)) or 'none'}"
        raise WorkloadError(msg)


def _check_options(where: str, given: Mapping[str, Any], checks: Mapping[str, _Check]) -> None:
    """What is given, by the check of each; null only where it stands for the absence of a limit."""
    for option, check in checks.items():
        if option in given and not (given[option] is None and option in _OR_NULL):
            check(f"{option} of {where}", given[option])


def _whole(what: str, given: Any, *, least: int | None = 1) -> int:  # noqa: ANN401  whatever JSON holds
    if isinstance(given, bool) or not isinstance(given, int) or (least is not None and given < least):
        rule = "" if least is None else f", {least} or more"
        msg = f"{what} must be a whole number{rule}; it is {given!r}"
        raise WorkloadError(msg)
    return given


def _positive(what: str, given: Any, *, or_zero: bool = False) -> float:  # noqa: ANN401  whatever JSON holds
    # NaN is in no range, and JSON has whole numbers that no float holds.
    fits = isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given <= sys.float_info.max
    if not fits or not (given or or_zero):
        msg = f"{what} must be a number{', 0 or more' if or_zero else ' above 0'}, and finite; it is {_short(given)}"
        raise WorkloadError(msg)
    return float(given)


def _cost(what: str, given: Any) -> None:  # noqa: ANN401  whatever JSON holds
    if given != "seconds":
        _from_zero(f'{what}, if not "seconds",', given)


def _yes_or_no(what: str, given: Any) -> None:  # noqa: ANN401  whatever JSON holds
    if not isinstance(given, bool):
        msg = f"{what} must be true or false, without quotes; it is {_short(given)}"
        raise WorkloadError(msg)


def _text(what: str, given: Any) -> None:  # noqa: ANN401  whatever JSON holds
    if not isinstance(given, str):
        msg = f"{what} must be a text in quotes; it is {_short(given)}"
        raise WorkloadError(msg)


_Check = Callable[[str, Any], object]
_from_zero = partial(_positive, or_zero=True)
_any_whole = partial(_whole, least=None)

_OF_WORKLOADS: dict[str, _Check] = {"mixed": _yes_or_no, "seed": _any_whole, "about": _text}
_OF_QUEUES: dict[str, _Check] = {"max_slaves": _whole, "weight": _positive}
_OF_RESOURCES: dict[str, _Check] = {"acquire": _from_zero, "provider": _yes_or_no, "max_holders": _whole, "keep": _whole}
_OF_CALLS: dict[str, _Check] = {
    "n": _whole,
    "keys": _whole,
    "first_key": partial(_whole, least=0),
    "drawn": _yes_or_no,
    "priority": _any_whole,
    "at": _from_zero,
    "cost": _cost,
}
_OR_NULL = ("max_slaves", "max_holders")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004  half a line
