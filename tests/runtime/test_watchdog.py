"""The watchdog: when it speaks, and what it says."""

from __future__ import annotations

import os
import queue
import signal
from math import inf
from typing import TYPE_CHECKING

import pytest

from mpitasks import farm, task
from mpitasks.runtime import situation, watchdog
from mpitasks.runtime import stall as stalls
from mpitasks.runtime.inline import InlineMaster
from mpitasks.runtime.stall import stall_of
from mpitasks.runtime.watchdog import Watchdog
from tests.runtime import world as worlds
from tests.runtime.world import do, echo, inside

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.runtime.world import Clock, World

    NewWorld = Callable[..., World]

STALL = 10.0
NAME = "tests.runtime.test_watchdog.stuck"


@task(max_slaves=1)
def stuck() -> object:
    """Do what the test wants done inside a call."""
    return inside.pop()()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the watchdog says; where everybody is, is not of interest."""
    monkeypatch.setattr(situation, "describe", lambda _: "(described)")
    return []


def watch(world: World, said: list[str], clock: Clock) -> Watchdog:
    """A watchdog that has looked once."""
    dog = Watchdog(world.master, stall=STALL, say=said.append, clock=clock)
    dog.look()
    return dog


def test_it_speaks_once_and_then_in_short_and_less_and_less(new_world: NewWorld, clock: Clock, said: list[str]) -> None:
    """The first time in full; then what waits; and a line when it goes on."""
    world = new_world(1)
    stuck.delay()
    stuck.delay()
    dog = watch(world, said, clock)
    spoken_at = []
    for _ in range(80):
        clock.now += 1
        before = len(said)
        dog.look()
        if len(said) > before:
            spoken_at.append(clock.now - 1000)
    assert spoken_at == [10, 20, 40, 80]
    how = "run(stall=...) or MPITASKS_STALL sets this time, if calls are meant to take so long"
    assert said[0] == f"mpitasks: nothing has ended for 10 s, and calls wait ({how})\n(described)\n"
    how = f"`python -m mpitasks stacks {os.getpid()}` here shows where everybody is"
    assert said[3] == (
        f"mpitasks: still nothing has ended, for 80 s ({how})\n"
        f"  {NAME}: call 2 waits: max_slaves=1 is reached, by slave 1 in call 1 of {NAME} for 80 s\n"
    )
    worlds.inside += [int, int]
    world.finish()
    dog.look()
    assert said[4:] == ["mpitasks: it goes on, after 80 s\n"]


@pytest.mark.usefixtures("names")
def test_it_is_silent_while_anything_happens(new_world: NewWorld, clock: Clock, said: list[str]) -> None:
    """A call is submitted, or ends, now and then."""
    world = new_world(1)
    stuck.delay()
    dog = watch(world, said, clock)
    for _ in range(5):
        clock.now += STALL - 1
        dog.look()
        echo.delay()
        dog.look()
    worlds.inside.append(int)
    world.finish()
    clock.now += 10 * STALL
    dog.look()
    dog.look()
    assert said == []


def test_it_is_silent_while_nothing_waits(new_world: NewWorld, clock: Clock, said: list[str]) -> None:
    """Calls that run may take what they take."""
    world = new_world(2)
    stuck.delay()
    dog = watch(world, said, clock)
    clock.now += 100 * STALL
    dog.look()
    worlds.inside.append(int)
    world.finish()
    assert said == []


def test_calls_may_take_three_times_what_they_usually_take(new_world: NewWorld, clock: Clock, said: list[str]) -> None:
    """Long calls are no trouble, if they are known to be long."""
    world = new_world(1)
    worlds.inside += [int, lambda: setattr(clock, "now", clock.now + 100)]
    for _ in range(3):
        stuck.delay()
    world.slaves[1].receive()
    world.slaves[1]._run_next()
    world.master.step()
    dog = watch(world, said, clock)
    clock.now += 299
    dog.look()
    assert said == []
    clock.now += 1
    dog.look()
    assert len(said) == 1
    worlds.inside += [int, int]
    world.finish()


def test_it_never_speaks_if_told_so(new_world: NewWorld, clock: Clock, said: list[str]) -> None:
    """`stall=0`."""
    world = new_world(1)
    stuck.delay()
    stuck.delay()
    dog = Watchdog(world.master, stall=stall_of(0), say=said.append, clock=clock)
    dog.look()
    clock.now += 1e9
    dog.look()
    worlds.inside += [int, int]
    world.finish()
    assert said == []


@pytest.mark.parametrize(
    ("given", "variable", "seconds"),
    [(300.0, None, 300.0), (0, None, inf), (None, None, inf), (7, "2.5", 2.5), (7, "0", inf), (7, "", 7.0)],
)
def test_the_environment_has_the_last_word(
    monkeypatch: pytest.MonkeyPatch, given: float | None, variable: str | None, seconds: float
) -> None:
    """0 is never."""
    monkeypatch.delenv(stalls.STALL, raising=False)
    if variable is not None:
        monkeypatch.setenv(stalls.STALL, variable)
    assert stall_of(given) == seconds


@pytest.mark.parametrize(
    ("given", "variable", "words"),
    [
        (-1, "", "stall=-1"),
        ("5 min", "", "stall='5 min'"),
        (float("nan"), "", "stall=nan"),
        (5, "soon", "MPITASKS_STALL='soon'"),
    ],
)
def test_what_is_no_time_is_refused(monkeypatch: pytest.MonkeyPatch, given: float, variable: str, words: str) -> None:
    """With the way out."""
    monkeypatch.setenv(stalls.STALL, variable)
    with pytest.raises(ValueError, match="must be") as caught:
        stall_of(given)
    assert str(caught.value) == f"{words} must be a number of seconds without any outcome after which to say why; 0: never"


# ---------------------------------------------------------------- where everybody is


def test_each_slave_tells_where_it_is(new_world: NewWorld, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits and for what; the stack of a busy slave; idle ones in a line; and the stack of main."""
    world = new_world(3)
    stuck.delay()
    stuck.delay()
    clock.now += 5
    told: list[str] = []

    def listen(_: float) -> None:
        for slave in world.slaves.values():
            slave.receive()  # as the listener does while a call goes on
        world.master.step()

    monkeypatch.setattr(situation, "sleep", listen)
    worlds.inside += [int, lambda: told.append(situation.describe(world.master))]
    world.finish()
    lines = told[0].splitlines()
    assert lines[:4] == [
        "what waits:",
        f"  {NAME}: call 2 waits: max_slaves=1 is reached, by slave 3 in call 1 of {NAME} for 5.0 s",
        "where the slaves are:",
        f"  slave 3: in call 1 of {NAME} for 5.0 s",
    ]
    assert lines[4].endswith(", in stuck")
    assert lines[5] == "      return inside.pop()()"
    assert lines[lines.index("where main is:") - 1] == "  slaves 1-2: idle"


