"""Futures across real ranks: as arguments, in order, cancelled, and with everything that the standard library waits with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.mpi.launcher import Mpiexec

TASKS = """
import asyncio, concurrent.futures, itertools, threading, time
import mpitasks
from mpitasks import task

@task
def echo(value=None):
    return value

@task
def add(*values):
    return sum(values)

@task
def sleep(seconds):
    time.sleep(seconds)
    return seconds

@task
def fail(text):
    raise ValueError(text)

@task(bind=True)
def obedient(ctx):
    while not ctx.should_stop():
        time.sleep(0.005)
    return "stopped"
"""

START = """
if __name__ == "__main__":
    mpitasks.run(main)
"""


# ---------------------------------------------------------------- as arguments


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_futures_are_arguments(mpiexec: Mpiexec, ranks: int) -> None:
    """At the top level and inside list, tuple, set and dict, ended or not, each as its value."""
    source = f"""{TASKS}
def main():
    slow, quick = sleep.delay(0.1), echo.delay("b")
    quick.result()
    nested = echo.delay({{"list": [slow, quick], "tuple": (slow, [quick]), "set": {{quick, "c"}}, quick: slow, 1: None}})
    print(nested.result() == {{"list": [0.1, "b"], "tuple": (0.1, ["b"]), "set": {{"b", "c"}}, "b": 0.1, 1: None}})
    chain = echo.delay(0)
    for n in range(200):
        chain = add.delay(chain, 1, n)
    print(chain.result(), add.delay(*echo.map(range(50))).result(), add.options(after=[slow]).delay(slow, slow).result())
    print(echo.delay(value=echo.map("xyz").arg()).result())
{START}"""
    ended = mpiexec(ranks, source)
    expected = f"True\n{200 + sum(range(200))} {sum(range(50))} 0.2\n['x', 'y', 'z']\n"
    assert (ended.returncode, ended.stdout) == (0, expected), ended.stderr


def test_a_failed_argument_fails_what_needs_it(mpiexec: Mpiexec) -> None:
    """DependencyFailed with the cause kept, through a chain too; a cancelled one cancels; nothing of it runs."""
    source = f"""{TASKS}
def main():
    failed = fail.delay("of the first")
    waiting = echo.delay([failed])
    chained = echo.options(after=[waiting]).delay(1)
    failed.exception()
    late = echo.delay(failed)
    for future in (waiting, chained, late):
        error = future.exception()
        print(type(error).__name__, type(error.__cause__).__name__, str(error))
    print(chained.exception().__cause__ is failed.exception(), waiting.exception().__cause__ is failed.exception())

    blocker = [sleep.delay(0.2) for _ in range(2)]
    queued = echo.delay(2)
    needs = echo.delay(queued)
    print(queued.cancel(), needs.cancelled(), echo.delay(queued).cancelled(), [future.result() for future in blocker])
{START}"""
    ended = mpiexec(3, source)
    lines = [
        "DependencyFailed ValueError the call of 'app.echo' never ran: it needs a call of 'app.fail', which failed",
        "DependencyFailed ValueError the call of 'app.echo' never ran: it needs a call of 'app.fail', which failed",
        "DependencyFailed ValueError the call of 'app.echo' never ran: it needs a call of 'app.fail', which failed",
        "True True",
        "True True True [0.2, 0.2]",
    ]
    assert (ended.returncode, ended.stdout.splitlines()) == (0, lines), ended.stderr


def test_after_orders_without_data(mpiexec: Mpiexec) -> None:
    """A call with `after=` begins when all of them have ended, on whatever slave."""
    source = f"""{TASKS}
@task
def stamp(seconds=0.0):
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()

def main():
    first = stamp.map([0.05, 0.2, 0.1])
    later = stamp.options(after=first).map([0.0] * 4)
    ended, begun = max(end for _, end in first.results()), min(begin for begin, _ in later.results())
    print(begun >= ended)
{START}"""
    ended = mpiexec(5, source)
    assert (ended.returncode, ended.stdout) == (0, "True\n"), ended.stderr


# ---------------------------------------------------------------- cancel, and time limits


def test_what_waits_can_be_cancelled_and_what_runs_can_be_asked(mpiexec: Mpiexec) -> None:
    """`cancel()` is True only for a call that never runs; a running one sees `should_stop` within a quarter second."""
    source = f"""{TASKS}
