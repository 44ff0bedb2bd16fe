"""`mpitasks.classic` on real ranks: the five examples, the programs of mpi-master-slave, and the seed's faults."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.mpi.test_idleness import seconds_used

if TYPE_CHECKING:
    from tests.mpi.launcher import Ended, Mpiexec

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "classic"
SEED = ROOT / "tests" / "classic" / "seed"
MOST_LINES = 80

PROLOGUE = """
import sys, threading, time
from mpi4py import MPI
from mpitasks.classic import Master, MultiWorkQueue, Slave, SlaveNotReady, WorkQueue

world = MPI.COMM_WORLD
rank, size = world.rank, world.size

class Doer(Slave):
    def do_work(self, work):
        return work() if callable(work) else globals()[work[0]](*work[1:])

def collect(queue):
    results, errors = [], []
    while not queue.done():
        try:
            queue.do_work()
            for result in queue.get_completed_work():
                results.append(result)
        except Exception as error:
            errors.append(error)
        time.sleep(0.002)
    return results, errors

def ready(master, count):
    while len(master.get_ready_slaves()) < count:
        time.sleep(0.002)
"""
EPILOGUE = """
if rank == 0:
    main()
else:
    Doer().run()
"""


def run(mpiexec: Mpiexec, ranks: int, source: str, *args: str, timeout: float = 30) -> Ended:
    """Run a program of which `main` is rank 0's part."""
    return mpiexec(ranks, PROLOGUE + source + EPILOGUE, *args, timeout=timeout)


# ---------------------------------------------------------------- the examples


