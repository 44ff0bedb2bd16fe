"""What an isolated call is worth: its value, its end, and what is left."""

from __future__ import annotations

import os
import pickle
import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mpitasks import StartError, TaskCrashed, TaskTimeout
from mpitasks.broken import InitializerFailed
from mpitasks.isolation import handle, importing
from mpitasks.isolation.line import pair
from mpitasks.retries import name_of
from mpitasks.runtime.functions import _Travelling
from mpitasks.transport import wire
from tests.isolation.conftest import Rig, descendants

if TYPE_CHECKING:
    from pathlib import Path

# ---------------------------------------------------------------- values


def test_calls_share_a_child(rig: Rig) -> None:
    """It is another process, and the same for many calls."""
    pids = {rig.call("pid") for _ in range(20)}
    assert len(pids) == 1
    assert os.getpid() not in pids


def test_an_exception_comes_back_as_itself(forked: Rig) -> None:
    """With the traceback in the child as its cause, and a note."""
    with pytest.raises(ValueError, match="oh") as caught:
        forked.call("fail", "oh")
    assert "raise ValueError(text)" in str(caught.value.__cause__)
    assert caught.value.__notes__ == ["task 'tests.isolation.tasks.fail', call 1, attempt 1, slave rank 7 on here"]
    assert forked.call("echo", 1) == 1


def test_a_call_knows_itself(rig: Rig) -> None:
    """Its context is that of the slave; and what runs it is no master."""
    assert rig.call("about", 1) == ("tests.isolation.tasks.about", 7, 1, False)
    assert rig.call("later", 5) == 5
    assert rig.seconds is not None


def test_bulk_data_goes_by_shared_memory(forked: Rig) -> None:
    """There and back, writable as elsewhere, many buffers in one message; the socket carries but a few bytes of it."""
    array = np.arange(5_000_000.0)
    assert np.array_equal(forked.call("add_one", array.copy()), array + 1)
    many = [np.full(10_000, float(number)) for number in range(300)]
    for one, back in zip(many, forked.call("echo", many), strict=True):
        assert np.array_equal(one, back)


def test_what_is_pickled_at_length_travels_too(forked: Rig) -> None:
    """A long string has no buffers; values of futures are as they came from other slaves."""
    text = "x" * 1_000_000
    assert forked.call("echo", text) == text
    values = [wire.encode(str(number) * 20_000) for number in range(60)]
    payload, _ = wire.encode_arguments((([Place() for _ in values],), {}))
    name = "tests.isolation.tasks.echo"
    assert forked.send(name, name, payload, filled=values) == [str(number) * 20_000 for number in range(60)]


class Place:
    """Where a value goes, as a future is pickled."""

    def __reduce__(self) -> object:
        return wire.claim(self)


def test_functions_travel_once_a_child(forked: Rig) -> None:
    """By number, as to a slave; a new child gets them again, and what is dropped is forgotten."""
    large = bytes(200_000)
    forked.isolation.know({1: _Travelling(pickle.dumps(len)), 2: _Travelling(pickle.dumps(abs) + large)}, [])
    arguments = wire.encode((([1, 2],), {}))
    assert forked.send("len", 1, arguments) == 2
    with pytest.raises(TaskCrashed):
        forked.call("crash", "os._exit(3)")
    assert forked.send("len", 1, arguments) == 2
    assert forked.send("abs", 2, wire.encode(((-3,), {}))) == 3
    forked.isolation.know({}, [1])
    assert forked.send("abs", 2, wire.encode(((-3,), {}))) == 3
    child = forked.isolation._child
    assert child is not None
    assert child.functions == {2}


def test_an_initializer_runs_once_a_child(forked: Rig) -> None:
    """And that it failed is remembered."""
    forked.isolation.know({1: _Travelling(pickle.dumps(os.getpid)), 2: _Travelling(pickle.dumps(divmod))}, [])
    assert forked.send("x", "tests.isolation.tasks.echo", wire.encode(((4,), {})), setup=1) == 4
    with pytest.raises(InitializerFailed, match="the initializer of this executor raised TypeError"):
        forked.send("x", "tests.isolation.tasks.echo", wire.encode(((4,), {})), setup=2)


def test_the_child_is_no_rank(rig: Rig) -> None:
    """What the launcher has told the rank would have MPI in the child take itself for it."""
    names = [name for name in rig.call("variables") if name.startswith(("PMI", "OMPI_", "PRTE_", "HYD", "MPI_LOCAL"))]
    assert names == []
    assert os.environ["PMI_OF_A_RANK"] == "1"


