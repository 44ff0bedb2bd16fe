"""Where everybody is, and what waits, in words.

::

    what waits           by the scheduler: for each queue, its next call and the reason
    where slaves are     by themselves; those that don't answer: by a signal, where they are on this host
    where main is        by the interpreter of this process
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from textwrap import dedent, indent
from time import monotonic, sleep, strftime
from typing import TYPE_CHECKING, NamedTuple

from ..core.why import Doing, Explanation, lasting, name_slaves
from ..ids import Rank
from . import stacks

if TYPE_CHECKING:
    from .master import Master

ANSWER_WITHIN = 1.5
"""Seconds that slaves get to answer; one that is in a call looks every 50-100 ms."""
LOOK_EVERY = 2e-3
MOST_ALIKE = 3
"""Slaves at the same place that are listed one by one."""
MOST_GROUPS = 40
"""Places that are shown."""

_NO_ANSWER = "it does not answer, since C code holds its interpreter; asked by a signal, it tells:\n"

_one_at_a_time = threading.Lock()


class _Stands(NamedTuple):
    """A slave, and where it is."""

    doing: Doing
    stack: str


def describe(master: Master) -> str:
    """What waits, where each slave is, and where main is; asks the slaves, so it takes up to some seconds."""
    with _one_at_a_time:  # the answers of slaves come to the master, and not to who has asked
        explanation, told = master.explain(), _asked(master)
    standing = [_Stands(one, _stack_of(master, one, told)) for one in explanation.slaves]
    sections = [
        ("what waits", what_waits(explanation)),
        ("where the slaves are", _slaves(master, standing)),
        ("where main is", _short(stacks.of_this_process())),
    ]
    return "\n".join(f"{head}:\n{indent(text, '  ')}" for head, text in sections)


def on_demand(master: Master) -> str:
    """The same, with a head, for those who ask."""
    return f"mpitasks: at {strftime('%H:%M:%S')}, in process {os.getpid()}\n{describe(master)}"


def what_waits(explanation: Explanation) -> str:
    """A line for each queue in which calls wait."""
    behind = sum(len(one.calls) - 1 for one in explanation.slaves if one.calls)
    lines = [str(one) for one in explanation.waits]
    if explanation.others:
        lines.append(f"{explanation.others} more calls need others, which wait")
    if behind:
        lines.append(f"{behind} call{'s'[: behind > 1]} sent to slaves and not begun: see there")
    return "\n".join(lines or ["nothing"])


def _asked(master: Master) -> dict[Rank, str]:
    """What the slaves answer in time."""
    asked, deadline = master.ask_stacks(), monotonic() + ANSWER_WITHIN
    while len(master.stacks) < len(asked) and monotonic() < deadline:
        master.take_over()  # whoever drives usually may be what hangs
        sleep(LOOK_EVERY)
    return dict(master.stacks)


def _stack_of(master: Master, doing: Doing, told: dict[Rank, str]) -> str:
    """Where a slave is; empty where that says nothing: it is idle."""
    if doing.rank in told:
        return _short(told[doing.rank]) if doing.queue else ""
    if doing.rank >= len(master.places):
        return "it does not answer"
    said = stacks.dump(master.places[doing.rank])
    return _NO_ANSWER + _short(said) if said.startswith("thread ") else f"it does not answer: {said}"


def _slaves(master: Master, standing: Sequence[_Stands]) -> str:
    """The slaves, those at the same place together, those that have been in a call for longest first."""
    groups: dict[tuple[str, str], list[_Stands]] = {}
    for one in standing:
        groups.setdefault((one.doing.queue, one.stack), []).append(one)
    longest = sorted(groups.values(), key=lambda some: -max(one.doing.seconds for one in some))
    lines = [_group(master, some) for some in longest[:MOST_GROUPS]]
    if left := [one.doing.rank for some in longest[MOST_GROUPS:] for one in some]:
        lines.append(f"{name_slaves(left)}: elsewhere, not for so long")
    return "\n".join(lines)


def _group(master: Master, alike: Sequence[_Stands]) -> str:
    queue, stack = alike[0].doing.queue, alike[0].stack
    ranks = name_slaves(one.doing.rank for one in alike)
    if not queue and not stack:
        return f"{ranks}: idle"
    if len(alike) <= MOST_ALIKE:
        head = "\n".join(f"slave {one.doing.rank}{_place(master, one.doing.rank)}: {one.doing}" for one in alike)
        stack = stack if len(alike) == 1 else f"all of them here:\n{stack}"
    else:
        seconds = lasting(min(one.doing.seconds for one in alike))
        head = f"{ranks}: in calls of {queue} for {seconds} or longer" if queue else f"{ranks}: idle"
    return f"{head}\n{indent(stack, '  ')}"


def _place(master: Master, rank: int) -> str:
    if rank >= len(master.places):
        return ""
    place = master.places[rank]
    return f" (process {place.pid} on {place.host})"


def _short(text: str) -> str:
    """Stacks, without the head where there is only that of the main thread."""
    first, _, rest = text.rstrip("\n").partition("\n")
    if "\nthread " not in text and first.startswith("thread 'MainThread'"):
        return dedent(rest)
    return dedent(text.rstrip("\n")) or "in code of mpitasks"
