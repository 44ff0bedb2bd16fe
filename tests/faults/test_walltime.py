"""The time is over, a signal comes, the master or mpiexec is killed: how the run ends, and how the next goes on."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mpitasks import control
from tests.faults.test_journal import lines

if TYPE_CHECKING:
    from tests.mpi.app import App, Ended
    from tests.mpi.launcher import Mpiexec

CALLS = 30
APP = f"""
import asyncio, concurrent.futures, os, sys, time
import mpitasks
from mpitasks import task

def note(file, text):
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, (text + "\\n").encode())
    os.close(fd)

@task
def work(number):
    note("executed", str(number))
    print("running", flush=True)
    time.sleep(0.1)
    return number * number

@task(bind=True)
def early(ctx):
    note("executed", "early")
    print("running", flush=True)
    while not ctx.should_stop():
        time.sleep(0.01)
    return "half"

@task
def fail():
    raise ValueError("as asked")

def waits(futures):
    for future in futures:
        future.result()

isolated = waits

def sleeps(futures):
    while not all(future.done() for future in futures):
        time.sleep(1.0)

def waits_by_the_standard_library(futures):
    concurrent.futures.wait(futures)

def clears_up_in_vain(futures):
    with mpitasks.Executor() as executor:
        try:
            waits(futures)
        finally:
            futures[-1].result()

def catches_it(futures):
    try:
        waits(futures)
    except BaseException as error:
        print("main got", type(error).__name__, error.code, flush=True)

def waits_in_a_thread(futures):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        pool.submit(waits, futures).result()

def main(how):
    call = work.options(isolate=how == "isolated")
    futures = [call.delay(number) for number in range({CALLS})]
    try:
        globals()[how](futures)
    finally:
        print("main ends", flush=True)
    print("sum", sum(future.result() for future in futures), flush=True)

async def awaits():
    futures = [work.delay(number) for number in range({CALLS})]
    try:
        await asyncio.gather(*futures)
    finally:
        print("main ends", flush=True)
    print("sum", sum(future.result() for future in futures), flush=True)

def stops_early():
    print(early.delay().result())

def stops_early_isolated():
    print(early.options(isolate=True).delay().result())

def forgets():
    fail.delay()

def raises():
    note("begun", "main")
    raise ValueError("main's own")

def exits():
    note("begun", "main")
    sys.exit(3)

if __name__ == "__main__":
    how = sys.argv[1]
    if how in ("awaits", "stops_early", "stops_early_isolated", "forgets", "raises", "exits"):
        print("value", mpitasks.run(globals()[how]), flush=True)
    else:
        mpitasks.run(main, how)