# ---------------------------------------------------------------- crashes


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT"])
def test_a_signal_ends_its_call_alone(forked: Rig, name: str) -> None:
    """The error says which; the next call runs in a new child."""
    before = forked.call("pid")
    with pytest.raises(TaskCrashed, match=rf"the process of the call was killed by {name} \(") as caught:
        forked.call("crash", name)
    assert (caught.value.signal, caught.value.code, caught.value.perhaps_out_of_memory) == (signal.Signals[name], None, False)
    assert any("call 2, attempt 1, slave rank 7 on here, isolated" in note for note in caught.value.__notes__)
    assert forked.seconds is not None
    assert forked.failure is not None
    assert forked.failure[0][0] == name_of(TaskCrashed)
    assert forked.call("pid") != before


@pytest.mark.parametrize(("how", "code"), [("os._exit(0)", 0), ("os._exit(3)", 3), ("exit(4)", 4)])
def test_an_exit_ends_its_call_alone(forked: Rig, how: str, code: int) -> None:
    """With code 0 too: the call has not returned."""
    with pytest.raises(TaskCrashed, match=rf"ended with exit code {code} before the call had returned") as caught:
        forked.call("crash", how)
    assert (caught.value.signal, caught.value.code) == (None, code)
    assert forked.call("echo", 1) == 1


def test_a_crash_says_where(rig: Rig) -> None:
    """The child's last stack is in the error, without frames of ours."""
    with pytest.raises(TaskCrashed) as caught:
        rig.call("crash", "SIGSEGV")
    assert "in crash" in caught.value.stack
    assert "string_at(0)" in caught.value.stack
    assert "runner.py" not in caught.value.stack
    assert caught.value.stack in str(caught.value.__cause__)


def test_an_error_of_a_crash_travels_whole() -> None:
    """Through pickle, attributes and all."""
    error = pickle.loads(pickle.dumps(TaskCrashed("x", signal=9, perhaps_out_of_memory=True, stack="s")))
    assert (str(error), error.signal, error.code, error.perhaps_out_of_memory, error.stack) == ("x", 9, None, True, "s")