CALL = "of tests.runtime.world.echo for 0.0 s"
FEW = [f"  slave 1: in call 2 {CALL}", f"  slave 2: in call 1 {CALL}", "    all of them here:"]
MANY = ["  slaves 1-5: in calls of tests.runtime.world.echo for 0.0 s or longer"]


@pytest.mark.parametrize(("slaves", "head"), [(2, FEW), (5, MANY)])
def test_slaves_at_one_place_are_told_together(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch, slaves: int, head: list[str]
) -> None:
    """Up to three by name; more, which there may be, in a line."""
    world = new_world(slaves)
    for _ in range(slaves):
        echo.delay()
    world.master.stacks.update(dict.fromkeys(world.slaves, "thread 'MainThread':\n  File \"a.py\", line 1, in f\n"))
    monkeypatch.setattr(world.master, "ask_stacks", list)
    lines = situation.describe(world.master).splitlines()
    world.finish()
    assert lines[3 : 4 + len(head)] == [*head, '    File "a.py", line 1, in f']


def test_of_very_many_places_those_of_the_longest_calls_are_shown(new_world: NewWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are counted, so that the message ends."""
    monkeypatch.setattr(situation, "MOST_GROUPS", 2)
    world = new_world(5)
    for _ in range(5):
        echo.delay()
    world.master.stacks.update({rank: f"spot {rank}" for rank in world.slaves})
    monkeypatch.setattr(world.master, "ask_stacks", list)
    lines = situation.describe(world.master).splitlines()
    world.finish()
    assert [line for line in lines if "spot" in line] == ["    spot 1", "    spot 2"]
    assert "  slaves 3-5: elsewhere, not for so long" in lines


def test_a_slave_that_does_not_answer_is_called_so(new_world: NewWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle or not, after a while."""
    monkeypatch.setattr(situation, "ANSWER_WITHIN", 0.0)
    world = new_world(1)
    assert "  slave 1: idle\n    it does not answer\n" in situation.describe(world.master)


# ---------------------------------------------------------------- the signal


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> queue.Queue[str]:
    """What is said on SIGUSR2, as soon as it is."""
    monkeypatch.setattr(situation, "on_demand", lambda _: "told")
    return queue.Queue()


def test_the_signal_makes_it_speak(new_world: NewWorld, rung: queue.Queue[str]) -> None:
    """As often as it comes; after that, it means what it meant."""
    world = new_world(1)
    with Watchdog(world.master, stall=inf, say=rung.put).watching():
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGUSR2)
            assert rung.get(timeout=10) == "told\n"
    assert not watchdog.catches(os.getpid(), signal.SIGUSR2)


def test_a_handler_of_the_program_stays(new_world: NewWorld, rung: queue.Queue[str]) -> None:
    """The signal is the program's, if that has a use for it: before the run, or since."""
    world, handled = new_world(1), []
    before = signal.signal(signal.SIGUSR2, lambda *_: handled.append("before"))
    try:
        with Watchdog(world.master, stall=inf, say=rung.put).watching():
            os.kill(os.getpid(), signal.SIGUSR2)
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)
        with Watchdog(world.master, stall=inf, say=rung.put).watching():
            signal.signal(signal.SIGUSR2, lambda *_: handled.append("since"))
        os.kill(os.getpid(), signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert handled == ["before", "since"]
    assert rung.empty()


def test_an_inline_run_points_to_main() -> None:
    """Its slave is main's own thread, which can't answer."""
    master, told = InlineMaster(), []
    farm.bind(master)
    worlds.inside.append(lambda: told.append(situation.describe(master)))
    do.delay()
    farm.unbind()
    head = "where the slaves are:\n  slave 1: in call 1 of tests.runtime.world.do for 0.0 s\n"
    assert told[0].startswith(f"what waits:\n  nothing\n{head}    in main's thread: see there\nwhere main is:\n  File ")
    assert ", in do\n" in told[0]
