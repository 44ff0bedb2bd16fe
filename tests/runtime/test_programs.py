"""Random programs, played on the real master and slaves, end as a serial run would.

To see a program that has failed here again, copy it from the note of the failure into `play(...)`: it is all there is to know.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, given, settings

from mpitasks import registry
from mpitasks.core.calls import SENT
from mpitasks.core.holding import Holding
from mpitasks.core.nesting import Nest as Place
from mpitasks.core.nesting import Proof
from mpitasks.core.scheduler import Scheduler
from mpitasks.retries import Retries
from mpitasks.runtime import keeper
from mpitasks.runtime.endings import Endings
from mpitasks.runtime.master import Master
from mpitasks.runtime.slave import Slave

from .bodies import define
from .play import Play
from .programs import MAP_PROGRAMS, PROGRAMS, Again, Call, Compute, Delay, Kill, Map, Nest, Program, TaskKind, Wait
from .stage import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy

    Run = Callable[[Program], None]


class AtOnce:
    """A thread that has done its work when it is started: on the stage, a seed tells the whole story."""

    def __init__(self, target: Callable[..., object], args: tuple[Any, ...] = (), **_: object) -> None:
        self.start = lambda: target(*args)

    def is_alive(self) -> bool:
        """Not after that."""
        return False

    def join(self, timeout: float) -> None:
        """It has ended."""


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Run:
    """`play(program)`: from its first step to its end, and the verdict."""
    monkeypatch.setattr(registry, "_tasks", {})
    monkeypatch.setattr(registry, "_resources", {})
    monkeypatch.setattr("mpitasks.futures._logger.disabled", True)  # failures that nobody asks for are usual here
    for module in ("overdue", "nested"):
        monkeypatch.setattr(f"mpitasks.runtime.{module}.threading", SimpleNamespace(Thread=AtOnce))
    tasks, clock = define(), Clock(monkeypatch)

    def run(program: Program) -> None:
        clock.now = 1000.0
        try:
            Play(program, tasks, clock).run()
        except BaseException as error:
            error.add_note(f"in {program}")
            raise

    return run


def fuzz(play: Run, programs: int, *phases: Phase, chance: bool = False, of: SearchStrategy[Program] = PROGRAMS) -> None:
    """Play so many of these; by chance, or the same ones each time."""

    @settings(
        max_examples=programs, deadline=None, derandomize=not chance, database=None, verbosity=Verbosity.quiet,
        report_multiple_bugs=False, phases=(Phase.generate, *phases), suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    @given(of)
    def test(program: Program) -> None:
        play(program)

    test()


def test_programs_end_as_a_serial_run_would(play: Run) -> None:
    """Whoever goes on when: outcomes, executions, limits, holders, releases; and it ends."""
    fuzz(play, 150, Phase.shrink)


def test_maps_end_as_a_serial_run_would(play: Run) -> None:
    """The same where many calls travel as one, and are taken apart."""
    fuzz(play, 150, Phase.shrink, of=MAP_PROGRAMS)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_ten_thousand_programs_of_maps_end_as_a_serial_run_would(play: Run) -> None:
    """The same for long, and not the same ones each time."""
    fuzz(play, 10_000, Phase.shrink, chance=True, of=MAP_PROGRAMS)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_ten_thousand_programs_end_as_a_serial_run_would(play: Run) -> None:
    """The same for long, and not the same ones each time."""
    fuzz(play, 10_000, Phase.shrink, chance=True)


# ---------------------------------------------------------------- what it has found
# What was wrong before is in the name of each; the list is for ever.

MEMO = TaskKind(memo=True)
SLOW_THEN_ANOTHER = Nest((Call(seconds=1.0), Call(after=(0,))), how="join")
LATE_CALLBACK = Delay(Call(nest=Nest((Call(then=Call()),), how="leave")))
FOUND = {
    "a call waits for one that gave back another that comes after a third: it was told of a deadlock": Program(
        2, 0, (Delay(Call(nest=Nest((Call(nest=SLOW_THEN_ANOTHER),)))),)
    ),
    "gives back the future of a call whose value is known: the farm broke": Program(
        1, 0, (Delay(Call(MEMO)), Wait(0), Delay(Call(nest=Nest((Again(0),), how="join"))))
    ),
    "hands on the future of a call whose value is known: KeyError": Program(
        1, 0, (Delay(Call(MEMO)), Wait(0), Delay(Call(nest=Nest((Again(0), Call(inputs=(0,)))))))
    ),
    "waits on the last slave for calls that a dead one had in its window: the run never ended": Program(
        *(2, 0),
        (
            *(Map(Call(TaskKind(2)), 6), Wait(0), Compute(0.0, 6)),
            *(Delay(Call(nest=Nest((Call(TaskKind(2), seconds=0.001),) * 8))), Compute(0, 4), Kill(1)),
        ),
    ),
    "waits on the last slave for a call of main that a dead one had in its window: the run never ended": Program(
        *(3, 0),
        (
            *(Delay(Call()), Delay(Call(MEMO)), Kill(1), *[Delay(Call())] * 7, Delay(Call(MEMO))),
            *(Delay(Call(MEMO, kills=1)), Delay(Call(MEMO, nest=Nest((Again(1),))))),
        ),
    ),
    "gives back the future of a call that takes the last slave: the run never ended": Program(
        1, 0, (Delay(Call(nest=Nest((Call(kills=1),), how="join"))),)
    ),
    "gives back the future of a call that never began: what waited for both never ended": Program(
        1, 0, (Delay(Call(nest=Nest((Call(fails=99), Call(after=(0,))), how="join"))), Delay(Call(inputs=(0,))))
    ),
    "follows an equal call that never began: what waited for the second never ended": Program(
        2, 0, (Delay(Call(MEMO, fails=99, seconds=0.02)), Delay(Call(MEMO, inputs=(0,))), Again(0), Delay(Call(inputs=(0,))))
    ),
    "fails, and one that it has submitted waits for another one: the farm broke": Program(
        1, 0, (Delay(Call(fails=99, nest=Nest((Call(), Call(inputs=(0,))), how="leave"))),)
    ),
    "gives back the future of a call equal to itself: the run never ended": Program(
        1, 0, (Delay(Call(MEMO, nest=Nest((Again(0),), how="join"))),)
    ),
    "was given up by the master alone, and gives back a future: the farm broke": Program(
        2, 0, (Delay(Call(timeout=0.5, seconds=1.0, nest=Nest((Call(),), how="join"))), Compute(0, 2), Compute(5.0, 0), Wait(0))
    ),
    "was given up, and runs again on the same slave, where it gives back a future: its value was None": Program(
        *(1, 0),
        (
            Delay(Call(timeout=0.5, retries=2, seconds=0.001, nest=Nest((Call(),), how="join", late=True))),
            Compute(0, 2),
            Compute(1.0, 3),
        ),
    ),
    "a callback on a slave submits when main has returned: that call never ran": Program(1, 0, (LATE_CALLBACK,)),
}


@pytest.mark.parametrize("program", FOUND.values(), ids=FOUND.keys())
def test_what_was_found_is_not_found_again(play: Run, program: Program) -> None:
    """With whatever luck."""
    for seed in range(40):
        play(replace(program, seed=seed))


# ---------------------------------------------------------------- does it find anything?


def one_slave_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits are one too high."""
    real: Any = Scheduler.queue_defined

    def define_more(self: Scheduler, name: str, *, max_slaves: int | None = None, weight: float = 1.0) -> None:
        real(self, name, max_slaves=None if max_slaves is None else max_slaves + 1, weight=weight)

    monkeypatch.setattr(Scheduler, "queue_defined", define_more)


