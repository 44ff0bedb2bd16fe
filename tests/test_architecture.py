"""The arrows: which module may import which. DESIGN: imports go one way, and every arrow is here.

::

    errors, ids, version ◄── everything
    core ◄── wire ◄── base ◄── mpi | local        failures ──► wire
    core, transport, futures, options, context, registry ◄── runtime ◄── ranks ◄── session ◄── bench, cli, testing
    core, transport, backoff, interrupts and messages of runtime ◄── classic
    runner, logs and messages of runtime ◄── isolation ◄── slave of runtime, session
    core ◄── simulator ◄── cli
    farm, context, wire ◄── broadcasts ◄── runtime
    registry, options, futures, farm, context, stream ◄── tasks ◄── callables ◄── executor

A module or an arrow that is not in the table fails here: think first whether the idea is in the right file.
"""

from __future__ import annotations

import sys
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.sources import Import, imports, modules

FOR_ALL = {"backports", "errors", "ids", "output", "version"}
"""What every module may import, but for themselves and the core's limits below."""

CORE = {
    f"core.{name}"
    for name in (
        "above",
        "backlog",
        "board",
        "busy",
        "calls",
        "choosing",
        "holding",
        "left",
        "many",
        "nesting",
        "orders",
        "prices",
        "ranking",
        "scheduler",
        "slaves",
        "spread",
        "suspects",
        "tally",
        "trials",
        "turns",
        "waiting",
        "why",
        "windows",
    )
}
RUNTIME = {name for name in modules() if name.startswith("runtime.")}
FOR_RUNTIME = (
    RUNTIME
    | CORE
    | {"observe.counts"}
    | {"journal.book", "journal.identity", "journal.records"}
    | {
        "broadcasts",
        "isolation.memory",
        "transport.base",
        "transport.wire",
        "transport.failures",
        "futures",
        "options",
        "plans",
        "context",
        "registry",
        "retries",
        "broken",
        "digests",
        "loops",
        "surroundings",
    }
)