def example(mpiexec: Mpiexec, number: int, ranks: int = 4) -> str:
    """What an example prints; it complains of nothing."""
    ended = mpiexec(ranks, EXAMPLES / f"example{number}.py", timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_an_example_is_short_and_says_how_to_start_it(number: int) -> None:
    """In its docstring."""
    text = (EXAMPLES / f"example{number}.py").read_text()
    assert len(text.splitlines()) < MOST_LINES
    assert f"\nmpiexec -n {9 if number == 5 else 4} python example{number}.py\n" in text.split('"""')[1]


@pytest.mark.parametrize("ranks", [2, 4])
def test_example_1_does_all_work_once(mpiexec: Mpiexec, ranks: int) -> None:
    """On slaves alone; each result comes back, and all ranks leave."""
    output = example(mpiexec, 1, ranks)
    done = re.findall(r"rank (\d) squares (\d)", output)
    assert sorted(number for _, number in done) == list("0123456789")
    assert {rank for rank, _ in done} <= {str(rank) for rank in range(1, ranks)}
    told = re.findall(r"(\d) squared is (\d+), says rank (\d)", output)
    assert sorted((int(number), int(square)) for number, square, _ in told) == [(number, number**2) for number in range(10)]
    assert sorted((rank, number) for number, _, rank in told) == sorted(done)
    assert sorted(re.findall(r"rank (\d) has ended", output)) == [str(rank) for rank in range(ranks)]


def test_example_2_knows_whose_result_it_reads(mpiexec: Mpiexec) -> None:
    """The same by hand, and what did not work is told apart."""
    output = example(mpiexec, 2)
    done = re.findall(r"rank (\d) looks for a root of (\d)", output)
    told = re.findall(r"rank (\d), root of (\d): (there is none, sadly|it is \d)", output)
    assert sorted(number for _, number in done) == list("0123456789")
    assert sorted(done) == sorted((rank, number) for rank, number, _ in told)
    found = {number: message[-1] for _, number, message in told if message.startswith("it is")}
    assert found == {"0": "0", "1": "1", "4": "2", "9": "3"}
    assert sorted(re.findall(r"rank (\d) has ended", output)) == list("0123")


@pytest.mark.parametrize("ranks", [3, 4, 6])
def test_example_3_opens_each_catalogue_once(mpiexec: Mpiexec, ranks: int) -> None:
    """A slave stays with its catalogue until nothing more is asked of it, and does its entries in their order."""
    told = re.findall(r"entry (\d+) of catalogue (\d) by rank (\d)(, newly opened)?", example(mpiexec, 3, ranks))
    assert sorted(int(entry) for entry, *_ in told) == list(range(60))
    assert Counter(catalogue for _, catalogue, _, opened in told if opened) == {"1": 1, "2": 1, "3": 1}
    for slave in {rank for *_, rank, _ in told}:
        own = [(int(entry), catalogue) for entry, catalogue, rank, _ in told if rank == slave]
        for catalogue in {catalogue for _, catalogue in own}:
            where = [place for place, (_, one) in enumerate(own) if one == catalogue]
            assert where == list(range(where[0], where[-1] + 1)), own
            assert [own[place][0] for place in where] == sorted(own[place][0] for place in where)


def test_example_4_any_slave_does_any_kind(mpiexec: Mpiexec) -> None:
    """And the kind comes back with the result."""
    told = re.findall(r"(ADD|JOIN|REPEAT) by rank (\d): ([^\n]*)", example(mpiexec, 4))
    assert Counter(kind for kind, *_ in told) == {"ADD": 12, "JOIN": 9, "REPEAT": 9}
    assert sum(int(result) for kind, _, result in told if kind == "ADD") == 384
    assert max(len({kind for kind, other, _ in told if other == rank}) for rank in "123") == 3


class Span(NamedTuple):
    """When a piece of work ran, and where."""

    rank: int
    began: float
    ended: float


def most_at_once(spans: list[Span]) -> int:
    """How many ran together, at most."""
    return max(sum(other.began <= span.began < other.ended for other in spans) for span in spans)


def test_example_5_keeps_its_limits(mpiexec: Mpiexec) -> None:
    """At no moment do more than 2 slaves fetch, or more than 1 stores, and all others crunch."""
    told = re.findall(r"(FETCH|CRUNCH|STORE) (\d+) by rank (\d), from ([\d.]+) to ([\d.]+)", example(mpiexec, 5, 9))
    assert sorted((kind, int(number)) for kind, number, *_ in told) == sorted(
        (kind, number) for kind in ("FETCH", "CRUNCH", "STORE") for number in range(12)
    )
    spans: dict[str, list[Span]] = {}
    for kind, _, rank, began, ended in told:
        spans.setdefault(kind, []).append(Span(int(rank), float(began), float(ended)))
    assert {kind: most_at_once(some) for kind, some in spans.items()} == {"FETCH": 2, "CRUNCH": 5, "STORE": 1}


# ---------------------------------------------------------------- the programs of mpi-master-slave

FASTER = """
import runpy, sys, time
nap = time.sleep
time.sleep = lambda seconds: nap(seconds / 20)
runpy.run_path(sys.argv[1], run_name="__main__")
"""


MEASURED = """
import random
from mpitasks.classic import Slave, world

random.seed(5)

def measured(cls):
    do_work = cls.do_work
    def wrapped(self, args):
        began = time.monotonic()
        result = do_work(self, args)
        nap(0.05)
        print(f"{args[0].name} on {world.comm().rank} from {began} to {time.monotonic()}", flush=True)
        return result
    cls.do_work = wrapped

Slave.__init_subclass__ = classmethod(measured)
"""
"""Work takes a moment, and says when it was done; the same kinds of work each time."""


def original(mpiexec: Mpiexec, number: int, ranks: int, prelude: str = "") -> str:
    """What a program prints of which only the import lines were changed; its naps are a twentieth."""
    text = (SEED / f"example{number}.py").read_text()
    changed, count = re.subn(
        r"^from mpi(?:_master_slave|\.\w+) import", "from mpitasks.classic import", text, flags=re.MULTILINE
    )
    assert count == 1 + (number != 2)
    path = mpiexec.folder / "original.py"
    path.write_text(changed)
    ended = mpiexec(ranks, FASTER.replace("runpy.run", prelude + "runpy.run"), str(path), timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert sorted(re.findall(r"Task completed \(rank (\d)\)", ended.stdout)) == [str(rank) for rank in range(ranks)]
    return ended.stdout


def test_the_seeds_example_1_runs(mpiexec: Mpiexec) -> None:
    """Ten pieces of work, done once."""
    output = original(mpiexec, 1, 4)
    assert sorted(re.findall(r'rank [123] executing "Do task" task_id "(\d)"', output)) == list("0123456789")
    assert sorted(re.findall(r'Master: slave finished is task and says "I completed my task \((\d)\)"', output)) == list(
        "0123456789"
    )


def test_the_seeds_example_2_runs(mpiexec: Mpiexec) -> None:
    """The same, by hand."""
    output = original(mpiexec, 2, 4)
    given = sorted(re.findall(r"Slave (\d) is going to do task (\d)", output))
    assert sorted(task for _, task in given) == list("0123456789")
    assert sorted(re.findall(r'rank (\d) executing "Do task" with "(\d)"', output)) == given
    assert sorted(re.findall(r'Slave (\d) finished is task and says "I completed my task \((\d)\)"', output)) == given


def test_the_seeds_example_3_runs(mpiexec: Mpiexec) -> None:
    """A hundred pieces; each resource has one slave from its first to its last."""
    output = original(mpiexec, 3, 4)
    told = re.findall(r'rank (\d) executing "Do something" task id "(\d+)" with resource "(\d)"', output)
    assert sorted(int(number) for _, number, _ in told) == list(range(100))
    assert len({(rank, resource) for rank, _, resource in told}) == len({resource for *_, resource in told}) == 3


def test_the_seeds_example_4_runs(mpiexec: Mpiexec) -> None:
    """Kinds in random order, each with results of its own shape."""
    output = original(mpiexec, 4, 5)
    assert sorted(map(int, re.findall(r"executing \S+ with task_id (\d+)", output))) == list(range(100))
    assert output.count("Master: slave finished is task returning: (True, ") == 100


def test_the_seeds_example_5_runs(mpiexec: Mpiexec) -> None:
    """With its limits, on nine ranks: never more than 2 in TASK1, 1 in TASK3, and TASK2 gets all the rest."""
    output = original(mpiexec, 5, 9, MEASURED)
    assert sorted(map(int, re.findall(r"executing \S+ with task_id (\d+)", output))) == list(range(100))
    assert output.count("Master: slave finished his task returning: (True, ") == 100
    spans: dict[str, list[Span]] = {}
    for kind, rank, began, ended in re.findall(r"(TASK\d) on (\d) from ([\d.]+) to ([\d.]+)", output):
        spans.setdefault(kind, []).append(Span(int(rank), float(began), float(ended)))
    assert sum(map(len, spans.values())) == 100
    assert {kind: most_at_once(some) for kind, some in spans.items()} == {"TASK1": 2, "TASK2": 5, "TASK3": 1}


# ---------------------------------------------------------------- the seed's faults


def test_failures_are_raised_on_the_master(mpiexec: Mpiexec) -> None:
    """Of their own type, with the remote traceback and a note; slaves go on, and nothing else is lost. None is a value."""
    source = """
def fails(number):
    raise LookupError(f"no {number}")

def locks():
    return threading.Lock()

def main():
    master = Master(range(1, size))
    queue = WorkQueue(master)
    for number in range(4):
        queue.add_work(("fails", number))
        queue.add_work(("locks",))
        queue.add_work(("len", "x" * number))
        queue.add_work(threading.Lock())
        queue.add_work(("print",))
    len_, fails_, print_ = len, fails, print
    results, errors = collect(queue)
    print(sorted(results, key=str))
    print(sorted(f"{type(error).__name__}: {error}"[:32] for error in errors))
    lookup = next(error for error in errors if isinstance(error, LookupError) and not isinstance(error, EncodeError))
    print("in fails" in str(lookup.__cause__), lookup.__notes__[0].split(" on ")[0].rstrip("0123456789"))
    master.terminate_slaves()

from builtins import len, print
from mpitasks import EncodeError
"""
    ended = run(mpiexec, 3, source)
    lines = [line for line in ended.stdout.splitlines() if line]
    assert lines == [
        "[0, 1, 2, 3, None, None, None, None]",
        str(
            [
                *["EncodeError: do_work returned lo"] * 4,
                *["EncodeError: the data for slave "] * 4,
                *[f"LookupError: no {number}" for number in range(4)],
            ]
        ),
        lines[2],
    ]
    assert re.fullmatch(r"True do_work number \d+, slave rank ", lines[2])
    assert (ended.returncode, ended.stderr) == (0, "")


def test_what_is_sent_on_comm_world_is_the_users(mpiexec: Mpiexec) -> None:
    """Messages with any tag and collectives of all ranks, while slaves are idle and while they work.

    One rank is no slave, and does not even import mpitasks.
    """
    source = """
from mpi4py import MPI
world = MPI.COMM_WORLD
rank, size = world.rank, world.size
if rank != 4:
    from mpitasks.classic import Master, Slave, WorkQueue

class Doer(Slave if rank != 4 else object):
    def do_work(self, what):
        if what == "gather":
            return world.allreduce(rank)
        theirs = [world.recv(source=0, tag=tag) for tag in range(5)]
        world.send(rank, 4, 2)
        return theirs

def main():
    queue = WorkQueue(Master([1, 2, 3]))
    for slave in (1, 2, 3):
        for tag in (3, 1, 0, 2, 4):
            world.send((slave, tag), slave, tag)
    for what in ("read", "gather"):
        for _ in range(3):
            queue.add_work(what)
    results = []
    world.barrier()
    while len(queue._master.get_ready_slaves()) < 3:  # so that each of them gets one piece of each kind
        pass
    while not queue.done():
        queue.do_work()
        if len(results) == 3 and len(queue._master._tray.running) == 3:
            results.append(world.allreduce(rank))
        results += queue.get_completed_work()
    print(sorted(map(str, results)))
    queue._master.terminate_slaves()
    world.barrier()

world.bcast(7)
if rank == 0:
    main()
elif rank == 4:
    world.barrier()
    print(sorted(world.recv(tag=2) for _ in range(3)), world.allreduce(rank), flush=True)
    world.barrier()
else:
    world.barrier()
    Doer().run()
    world.barrier()
"""
    ended = mpiexec(5, source)
    read = [str([(slave, tag) for tag in range(5)]) for slave in (1, 2, 3)]
    expected = [str(sorted(["10", "10", "10", "10", *read])), "[1, 2, 3] 10"]
    assert (ended.returncode, sorted(ended.stdout.splitlines())) == (0, sorted(expected)), ended.stderr


def test_an_end_with_a_large_result_under_way(mpiexec: Mpiexec) -> None:
    """50 MB: the slave leaves, and the result can still be collected."""
    source = """
def large():
    return bytes(50_000_000)

def main():
    master = Master(range(1, size))
    ready(master, 2)
    master.run(1, ("large",))
    master.run(2, ("large",))
    master.terminate_slaves()
    print([len(master.get_data(slave)) for slave in sorted(master.get_completed_slaves())], master.done())
"""
    ended = run(mpiexec, 3, source)
    assert (ended.returncode, ended.stdout) == (0, "[50000000, 50000000] True\n"), ended.stderr


def test_large_data_goes_and_comes(mpiexec: Mpiexec) -> None:
    """Both ways at once, to several slaves; and what was given may be changed at once."""
    source = """
import numpy as np

def echo(array):
    return array

def main():
    master = Master(range(1, size))
    queue = WorkQueue(master)
    ready(master, 3)
    array = np.zeros(4_000_000, np.uint8)
    for number in range(9):
        queue.add_work(("echo", np.full(4_000_000, number, np.uint8)))
    master.run(1, ("echo", array))
    array[:] = 99
    results, errors = collect(queue)
    print(sorted((int(one.min()), int(one.max()), one.nbytes) for one in results), errors)
    master.terminate_slaves()
"""
    ended = run(mpiexec, 4, source)
    expected = sorted([(number, number, 4_000_000) for number in range(9)] + [(0, 0, 4_000_000)])
    assert (ended.returncode, ended.stdout) == (0, f"{expected} []\n"), ended.stderr


def test_data_may_be_changed_after_run(mpiexec: Mpiexec) -> None:
    """Also data so large that it is not on its way yet, since the slave comes late; the call does not wait for that."""
    source = """
import numpy as np

def ends(array):
    return int(array[0]), int(array[-1])

def main():
    master = Master()
    master.add_slave(1, ready=True)
    array = np.ones(8_000_000, np.uint8)
    began = time.monotonic()
    master.run(1, ("ends", array))
    array[:] = 2
    print(time.monotonic() - began < 2.5, flush=True)
    world.send("changed", 1)
    while not master.get_completed_slaves():
        time.sleep(0.01)
    print(master.get_data(1))
    master.terminate_slaves()

if rank == 1:
    world.recv(source=0, tag=0)
"""
    ended = run(mpiexec, 2, source)
    assert (ended.returncode, ended.stdout) == (0, "True\n(1, 1)\n"), ended.stderr


def test_large_data_arrives_although_the_master_naps(mpiexec: Mpiexec) -> None:
    """A call goes on while something moves: else data would wait for the next one."""
    source = """
def begin(data):
    return time.monotonic()

def main():
    master = Master(range(1, size))
    ready(master, 2)
    for slave in (1, 2):
        master.run(slave, ("begin", bytes(40_000_000)))
    given = time.monotonic()
    time.sleep(3)
    print([master.get_data(slave) - given < 2 for slave in sorted(master.get_completed_slaves())])
    master.terminate_slaves()
"""
    network = {"MPIR_CVAR_NOLOCAL": "1", "OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "self,tcp"}  # no shared memory
    ended = mpiexec(3, PROLOGUE + source + EPILOGUE, env=network)
    assert (ended.returncode, ended.stdout) == (0, "[True, True]\n"), ended.stderr


@pytest.mark.parametrize("number", [1, 2, 5])
def test_one_rank_is_refused(mpiexec: Mpiexec, number: int) -> None:
    """An error that says how to start it, and no loop without an end."""
    ended = mpiexec(1, EXAMPLES / f"example{number}.py")
    assert ended.returncode == 1
    assert "StartError: a master needs slaves, and this is the only rank: start it with mpiexec -n 4 python " in ended.stderr


@pytest.mark.parametrize("busy", ["idle", "busy", "unheard"])
def test_an_error_on_rank_0_ends_the_job(mpiexec: Mpiexec, busy: str) -> None:
    """With its traceback and a code that is not 0, whatever the slaves do."""
    source = """
def main():
    master = Master(range(1, size))
    if sys.argv[1] != "unheard":
        ready(master, 2)
    if sys.argv[1] == "busy":
        master.run(1, ("nap", 1000))
    raise LookupError("the master's own")

def nap(seconds):
    time.sleep(seconds)
"""
    ended = run(mpiexec, 3, source, busy)
    assert (ended.returncode != 0, ended.seconds < 15) == (True, True), ended
    assert (ended.stderr.count("LookupError: the master's own"), "in main" in ended.stderr) == (1, True), ended.stderr


def test_an_error_of_a_slave_outside_do_work_ends_the_job(mpiexec: Mpiexec) -> None:
    """The master would wait for it for ever."""
    source = """
class Doer(Doer):
    def __init__(self):
        raise LookupError("the slave's own")

def main():
    master = Master(range(1, size))
    queue = WorkQueue(master)
    queue.add_work(1)
    collect(queue)
"""
    ended = run(mpiexec, 2, source)
    assert (ended.returncode != 0, "LookupError: the slave's own" in ended.stderr) == (True, True), ended


@pytest.mark.parametrize(("end", "code"), [("pass", 0), ("sys.exit(3)", 3)])
def test_slaves_leave_with_a_master_that_does_not_let_them_go(mpiexec: Mpiexec, end: str, code: int) -> None:
    """By `terminate_slaves` forgotten, or by `sys.exit`: the job ends, with the master's code."""
    source = f"""
def main():
    master = Master(range(1, size))
    ready(master, 2)
    master.run(1, ("time.sleep", 0.1))
    print("end")
    {end}
globals()["time.sleep"] = time.sleep
"""
    ended = run(mpiexec, 3, source)
    assert (ended.returncode, ended.stdout, ended.seconds < 10) == (code, "end\n", True), ended


def test_a_slave_that_is_stuck_does_not_keep_a_job_whose_master_has_ended(mpiexec: Mpiexec) -> None:
    """After a moment the job is aborted, and it is said who was stuck."""
    source = """
import mpitasks.classic.world
mpitasks.classic.world.GRACE = 0.5

def main():
    master = Master(range(1, size))
    ready(master, 2)
    master.run(2, ("nap", 1000))

def nap(seconds):
    time.sleep(seconds)
"""
    ended = run(mpiexec, 3, source)
    assert (ended.returncode != 0, ended.seconds < 10) == (True, True), ended
    assert "mpitasks: rank 0 has ended, and slaves [2] are still in do_work; the job is aborted" in ended.stderr


def test_masters_share_a_world_of_slaves(mpiexec: Mpiexec) -> None:
    """Results come in at whichever looks, and go to the one that asked; each terminates once, and slaves may come again."""
    source = """
def square(number):
    return number * number

def main():
    masters = [Master(range(1, size)) for _ in range(3)]
    queues = [WorkQueue(master) for master in masters]
    for number in range(20):
        for place, queue in enumerate(queues):
            queue.add_work(("square", number + 100 * place))
    results = [[], [], []]
    while not all(queue.done() for queue in queues):
        for queue, found in zip(queues, results):
            queue.do_work()
            found += queue.get_completed_work()
    print([sorted(found) == [(number + 100 * place) ** 2 for number in range(20)] for place, found in enumerate(results)])
    for master in masters:
        master.terminate_slaves()
"""
    epilogue = """
for phase in range(2):
    if rank == 0:
        main()
    else:
        Doer().run()
"""
    ended = mpiexec(4, PROLOGUE + source + epilogue)
    assert (ended.returncode, ended.stdout) == (0, "[True, True, True]\n" * 2), ended.stderr


def test_limits_may_sum_to_less_than_the_slaves(mpiexec: Mpiexec) -> None:
    """The seed's constructor did not return; here the rest is idle, and leaves with the others."""
    source = """
def square(number):
    return number * number

def main():
    masters = [Master(), Master()]
    queue = MultiWorkQueue(range(1, size), [("a", masters[0], 1), ("b", masters[1], 2)])
    for number in range(10):
        queue.add_work("ab"[number % 2], ("square", number))
    results = []
    while not queue.done():
        queue.do_work()
        results += [*queue.get_completed_work("a"), *queue.get_completed_work("b")]
    print(sorted(results))
    for master in masters:
        master.terminate_slaves()
"""
    ended = run(mpiexec, 6, source)
    assert (ended.returncode, ended.stdout) == (0, "[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]\n"), ended.stderr


def test_idle_slaves_leave_the_cores_to_others(mpiexec: Mpiexec) -> None:
    """Under 10 % of a core each, where the seed's burn all of one; and they wake at once."""
    source = """
def main():
    master = Master(range(1, size))
    ready(master, 2)
    print("ready", flush=True)
    time.sleep(4)
    began = time.monotonic()
    master.run(2, ("abs", -1))
    while not master.get_completed_slaves():
        pass
    print("woke", time.monotonic() - began < 0.2, master.get_data(2))
    master.terminate_slaves()
from builtins import abs
"""
    with mpiexec.start(3, PROLOGUE + source + EPILOGUE) as app:
        app.wait_for("ready")
        time.sleep(1)
        before = {rank: seconds_used(pid) for rank, pid in app.ranks().items()}
        began = time.monotonic()
        time.sleep(2)
        parts = {rank: (seconds_used(pid) - before[rank]) / (time.monotonic() - began) for rank, pid in app.ranks().items()}
        ended = app.wait()
    assert {rank for rank, part in parts.items() if part > 0.1} == set(), parts
    assert (sorted(parts), ended.returncode, ended.stdout) == ([0, 1, 2], 0, "ready\nwoke True 1\n"), ended.stderr


def test_ranks_end_with_their_launcher(mpiexec: Mpiexec) -> None:
    """Open MPI's ranks outlive an mpiexec that is killed; neither an idle slave nor a master that looks may stay."""
    source = """
def main():
    master = Master(range(1, size))
    ready(master, 2)
    print("ready", flush=True)
    while True:
        master.get_ready_slaves()
        time.sleep(0.01)
"""
    with mpiexec.start(3, PROLOGUE + source + EPILOGUE) as app:
        app.wait_for("ready")
        app.process.kill()
        ended = app.wait(timeout=15)
    assert ended.returncode == -9


# ---------------------------------------------------------------- signals

SIGNALLED = """
def nap(seconds):
    time.sleep(seconds)

def main():
    queue = WorkQueue(Master(range(1, size)))
    for _ in range(1000):
        queue.add_work(("nap", 0.05))
    try:
        print("ready", flush=True)
        if sys.argv[1] == "looks":
            while True:
                queue.do_work()
                list(queue.get_completed_work())
        queue.do_work()
        time.sleep(1000)
    except BaseException as error:
        print("main got", type(error).__name__, flush=True)
        raise
    finally:
        print("main's end", flush=True)
"""
AFTER = """
print("rank", rank, "has left", flush=True)
"""
SIGNALS = {"Ctrl-C": (signal.SIGINT, 130, "KeyboardInterrupt"), "SIGTERM": (signal.SIGTERM, 143, "Terminated")}


@pytest.mark.parametrize("doing", ["naps", "looks"])
@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_ends_a_classic_program_in_order(mpiexec: Mpiexec, name: str, doing: str) -> None:
    """Under `python -m mpitasks`: rank 0 runs its `finally` blocks, slaves leave, and the code is a shell's."""
    number, code, error = SIGNALS[name]
    app = mpiexec.folder / "app.py"
    app.write_text(PROLOGUE + SIGNALLED + EPILOGUE + AFTER)
    with mpiexec.start_command([sys.executable, "-m", "mpitasks", "-n", "3", str(app), doing]) as running:
        running.wait_for("ready")
        time.sleep(0.3)
        running.process.send_signal(number)
        ended = running.wait()
    expected = [f"main got {error}", "main's end", "rank 1 has left", "rank 2 has left", "ready"]
    assert (ended.returncode, sorted(ended.stdout.splitlines())) == (code, expected), ended.stderr
    assert ("BAD TERMINATION" in ended.stderr, "Traceback" in ended.stderr) == (False, False), ended.stderr
    assert ("mpitasks: interrupted" in ended.stderr) == (name == "Ctrl-C")


def test_a_classic_program_keeps_its_own_handlers(mpiexec: Mpiexec) -> None:
    """Whoever takes signals himself gets them as before."""
    source = """
import signal

def main():
    def own(*_):
        print("own", flush=True)
    signal.signal(signal.SIGTERM, own)
    master = Master(range(1, size))
    print(signal.getsignal(signal.SIGTERM) is own, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    master.terminate_slaves()
"""
    ended = run(mpiexec, 2, source)
    assert (ended.returncode, ended.stdout) == (0, "True True\n"), ended.stderr


def test_a_signal_ends_a_classic_program_whose_slave_is_stuck(mpiexec: Mpiexec) -> None:
    """The job is aborted after a moment, and the code is the signal's all the same."""
    app = mpiexec.folder / "app.py"
    grace = "import mpitasks.classic.world\nmpitasks.classic.world.GRACE = 0.5\n"
    app.write_text(PROLOGUE + grace + SIGNALLED.replace("0.05", "1000") + EPILOGUE)
    with mpiexec.start_command([sys.executable, "-m", "mpitasks", "-n", "3", str(app), "looks"]) as running:
        running.wait_for("ready")
        time.sleep(0.5)
        running.process.send_signal(signal.SIGINT)
        ended = running.wait()
    assert (ended.returncode, "main's end" in ended.stdout) == (130, True), ended.stderr
    assert "are still in do_work; the job is aborted" in ended.stderr