def one_retry_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls run again once too often."""
    real: Any = Retries.pause
    monkeypatch.setattr(Retries, "pause", lambda self, failed, failure: real(self, failed - 1, failure))


def any_number_of_holders(monkeypatch: pytest.MonkeyPatch) -> None:
    """`max_holders` is forgotten."""
    monkeypatch.setattr(Holding, "is_exhausted", lambda *_: False)
    monkeypatch.setattr(Holding, "room", lambda *_: 99)


def keep_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """`keep` is forgotten."""
    monkeypatch.setattr(keeper, "surplus", lambda *_: [])


def release_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slaves leave with what they hold."""
    monkeypatch.setattr(keeper.Keeper, "release_all", lambda _: False)


def give_back_and_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a slave gives back, it runs all the same."""
    monkeypatch.setattr(Slave, "unbegun", lambda self: [call[0] for call in self._inbox])


def cancel_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`cancel()` says yes when it is too late."""
    real: Any = Scheduler.cancelled
    monkeypatch.setattr(Scheduler, "cancelled", lambda self, call: call.state == SENT or real(self, call))


def begin_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call waits for the first of its dependencies only."""
    real: Any = Scheduler.submitted
    monkeypatch.setattr(Scheduler, "submitted", lambda self, call, after=(): real(self, call, list(after)[:1]))


def forget_dependents(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that waits for another one waits for ever."""
    monkeypatch.setattr(Scheduler, "call_succeeded", lambda *_: None)


def forget_followers(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the call that runs for others is cancelled, no other runs."""
    monkeypatch.setattr(Endings, "_pass_on", lambda *_: None)


def tell_of_deadlocks_too_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slave that could help is taken for one that waits."""
    monkeypatch.setattr(Proof, "_only_waits", lambda *_: True)


def never_tell_of_deadlocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits in vain waits for ever."""
    monkeypatch.setattr(Proof, "of", lambda *_: None)


@pytest.mark.parametrize(
    "fault",
    [
        one_slave_more,
        one_retry_more,
        any_number_of_holders,
        keep_everything,
        release_nothing,
        give_back_and_run,
        cancel_what_runs,
        begin_early,
        forget_dependents,
        forget_followers,
        tell_of_deadlocks_too_soon,
        never_tell_of_deadlocks,
    ],
)
def test_a_fault_is_found(play: Run, monkeypatch: pytest.MonkeyPatch, fault: Callable[[pytest.MonkeyPatch], None]) -> None:
    """Each of these, and soon: mostly within 200 programs; of 400, one run in a hundred finds none."""
    fault(monkeypatch)
    with pytest.raises(Exception, match=r".*") as found:
        fuzz(play, 1000)
    assert "in Program(" in found.value.__notes__[-1]


def test_what_runs_on_top_of_a_call_is_looked_at(play: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that waits is buried under others' calls: most programs hide that, this one does not."""
    monkeypatch.setattr(Place, "is_within", lambda *_: True)
    waits = Delay(Call(nest=Nest((Call(seconds=0.02), Call(), Call()))))
    with pytest.raises(AssertionError, match="is none of its"):
        play(Program(2, 8, (waits, waits)))


def test_calls_of_late_callbacks_are_looked_for(play: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends without asking the slaves whether callbacks are left: few programs show that, this one does."""
    monkeypatch.setattr(Master, "have_settled", lambda _: True)
    with pytest.raises(AssertionError, match="ended by FarmBroken"):
        play(Program(1, 0, (LATE_CALLBACK,)))
