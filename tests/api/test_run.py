"""`run`: main's value and failure, backends, and how a run ends."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpitasks
from mpitasks import StartError, handshake, launch, session, surroundings, task
from mpitasks.isolation import aside
from mpitasks.runtime import watchdog
from mpitasks.testing import farm as users_farm  # noqa: F401  a fixture, under another name than this folder's own
from tests.api.tasks import add, echo, gate, hold, note, ran

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.api.conftest import Run

# ---------------------------------------------------------------- main


@pytest.mark.parametrize("value", [None, 5, "text", NotImplemented])
def test_run_gives_the_value_of_main(farm: Run, value: object) -> None:
    """The object itself: main is no call."""
    assert farm(lambda: value) is value


def test_main_gets_its_arguments(farm: Run) -> None:
    """All that follow it."""
    assert farm(lambda *args: args, 1, "b", None) == (1, "b", None)


def test_main_may_be_async(farm: Run) -> None:
    """Its value comes back too."""

    async def main(x: int) -> int:
        await asyncio.sleep(0)
        return await add.delay(x)

    assert farm(main, 4) == 5


@pytest.mark.parametrize("error", [ValueError("main"), SystemExit(3), KeyboardInterrupt()])
def test_the_exception_of_main_comes_out(farm: Run, error: BaseException) -> None:
    """Any, as it is, of a plain and of an async main; and then another run may begin."""

    def main() -> None:
        raise error

    async def async_main() -> None:
        main()

    for one in (main, async_main):
        with pytest.raises(type(error)) as caught:
            farm(one)
        assert caught.value is error or isinstance(error, KeyboardInterrupt)  # asyncio makes a new one of that
    assert farm(lambda: add.delay(1).result()) == 2


def test_unfinished_calls_are_waited_for(threads: Run) -> None:
    """When main returns."""
    futures = threads(lambda: echo.map(range(200)))
    assert all(future.done() for future in futures)


def test_dependents_are_waited_for(threads: Run) -> None:
    """And what callbacks submit."""

    def main() -> None:
        door = gate()
        first = hold.delay(value=1)
        second = add.delay(first.arg())
        second.add_done_callback(lambda one: note.delay("at the end"))
        door.opened.set()

    threads(main)
    assert ran == ["at the end"]


def test_a_failed_main_cancels_what_has_not_begun(threads: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """At once, with a line that counts; what waits for a running call too; and no later call is taken."""
    kept: list[Any] = []

    def main() -> None:
        door = gate()
        running = hold.delay()
        door.wait_for_a_call()
        kept.extend(hold.starmap([()] * 1000))
        kept.append(add.delay(running.arg()))
        running.add_done_callback(refused)
        note.fn("raising")
        kept[0].add_done_callback(lambda one: door.opened.set())  # when all are cancelled, the running one goes on
        raise KeyError("main")

    def refused(_: object) -> None:
        with pytest.raises(mpitasks.FarmBroken, match=r"'tests\.api\.tasks\.add' can't be called any more: the run is ending"):
            add.delay(1)
        note.fn("refused")

    with pytest.raises(KeyError, match="main"):
        threads(main, grace=10.0)
    assert all(one.cancelled() for one in kept)
    assert capsys.readouterr().err == "mpitasks: main ended by KeyError; 1001 calls that had not begun are cancelled\n"
    assert ran == ["raising", "refused"]


def test_a_slave_that_stays_in_a_call_is_named(threads: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Threads can't be ended from outside: after the grace, the run ends without it."""

    def main() -> None:
        door = gate()
        hold.delay()
        door.wait_for_a_call()
        raise KeyError

    with pytest.raises(KeyError):
        threads(main)
    (record,) = caplog.records
    words = "slave 1 is still in a call of 'tests.api.tasks.hold' after the grace; its thread goes on"
    assert record.getMessage().replace("slave 2", "slave 1") == words