MAY_IMPORT: dict[str, set[str]] = {
    "mpitasks": {
        "broadcasts",
        "broken",
        "callables",
        "context",
        "executor",
        "futures",
        "farm",
        "guard",
        "observe.counts",
        "registry",
        "resources",
        "session",
        "tasks",
    },
    "__main__": {"cli"},
    "backports": set(),
    "broken": set(),
    "control": {"surroundings"},
    "errors": set(),
    "ids": set(),
    "loops": set(),
    "digests": set(),
    "output": set(),
    "shm": set(),
    "signals": set(),
    "version": set(),
    # The scheduler knows nothing of the rest.
    "core": set(),
    "core.calls": {"core.nesting"},
    "core.backlog": {"core.calls"},
    "core.many": {"core.calls"},
    "core.nesting": {"core.backlog", "core.calls", "core.slaves"},
    "core.slaves": {"core.calls", "core.backlog", "core.nesting"},
    "core.prices": {"core.calls"},
    "core.ranking": {"core.backlog"},
    "core.spread": set(),
    "core.suspects": {"core.calls"},
    "core.tally": {"core.calls"},
    "core.why": {"core.backlog", "core.calls", "core.slaves", "core.tally"},
    "core.orders": {"core.calls"},
    "core.board": {
        "core.backlog",
        "core.nesting",
        "core.orders",
        "core.prices",
        "core.ranking",
        "core.slaves",
        "core.suspects",
        "core.tally",
    },
    "core.holding": {"core.backlog", "core.board", "core.calls", "core.slaves"},
    "core.busy": {"core.backlog", "core.board", "core.calls", "core.holding", "core.nesting", "core.orders", "core.slaves"},
    "core.waiting": {"core.backlog", "core.board", "core.busy", "core.calls", "core.holding", "core.slaves"},
    "core.turns": {"core.backlog", "core.board", "core.calls", "core.holding", "core.slaves"},
    "core.windows": {
        "core.backlog",
        "core.board",
        "core.busy",
        "core.calls",
        "core.holding",
        "core.orders",
        "core.slaves",
        "core.tally",
        "core.turns",
        "core.waiting",
    },
    "core.choosing": {
        "core.backlog",
        "core.board",
        "core.calls",
        "core.holding",
        "core.orders",
        "core.slaves",
        "core.spread",
        "core.tally",
        "core.turns",
        "core.windows",
    },
    "core.above": {
        "core.board",
        "core.busy",
        "core.calls",
        "core.holding",
        "core.nesting",
        "core.orders",
        "core.slaves",
        "core.tally",
        "core.waiting",
        "core.windows",
    },
    "core.left": {"core.board", "core.busy", "core.calls", "core.slaves"},
    "core.trials": {
        "core.above",
        "core.board",
        "core.busy",
        "core.calls",
        "core.choosing",
        "core.nesting",
        "core.orders",
        "core.slaves",
        "core.waiting",
    },
    "core.scheduler": CORE - {"core.scheduler", "core.ranking", "core.spread", "core.suspects"},
    # Bytes between ranks.
    "transport": set(),
    "transport.wire": set(),
    "transport.failures": {"transport.wire"},
    "transport.base": {"transport.wire"},
    "transport.local": {"transport.base", "transport.wire"},
    "transport.mpi": {"transport.base", "transport.wire"},
    # What calls returned, for the next run.
    "journal": set(),
    "journal.choice": set(),
    "journal.frames": set(),
    "journal.lock": set(),
    "journal.records": {"transport.wire"},
    "journal.canonical": {"digests", "registry"},
    "journal.identity": {"futures", "journal.canonical", "plans"},
    "journal.book": {"journal.frames", "journal.identity", "journal.lock", "journal.records", "transport.wire"},
    "journal.listing": {"journal.frames", "journal.records"},
    # What users type. It reaches the running farm by the protocol in `farm` alone.
    "context": {"farm", "retries", "seconds"},
    "retries": set(),
    "seconds": set(),
    "options": {"broadcasts", "core.calls", "futures", "plans", "resources", "retries", "seconds"},
    "parameters": set(),
    "plans": {"core.calls", "futures", "retries"},
    "farm": {"context", "futures", "many", "observe.counts", "plans", "transport.wire"},
    "broadcasts": {"context", "farm", "transport.wire"},
    "futures": {"transport.wire", "transport.failures", "core.calls", "farm"},
    "registry": {"digests", "tasks", "resources"},
    "resources": {"context", "core.calls", "farm", "options", "registry", "seconds"},
    "many": {"futures", "farm", "plans"},
    "stream": {"futures", "farm", "many"},
    "tasks": {
        *("core.calls", "registry", "options", "futures", "farm", "many", "context", "stream", "parameters", "plans"),
    },
    "callables": {"core.calls", "plans", "futures", "farm", "tasks"},
    "executor": {"broken", "loops", "context", "core.calls", "plans", "futures", "farm", "many", "tasks", "callables"},
    # What can be seen.
    "observe": set(),
    "observe.counts": {"core.calls", "core.scheduler", "core.tally"},
    # The two loops.
    "runtime": set(),
    **{name: FOR_RUNTIME - {name} for name in RUNTIME},
    "runtime.children": FOR_RUNTIME - {"runtime.children"} | {"farm"},
    "runtime.submissions": FOR_RUNTIME - {"runtime.submissions"} | {"farm"},
    "runtime.items": FOR_RUNTIME - {"runtime.items"} | {"farm", "many"},
    "runtime.inline": FOR_RUNTIME - {"runtime.inline"} | {"transport.local"},
    "runtime.slave": FOR_RUNTIME - {"runtime.slave"} | {"isolation.handle"},
    "runtime.profiled": FOR_RUNTIME - {"runtime.profiled"} | {"profiles"},
    # The children of a slave: they run calls as a slave does.
    "isolation": set(),
    "isolation.aside": set(),
    "isolation.memory": set(),
    "isolation.messages": set(),
    "isolation.system": set(),
    "isolation.page": {"isolation.memory"},
    "isolation.line": {"isolation.memory", "transport.wire"},
    "isolation.importing": {"isolation.aside", "registry"},
    "isolation.segments": {"isolation.importing", "shm"},
    "isolation.child": {
        *("isolation.line", "isolation.messages", "isolation.page", "isolation.segments", "isolation.system"),
        *(
            "futures",
            "retries",
            "runtime.copies",
            "runtime.holding",
            "runtime.logs",
            "runtime.messages",
            "runtime.places",
            "runtime.runner",
            "signals",
            "transport.wire",
            "transport.failures",
        ),
    },
    "isolation.nanny": {
        *("isolation.aside", "isolation.child", "isolation.importing", "isolation.line", "isolation.messages"),
        *("isolation.page", "isolation.system", "runtime.places", "signals"),
    },
    "isolation.start": {
        *("isolation.aside", "isolation.importing", "isolation.line", "isolation.messages", "isolation.nanny"),
    },
    "isolation.endings": {"isolation.messages", "isolation.system", "retries", "runtime.alarm"},
    "isolation.handle": {
        *("isolation.endings", "isolation.line", "isolation.memory", "isolation.messages", "isolation.page"),
        *(
            "isolation.start",
            "retries",
            "runtime.alarm",
            "runtime.holding",
            "runtime.messages",
            "runtime.stacks",
            "transport.wire",
            "transport.failures",
        ),
    },
    # Who starts what.
    "profiles": set(),
    "surroundings": {"isolation.aside"},
    "ending": {"surroundings"},
    "walltime": set(),
    "launch": {"control", "ending", "journal.choice", "profiles", "surroundings", "walltime"},
    "handshake": {"registry"},
    "lifeline": {"surroundings"},
    "guard": {"ending", "handshake", "surroundings", "survival.link"},
    # What lets a job go on after ranks have died. `survival.guard` is a program of its own, and imports nothing of ours.
    "survival": set(),
    "survival.guard": set(),
    "survival.watch": {"survival.guard", "transport.base"},
    "survival.link": {"surroundings", "survival.guard", "survival.watch", "transport.base"},
    "survival.departure": {"ending", "survival.link"},
    "ranks": {
        *("ending", "guard", "surroundings", "profiles", "signals", "isolation.start", "survival.departure", "survival.link"),
        *("runtime.late_logs", "runtime.master", "runtime.profiled", "runtime.slave", "transport.base"),
    },
    "session": {
        *(
            "context",
            "control",
            "ending",
            "farm",
            "futures",
            "guard",
            "handshake",
            "launch",
            "lifeline",
            "profiles",
            "ranks",
            "seconds",
            "shm",
            "surroundings",
            "walltime",
        ),
        *("journal.choice", "journal.records"),
        *("transport.local", "transport.mpi", "survival.link"),
        *("runtime.backoff", "runtime.inline", "runtime.logs", "runtime.master", "runtime.memory", "runtime.slave"),
        *("runtime.clock", "runtime.places", "runtime.stall"),
        *("runtime.situation", "runtime.watchdog"),
        *("isolation.aside", "isolation.start", "options", "registry"),
    },
    # The API of mpi-master-slave. It stands beside the session, with masters and slaves of its own.
    "classic": {"guard", "classic.master", "classic.queues", "classic.slave"},
    "classic.endpoint": {"transport.base", "transport.wire", "transport.failures", "runtime.backoff", "runtime.messages"},
    "classic.world": {
        "control",
        "guard",
        "surroundings",
        "transport.base",
        "transport.mpi",
        "classic.endpoint",
        "runtime.interrupts",
    },
    "classic.slave": {
        "retries",
        *("surroundings", "transport.base", "transport.wire", "transport.failures", "runtime.backoff", "runtime.messages"),
        *("classic.endpoint", "classic.world"),
    },
    "classic.master": {"classic.endpoint", "classic.world"},
    "classic.queues": {"core.calls", "core.scheduler", "classic.endpoint", "classic.master", "classic.world"},
    "testing": {"session"},
    # How fast all this is.
    "bench": {"bench.command"},
    "bench.figures": set(),
    "bench.scale": set(),
    "bench.wire": {"bench.figures", "futures", "tasks"},
    "bench.timing": {"bench.wire"},
    "bench.slaves": {"bench.figures", "bench.wire", "context", "futures", "tasks"},
    "bench.short_calls": {"bench.figures", "bench.scale", "bench.slaves", "bench.timing", "bench.wire"},
    "bench.bulk": {"bench.figures", "bench.scale", "bench.timing", "bench.wire", "broadcasts", "futures", "tasks"},
    "bench.idle": {"bench.figures", "bench.scale", "bench.slaves", "tasks"},
    "bench.uneven": {"bench.figures", "bench.scale", "bench.slaves", "bench.wire", "futures"},
    "bench.sleeping": {"bench.figures", "bench.scale", "bench.slaves", "bench.timing", "bench.wire"},
    "bench.memory": {"bench.figures", "bench.scale", "bench.slaves", "bench.timing"},
    "bench.starting": {"bench.figures", "bench.scale", "isolation.aside", "launch"},
    "bench.table": {"bench.figures"},
    "bench.command": {
        *("bench.bulk", "bench.figures", "bench.idle", "bench.memory", "bench.scale", "bench.short_calls"),
        *("bench.sleeping", "bench.starting", "bench.table", "bench.uneven", "bench.wire", "launch", "session", "surroundings"),
    },
    "command_line": set(),
    "whereabouts": {"control", "runtime.places", "runtime.stacks"},
    "cli": {
        "whereabouts",
        "command_line",
        "launch",
        "surroundings",
        "bench",
        "journal.choice",
        "journal.listing",
        "profiles",
        "simulator.command",
        "walltime",
    },
    # The core without MPI.
    "simulator": {
        *("simulator.builtin", "simulator.farm", "simulator.report", "simulator.saturation", "simulator.simulation"),
        "simulator.workload",
    },
    "simulator.saturation": {"simulator.farm", "simulator.workload"},
    "simulator.workload": {"core.calls"},
    "simulator.builtin": {"simulator.workload"},
    "simulator.farm": {"core.calls", "core.prices", "core.scheduler", "simulator.workload"},
    "simulator.bounds": {"core.calls", "simulator.assignments", "simulator.demands", "simulator.workload"},
    "simulator.assignments": {"simulator.demands"},
    "simulator.demands": set(),
    "simulator.seeds_rule": {"core.calls", "simulator.workload"},
    "simulator.report": {"core.prices", "simulator.farm"},
    "simulator.simulation": {
        *("core.prices", "core.scheduler", "simulator.bounds", "simulator.farm", "simulator.report"),
        *("simulator.seeds_rule", "simulator.workload"),
    },
    "simulator.gantt": {"core.calls", "simulator.farm", "simulator.report"},
    "simulator.command": {
        "command_line",
        *("core.prices", "simulator.builtin", "simulator.farm", "simulator.gantt", "simulator.report"),
        "simulator.simulation",
        "simulator.workload",
    },
}