def main():
    running = obedient.delay()
    queued = echo.map(range(100))
    while not running.running():
        time.sleep(0.001)
    time.sleep(0.2)
    print(queued.cancel(), {{future.cancelled() for future in queued}}, {{future.cancel() for future in queued}})
    began = time.monotonic()
    print(running.cancel(), running.result(), time.monotonic() - began < 0.25, running.cancelled(), running.cancel())
    print(echo.delay("goes on").result())
    try:
        queued[0].result()
    except concurrent.futures.CancelledError:
        print("CancelledError")
{START}"""
    ended = mpiexec(2, source)
    lines = ["True {True} {True}", "False stopped True False False", "goes on", "CancelledError"]
    assert (ended.returncode, ended.stdout.splitlines()) == (0, lines), ended.stderr


def test_a_wait_may_end_before_the_call(mpiexec: Mpiexec) -> None:
    """`result(timeout=)` raises a TimeoutError in time, and the call goes on."""
    source = f"""{TASKS}
def main():
    future = sleep.delay(0.6)
    began = time.monotonic()
    for wait in (future.result, future.exception):
        try:
            wait(timeout=0.1)
        except TimeoutError as error:
            print(type(error).__name__, str(error))
    print(0.2 <= time.monotonic() - began < 0.5, future.done(), future.result(timeout=5))
{START}"""
    ended = mpiexec(2, source)
    text = "ResultTimeout the call of 'app.sleep' has not ended within 0.1 s; it goes on, ask again later"
    assert (ended.returncode, ended.stdout) == (0, f"{text}\n{text}\nTrue False 0.6\n"), ended.stderr


# ---------------------------------------------------------------- the standard library waits


WAITS = {
    "concurrent.futures.wait": "all(f.done() for f in concurrent.futures.wait(futures, timeout=20).done)",
    "concurrent.futures.as_completed": "len([f.result() for f in concurrent.futures.as_completed(futures, timeout=20)]) == 60",
    "asyncio.wrap_future": "asyncio.run(wrapped(futures)) == list(range(60))",
    "a callback": "called_back(futures) == 60",
    "another thread": "in_a_thread(futures) == list(range(60))",
    "many threads": "in_threads(futures) == list(range(60))",
}


@pytest.mark.parametrize("how", WAITS)
def test_the_farm_runs_while_main_waits_elsewhere(mpiexec: Mpiexec, how: str) -> None:
    """Calls go on, and futures end, although no waiting of ours drives the farm in the main thread."""
    source = f"""{TASKS}
async def wrapped(futures):
    return await asyncio.gather(*map(asyncio.wrap_future, futures))

def called_back(futures):
    called = threading.Semaphore(0)
    for future in futures:
        future.add_done_callback(lambda _: called.release())
    return sum(called.acquire(timeout=20) for _ in futures)

def in_a_thread(futures):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(futures.results).result(timeout=20)

def in_threads(futures):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda future: future.result(), futures, timeout=20))

def main():
    futures = echo.map(range(30), chunksize=1)
    began = time.monotonic()
    futures = mpitasks.Futures([*futures, *[add.delay(future, 30) for future in futures]])
    print({WAITS[how]}, time.monotonic() - began < 5)
{START}"""
    ended = mpiexec(3, source)
    assert (ended.returncode, ended.stdout) == (0, "True True\n"), ended.stderr


def test_the_farm_runs_while_main_computes(mpiexec: Mpiexec) -> None:
    """Windows and the background thread keep slaves at work while main holds the interpreter."""
    source = f"""{TASKS}