def test_a_kill_with_memory_short_says_perhaps(forked: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL, and the kernel's count of kills has grown."""
    counts = iter([5, 6])
    monkeypatch.setattr("mpitasks.isolation.system.out_of_memory_kills", lambda: next(counts))
    with pytest.raises(TaskCrashed, match="perhaps it was out of memory") as caught:
        forked.call("crash", "SIGKILL")
    assert caught.value.perhaps_out_of_memory


def test_what_was_started_goes_with_the_child(rig: Rig, tmp_path: Path) -> None:
    """A child, one in a session of its own, one whose parent has gone."""
    with pytest.raises(TaskCrashed):
        rig.call("leave_behind", str(tmp_path / "pids"))
    pids = set(map(int, (tmp_path / "pids").read_text().split()))
    assert len(pids) == 3
    assert pids & descendants() == set()
    assert [pid for pid in pids if os.path.exists(f"/proc/{pid}")] == []  # noqa: PTH110  short


@pytest.mark.parametrize("where", ["Python", "C", "C with the interpreter"])
def test_a_hang_is_killed_with_its_stack(forked: Rig, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When its time is over, and a moment more; then the next call runs."""
    monkeypatch.setattr(handle, "PATIENCE", 0.1)
    forked.call("echo")
    killed = r"a call of '.*hang' can't be interrupted; its process was killed after timeout=0\.1 s, in "
    with pytest.raises(TaskTimeout, match=killed) as caught:
        forked.call("hang", where, limit=0.1)
    assert caught.value.seconds == 0.1
    assert "in hang" in caught.value.stack
    assert caught.value.stack in str(caught.value.__cause__)
    assert forked.failure is not None
    assert forked.failure[0][0] == name_of(TaskTimeout)
    assert forked.call("echo", 1) == 1


def test_what_the_alarm_can_end_costs_no_child(forked: Rig) -> None:
    """As in a slave: Python code, and what waits in it."""
    before = forked.call("pid")
    with pytest.raises(TaskTimeout, match=r"was ended after timeout=0\.05 s"):
        forked.call("sleep", limit=0.05)
    assert forked.call("pid") == before


def test_acquiring_has_a_limit_of_its_own(forked: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """In C too; nothing is held then, and the call has not begun."""
    monkeypatch.setattr(handle, "PATIENCE", 0.1)
    with pytest.raises(TaskTimeout, match=r"acquiring resource .*stuck.* can't be interrupted; its process was killed"):
        forked.call("in_stuck", resource=("tests.isolation.tasks.stuck", ()))
    assert forked.seconds is None
    assert held(forked) == []
    assert forked.call("echo", 1) == 1


def test_a_limit_does_not_hurt_who_is_fast(forked: Rig) -> None:
    """The same child runs on."""
    assert len({forked.call("pid", limit=0.5) for _ in range(10)}) == 1


def test_who_closes_all_files_is_ended(forked: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child can't answer any more."""
    monkeypatch.setattr(handle, "PATIENCE", 0.1)
    with pytest.raises(TaskCrashed, match="lost its connection to its slave"):
        forked.call("close_all")
    assert forked.call("echo", 1) == 1


def test_a_nanny_that_is_killed_is_replaced(forked: Rig) -> None:
    """Its child goes with it; the next call finds another of both."""
    forked.call("echo")
    before = forked.nanny()
    with pytest.raises(TaskCrashed, match="is gone, and the one that made it too"):
        forked.call("kill_nanny")
    assert forked.call("echo", 1) == 1
    assert forked.nanny() != before


def test_who_is_short_of_memory_is_replaced(forked: Rig) -> None:
    """The task may have set the limit itself, and calls that follow would suffer."""
    before = forked.call("pid")
    with pytest.raises(MemoryError):
        forked.call("no_memory")
    assert forked.call("pid") != before


def test_the_slave_says_stop(forked: Rig) -> None:
    """A cancelled call asks `should_stop`, in the child too; the next call is a new one."""
    forked.stopped = True
    assert forked.call("until_stopped") == "stopped"
    assert forked.heard == [forked.calls]  # what it returns may be half of it
    forked.call("echo", 1)  # it does not ask
    assert forked.heard == [forked.calls - 1]
    forked.stopped = False
    assert forked.call("echo", 1) == 1


def test_nothing_begins_in_a_child_that_has_gone(forked: Rig) -> None:
    """A child that was killed between two calls has crashed no call."""
    os.kill(forked.call("pid"), signal.SIGKILL)
    assert forked.call("echo", 1) == 1


def test_that_no_child_can_be_made_is_an_outcome(forked: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """No slave ends by it."""

    def refuse() -> None:
        raise OSError(11, "no more processes")

    monkeypatch.setattr("mpitasks.isolation.start.take", refuse)
    with pytest.raises(OSError, match="no more processes"):
        forked.call("echo")


def test_a_program_that_can_not_be_imported_is_an_outcome(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error shows why."""
    script = tmp_path / "app.py"
    script.write_text("1 / 0\n")
    program = importing.program()._replace(name=None, file=str(script))
    monkeypatch.setattr("mpitasks.isolation.importing.program", lambda: program)
    rig = Rig()
    with pytest.raises(StartError, match=r"can't be imported in the process for isolated calls:\n(.*\n)*ZeroDivisionError"):
        rig.call("echo")
    rig.isolation.close()


# ---------------------------------------------------------------- what it says meanwhile


@pytest.mark.parametrize("rig", ["exec"], indirect=True)  # a fork would have stdout as it was before capfd
def test_prints_and_logs_come_out(capfd: pytest.CaptureFixture[str], rig: Rig) -> None:
    """Before a crash too, as far as logs go."""
    rig.call("say", "hello")
    assert [(record["msg"], record["rank"], record["task"]) for record in rig.records] == [
        ("hello", 7, "tests.isolation.tasks.say")
    ]
    assert capfd.readouterr().out == "hello"
    with pytest.raises(TaskCrashed):
        rig.call("say", "last words", then_crash=True)
    assert rig.records[-1]["msg"] == "last words"


def test_a_line_carries_descriptors_and_memory() -> None:
    """In the order in which they were sent, many at once."""
    one, other = pair()
    ends = os.pipe()
    for number in range(5):
        one.send(("x", number, bytes(100_000)), ends)
    one.send(("y", pickle.PickleBuffer(bytes(100_000))))
    other.take_in()
    for number in range(5):
        while (message := other.next()) is None:
            other.take_in()
        assert message[:2] == ("x", number)
        os.write(message[4], b"!")
        assert os.read(ends[0], 10) == b"!"
        for descriptor in message[3:]:
            os.close(descriptor)
    while (message := other.next()) is None:
        other.take_in()
    assert len(message[1]) == 100_000
    one.close()
    with pytest.raises(EOFError):
        other.take_in()
    other.close()


# ---------------------------------------------------------------- resources


def held(rig: Rig) -> list[str]:
    """What the master would hear."""
    return [args[0] if args else name for name, args in rig.isolation.held]


BOX = "tests.isolation.tasks.box"


def test_the_child_holds_resources(rig: Rig) -> None:
    """Acquired once, kept between calls, told at once."""
    first = rig.call("in_box", "a", resource=(BOX, ("a",)))
    assert rig.call("in_box", "a", resource=(BOX, ("a",))) == first
    rig.call("in_box", "b", resource=(BOX, ("b",)))
    assert held(rig) == ["a", "b"]
    assert [named for named, _ in rig.acquired] == [(BOX, ("a",)), (BOX, ("b",))]
    rig.call("in_box", "c", resource=(BOX, ("c",)))
    assert held(rig) == ["b", "c"]


def test_what_a_child_held_is_gone_with_it(forked: Rig) -> None:
    """And acquired again by the next."""
    _, before = forked.call("in_box", "a", resource=(BOX, ("a",)))
    with pytest.raises(TaskCrashed):
        forked.call("crash", "os._exit(3)")
    assert held(forked) == []
    _, after = forked.call("in_box", "a", resource=(BOX, ("a",)))
    assert before != after


def test_the_slave_has_the_child_release(forked: Rig) -> None:
    """Where the slave itself is to hold something."""
    forked.call("in_box", "a", resource=(BOX, ("a",)))
    forked.isolation.release_all()
    assert held(forked) == []
    forked.isolation.release_all()


def test_a_child_that_can_not_release_is_ended(
    forked: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The slave, which waits for that, goes on, and a line says what was not released."""
    monkeypatch.setattr(handle, "LONGEST_LEAVE", 0.1)
    name = "tests.isolation.tasks.kept_for_good"
    before = forked.call("in_kept_for_good", resource=(name, ()))
    forked.isolation.release_all()
    assert (held(forked), before in descendants()) == ([], False)
    assert caplog.messages == [f"an isolated call's process did not release '{name}' within 0.1 s, and was killed"]
    assert forked.call("in_kept_for_good", resource=(name, ())) != before
    forked.isolation.close()


def test_a_child_releases_what_is_idle(forked: Rig) -> None:
    """Nobody has to ask it to."""
    forked.call("in_brief", resource=("tests.isolation.tasks.brief", ()))
    assert held(forked) == ["tests.isolation.tasks.brief"]
    while held(forked):
        forked.isolation.look()
    assert forked.call("echo", 1) == 1


@pytest.mark.parametrize("rig", ["exec"], indirect=True)  # a fork would have stdout as it was before capfd
def test_a_child_releases_at_the_end(capfd: pytest.CaptureFixture[str], rig: Rig) -> None:
    """In the order in which slaves do."""
    rig.call("in_box", "a", resource=(BOX, ("a",)))
    rig.call("in_box", "b", resource=(BOX, ("b",)))
    rig.isolation.close()
    assert capfd.readouterr().out.split("\n") == ["acquire a", "acquire b", "release b", "release a", ""]


# ---------------------------------------------------------------- where it is


def test_who_asks_gets_the_stack_of_the_child(forked: Rig) -> None:
    """In the midst of a call, by the thread that minds it; the first may come before the task has begun."""
    told: list[str] = []

    def hear(text: str) -> None:
        told.append(text)
        forked.stopped = "in until_stopped" in text

    def ask(_: object) -> bool:
        if forked.isolation._child is not None and forked.isolation._child.page.began() is not None and not forked.stopped:
            assert forked.isolation.ask_stack(hear)
        return forked.stopped

    forked.isolation._is_stopped = ask
    assert forked.call("until_stopped") == "stopped"
    assert told[-1].startswith("thread 'MainThread':\n")


def test_where_no_call_runs_there_is_no_stack(forked: Rig) -> None:
    """Whoever asks has to answer; one who asked as the call ended is told that there is none."""
    told: list[str] = []
    assert not forked.isolation.ask_stack(told.append)
    forked.isolation._asking.append(told.append)
    forked.isolation._in_call = True
    forked.call("echo", 1)
    assert len(told) == 1
    assert not forked.isolation.ask_stack(told.append)
    assert len(told) == 1