"""
SUM = f"sum {sum(number * number for number in range(CALLS))}"
MAINS = [
    "waits",
    "isolated",
    "sleeps",
    "waits_by_the_standard_library",
    "clears_up_in_vain",
    "catches_it",
    "waits_in_a_thread",
    "awaits",
]


def start(mpiexec: Mpiexec, how: str, *options: str, journal: str = "run.jrnl", ranks: int = 3) -> App:
    """Start a program by `python -m mpitasks`."""
    script = mpiexec.folder / "app.py"
    script.write_text(APP)
    keep = ["--journal", journal] if journal else []
    return mpiexec.start_command([sys.executable, "-m", "mpitasks", "-n", str(ranks), *keep, *options, str(script), how])


def listing(mpiexec: Mpiexec) -> list[str]:
    """How the runs ended, by `python -m mpitasks journal`."""
    with mpiexec.start_command([sys.executable, "-m", "mpitasks", "journal", "run.jrnl"]) as app:
        return [line for line in app.wait().stdout.splitlines() if line.startswith("run of ")]


def ran_once_each(folder: Path) -> bool:
    """Whether every call was executed, and none twice."""
    return sorted(lines(folder / "executed")) == sorted(map(str, range(CALLS)))


@pytest.mark.parametrize("how", MAINS)
def test_sigusr1_drains_and_the_same_again_completes(mpiexec: Mpiexec, tmp_path: Path, how: str) -> None:
    """Whatever main does, with code 75 and one line; what ran has ended by itself and is kept."""
    with start(mpiexec, how) as app:
        app.wait_for("running")
        app.process.send_signal(signal.SIGUSR1)
        ended = app.wait(timeout=15)
    assert (ended.returncode, SUM in ended.stdout, "Traceback" in ended.stderr) == (75, False, False), ended
    begun = len(lines(tmp_path / "executed"))
    words = f"mpitasks: interrupted: SIGUSR1; {CALLS - begun} calls are left, {begun} outcome"
    assert (0 < begun < CALLS, words in ended.stderr) == (True, True), ended
    (first,) = listing(mpiexec)
    assert " interrupted at " in first
    assert first.endswith(": SIGUSR1")
    with start(mpiexec, how) as app:
        ended = app.wait(timeout=20)
    assert (ended.returncode, SUM in ended.stdout) == (0, True), ended
    assert ran_once_each(tmp_path)
    assert " complete at " in listing(mpiexec)[-1]


@pytest.mark.parametrize("how", ["stops_early", "stops_early_isolated"])
def test_a_call_that_stops_early_runs_again(mpiexec: Mpiexec, tmp_path: Path, how: str) -> None:
    """It sees `should_stop`, and what it returns then may be half of it: that is not kept."""
    for times in (1, 2):
        with start(mpiexec, how) as app:
            app.wait_for("running")
            app.process.send_signal(signal.SIGUSR1)
            ended = app.wait(timeout=15)
        assert (ended.returncode, lines(tmp_path / "executed")) == (75, ["early"] * times), ended
        assert "1 call is left, 0 outcomes are in the journal" in ended.stderr


def test_without_a_journal_it_says_that_nothing_is_kept(mpiexec: Mpiexec) -> None:
    """It ends the same way."""
    with start(mpiexec, "waits", journal="") as app:
        app.wait_for("running")
        app.process.send_signal(signal.SIGUSR1)
        ended = app.wait(timeout=15)
    assert ended.returncode == 75, ended
    assert "calls are left, and nothing is kept, as there is no journal: --journal FILE" in ended.stderr


@pytest.mark.parametrize(("ranks", "limit"), [(1, "1s"), (3, "0.7s")])
def test_the_walltime_drains(mpiexec: Mpiexec, tmp_path: Path, ranks: int, limit: str) -> None:
    """With code 75; and `--restarts` goes on, as often as it may."""
    with start(mpiexec, "waits", "--walltime", limit, ranks=ranks) as app:
        ended = app.wait(timeout=20)
    assert ended.returncode == 75, ended
    assert "mpitasks: interrupted: the walltime is over; " in ended.stderr
    with start(mpiexec, "waits", "--walltime", limit, "--restarts", "20", ranks=ranks) as app:
        ended = app.wait(timeout=25)
    assert (ended.returncode, SUM in ended.stdout, ran_once_each(tmp_path)) == (0, True, True), ended
    assert "mpitasks: the run was interrupted: the walltime is over; it begins again" in ended.stderr


def test_sigusr1_to_a_bare_mpiexec_drains(mpiexec: Mpiexec) -> None:
    """Both hand it to every rank; slaves ignore it, and rank 0 gives its code to mpiexec."""
    script = mpiexec.folder / "app.py"
    script.write_text(APP)
    with mpiexec.start(3, script, "waits", env={"MPITASKS_JOURNAL": "run.jrnl"}) as app:
        app.wait_for("running")
        app.process.send_signal(signal.SIGUSR1)
        ended = app.wait(timeout=15)
    assert (ended.returncode, "mpitasks: interrupted: SIGUSR1; " in ended.stderr) == (75, True), ended


@pytest.mark.parametrize("starter", ["python -m mpitasks", "mpiexec"])
def test_a_run_is_found_and_asked_by_its_pid(mpiexec: Mpiexec, starter: str) -> None:
    """Whoever has started it; and nothing is left of the folder in which it was found."""
    (mpiexec.folder / "app.py").write_text(APP)
    with mpiexec.start(3, mpiexec.folder / "app.py", "waits") if starter == "mpiexec" else start(mpiexec, "waits") as app:
        app.wait_for("running")
        rank_0 = app.ranks()[0]
        (run,) = [run for run in control.running() if run.pid == rank_0]
        assert (run.starter, run.command[1:]) == (rank_0 if starter == "mpiexec" else app.process.pid, ["waits"])
        assert control.ask(run.starter, "drain", 10) is None
        assert (app.wait(timeout=15).returncode, run.folder.exists()) == (75, False)


@pytest.mark.parametrize(("number", "code", "error"), [(signal.SIGINT, 130, "KeyboardInterrupt"), (signal.SIGTERM, 143, "143")])
def test_the_users_other_signals_end_it_for_good(mpiexec: Mpiexec, number: signal.Signals, code: int, error: str) -> None:
    """Whatever restarts are left; the journal says so."""
    with start(mpiexec, "waits", "--restarts", "3") as app:
        app.wait_for("running")
        app.process.send_signal(number)
        ended = app.wait(timeout=15)
    assert (ended.returncode, "begins again" in ended.stderr) == (code, False), ended
    (run,) = listing(mpiexec)
    assert (" interrupted at " in run, error in run) == (True, True), run


def kill_once(app: App, whom: str) -> None:
    """Kill the master or mpiexec of the first attempt."""
    app.wait_for("running")
    os.kill(app.ranks()[0] if whom == "master" else child_of(app.process.pid), signal.SIGKILL)


def child_of(pid: int) -> int:
    """The one process that this one has started."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


@pytest.mark.parametrize("whom", ["master", "mpiexec"])
def test_a_killed_run_begins_again(mpiexec: Mpiexec, tmp_path: Path, whom: str) -> None:
    """`--restarts 1` completes it; without, the code says that it is not."""
    with start(mpiexec, "waits", "--restarts", "1") as app:
        kill_once(app, whom)
        ended = app.wait(timeout=25)
    assert (ended.returncode, SUM in ended.stdout) == (0, True), ended
    assert "mpitasks: the run was cut off (exit code " in ended.stderr
    assert "it begins again, restarts left: 0" in ended.stderr
    assert len(lines(tmp_path / "executed")) <= CALLS + 2
    assert " complete at " in listing(mpiexec)[-1]