def main():
    sleep.delay(0.001).result()
    futures = sleep.map([0.001] * 500)
    end = time.monotonic() + 3
    while time.monotonic() < end and not all(future.done() for future in futures):
        sum(range(1000))
    print(all(future.done() for future in futures))
{START}"""
    ended = mpiexec(3, source)
    assert (ended.returncode, ended.stdout) == (0, "True\n"), ended.stderr


def test_an_async_main_awaits_calls(mpiexec: Mpiexec) -> None:
    """One after another and many at once, beside other work of the loop, in about the time of a round trip."""
    source = f"""{TASKS}
async def main():
    ticks = 0
    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1
    ticking = asyncio.create_task(tick())
    times = []
    for n in range(300):
        began = time.perf_counter()
        assert await echo.delay(n) == n
        times.append(time.perf_counter() - began)
    times.sort()
    assert times[150] < 0.01, times[150]
    print(sum(await mpitasks.gather(*[echo.delay(n) for n in range(1000)])))
    print(sum([await future async for future in mpitasks.as_completed(echo.map(range(1000)))]))
    before = ticks
    print(await sleep.delay(0.5), ticks - before > 10)
    try:
        await asyncio.wait_for(obedient.delay(), 0.1)
    except TimeoutError:
        print("timed out")
    ticking.cancel()
    return "the end"

if __name__ == "__main__":
    print(mpitasks.run(main))
"""
    ended = mpiexec(2, source)
    total = sum(range(1000))
    assert (ended.returncode, ended.stdout) == (0, f"{total}\n{total}\n0.5 True\ntimed out\nthe end\n"), ended.stderr


def test_any_thread_may_delay_and_wait(mpiexec: Mpiexec) -> None:
    """Eight threads at once, and callbacks that delay and wait, all get their own results."""
    source = f"""{TASKS}
def chain(n):
    value = 0
    for step in range(50):
        value = add.delay(value, n).result(timeout=20)
    return value

def main():
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        print(list(pool.map(chain, range(8))))
    done = threading.Event()
    got = []
    def again(future):
        got.append(echo.delay(future.result() + 1).result(timeout=20))
        done.set()
    echo.delay(1).add_done_callback(again)
    print(done.wait(20), got)
{START}"""
    ended = mpiexec(3, source)
    assert (ended.returncode, ended.stdout) == (0, f"{[50 * n for n in range(8)]}\nTrue [2]\n"), ended.stderr


# ---------------------------------------------------------------- many


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("ranks", [1, 3])
def test_imap_is_lazy(mpiexec: Mpiexec, ranks: int, ordered: bool) -> None:
    """Over an endless iterator it draws at most `buffersize` ahead, and leaving it cancels what was drawn."""
    source = f"""{TASKS}
def main():
    drawn = []
    def endless():
        for n in itertools.count():
            drawn.append(n)
            yield n
    values = []
    for value in echo.imap(endless(), buffersize=16, ordered={ordered}):
        values.append(value)
        assert len(drawn) - len(values) < 16 + ({ranks} == 1)
        if len(values) == 500:
            break
    print(values == list(range(500)) if {ordered} else len(set(values)) == 500, len(drawn) <= 516)
    print(sum(echo.imap(range(3000), ordered={ordered})))
    failing = fail.imap("ab", ordered={ordered})
    try:
        next(failing)
    except ValueError as error:
        print("failed")
{START}"""
    ended = mpiexec(ranks, source)
    assert (ended.returncode, ended.stdout) == (0, f"True True\n{sum(range(3000))}\nfailed\n"), ended.stderr


@pytest.mark.parametrize("ranks", [2, 5])
def test_twenty_thousand_calls(mpiexec: Mpiexec, ranks: int) -> None:
    """By delay, by map and by imap, each call has its own outcome, in order."""
    source = f"""{TASKS}
def main():
    assert [future.result() for future in [echo.delay(n) for n in range(20_000)]] == list(range(20_000))
    assert echo.map(range(20_000)).results() == list(range(20_000))
    assert echo.map(range(20_000), chunksize=777).results() == list(range(20_000))
    assert list(echo.imap(range(20_000))) == list(range(20_000))
    print("all")
{START}"""
    ended = mpiexec(ranks, source)
    assert (ended.returncode, ended.stdout) == (0, "all\n"), ended.stderr
