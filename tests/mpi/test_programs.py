"""What programs do that know nothing of the farm: they start others, fork, replace stdout, log badly."""

from __future__ import annotations

import pytest

from tests.mpi.launcher import Mpiexec

HEAD = """
import concurrent.futures, gc, logging, multiprocessing, subprocess, sys, threading, time
import mpitasks
from mpitasks import task

@task
def echo(value):
    return value
"""
START = """
if __name__ == "__main__":
    mpitasks.run(main)
"""

PROGRAMS = {
    "a task starts a program that imports mpitasks": (
        """
@task
def start():
    command = [sys.executable, "-c", "import mpitasks; print('child')"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=15)
    return ended.returncode, ended.stdout, ended.stderr

def main():
    print(start.delay().result(timeout=20))
""",
        "(0, 'child\\n', '')",
    ),
    "a task ends a process that it has forked": (
        """
@task
def fork():
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(30,))
    child.start()
    child.terminate()
    child.join(10)
    return child.exitcode

def main():
    print(fork.delay().result(timeout=20))
""",
        "-15",
    ),
    "something that is no file stands for stdout": (
        """
class Tee:
    def __init__(self, stream):
        self.stream = stream
    def write(self, text):
        return self.stream.write(text)
    def flush(self):
        self.stream.flush()

sys.stdout = Tee(sys.stdout)

def main():
    print(echo.map(range(3)).results(), file=sys.__stdout__)
""",
        "[0, 1, 2]",
    ),
    "a log call has a wrong format, and a filter raises": (
        """
logging.basicConfig(level=logging.INFO)

class Broken(logging.Filter):
    def filter(self, record):
        raise RuntimeError("filter")

@task
def log(value):
    logging.getLogger("app").info("%d", "x")
    logging.getLogger("app").info("fine")
    return value

def main():
    logging.getLogger("app").addFilter(Broken())
    print(log.map(range(3)).results(), echo.delay(4).result())
""",
        "[0, 1, 2] 4",
    ),
    "a thread of a task outlasts it": (
        """
def write(path):
    time.sleep(0.3)
    with open(path, "w") as file:
        file.write("written")

@task
def begin(path):
    threading.Thread(target=write, args=(path,)).start()

def main():
    begin.delay("thread.txt").result()
    print("ended")
""",
        "ended",
    ),
    "the standard library waits for many": (
        """
def main():
    early = odd = 0
    for _ in range(8):
        early += len(concurrent.futures.wait(echo.map(range(2000))).not_done)
        odd += len(list(concurrent.futures.as_completed(echo.map(range(2000))))) != 2000
    print(early, odd)
""",
        "0 0",
    ),
    "the garbage collector closes an imap, whatever the master does just then": (
        """
def half_read():
    values = echo.imap(range(100), buffersize=20)
    next(values)
    circle = [values]
    circle.append(circle)

def main():
    gc.set_threshold(20)
    for _ in range(100):
        half_read()
        echo.map(range(20)).results()
    print("done")
""",
        "done",
    ),
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_a_program_ends_as_it_would_elsewhere(mpiexec: Mpiexec, what: str) -> None:
    """Neither the call nor the run is harmed, and nothing waits."""
    body, said = PROGRAMS[what]
    ended = mpiexec(3, HEAD + body + START, timeout=30)
    assert (ended.returncode, ended.stdout.strip()) == (0, said), ended.stderr
