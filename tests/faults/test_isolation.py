"""Isolated calls crash, hang and leave things behind: every other call is done, and nothing is left."""

from __future__ import annotations

import os
import signal
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.mpi.app import Ended
    from tests.mpi.launcher import Mpiexec

OTHERS = 200

APP = f"""
import ctypes, os, resource, signal, subprocess, sys, time
import mpitasks
from mpitasks import current, task

@task(isolate=True)
def square(number):
    return number * number

@task(isolate=True)
def crash(how):
    if how == "SIGSEGV":
        ctypes.string_at(0)
    elif how == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "os._exit":
        os._exit(3)
    elif how == "exit":
        ctypes.CDLL(None).exit(4)
    elif how == "RLIMIT_AS":
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))
        bytearray(1 << 31)
    elif how.startswith("/"):
        with open(how + "/cgroup.procs", "w") as group:
            group.write(str(os.getpid()))
        taken = []
        while True:
            taken.append(os.urandom(1 << 20))

def main(how):
    before = square.map(range({OTHERS} // 2))
    crashed = crash.delay(how)
    after = square.map(range({OTHERS} // 2, {OTHERS}))
    error = crashed.exception()
    print("failed:", type(error).__name__, str(error).replace(chr(10), " "), flush=True)
    print("known:", getattr(error, "signal", None), getattr(error, "code", None),
          getattr(error, "perhaps_out_of_memory", None), flush=True)
    values = before.results() + after.results()
    print("done:", sum(value == number * number for number, value in enumerate(values)), flush=True)

if __name__ == "__main__":
    mpitasks.run(main, *sys.argv[1:])
"""


@pytest.fixture(autouse=True)
def nothing_is_left_in_memory() -> Iterator[None]:
    """No shared memory of ours, by any name that others don't use."""
    before = set(names())
    yield
    theirs = ("mpich_shm", "sm_segment", "vader_segment", "psm", "ucx_shm")
    assert {name for name in names() if not name.startswith(theirs)} <= before


def names() -> list[str]:
    """What is in shared memory."""
    return [path.name for path in Path("/dev/shm").iterdir()]  # noqa: S108  to look


def told(ended: Ended, what: str) -> str:
    """The line that begins like this."""
    lines = [line for line in ended.stdout.splitlines() if line.startswith(f"{what}: ")]
    assert len(lines) == 1, ended.stdout + ended.stderr
    return lines[0].removeprefix(f"{what}: ")


CRASHES = {
    "SIGSEGV": ("TaskCrashed the process of the call was killed by SIGSEGV (segmentation fault)", "11 None False"),
    "SIGKILL": ("TaskCrashed the process of the call was killed by SIGKILL (killed)", "9 None False"),
    "os._exit": ("TaskCrashed the process of the call ended with exit code 3 before", "None 3 False"),
    "exit": ("TaskCrashed the process of the call ended with exit code 4 before", "None 4 False"),
    "RLIMIT_AS": ("MemoryError", "None None None"),
}


@pytest.mark.parametrize("how", CRASHES)
def test_a_crash_ends_its_call_alone(mpiexec: Mpiexec, how: str) -> None:
    """200 other calls are done, the failure is retrieved, the code is 0, and no process is left: the fixture looks."""
    ended = mpiexec(4, APP, how)
    assert ended.returncode == 0, ended.stderr
    words, known = CRASHES[how]
    assert told(ended, "failed").startswith(words)
    assert told(ended, "known") == known
    assert told(ended, "done") == str(OTHERS)


@pytest.fixture
def small_group(tmp_path: Path) -> Iterator[Path]:
    """A cgroup with 100 MB of memory, below the one in which this runs."""
    limits = {"memory.limit_in_bytes": "100M"}
    group = next(groups(), None)
    if group is None or os.geteuid() != 0:
        pytest.skip("a cgroup of the memory controller can't be made here: that takes root, and a writable /sys/fs/cgroup")
    group = group / f"mpitasks-{os.getpid()}-{tmp_path.name[-8:]}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    limits = {"memory.limit_in_bytes": "100M"} if (group / "memory.limit_in_bytes").exists() else {"memory.max": "100M"}
    for file, limit in limits.items():
        (group / file).write_text(limit)
    yield group
    group.rmdir()