def test_slaves_that_are_threads_are_watched(threads: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits, and the stacks of the slave's thread and of main's, each once."""
    said: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr(watchdog, "_to_stderr", said.put)

    def main() -> str:
        door = gate()
        calls = [hold.delay(), hold.delay()]
        door.wait_for_a_call()
        text = said.get(timeout=10)
        door.opened.set()
        mpitasks.wait(calls)
        return text

    text = threads(main, stall=0.05)
    name = "tests.api.tasks.hold"
    assert text.startswith("mpitasks: nothing has ended for ")
    assert f"what waits:\n  {name}: call 2 waits: max_slaves=1 is reached, by slave " in text
    assert text.count(", in hold\n      assert gates[name].opened.wait(PATIENCE)\n") == 1
    assert text.count(", in main\n    text = said.get(timeout=10)\n") == 1


@pytest.mark.parametrize("stall", [-1, "soon", float("nan"), 10**400])
def test_a_wrong_time_for_the_watchdog_is_refused(farm: Run, stall: object) -> None:
    """Before anything runs."""
    with pytest.raises(ValueError, match=f"stall={stall!r} must be a number of seconds"):
        farm(echo.delay, stall=stall)


def test_nothing_is_left_of_a_run(threads: Run) -> None:
    """No thread of ours, and no logging of ours."""
    factory = logging.getLogRecordFactory()
    threads(lambda: add.delay(1).result())
    left = [thread for thread in threading.enumerate() if thread.name.startswith("mpitasks")]
    for thread in left:
        thread.join(10)  # slaves have said goodbye, and are on their way out
    assert not any(thread.is_alive() for thread in left)
    assert logging.getLogRecordFactory() is factory


# ---------------------------------------------------------------- which backend


@pytest.mark.parametrize("slaves", [1, 3])
def test_threads_have_as_many_slaves_as_wanted(slaves: int) -> None:
    """Each runs calls, under its rank."""

    def main() -> set[Any]:
        met = threading.Barrier(slaves, timeout=10)
        barriers.append(met)
        return {future.result() for future in meet.starmap([()] * slaves, chunksize=1)}

    assert mpitasks.run(main, backend="threads", slaves=slaves) == set(range(1, slaves + 1))


barriers: list[threading.Barrier] = []


@task
def meet() -> int:
    """Wait until all slaves are here."""
    barriers[-1].wait()
    return mpitasks.current().rank


@pytest.mark.parametrize("slaves", [0, -2])
@pytest.mark.parametrize("backend", ["auto", "threads", "inline", "mpi"])
def test_less_than_one_slave_is_refused(slaves: int, backend: Any) -> None:
    """None at all is what inline is for."""
    with pytest.raises(ValueError, match=rf"slaves={slaves} must be 1 or more; for none, use backend='inline'"):
        mpitasks.run(print, backend=backend, slaves=slaves)


def test_an_unknown_backend_is_refused() -> None:
    """With those that are known."""
    with pytest.raises(ValueError, match="backend='dask' is not known; known: 'auto', 'mpi', 'inline', 'threads'"):
        mpitasks.run(print, backend="dask")


def test_run_takes_a_function() -> None:
    """The error says how main is given."""
    with pytest.raises(TypeError, match=r"run\(\) takes the function .* as run\(main\) without parentheses .* got None"):
        mpitasks.run(None)  # type: ignore[call-overload]


@pytest.mark.parametrize(("text", "words"), [("many", "MPITASKS_SLAVES='many' must be a whole number"), ("0", "slaves=0 must")])
def test_a_senseless_number_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch, text: str, words: str) -> None:
    """As one given to `run`."""
    monkeypatch.setenv("MPITASKS_SLAVES", text)
    with pytest.raises(ValueError, match=words):
        mpitasks.run(print)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A script, and nothing looks like MPI, whatever the tests before have imported."""
    monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)
    for name in list(os.environ):
        if name.startswith((*aside.TRACES, "MPITASKS_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "argv", ["prog.py"])
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "prog.py", raising=False)  # a worker of pytest-xdist has none
    return monkeypatch


def test_one_rank_runs_inline_and_says_so(alone: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stderr tells how to get more."""
    assert mpitasks.run(lambda: add.delay(1).result()) == 2
    assert capsys.readouterr().err == "mpitasks: 1 rank, so calls run in this process; for more: mpiexec -n 4 python prog.py\n"


def test_mpi_on_one_rank_is_refused(alone: pytest.MonkeyPatch) -> None:
    """With the command to start it."""
    words = r"backend='mpi' needs 2 ranks or more, and this is 1: start it with mpiexec -n 4 python prog\.py"
    with pytest.raises(StartError, match=words):
        mpitasks.run(print, backend="mpi")


def test_a_launcher_that_promised_more_is_believed(alone: pytest.MonkeyPatch) -> None:
    """N serial runs would look like one slow run."""
    alone.setenv("PMI_SIZE", "4")
    alone.setattr(surroundings, "start_mpi", lambda: 1)
    words = r"the launcher has set PMI_SIZE=4, but mpi4py uses another MPI than the mpiexec that started this.*-n 4 prog\.py"
    with pytest.raises(StartError, match=words):
        mpitasks.run(print)


def test_slaves_are_not_started_from_within(alone: pytest.MonkeyPatch) -> None:
    """What mpitasks itself has started does not start more."""
    alone.setenv("MPITASKS_STARTED", "4")
    with pytest.raises(StartError, match="mpiexec was started by mpitasks, and yet this is the only rank: mpi4py and mpiexec"):
        mpitasks.run(print, slaves=2)


def test_slaves_are_not_started_without_a_script(alone: pytest.MonkeyPatch) -> None:
    """In a console there is nothing to start again."""
    alone.delattr(sys.modules["__main__"], "__file__", raising=False)
    words = "slaves= starts this script again under mpiexec, and here is no script; use backend='threads' or 'inline'"
    with pytest.raises(StartError, match=words):
        mpitasks.run(print, slaves=2)


@pytest.mark.parametrize("source", ["argument", "environment"])
def test_slaves_are_started_with_the_command_line_as_it_was(alone: pytest.MonkeyPatch, source: str) -> None:
    """The master comes on top, and the exit code is that of mpiexec."""
    started: list[tuple[list[str], int]] = []

    def start(arguments: list[str], ranks: int) -> int:
        started.append((arguments, ranks))
        return 7

    alone.setattr(launch, "start", start)
    alone.setattr(sys, "orig_argv", ["python", "-X", "dev", "prog.py", "--deep"])
    if source == "environment":
        alone.setenv("MPITASKS_SLAVES", "3")
    with pytest.raises(SystemExit, match="7"):
        mpitasks.run(print, slaves=3 if source == "argument" else None)
    assert started == [(["-X", "dev", "prog.py", "--deep"], 4)]


def test_is_master_outside_of_mpi(alone: pytest.MonkeyPatch) -> None:
    """Without a launcher, yes; else by the rank that it tells."""
    assert mpitasks.is_master()
    alone.setenv("PMI_RANK", "1")
    assert not mpitasks.is_master()


# ---------------------------------------------------------------- runs that can't begin


def test_a_run_inside_a_run_is_refused(farm: Run) -> None:
    """A program has one farm."""
    with pytest.raises(StartError, match=r"run\(\) was called while a run is running: a program has one farm; call delay\(\)"):
        farm(lambda: farm(print))


@task
def run_inside(backend: Any) -> None:
    """Run inside a task."""
    mpitasks.run(print, backend=backend)


@pytest.mark.parametrize("backend", ["inline", "threads"])
def test_a_run_inside_a_task_is_refused(farm: Run, backend: str) -> None:
    """A task returns what main needs."""
    with pytest.raises(StartError, match=r"run\(\) was called inside a task: a task returns what main needs"):
        farm(lambda: run_inside.delay(backend).result())


def test_a_second_run_under_mpi_is_refused(monkeypatch: pytest.MonkeyPatch, farm: Run) -> None:
    """Its slaves have left."""
    monkeypatch.setattr(session, "_ended_under_mpi", ["begun"])
    with pytest.raises(StartError, match=r"run\(\) was called a second time under MPI, where the slaves have left"):
        farm(print)


def test_a_second_run_is_allowed_here(farm: Run) -> None:
    """Inline and with threads."""
    assert [farm(lambda: add.delay(1).result()) for _ in range(3)] == [2, 2, 2]


class FewThreads:
    """An MPI that was started for one thread."""

    THREAD_SERIALIZED = 2

    @staticmethod
    def Query_thread() -> int:  # noqa: N802  as in mpi4py
        return 1


def test_an_mpi_for_one_thread_is_refused() -> None:
    """The farm works in two."""
    words = r"MPI was started for one thread only.*remove the setting of mpi4py\.rc\.thread_level"
    with pytest.raises(StartError, match=words):
        session._refuse_few_threads(FewThreads)


class Ranks:
    """A communicator on whose rank 0 we are, with what the others would say."""

    def __init__(self, *others: tuple[tuple[bool, str, str, list[str]], ...] | Any) -> None:
        self._others = list(others)
        self._gathered = 0

    def gather(self, mine: Any) -> list[Any]:
        self._gathered += 1
        if self._gathered > 1:
            return [mine, *[names for *_, names in self._others]]
        digest = mpitasks.registry.digest
        return [mine, *[(present, version, python, digest(names)) for present, version, python, names in self._others]]

    def bcast(self, value: Any) -> Any:
        return value


def alike(**changes: Any) -> tuple[bool, str, str, list[str]]:
    """What a rank like this one says, with some of it changed."""
    mine = {
        "present": True,
        "version": mpitasks.__version__,
        "python": sys.version.split()[0],
        "names": mpitasks.registry.known_names(),
    }
    return tuple((mine | changes).values())


def test_ranks_that_agree_may_begin() -> None:
    """Then there is nothing to say."""
    assert handshake.compare(Ranks(alike(), alike())) == ""


@pytest.mark.parametrize(
    ("other", "line"),
    [
        ({"present": False}, "  rank 1 has left without calling mpitasks.run()"),
        ({"version": "0.0.9"}, f"  rank 1 has mpitasks 0.0.9, rank 0 has {mpitasks.__version__}"),
        ({"python": "3.9"}, f"  rank 1 has Python 3.9, rank 0 has {sys.version.split()[0]}"),
    ],
)
def test_a_rank_that_differs_is_named(other: dict[str, Any], line: str) -> None:
    """With what differs, and what every rank must do."""
    said = handshake.compare(Ranks(alike(**other), alike())).splitlines()
    assert said[:2] == ["the ranks of this job differ:", line]
    assert said[2] == ("Every rank must run the same program: import the modules that define tasks, then call mpitasks.run()")


def test_missing_tasks_are_named() -> None:
    """Both those that rank 0 lacks and those that it alone has."""
    names = [*mpitasks.registry.known_names(), "extra"]
    names.remove("tests.api.tasks.add")
    said = handshake.compare(Ranks(alike(names=names)))
    assert "  rank 1 lacks the tasks tests.api.tasks.add\n  rank 1 has the tasks extra, which rank 0 lacks\n" in said


# ---------------------------------------------------------------- for users' tests


def test_the_fixture_for_users_runs_main(users_farm: Callable[..., Any]) -> None:  # noqa: F811  as above
    """With threads; arguments and errors as `run`."""
    assert users_farm(lambda x: add.delay(x).result(), 5) == 6
    assert users_farm(lambda: mpitasks.current, slaves=1) is mpitasks.current
    with pytest.raises(ZeroDivisionError):
        users_farm(lambda: 1 // 0)


USERS_TEST = """
import mpitasks
from mpitasks.runtime import watchdog
from mpitasks.testing import farm

@mpitasks.task
def double(x): return 2 * x

def test_double(farm):
    assert farm(lambda: double.map([1, 2]).results()) == [2, 4]
"""


def test_users_import_the_fixture(tmp_path: Any) -> None:
    """One import line is all that it takes."""
    (tmp_path / "test_theirs.py").write_text(USERS_TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_theirs.py"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout.splitlines()[-1][:8]) == (0, "1 passed")


def test_strikes_may_be_any_whole_number() -> None:
    """Also numpy's."""
    assert mpitasks.run(lambda: "ran", backend="inline", strikes=np.int64(2)) == "ran"  # type: ignore[arg-type]


@pytest.mark.parametrize("strikes", [0, -1, 2.5, float("nan")])
def test_strikes_below_one_are_refused(strikes: Any) -> None:
    """A call must be able to run."""
    words = rf"strikes={strikes} must be a whole number, 1 or more: after so many dead slaves, a call does not run again"
    with pytest.raises(ValueError, match=words):
        mpitasks.run(print, backend="inline", strikes=strikes)


@pytest.mark.parametrize("grace", [-1, float("nan"), float("inf"), 1e300, 10**400, "5", None])
def test_a_wrong_grace_is_refused(farm: Run, grace: Any) -> None:
    """Before anything runs, and not when the end has come."""
    with pytest.raises(ValueError, match=f"grace={re.escape(repr(grace))} must be seconds, from 0 to 1e9"):
        farm(echo.delay, grace=grace)
