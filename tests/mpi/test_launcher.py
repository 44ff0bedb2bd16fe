"""The harness itself: what it promises when a rank hangs, stays behind or fails."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.mpi import processes
from tests.mpi.app import Hang, Orphans

if TYPE_CHECKING:
    from tests.mpi.launcher import Mpiexec

RANK = "from mpi4py.MPI import COMM_WORLD as comm"


def test_the_end_of_a_good_script_is_reported(mpiexec: Mpiexec) -> None:
    """Code, output and duration come back, arguments and variables go in."""
    source = f"""
        import os, sys
        {RANK}
        total = comm.reduce(comm.rank)
        if comm.rank == 0:
            print(total, sys.argv[1:], os.environ["COLOUR"])
            print("a complaint", file=sys.stderr)
    """
    ended = mpiexec(3, source, "a", "b", env={"COLOUR": "red"})
    assert (ended.returncode, ended.stdout) == (0, "3 ['a', 'b'] red\n")
    assert "a complaint" in ended.stderr
    assert 0 < ended.seconds < 30


def test_a_hang_shows_the_stack_of_every_rank(mpiexec: Mpiexec) -> None:
    """A busy rank and two that wait in C are all shown, with the output so far, and all are gone after."""
    source = f"""
        {RANK}
        def spin():
            print("spinning", flush=True)
            while True:
                pass
        def meet():
            comm.Barrier()
        spin() if comm.rank == 1 else meet()
    """
    with pytest.raises(Hang) as caught:
        mpiexec(3, source, timeout=3)
    story = str(caught.value)
    assert story.startswith("it has not ended within 3 s")
    stacks = dict(zip(["0", "1", "2"], story.split("--- rank ")[1:], strict=True))
    assert ["in meet" in stacks["0"], "in spin" in stacks["1"], "in meet" in stacks["2"]] == [True] * 3
    assert "--- stdout so far\nspinning" in story
    assert processes.marked(mpiexec.apps[0].folder) == []


def test_a_hang_before_mpi_starts_is_shown_too(mpiexec: Mpiexec) -> None:
    """A rank that never reaches MPI_Init can tell where it is."""
    source = """
        import time
        time.sleep(1000)
    """
    with pytest.raises(Hang, match=r'(?s)rank 0.*File "\S*app\.py", line 3.*rank 1.*File "\S*app\.py", line 3'):
        mpiexec(2, source, timeout=2)


def test_an_orphan_fails_the_test_and_is_killed(mpiexec: Mpiexec) -> None:
    """A process that outlives mpiexec, in a session of its own, is found, named and ended."""
    source = f"""
        import subprocess, sys
        {RANK}
        null = subprocess.DEVNULL
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"],
                         start_new_session=True, stdout=null, stderr=null)
    """
    with pytest.raises(Orphans, match=r"(?s)it ended with code 0 and left processes behind.*time\.sleep\(1000\)"):
        mpiexec(1, source)
    assert processes.marked(mpiexec.apps[0].folder) == []


def test_a_running_app_can_be_watched_and_signalled(mpiexec: Mpiexec) -> None:
    """`start` gives output and pids while the app runs; the signal reaches mpiexec itself."""
    source = f"""
        import time
        {RANK}
        print("ready", comm.allreduce(1), flush=True)
        time.sleep(1000)
    """
    with mpiexec.start(2, source) as app:
        app.wait_for("ready 2")
        assert sorted(app.ranks()) == [0, 1]
        app.process.send_signal(signal.SIGTERM)
        assert app.wait(timeout=15).returncode != 0


def test_a_text_that_never_comes_is_a_hang(mpiexec: Mpiexec) -> None:
    """Waiting for output ends at once when the app has ended, and says what was printed instead."""
    with mpiexec.start(1, "print('one')\n") as app, pytest.raises(Hang, match=r"(?s)'two' was not printed.*one"):
        app.wait_for("two", timeout=20)