def groups() -> Iterator[Path]:
    """Where this process's memory is counted."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            yield Path(f"/sys/fs/cgroup/memory{path}")
        elif not controllers and Path(f"/sys/fs/cgroup{path}/cgroup.controllers").exists():
            yield Path(f"/sys/fs/cgroup{path}")


def test_a_kill_for_want_of_memory_is_told_as_one(mpiexec: Mpiexec, small_group: Path) -> None:
    """The kernel kills the child, in a small cgroup of its own; the error says what it was, perhaps."""
    ended = mpiexec(4, APP, str(small_group))
    assert ended.returncode == 0, ended.stderr
    assert "perhaps it was out of memory" in told(ended, "failed")
    assert told(ended, "known") == "9 None True"
    assert told(ended, "done") == str(OTHERS)


HANGS = """
import ctypes, os, subprocess, sys, time
import mpitasks
from mpitasks import task

@task(isolate=True)
def square(number):
    return number * number

@task(isolate=True, timeout=0.5)
def hang(where):
    sleeps = subprocess.Popen(["setsid", "sleep", "300"]), subprocess.Popen(["sleep", "300"])
    print("started:", *(one.pid for one in sleeps), flush=True)
    if where == "Python":
        while True:
            try:
                time.sleep(60)
            except:
                pass
    library = ctypes.CDLL(None) if where == "C" else ctypes.PyDLL(None)
    mutex = ctypes.create_string_buffer(256)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)

def main(where):
    hung = hang.delay(where)
    others = square.map(range(200))
    error = hung.exception()
    print("failed:", type(error).__name__, "in hang" in error.stack, "in hang" in str(error.__cause__))
    print("done:", others.results() == [number * number for number in range(200)])

if __name__ == "__main__":
    mpitasks.run(main, *sys.argv[1:])
"""


@pytest.mark.parametrize("where", ["Python", "C", "C with the interpreter"])
def test_a_hang_is_ended(mpiexec: Mpiexec, where: str) -> None:
    """In time, with its stack in the error; what the call has started is gone, in a session of its own too."""
    ended = mpiexec(4, HANGS, where)
    assert ended.returncode == 0, ended.stderr
    assert told(ended, "failed") == "TaskTimeout True True"
    assert told(ended, "done") == "True"
    assert [pid for pid in told(ended, "started").split() if Path(f"/proc/{pid}").exists()] == []


LATE = """
import sys
if sys.argv[1] == "at its top":
    from mpi4py import MPI
elif sys.argv[1] == "used at its top":
    from mpi4py import MPI
    here = MPI.COMM_WORLD.Get_rank()
import mpitasks
from mpitasks import task

class Thing:
    def __init__(self, number):
        self.number = number

class Mine(Exception):
    pass

@task
def alone(thing):
    from mpi4py import MPI
    return Thing(MPI.COMM_WORLD.Get_size() * 10 + MPI.COMM_WORLD.allreduce(thing.number))

@task
def size():
    from mpi4py import MPI
    return MPI.COMM_WORLD.Get_size()

@task(retries=1, retry_for=Mine)
def fail(number):
    raise Mine(number)

def main(how):
    assert size.delay().result() == 3
    one = alone.options(isolate=True)
    print("alone:", sorted(one.delay(Thing(number)).result().number for number in range(20)) == list(range(10, 30)))
    future = fail.options(isolate=True).delay(7)
    print("failed:", type(future.exception()) is Mine, future.attempts)
    assert size.delay().result() == 3

if __name__ == "__main__":
    mpitasks.run(main, sys.argv[1])
