"""Log records of slaves reach the logging of the master."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.mpi.launcher import Mpiexec

HEAD = """
import logging, time
import mpitasks
from mpitasks import task

logging.basicConfig(format="[%(rank)s|%(task)s|%(name)s|%(levelname)s] %(message)s", level=logging.INFO)
logger = logging.getLogger("users.own")
"""

START = """
if __name__ == "__main__":
    mpitasks.run(main)
"""


def logged(stderr: str) -> list[str]:
    """The lines that went through the format above."""
    return sorted(line for line in stderr.splitlines() if line.startswith("["))


def test_records_come_with_rank_and_task(mpiexec: Mpiexec) -> None:
    """Each once, in the master's format, with the logger's name and level; main's own say rank 0 and no task."""
    source = f"""{HEAD}
@task("resize")
def resize(n):
    logger.debug("not wanted")
    logger.info("call %d of %s", n, {{"a": 1}})
    logging.warning("root %s", n)

def main():
    logger.info("begin")
    for n in range(3):
        resize.delay(n).result()
    logger.info("end")
{START}"""
    ended = mpiexec(2, source)
    expected = ["[0||users.own|INFO] begin", "[0||users.own|INFO] end"]
    for n in range(3):
        expected += [f"[1|resize|users.own|INFO] call {n} of {{'a': 1}}", f"[1|resize|root|WARNING] root {n}"]
    assert (ended.returncode, logged(ended.stderr)) == (0, sorted(expected)), ended.stderr


def test_records_of_every_slave_arrive_before_the_end(mpiexec: Mpiexec) -> None:
    """Also those of calls that nobody waits for; one rank runs calls itself and logs alike."""
    source = f"""{HEAD}
@task("count")
def count(n):
    logger.info("number %d from %d", n, mpitasks.current().rank)
    time.sleep(0.002)

def main():
    count.map(range(200))
{START}"""
    ended = mpiexec(5, source)
    lines = logged(ended.stderr)
    numbers = sorted(int(line.split()[2]) for line in lines)
    assert (ended.returncode, numbers) == (0, list(range(200))), ended.stderr
    assert all(line.startswith(f"[{line.split()[-1]}|count|") for line in lines)


def test_a_traceback_in_a_record_arrives(mpiexec: Mpiexec) -> None:
    """`logger.exception` in a task shows the slave's traceback, and arguments that can't be pickled do no harm."""
    source = f"""{HEAD}
@task("fall")
def fall():
    try:
        1 / 0
    except ZeroDivisionError:
        logger.exception("fell over %s", (n for n in "ab"), extra={{"what": 3, "lock": lambda: 0}})

def main():
    fall.delay().result()
{START}"""
    ended = mpiexec(2, source)
    assert (ended.returncode, len(logged(ended.stderr))) == (0, 1), ended.stderr
    assert ended.stderr.startswith("[1|fall|users.own|ERROR] fell over <generator object")
    assert [ended.stderr.count(text) for text in ("Traceback", "in fall", "ZeroDivisionError: division")] == [1, 1, 1]


def test_a_record_comes_while_its_call_goes_on(mpiexec: Mpiexec) -> None:
    """A long call can be watched: its slave sends records meanwhile, and the master shows them though main computes."""
    source = f"""{HEAD}
@task("long")
def long():
    logger.info("half way")
    time.sleep(1000)

def main():
    future = long.delay()
    while not future.done():
        sum(range(1000))

class Shout(logging.Handler):
    def emit(self, record):
        print("seen:", record.getMessage(), record.rank, record.task, flush=True)

if mpitasks.is_master():
    logging.getLogger().addHandler(Shout())
{START}"""
    with mpiexec.start(2, source) as app:
        app.wait_for("seen: half way 1 long", timeout=15)


def test_handlers_of_slaves_that_write_to_files_are_kept(mpiexec: Mpiexec) -> None:
    """Only what would write to the terminal is replaced; a log file of each rank stays."""
    source = f"""{HEAD}
@task("note")
def note():
    logger.info("for the file")

if not mpitasks.is_master():
    logging.getLogger().addHandler(logging.FileHandler("slave.log"))

def main():
    note.delay().result()
{START}"""
    ended = mpiexec(2, source)
    assert (ended.returncode, logged(ended.stderr)) == (0, ["[1|note|users.own|INFO] for the file"]), ended.stderr
    assert (mpiexec.folder / "slave.log").read_text() == "for the file\n"


def test_a_task_that_imports_logging_logs_as_others(mpiexec: Mpiexec) -> None:
    """A slave does without logging until somebody imports it, and is as ready then as if it had had it from the start."""
    source = """
        import sys
        import mpitasks

        @mpitasks.task
        def log(number):
            had = "logging" in sys.modules
            import logging
            logging.getLogger("app").warning("number %d", number)
            return had

        def main():
            import logging
            logging.basicConfig(format="%(levelname)s of %(rank)s in %(task)s: %(message)s", stream=sys.stdout)
            print([log.delay(number).result() for number in range(2)])

        if __name__ == "__main__":
            mpitasks.run(main)
    """
    ended = mpiexec(2, source)
    assert sorted(ended.stdout.splitlines()) == [
        "WARNING of 1 in app.log: number 0",
        "WARNING of 1 in app.log: number 1",
        "[False, True]",
    ], ended.stderr
