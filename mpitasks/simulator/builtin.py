"""Workloads that come with the simulator."""

from __future__ import annotations

from dataclasses import replace

from .workload import CallsOf, Pareto, QueueOf, ResourceOf, Workload


def _example3() -> Workload:
    return Workload(
        "example3",
        (QueueOf("task"),),
        (CallsOf("task", 100, 0.1, "resource", 3, drawn=True),),
        (ResourceOf("resource", 10.0),),
        slaves=(2, 3, 5, 7),
        about="example 3 of mpi-master-slave: 100 calls of 0.1 s for 3 resources, 10 s to acquire",
    )


def _example5() -> Workload:
    limits = {"TASK1": 2, "TASK2": None, "TASK3": 1}
    return Workload(
        "example5",
        tuple(QueueOf(name, limit) for name, limit in limits.items()),
        tuple(CallsOf(name, n, 1.0) for name, n in (("TASK1", 200), ("TASK2", 2000), ("TASK3", 100))),
        slaves=(3, 8, 32),
        mixed=True,
        about="example 5 of mpi-master-slave: three tasks with the limits 2, none and 1",
    )


def _heavy_tail() -> Workload:
    return Workload(
        "heavy-tail",
        (QueueOf("mesh"), QueueOf("solve", weight=3.0)),
        (CallsOf("mesh", 5_000, Pareto(0.5, 1.5)), CallsOf("solve", 5_000, Pareto(2.0, 1.5))),
        slaves=(16, 64),
        mixed=True,
        about="durations whose longest is hundreds of times the mean",
    )


def _heavy_tail_cost() -> Workload:
    plain = _heavy_tail()
    return replace(
        plain,
        name="heavy-tail-cost",
        calls=tuple(replace(each, cost="seconds") for each in plain.calls),
        about="the calls of heavy-tail, submitted with the hint cost=: the longest go first",
    )


def _bursts() -> Workload:
    steady = CallsOf("steady", 4_000, (0.5, 1.5))
    bursts = tuple(CallsOf("burst", 400, (0.05, 0.15), priority=1, at=30.0 * number) for number in range(1, 8))
    return Workload(
        "bursts",
        (QueueOf("steady"), QueueOf("burst", 12)),
        (steady, *bursts),
        slaves=(16,),
        about="a steady load, and 400 short urgent calls every 30 s, on 12 slaves at most",
    )


def _many_resources() -> Workload:
    return Workload(
        "many-resources",
        (QueueOf("analyse"),),
        (CallsOf("analyse", 10_000, (0.1, 0.3), "file", 500),),
        (ResourceOf("file", 2.0, provider=True),),
        slaves=(8,),
        mixed=True,
        about="500 files, 2 s to open, 20 calls for each, on few slaves",
    )


def _few_resources() -> Workload:
    return Workload(
        "few-resources",
        (QueueOf("query"),),
        (CallsOf("query", 20_000, (0.5, 1.5), "database", 3),),
        (ResourceOf("database", 5.0, provider=True),),
        slaves=(64,),
        mixed=True,
        about="3 databases, 5 s to load, and many more slaves than databases",
    )


def _hot() -> Workload:
    return Workload(
        "hot",
        (QueueOf("query"),),
        (CallsOf("query", 2_000, 1.0, "database"),),
        (ResourceOf("database", 5.0, provider=True),),
        slaves=(20,),
        about="one resource that all calls need, 5 s to acquire: further slaves should",
    )


def scale(calls: int = 1_000_000, *, queues: int = 100, resources: int = 1_000, seconds: float = 1.0) -> Workload:
    """Many calls in many queues, each queue with its part of the resources."""
    keys = max(1, resources // queues)
    return Workload(
        "scale",
        tuple(QueueOf(f"task-{number}") for number in range(queues)),
        tuple(
            CallsOf(f"task-{number}", calls // queues, (0.5 * seconds, 1.5 * seconds), "data", keys, first_key=number * keys)
            for number in range(queues)
        ),
        (ResourceOf("data", 1.0, provider=True),),
        slaves=(10_000,),
        mixed=True,
        about=f"{calls:,} calls in {queues} queues for {resources:,} resources",
    )


BUILTIN = {
    "example3": _example3,
    "example5": _example5,
    "heavy-tail": _heavy_tail,
    "heavy-tail-cost": _heavy_tail_cost,
    "bursts": _bursts,
    "many-resources": _many_resources,
    "few-resources": _few_resources,
    "hot": _hot,
    "scale": scale,
}
"""By name, each made when asked for."""