@pytest.mark.parametrize("whom", ["master", "mpiexec"])
def test_a_killed_run_is_not_complete(mpiexec: Mpiexec, whom: str) -> None:
    """Whatever mpiexec says."""
    with start(mpiexec, "waits") as app:
        kill_once(app, whom)
        ended = app.wait(timeout=15)
    assert ended.returncode not in (0, 75), ended


@pytest.mark.parametrize(("how", "code"), [("raises", 1), ("exits", 3)])
def test_what_main_does_by_itself_is_not_done_again(mpiexec: Mpiexec, tmp_path: Path, how: str, code: int) -> None:
    """It would do the same."""
    ended = end_of(start(mpiexec, how, "--restarts", "3"))
    assert (ended.returncode, lines(tmp_path / "begun")) == (code, ["main"]), ended


@pytest.mark.parametrize("ranks", [1, 3])
def test_restarts_need_a_journal(mpiexec: Mpiexec, ranks: int) -> None:
    """Else they would begin anew each time."""
    ended = end_of(start(mpiexec, "waits", "--restarts", "3", journal="", ranks=ranks))
    assert ended.returncode == 1, ended
    assert "StartError: --restarts without a journal would begin anew each time: add --journal FILE" in ended.stderr
    assert "begins again" not in ended.stderr


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_failure_that_nobody_asked_for_gives_code_1(mpiexec: Mpiexec, ranks: int) -> None:
    """`run` returns all the same, and the script goes on to its end."""
    ended = end_of(start(mpiexec, "forgets", ranks=ranks))
    assert (ended.returncode, "value None" in ended.stdout) == (1, True), ended
    assert "1 failed call of this run: nobody asked for the result; the exit code is 1" in ended.stderr


def test_so_it_does_under_a_bare_mpiexec(mpiexec: Mpiexec) -> None:
    """There, rank 0 ends with it."""
    script = mpiexec.folder / "app.py"
    script.write_text(APP)
    ended = mpiexec(3, script, "forgets")
    assert (ended.returncode, "value None" in ended.stdout) == (1, True), ended


STUBBORN = """
import hashlib, sys, time
import mpitasks
from mpitasks import task
from mpitasks.runtime import clock

clock.SLACK = 0.5

@task
def never_ends():
    print("running", flush=True)
    while True:
        try:
            time.sleep(1000)
        except BaseException:
            pass

def slave():
    never_ends.delay().result()

def master():
    print("running", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"no signal", b"is looked at", 2_000_000_000)

if __name__ == "__main__":
    mpitasks.run(globals()[sys.argv[1]], grace=0.5)
"""


@pytest.mark.parametrize(
    ("who", "words"),
    [
        ("slave", "rank 1 is still in a call of 'app.never_ends'; the job is aborted"),
        ("master", "main does not end although the time is over; the job is aborted"),
    ],
)
def test_what_does_not_end_in_time_is_aborted(mpiexec: Mpiexec, who: str, words: str) -> None:
    """With the same code, and the journal says so."""
    script = mpiexec.folder / "app.py"
    script.write_text(STUBBORN)
    command = [sys.executable, "-m", "mpitasks", "-n", "2", "--journal", "run.jrnl", str(script), who]
    with mpiexec.start_command(command) as app:
        app.wait_for("running")
        app.process.send_signal(signal.SIGUSR1)
        ended = app.wait(timeout=15)
    assert (ended.returncode, words in ended.stderr) == (75, True), ended
    (run,) = listing(mpiexec)
    assert run.endswith(": SIGUSR1")


PAGE = Path(__file__).parents[2] / "docs" / "guides" / "walltime.md"


def test_the_batch_script_of_the_docs_queues_itself_again(mpiexec: Mpiexec, tmp_path: Path) -> None:
    """Slurm signals the shell alone; on 75 the job goes back into the queue, and it goes on there."""
    (block,) = re.findall(r"^```sh\n(#!/bin/bash\n.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "job.sh").write_text(block)
    (tmp_path / "app.py").write_text(APP.replace("how = sys.argv[1]", 'how = "waits"'))
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\necho scontrol $@\n")
    scontrol.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {"PATH": path, "SLURM_NTASKS": "2", "SLURM_JOB_ID": "7"}
    with mpiexec.start_command(["/bin/bash", "job.sh"], env=env) as app:
        app.wait_for("running")
        app.process.send_signal(signal.SIGUSR1)
        ended = app.wait(timeout=15)
    assert (ended.returncode, "scontrol requeue 7" in ended.stdout) == (75, True), ended
    with mpiexec.start_command(["/bin/bash", "job.sh"], env=env) as app:
        ended = app.wait(timeout=15)
    assert (ended.returncode, SUM in ended.stdout, "scontrol" in ended.stdout) == (0, True, False), ended
    assert ran_once_each(tmp_path)


def end_of(app: App) -> Ended:
    """Wait for its end."""
    with app:
        return app.wait(timeout=20)