FOR_TYPES_ALONE = {
    ("isolation.child", "futures"),
    ("context", "farm"),
    ("core.calls", "core.nesting"),
    ("core.nesting", "core.backlog"),
    ("core.nesting", "core.slaves"),
    ("farm", "futures"),
    ("farm", "many"),
    ("farm", "observe.counts"),
    ("farm", "plans"),
    ("many", "farm"),
    ("many", "plans"),
    ("farm", "transport.wire"),
    ("futures", "core.calls"),
    ("futures", "farm"),
    ("journal.identity", "futures"),
    ("mpitasks", "broadcasts"),
    ("mpitasks", "broken"),
    ("mpitasks", "callables"),
    ("mpitasks", "executor"),
    ("mpitasks", "futures"),
    ("mpitasks", "observe.counts"),
    ("mpitasks", "resources"),
    ("options", "futures"),
    ("plans", "futures"),
    ("options", "resources"),
    ("ranks", "runtime.master"),
    ("registry", "resources"),
    ("registry", "tasks"),
    ("runtime.calls", "journal.identity"),
    ("runtime.loop", "futures"),
    ("runtime.nested", "observe.counts"),
    ("runtime.runner", "runtime.nested"),
    ("runtime.situation", "runtime.master"),
    ("runtime.watchdog", "runtime.master"),
    ("stream", "farm"),
}
"""Arrows of the table that exist for type checkers: at run time they would close a circle, or bind what is to stay loose."""

