"""Stacks as text: of this process, and of one whose interpreter is held."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from mpitasks.runtime import places, stacks
from mpitasks.runtime.places import Place
from tests.runtime import world as worlds
from tests.runtime.world import do

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.runtime.world import World

HOLDS_THE_INTERPRETER = """
import ctypes
from mpitasks.runtime import places, stacks

def task_of_mine():
    while True:  # a signal ends it
        ctypes.PyDLL(None).sleep(600)

place = places.answer()
print(*place, sep="|", flush=True)
task_of_mine()
"""


@contextmanager
def process(source: str) -> Iterator[Place]:
    """A process that runs this, which says first where it writes its stacks."""
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        host, pid, began, file = child.stdout.readline().strip().split("|")
        try:
            yield Place(host, int(pid), began, int(file))
        finally:
            child.kill()


def until_it_says(place: Place, text: str) -> str:
    """The dump, once that is in it: the process has just said where it is, and comes there in a moment."""
    for _ in range(100):
        said = stacks.dump(place)
        if text in said:
            return said
    return said


def test_the_users_frames_are_shown_and_ours_are_not(new_world: Callable[..., World]) -> None:
    """In a call: from the task on."""
    said: list[str] = []
    worlds.inside.append(lambda: said.append(stacks.of_this_process()))
    world = new_world(1)
    do.delay()
    world.finish()
    assert said[0].startswith("thread 'MainThread':\n  File ")
    assert "in do\n" in said[0].splitlines()[1] + "\n"
    assert "runner.py" not in said[0]


def test_threads_have_their_names() -> None:
    """The user's; those that run our code alone are left out."""
    entered, leave = threading.Event(), threading.Event()

    def wait_here() -> None:
        entered.set()
        leave.wait()

    thread = threading.Thread(target=wait_here, name="reader")
    thread.start()
    entered.wait()
    said = stacks.of_this_process()
    alone = stacks.of_thread(thread.ident or 0)
    leave.set()
    thread.join()
    assert "thread 'reader':\n" in said
    assert "in wait_here\n    leave.wait()" in alone
    assert "_bootstrap" not in said
    assert stacks.of_thread(thread.ident or 0) == ""


def test_a_process_that_holds_its_interpreter_tells_its_stack() -> None:
    """In C code, without Python's help: with the lines of the source."""
    with process(HOLDS_THE_INTERPRETER) as place:
        said = until_it_says(place, "task_of_mine")
        again = stacks.dump(place)
    assert said.startswith("thread 'MainThread':\n")
    assert 'File "<string>", line 7, in task_of_mine' in said
    assert again == said


def test_a_stopped_process_is_called_so() -> None:
    """It can't answer; the way out is named."""
    with process(HOLDS_THE_INTERPRETER) as place:
        os.kill(place.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, place.pid, os.WSTOPPED | os.WNOWAIT)
        said = stacks.dump(place)
    assert said == f"process {place.pid} is stopped (by SIGSTOP or a debugger): `kill -CONT {place.pid}` lets it go on"


def test_another_process_of_that_number_gets_no_signal() -> None:
    """It would die of it."""
    with process("print('here', 0, 0, 0, sep='|', flush=True); input()") as mine:
        child = Place(places.answer().host, os.getppid(), mine.began, 3)
        assert stacks.dump(child) == f"process {os.getppid()} has ended, or can't be seen from here"


def test_a_process_that_does_not_handle_the_signal_gets_none() -> None:
    """It would die of it."""
    source = "import os; from mpitasks.runtime import places; p = places.answer(); import faulthandler; "
    source += "faulthandler.unregister(places.SIGNAL); print(*p, sep='|', flush=True); input()"
    with process(source) as place:
        assert stacks.dump(place) == f"process {place.pid} can't write its stack"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"host": "elsewhere"}, "process {pid} is on elsewhere: its stack can't be read from {host}"),
        ({"file": -1}, "process {pid} can't write its stack"),
        ({"file": 4000}, "the stack of process {pid} can't be read: {missing}: '/proc/{pid}/fd/4000'"),
    ],
)
def test_what_can_not_be_read_is_told(change: dict[str, object], said: str) -> None:
    """In words."""
    place = places.answer()
    assert stacks.dump(place._replace(**change)) == said.format(
        pid=place.pid, host=place.host, missing="[Errno 2] No such file or directory"
    )


def test_asyncio_tasks_tell_where_they_wait() -> None:
    """By their coroutines; the loop itself says nothing."""
    said: list[str] = []

    async def inner(leave: asyncio.Event) -> None:
        await leave.wait()

    async def outer(leave: asyncio.Event) -> None:
        await inner(leave)

    async def main() -> None:
        leave = asyncio.Event()
        waiting = asyncio.create_task(outer(leave), name="reader")
        asyncio.get_running_loop().call_soon(lambda: said.append(stacks.of_thread(threading.get_ident())))
        asyncio.get_running_loop().call_soon(leave.set)
        await waiting

    asyncio.run(main())
    text = said[0]
    place = text.index("  asyncio task 'reader' waits:\n")
    assert [word for word in ("in outer", "in inner", "await leave.wait()") if word not in text[place:]] == []
    assert text.index("in outer", place) < text.index("in inner", place)
    assert "  asyncio task 'Task-" in text
    assert "in main\n    await waiting" in text


@pytest.mark.parametrize(
    ("first", "rest"),
    [('  File "a.py", line 3 in inner\n', '  File "a.py", line 9 in <module>\n'), ("Thr", "ead")],
)
def test_a_process_that_is_stopped_between_two_lines_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, rest: str
) -> None:
    """On a busy machine, a tenth of a second is nothing: what it has written so far does not look like all."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        for at, text in ((0.05, first), (0.15, rest)):
            if now < at <= now + seconds:
                file.write(text.encode())
        now += seconds

    monkeypatch.setattr(stacks.time, "sleep", sleep)
    monkeypatch.setattr(stacks.time, "monotonic", lambda: now)
    with (tmp_path / "stacks").open("w+b", buffering=0) as file:
        stacks.await_quiet(file.fileno(), 0, 1.0)
        assert os.fstat(file.fileno()).st_size == len(first + rest)
    assert now < 0.5