"""


@pytest.mark.parametrize("how", ["late", "at its top", "used at its top"])
def test_mpi_in_a_call_is_harmless(mpiexec: Mpiexec, how: str) -> None:
    """It finds itself alone; also where the script imports MPI at its top, and nobody asked for isolation until late."""
    ended = mpiexec(3, LATE, how)
    assert ended.returncode == 0, ended.stderr
    assert told(ended, "alone") == "True"
    assert told(ended, "failed") == "True 2"


def test_mpi_that_is_killed_in_a_call_leaves_nothing(mpiexec: Mpiexec) -> None:
    """It has shared memory of its own, for ranks that are not there."""
    ended = mpiexec(
        2,
        """
        import os, mpitasks

        @mpitasks.task(isolate=True)
        def die():
            from mpi4py import MPI
            MPI.COMM_WORLD.allreduce(1)
            mapped = {line.split()[5] for line in open("/proc/self/maps") if " /dev/shm/" in line}
            os.write(1, f"mapped: {' '.join(mapped)}\\n".encode())
            os.kill(os.getpid(), 9)

        def main():
            print("failed:", die.delay().exception())

        if __name__ == "__main__":
            mpitasks.run(main)
        """,
    )
    assert ended.returncode == 0, ended.stderr
    mapped = told(ended, "mapped").split()
    assert mapped
    assert [name for name in mapped if Path(name).exists()] == []
    assert told(ended, "failed").startswith("the process of the call was killed by SIGKILL")


@pytest.mark.parametrize("how", ["script", "-m module", "-m package"])
def test_tasks_are_found_however_the_program_is_started(mpiexec: Mpiexec, tmp_path: Path, how: str) -> None:
    """By their names, in a process to which the program is no main module; without a guard around run(), too."""
    source = (
        "import mpitasks\n@mpitasks.task\ndef double(x): return 2 * x\n"
        "def main(): print('doubled:', double.options(isolate=True).delay(21).result())\nmpitasks.run(main)\nprint('after')\n"
    )
    (tmp_path / "pack").mkdir()
    for file in (tmp_path / "pack" / "__init__.py", tmp_path / "pack" / "__main__.py", tmp_path / "module.py"):
        file.write_text("" if file.name == "__init__.py" else source)
    starts = {"script": (tmp_path / "module.py",), "-m module": ("-m", "module"), "-m package": ("-m", "pack")}
    ended = mpiexec(3, *starts[how])
    assert ended.returncode == 0, ended.stderr
    assert told(ended, "doubled") == "42"
    assert ended.stdout.count("after") == 1


HELD = """
import os, sys
import mpitasks
from mpitasks import resource, task

@resource(max_holders=1)
def one():
    print("acquired", os.getpid(), flush=True)
    yield os.getpid()
    print("released", os.getpid(), flush=True)

@task(resource=one, isolate=True)
def inside(crash):
    if crash:
        os._exit(1)
    return one.get()

@task(resource=one)
def outside():
    return one.get()

def main():
    first = inside.delay(False).result()
    assert inside.delay(False).result() == first
    print("crashed:", type(inside.delay(True).exception()).__name__)
    second = inside.delay(False).result()
    rank = outside.delay().result()
    third = inside.delay(False).result()
    print("different:", len({first, second, rank, third}))
    values = [future.result() for number in range(20) for future in (inside.delay(False), outside.delay())]
    print("all:", len(values))

if __name__ == "__main__":
    mpitasks.run(main)
