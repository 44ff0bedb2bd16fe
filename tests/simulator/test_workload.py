"""Workloads: what JSON may say, and what is said of what it may not."""

from __future__ import annotations

import json
from itertools import pairwise
from math import inf, nan
from typing import TYPE_CHECKING, Any

import pytest

from mpitasks.core.calls import PLAIN, Provided
from mpitasks.simulator import BUILTIN, CallsOf, Pareto, QueueOf, ResourceOf, Workload, WorkloadError, parse, read

if TYPE_CHECKING:
    from pathlib import Path

GOOD: dict[str, Any] = {
    "queues": {"render": {"max_slaves": 4}, "store": {"weight": 2.0}},
    "resources": {"scene": {"acquire": 12, "provider": True, "max_holders": 2}},
    "calls": [
        {"queue": "render", "n": 4, "seconds": [1, 3], "resource": "scene", "keys": 2},
        {"queue": "store", "seconds": {"mean": 1, "tail": 1.5}, "at": 60, "priority": 2},
    ],
    "slaves": [2, 4],
}


def calls_with(**options: Any) -> dict[str, Any]:
    """A workload's calls, with these options."""
    return {"calls": [{"queue": "render", **options}]}


def test_json_says_what_a_workload_is(tmp_path: Path) -> None:
    """The same as by the classes."""
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(GOOD))
    assert read(path) == Workload(
        "mine",
        (QueueOf("render", 4), QueueOf("store", weight=2.0)),
        (
            CallsOf("render", 4, (1.0, 3.0), "scene", 2),
            CallsOf("store", seconds=Pareto(1.0, 1.5), priority=2, at=60.0),
        ),
        (ResourceOf("scene", 12, provider=True, max_holders=2),),
        (2, 4),
    )


def test_calls_take_resources_in_turn() -> None:
    """`keys` of them, each with its price; a call without has none."""
    plan = parse("mine", GOOD).plan()
    keys = [call.resource.args if isinstance(call.resource, Provided) else call.resource for call in plan.calls]
    assert keys == [(0,), (1,), (0,), (1,), PLAIN]
    assert list(plan.acquiring.values()) == [12, 12]


def test_calls_come_in_the_order_of_time() -> None:
    """However they are written."""
    workload = Workload("test", (QueueOf("a"),), (CallsOf("a", 3, at=5.0), CallsOf("a", 3), CallsOf("a", 3, at=1.0)))
    assert [call.at for call in workload.plan().calls] == [0.0] * 3 + [1.0] * 3 + [5.0] * 3


@pytest.mark.parametrize(("cost", "costs"), [(0.5, [0.5, 0.5]), ("seconds", [3.0, 3.0])])
def test_a_hint_is_a_number_or_what_each_call_takes(cost: float | str, costs: list[float]) -> None:
    """The same in JSON and by the classes."""
    workload = parse("mine", {**GOOD, **calls_with(n=2, seconds=3, cost=cost)})
    assert [call.cost for call in workload.plan().calls] == costs


def test_the_same_seed_draws_the_same() -> None:
    """And another one something else."""
    first, again, other = (BUILTIN["heavy-tail"]().plan().calls[:50] for _ in range(3))
    assert first == again == other
    assert parse("mine", {**GOOD, "seed": 2}).plan().calls != parse("mine", GOOD).plan().calls