LAZY = ("launch", "surroundings", "guard", "ranks", "session", "bench.wire", "classic.world")
MPI = {**dict.fromkeys(LAZY, "lazy"), "transport.mpi": "at its top"}
"""Who imports mpi4py at run time. All but one do it in a function: `import mpitasks` must not start MPI."""

FROM_OUTSIDE = {
    "mpi4py": {*MPI, "handshake", "lifeline", "survival.link"},
    "cloudpickle": {"runtime.by_value"},
    "matplotlib": {"simulator.gantt"},
    "pytest": {"testing"},
    "typing_extensions": {"backports", "bench.bulk"},
}

KNOWN_VIOLATIONS: set[tuple[str, str]] = set()
"""Arrows that are to go. One that has gone must leave this set too."""

IMPURE = {
    "time",
    "random",
    "logging",
    "threading",
    "asyncio",
    "os",
    "socket",
    "multiprocessing",
    "concurrent",
    "secrets",
    "uuid",
}


def inside() -> list[Import]:
    """The arrows within the library."""
    return [found for found in imports() if found.inside]


def test_every_module_is_in_the_table() -> None:
    """And nothing that is gone."""
    assert sorted(MAY_IMPORT) == sorted(modules())


def test_the_arrows_go_where_they_may() -> None:
    """No module imports what the table does not give it."""
    wrong = {(one.source, one.target) for one in inside() if one.target not in MAY_IMPORT[one.source] | FOR_ALL - {one.source}}
    assert wrong == KNOWN_VIOLATIONS