"""


def test_resources_stay_right(mpiexec: Mpiexec) -> None:
    """A slave holds at one place at a time; a crash frees what its child held; the end releases what there is."""
    ended = mpiexec(4, HELD)
    assert ended.returncode == 0, ended.stderr
    assert told(ended, "crashed") == "TaskCrashed"
    assert int(told(ended, "different")) >= 3
    assert told(ended, "all") == "40"
    lines = [line.split()[0] for line in ended.stdout.splitlines() if line.startswith(("acquired", "released"))]
    assert lines.count("acquired") == lines.count("released") + 1  # the one that crashed
    # One holder at a time: what is acquired next was released before, or has crashed once.
    assert sum(one == other for one, other in pairwise(lines)) == 1


def test_all_calls_can_be_isolated(mpiexec: Mpiexec) -> None:
    """`run(isolate=True)`; closures, executors and async tasks go the same way."""
    ended = mpiexec(
        3,
        """
        import asyncio, os
        import mpitasks

        @mpitasks.task
        async def later():
            await asyncio.sleep(0)
            return is_aside(0)

        def main():
            extra = 5
            with mpitasks.Executor(initializer=setup, initargs=(3,)) as executor:
                print("executor:", set(executor.map(is_aside, range(50))))
            print("closure:", mpitasks.submit(lambda: is_aside(extra)).result())
            print("async:", later.delay().result(), is_aside(0))
            try:
                mpitasks.submit(os._exit, 9).result()
            except mpitasks.TaskCrashed as error:
                print("crashed:", error.code)

        def setup(number): assert number == 3

        def is_aside(_): return not any(name.startswith(("PMI", "OMPI_")) for name in os.environ)

        if __name__ == "__main__":
            mpitasks.run(main, isolate=True)
        """,
    )
    assert ended.returncode == 0, ended.stderr
    assert told(ended, "executor") == "{True}"
    assert told(ended, "closure") == "True"
    assert told(ended, "async") == "True False"
    assert told(ended, "crashed") == "9"


TWICE = """
import os, sys
import mpitasks
from mpitasks import TaskCrashed, current, task

@task(isolate=True, retries=2)
def always():
    os._exit(3)

@task(isolate=True, retries=2)
def once():
    if current().attempt == 1:
        os._exit(3)
    return current().attempt

@task(isolate=True, retries=2, retry_for=OSError)
def unnamed():
    os._exit(3)

@task(isolate=True, retries=2, retry_for=TaskCrashed)
def named():
    if current().attempt < 3:
        os._exit(3)
    return current().attempt

def main():
    future = always.delay()
    note = next(note for note in future.exception().__notes__ if "before that" in note)
    print("attempts:", future.attempts, note.count("attempt"), note.count("slave rank"), note.count("exit code 3"))
    print("once:", once.delay().result())
    future = unnamed.delay()
    print("unnamed:", type(future.exception()).__name__, future.attempts)
    print("named:", named.delay().result())

if __name__ == "__main__":
    mpitasks.run(main)
"""


def test_crashes_are_retried_where_they_are_named(mpiexec: Mpiexec) -> None:
    """Or where nothing is named; the last error lists each crash."""
    ended = mpiexec(3, TWICE)
    assert ended.returncode == 0, ended.stderr
    assert told(ended, "attempts") == "3 3 3 2"
    assert told(ended, "once") == "2"
    assert told(ended, "unnamed") == "TaskCrashed 1"
    assert told(ended, "named") == "3"


def test_a_killed_rank_leaves_no_child(mpiexec: Mpiexec, tmp_path: Path) -> None:
    """Its nanny notices, and ends all that the call has started."""
    script = tmp_path / "app.py"
    script.write_text(
        f"""
import os, subprocess, sys, time
import mpitasks

@mpitasks.task(isolate=True)
def stay():
    sleep = subprocess.Popen(["setsid", {sys.executable!r}, "-c", "import time; time.sleep(300)"])
    print("stays", os.getpid(), flush=True)
    time.sleep(300)

if __name__ == "__main__":
    mpitasks.run(lambda: stay.delay().result())
"""
    )
    with mpiexec.start(2, script) as app:
        app.wait_for("stays")
        os.kill(app.ranks()[1], signal.SIGKILL)
        ended = app.wait()  # an error if processes are left
    assert ended.returncode != 0
