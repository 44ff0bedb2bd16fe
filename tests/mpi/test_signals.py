"""Ctrl-C and SIGTERM: what runs may end, what waits is cancelled, and nobody is left behind.

`python -m mpitasks` promises the exit codes of a shell, 130 and 143, on every MPI. Under a bare mpiexec, measured: MPICH's
hands the signal to the ranks, so that the run ends in order, with the same codes; Open MPI's ends all ranks within about
half a second, with code 1.
"""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.mpi.app import App
    from tests.mpi.launcher import Mpiexec

SIGNALS = {"Ctrl-C": (signal.SIGINT, 130, "KeyboardInterrupt"), "SIGTERM": (signal.SIGTERM, 143, "Terminated")}

TASKS = """
import asyncio, concurrent.futures, os, sys, time
import mpitasks

@mpitasks.task(bind=True)
def obedient(ctx):
    print("running", flush=True)
    while not ctx.should_stop():
        time.sleep(0.01)
    print("stopped", flush=True)

@mpitasks.task(max_slaves=1)
def stubborn():
    print("running", flush=True)
    end = time.monotonic() + 1000
    while time.monotonic() < end:
        try:
            time.sleep(1000)
        except BaseException:
            pass

@mpitasks.task
def never():
    print("never", flush=True)
"""

MAINS = {
    "waits": "first.result()",
    "computes": "while True: sum(range(1000))",
    "waits by the standard library": "concurrent.futures.wait([first])",
    "sleeps": "time.sleep(1000)",
}

PLAIN = (
    TASKS
    + """
def main(task):
    first = task.delay()
    rest = [never.options(after=[first]).delay() for _ in range(100)]
    try:
        print("ready", flush=True)
        {body}
    except BaseException as error:
        print("main got", type(error).__name__, flush=True)
        raise

if __name__ == "__main__":
    mpitasks.run(main, {task}, grace={grace})
"""
)

ASYNC = (
    TASKS
    + """
async def main():
    first = obedient.delay()
    rest = [never.options(after=[first]).delay() for _ in range(100)]
    try:
        print("ready", flush=True)
        await asyncio.gather(first, asyncio.sleep(1000))
    except BaseException as error:
        print("main got", type(error).__name__, flush=True)
        raise

if __name__ == "__main__":
    mpitasks.run(main, grace=10)
"""
)


def source_of(body: str, *, task: str = "obedient", grace: float = 10) -> str:
    """A program whose main does `body` while a call runs and a hundred wait."""
    return ASYNC if body == "awaits" else PLAIN.format(body=MAINS[body], task=task, grace=grace)


def start_by_us(mpiexec: Mpiexec, source: str) -> App:
    """Start a program by `python -m mpitasks`."""
    script = mpiexec.folder / "script.py"
    script.write_text(source)
    return mpiexec.start_command([sys.executable, "-m", "mpitasks", "-n", "3", str(script)])


@pytest.mark.parametrize("body", [*MAINS, "awaits"])
@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_ends_the_run_in_order(mpiexec: Mpiexec, name: str, body: str) -> None:
    """Whatever main does, it is raised there; the running call sees `should_stop`, and what waits never runs.

    An async main is cancelled, as asyncio does it.
    """
    number, code, error = SIGNALS[name]
    with start_by_us(mpiexec, source_of(body)) as app:
        app.wait_for("running")
        app.wait_for("ready")
        app.process.send_signal(number)
        ended = app.wait(timeout=15)
    lines = [f"main got {'CancelledError' if body == 'awaits' else error}", "ready", "running", "stopped"]
    assert (ended.returncode, sorted(ended.stdout.splitlines())) == (code, lines), ended


@pytest.mark.parametrize("name", SIGNALS)
def test_a_bare_mpiexec_ends_the_job_too(mpiexec: Mpiexec, name: str) -> None:
    """Nobody is left behind; on MPICH the end is orderly, Open MPI's mpiexec takes the time for that away."""
    number, code, _ = SIGNALS[name]
    with mpiexec.start(3, source_of("waits")) as app:
        app.wait_for("running")
        app.wait_for("ready")
        app.process.send_signal(number)
        ended = app.wait(timeout=15)
    orderly = (code, True)
    expected = {"mpich": [orderly], "openmpi": [(1, False), (1, True), orderly]}[mpiexec.mpi]
    assert (ended.returncode, "stopped" in ended.stdout) in expected, ended
    assert "never" not in ended.stdout


@pytest.mark.parametrize("name", SIGNALS)
def test_a_call_that_does_not_stop_is_aborted_after_the_grace(mpiexec: Mpiexec, name: str) -> None:
    """The exit code is the signal's all the same, and stderr names the rank and the task."""
    number, code, _ = SIGNALS[name]
    with start_by_us(mpiexec, source_of("waits", task="stubborn", grace=0.5)) as app:
        app.wait_for("running")
        app.wait_for("ready")
        app.process.send_signal(number)
        ended = app.wait(timeout=15)
    assert ended.returncode == code, ended
    assert "is still in a call of 'script.stubborn'; the job is aborted" in ended.stderr


@pytest.mark.parametrize("name", SIGNALS)
def test_the_second_signal_does_not_wait_for_the_grace(mpiexec: Mpiexec, name: str) -> None:
    """Whoever asks twice gets the end at once, with the same exit code."""
    number, code, _ = SIGNALS[name]
    with start_by_us(mpiexec, source_of("waits", task="stubborn", grace=100)) as app:
        app.wait_for("running")
        app.wait_for("ready")
        app.process.send_signal(number)
        app.wait_for("main got")
        time.sleep(0.3)
        asked = time.monotonic()
        app.process.send_signal(number)
        ended = app.wait(timeout=20)
        seconds = time.monotonic() - asked
    assert (ended.returncode, seconds < 7) == (code, True), (seconds, ended)


def test_main_may_handle_ctrl_c_itself(mpiexec: Mpiexec) -> None:
    """KeyboardInterrupt is an exception like others: a main that catches it goes on with the farm."""
    source = """
import time
import mpitasks

@mpitasks.task
def double(x):
    return 2 * x

def main():
    print("running", flush=True)
    try:
        time.sleep(1000)
    except KeyboardInterrupt:
        print(double.delay(21).result())

if __name__ == "__main__":
    mpitasks.run(main)
"""
    with start_by_us(mpiexec, source) as app:
        app.wait_for("running")
        app.process.send_signal(signal.SIGINT)
        ended = app.wait(timeout=15)
    assert (ended.returncode, ended.stdout) == (0, "running\n42\n"), ended