def test_a_heavy_tail_has_its_mean() -> None:
    """Most calls are short, and the mean is as given."""
    workload = Workload("test", (QueueOf("a"),), (CallsOf("a", 100_000, Pareto(2.0, 3.0)),))
    seconds = sorted(call.seconds for call in workload.plan().calls)
    assert sum(seconds) / len(seconds) == pytest.approx(2.0, rel=0.05)
    assert seconds[50_000] < 2.0
    assert all(one <= other for one, other in pairwise(seconds))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queues": {}}, "'queues' must be an object"),
        ({"calls": []}, "'calls' must be a list"),
        ({"queue": {}}, "did you mean 'queues'?"),
        ({"queues": {"render": {"max_slave": 1}}}, "did you mean 'max_slaves'?"),
        ({"queues": {"render": 3}}, "must be an object, {} for none"),
        ({"queues": {"render": {"max_slaves": 0}}}, "max_slaves of queue 'render' must be a whole number"),
        ({"queues": {"render": {"weight": 0}}}, "weight of queue 'render' must be a number above 0"),
        ({"resources": {"scene": {"acquire": -1}}}, "acquire of resource 'scene' must be a number, 0 or more"),
        ({"resources": {"scene": {"max_holders": 1}}}, "which only a provider keeps"),
        ({"calls": [{"queue": "rendr"}]}, "no queue is named 'rendr'; did you mean 'render'? Known: 'render', 'store'"),
        ({"calls": [{"queue": "render", "resource": "mesh"}]}, "no resource is named 'mesh'; known: 'scene'"),
        ({"calls": [{"queue": "render", "n": 1.5}]}, "n of calls must be a whole number"),
        ({"calls": [{"queue": "render", "seconds": "1"}]}, "seconds of calls must be a number, 0 or more, and finite; it is"),
        ({"calls": [{"queue": "render", "seconds": {"mean": 1, "tail": 1}}]}, "tail of seconds must be above 1"),
        ({"calls": [{"queue": "render", "at": -1}]}, "at of calls must be a number, 0 or more"),
        ({"slaves": 0}, "slaves must be a whole number, 1 or more; it is 0"),
        ({"slaves": []}, "slaves must be a whole number, 1 or more, or a list of some; it is [], so leave it out for 8"),
        ({"seed": [1]}, "seed of a workload must be a whole number; it is [1]"),
        ({"about": ["x"]}, "about of a workload must be a text in quotes; it is ['x']"),
        ({"mixed": "no"}, "mixed of a workload must be true or false, without quotes; it is 'no'"),
        ({"queues": {"render": {"weight": inf}}}, "weight of queue 'render' must be a number above 0, and finite; it is inf"),
        ({"resources": {"scene": {"provider": "no"}}}, "provider of resource 'scene' must be true or false, without quotes"),
        ({"resources": {"scene": {"provider": True, "keep": None}}}, "keep of resource 'scene' must be a whole number, 1 or"),
        (
            {"resources": {"scene": {"keep": 2}}},
            "resource 'scene' has keep, which only a provider keeps; add \"provider\": true",
        ),
        (calls_with(priority="high"), "priority of calls must be a whole number; it is 'high'"),
        (calls_with(priority=None), "priority of calls must be a whole number; it is None"),
        (calls_with(first_key=0.5), "first_key of calls must be a whole number, 0 or more; it is 0.5"),
        (calls_with(drawn="x"), "drawn of calls must be true or false, without quotes; it is 'x'"),
        (calls_with(at=inf), "at of calls must be a number, 0 or more, and finite; it is inf"),
        (calls_with(at=nan), "at of calls must be a number, 0 or more, and finite; it is nan"),
        (calls_with(at=10**400), "at of calls must be a number, 0 or more, and finite; it is 1000"),
        (calls_with(cost="long"), """cost of calls, if not "seconds", must be a number, 0 or more, and finite; it is 'long'"""),
        (calls_with(cost=-1), """cost of calls, if not "seconds", must be a number, 0 or more, and finite; it is -1"""),
        (calls_with(seconds=nan), "seconds of calls must be a number, 0 or more, and finite; it is nan"),
        (calls_with(seconds=[1, inf]), "seconds of calls must be a number, 0 or more, and finite; it is inf"),
        (calls_with(seconds=[3, 1]), "seconds of calls must be [least, most], and [3, 1] runs backwards; write [1, 3]"),
    ],
    ids=lambda value: None if isinstance(value, str) else json.dumps(value)[:40],
)
def test_what_can_not_be_run_is_refused(change: dict[str, Any], message: str) -> None:
    """With what was tried, the rule, and the way out."""
    with pytest.raises(WorkloadError) as caught:
        parse("mine", {**GOOD, **change})
    assert message in str(caught.value)


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    """With the place."""
    path = tmp_path / "mine.json"
    path.write_text("{")
    with pytest.raises(WorkloadError, match=r"mine\.json is no JSON: .*line 1"):
        read(path)
    path.write_bytes('{"about": "é"}'.encode("latin-1"))
    with pytest.raises(WorkloadError, match=r"mine\.json is no JSON: .*; it must be an object in UTF-8"):
        read(path)
    with pytest.raises(WorkloadError, match="a workload is an object with 'queues' and 'calls', and this is 3"):
        parse("mine", 3)