def test_the_table_holds_no_arrow_that_is_gone() -> None:
    """An arrow that nobody needs is not to come back unseen; `runtime` is given as a whole."""
    real = {(one.source, one.target) for one in inside()}
    listed = {(source, target) for source, targets in MAY_IMPORT.items() for target in targets if source not in RUNTIME}
    assert listed - real == set()


def test_arrows_for_types_stay_so() -> None:
    """At run time, these modules don't know each other; and only these arrows are for type checkers."""
    at_run_time = {(one.source, one.target) for one in inside() if not one.typing}
    assert {(one.source, one.target) for one in inside() if one.typing} - at_run_time == FOR_TYPES_ALONE


def test_there_is_no_circle() -> None:
    """Nor one that a lazy import hides."""
    graph: dict[str, set[str]] = {name: set() for name in modules()}
    for one in inside():
        if not one.typing:
            graph[one.source].add(one.target)
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"these modules import each other in a circle: {' -> '.join(error.args[1])}")
    assert len(order) == len(graph)


def test_the_core_is_pure() -> None:
    """It knows ids and errors; no clock, no dice, no log, no threads, no input or output."""
    core = {name for name in modules() if name == "core" or name.startswith("core.")}
    used = {one.target for one in imports() if one.source in core}
    assert used & IMPURE == set()
    assert {name for name in used if name in modules()} - core <= {"errors", "ids"}


def test_the_core_touches_nothing_by_builtins() -> None:
    """`print` and `open` need no import."""
    import ast  # noqa: PLC0415  only here

    called = {
        node.func.id
        for name, tree in modules().items()
        if name.startswith("core")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert called & {"print", "open", "input", "hash", "id", "exec", "eval"} == set()


def test_only_one_file_knows_mpi_at_its_top() -> None:
    """`transport.mpi`; the others that are listed import mpi4py where they need it."""
    found = {one.source: "lazy" if one.lazy else "at its top" for one in imports() if one.target == "mpi4py" and not one.typing}
    assert found == MPI


def test_whoever_imports_the_mpi_transport_does_it_lazily() -> None:
    """Else mpi4py would come with it."""
    assert {(one.source, one.lazy) for one in inside() if one.target == "transport.mpi"} == {
        ("session", True),
        ("classic.world", True),
    }


def test_what_comes_from_outside_is_listed() -> None:
    """Three packages at run time, and no others; pytest where users test, matplotlib where they draw."""
    outside = {(one.target, one.source) for one in imports() if not one.inside and one.target not in sys.stdlib_module_names}
    wrong = {(target, source) for target, source in outside if source not in FROM_OUTSIDE.get(target, set())}
    assert wrong == set()


def test_no_module_bears_a_name_of_the_standard_library() -> None:
    """Whoever reads `from .logs import` should not have to think."""
    names = {part for name in modules() for part in name.split(".")} - {"__main__"}
    assert names & set(sys.stdlib_module_names) == set()


def test_the_runtime_is_reached_by_the_session_and_its_ranks_alone() -> None:
    """Tasks and futures find the farm by a protocol, never by import; `classic` has loops of its own, and so has a child.

    `whereabouts` is another process's, which asks for its stacks a farm that does not answer.
    """
    from_outside = {
        one.source
        for one in inside()
        if one.target.startswith("runtime.") and one.source.partition(".")[0] not in ("runtime", "classic", "isolation")
    }
    assert from_outside == {
        "ranks",
        "session",
        "whereabouts",
        *(source for source, target in KNOWN_VIOLATIONS if target.startswith("runtime.")),
    }


def test_classic_takes_no_loop_of_the_runtime() -> None:
    """It waits as the runtime waits, uses the same numbers in its messages, and takes signals at the same points."""
    taken = {one.target for one in inside() if one.source.startswith("classic.") and one.target.startswith("runtime.")}
    assert taken == {"runtime.backoff", "runtime.interrupts", "runtime.messages"}
