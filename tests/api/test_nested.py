"""Calls that submit calls, on the backends that need no MPI. API: "tasks submit tasks"."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import time
import traceback
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import pytest

import mpitasks
from mpitasks import Context, Deadlock, DependencyFailed, EncodeError, FarmBroken, Futures, NotRunning, resource, task
from tests.api import tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Run = Callable[..., Any]


@task
def add(one: int, other: int = 0) -> int:
    """Add."""
    return one + other


@task
def fib(n: int) -> int:
    """Submit two and wait for them."""
    return n if n < 2 else sum([fib.delay(n - 1).result(), fib.delay(n - 2).result()])


@task(bind=True)
def tree(ctx: Context, depth: int) -> int:
    """As on the first page of the API."""
    return 1 if depth == 0 else sum(tree.map([depth - 1] * 2).results())


@task("nested.one", max_slaves=1)
def one(depth: int) -> int:
    """Wait for itself, under a limit of one slave."""
    return depth if depth == 0 else 1 + one.delay(depth - 1).result()


@task
def chain(depth: int) -> Any:
    """Give back a future."""
    return "end" if depth == 0 else chain.delay(depth - 1)


@task
def fail(depth: int = 0) -> Any:
    """Fail, so many levels down."""
    if depth:
        return fail.delay(depth - 1).result()
    raise ValueError("the bottom")


@task
def give_back_failure() -> Any:
    """Give back a future that fails."""
    return fail.delay()


calls: list[Callable[[], Any]] = []


@task
def do(which: int) -> Any:
    """Do what the test wants done in a call: slaves are in this process."""
    return calls[which]()


@pytest.fixture
def inside(farm: Run) -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """`inside(body)`: what `body` returns in a call."""

    def run(body: Callable[[], Any]) -> Any:
        calls.append(body)
        return farm(lambda: do.delay(len(calls) - 1).result())

    yield run
    calls.clear()


# ---------------------------------------------------------------- values


def test_calls_submit_calls(farm: Run) -> None:
    """And wait for them, to any depth."""
    assert farm(lambda: (fib.delay(7).result(), tree.delay(3).result())) == (13, 8)


def test_a_limit_of_one_slave_is_no_end(farm: Run) -> None:
    """A slave that waits runs what it waits for."""
    assert farm(lambda: one.delay(20).result()) == 20


@pytest.mark.parametrize("slaves", [1, 3])
def test_a_thousand_levels(slaves: int) -> None:
    """Python's limit of frames holds for each of them, and not for all together; and is what it was, after."""
    before = sys.getrecursionlimit()
    assert mpitasks.run(lambda: one.delay(1000).result(), backend="threads", slaves=slaves) == 1000
    assert sys.getrecursionlimit() == before


@task
def deep(depth: int) -> str:
    """Look at the farm's threads and at Python's limit, so many levels down."""
    if depth:
        return deep.delay(depth - 1).result()
    seen.append(threading.active_count())
    return endless()


def endless() -> str:
    """Never end by itself."""

    def further(count: int) -> int:
        return 1 + further(count + 1)

    try:
        further(0)
    except RecursionError:
        return "ended"
    return "endless"


seen: list[int] = []


def test_no_level_has_a_thread_and_each_has_its_end() -> None:
    """A level costs no thread; and a recursion within one still ends by RecursionError."""
    assert [mpitasks.run(lambda n=n: deep.delay(n).result(), backend="threads", slaves=1) for n in (0, 200)] == ["ended"] * 2
    assert seen[0] == seen[1]
    seen.clear()


def test_everything_that_main_can_do(inside: Callable[..., Any]) -> None:
    """Many calls, in order and as they come, futures as arguments, plain functions, callbacks."""

    def body() -> list[Any]:
        heard: list[int] = []
        first = add.delay(1)
        first.add_done_callback(lambda future: heard.append(future.result()))
        second = add.delay(first.arg(), other=add.delay(first).arg())
        late = add.options(after=[second]).delay(5)
        mapped = add.map(range(4))
        done = mpitasks.wait(mapped).done
        return [
            second.result(),
            late.result(),
            mapped.results(),
            len(done),
            sum(future.result() for future in mpitasks.as_completed(add.map(range(5)))),
            list(add.imap(range(5), buffersize=2)),
            sorted(add.imap(range(5), ordered=False)),
            mpitasks.submit(lambda x: x * 10, second).result(),
            mpitasks.submit(abs, -3).result(),
            heard,
            (first.rank in (1, 2), first.attempts, first.task_name),
        ]

    values = [2, 5, [0, 1, 2, 3], 4, 10, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4], 20, 3, [1]]
    assert inside(body) == [*values, (True, 1, f"{__name__}.add")]


def test_a_task_made_in_a_call_travels(inside: Callable[..., Any], names: None) -> None:
    """As one does that main makes."""

    def body() -> int:
        @task("nested.made")
        def made(x: int) -> int:
            return x + 7

        return made.delay(1).result()

    assert inside(body) == 8


@pytest.mark.parametrize("levels", [1, 3, 1000])
def test_a_future_that_is_given_back_is_the_outcome(farm: Run, levels: int) -> None:
    """Through any number of calls, none of which waits."""
    assert farm(lambda: chain.delay(levels).result()) == "end"


def test_a_future_that_is_given_back_leaves_the_slave_free(threads: Run) -> None:
    """One slave runs the whole chain, and another call in between."""
    assert mpitasks.run(lambda: (chain.delay(30).result(), add.delay(1).result()), backend="threads", slaves=1) == ("end", 1)


def test_what_takes_a_joined_call_as_argument_waits_for_its_value(farm: Run) -> None:
    """Not for the first of the chain to be given back."""
    assert farm(lambda: mpitasks.submit(str.upper, chain.delay(3)).result()) == "END"


def test_an_async_call_awaits_its_calls(inside: Callable[..., Any]) -> None:
    """Async calls on top of async calls, several at a time, with timers between."""

    async def level(n: int) -> int:
        await asyncio.sleep(0)
        if n == 0:
            return 1
        below = mpitasks.submit(level, n - 1), mpitasks.submit(level, 0)
        return sum(await mpitasks.gather(*below)) + await add.delay(0)

    async def body() -> list[int]:
        found = [future async for future in mpitasks.as_completed([add.delay(1), add.delay(2)])]
        return [await mpitasks.submit(level, 3), sum([await future for future in found])]

    assert inside(body) == [4, 3]


def test_plain_code_waits_inside_of_an_async_call(inside: Callable[..., Any]) -> None:
    """Its loop stands still meanwhile."""

    async def body() -> int:
        first = await add.delay(1)
        return first + add.delay(2).result() + await add.delay(3)

    assert inside(body) == 6


@pytest.mark.parametrize("backend", ["threads", "inline"])
def test_plain_calls_wait_on_top_of_an_async_one(backend: str) -> None:
    """On one slave: for them no loop runs, and it stands still."""

    async def body() -> int:
        first, second = fib.delay(4), do.delay(1)
        return await first + await second

    async def main() -> int:
        calls.extend([body, lambda: asyncio.run(asyncio.sleep(0, 7))])
        future = do.delay(0)
        return await asyncio.wait_for(asyncio.wrap_future(future), tasks.PATIENCE)

    assert mpitasks.run(main, backend=backend, slaves=1, grace=0.0) == 10
    calls.clear()


def test_each_level_knows_itself(inside: Callable[..., Any]) -> None:
    """Before and after others ran on top of it."""

    def name() -> str:
        return mpitasks.current().task_name

    def body() -> list[Any]:
        return [name(), mpitasks.submit(name).result().endswith("name"), name(), mpitasks.current().attempt]

    assert inside(body) == [f"{__name__}.do", True, f"{__name__}.do", 1]


def test_a_thread_of_a_task_waits_too(inside: Callable[..., Any]) -> None:
    """It sleeps, while the slave's main thread runs what it waits for."""

    async def body() -> int:
        future = add.delay(4)
        return await asyncio.to_thread(future.result)

    assert inside(body) == 4


def test_a_callback_that_takes_long_keeps_nobody(threads: Run) -> None:
    """While its call goes on and does not wait: that hears that it should stop, and other callbacks run."""
    gate, other = tasks.gate(), tasks.gate("other")

    def body() -> tuple[bool, bool]:
        def block(_: object) -> None:
            gate.begun.set()
            gate.opened.wait(tasks.PATIENCE)

        add.delay(1).add_done_callback(block)
        gate.wait_for_a_call()
        add.delay(2).add_done_callback(lambda _: other.begun.set())
        others = other.begun.wait(tasks.PATIENCE)
        until = time.monotonic() + tasks.PATIENCE
        while not mpitasks.current().should_stop() and time.monotonic() < until:
            other.opened.wait(0.001)
        return others, mpitasks.current().should_stop()

    def main() -> Any:
        calls.append(body)
        future = do.delay(0)
        assert other.begun.wait(tasks.PATIENCE)
        future.cancel()
        heard = future.result()
        gate.opened.set()
        return heard

    assert threads(main) == (True, True)
    calls.clear()


def test_a_callback_may_delay_and_wait(threads: Run) -> None:
    """While its call goes on, and after that; what it submits are calls of that call."""
    got: list[Any] = []
    gate = tasks.gate()

    def body() -> None:
        def further(_: object) -> None:
            got.append((mpitasks.current().task_name, add.delay(2).result()))
            gate.begun.set()

        add.delay(1).add_done_callback(further)
        gate.wait_for_a_call()

    def main() -> None:
        calls.append(body)
        do.delay(0).result()

    threads(main)
    calls.clear()
    assert got == [(f"{__name__}.do", 2)]


@pytest.mark.parametrize("slaves", [1, 2])
def test_a_callback_may_wait_while_its_call_waits(slaves: int) -> None:
    """Also within a callback, and on one slave: what it waits for runs there."""
    got: list[int] = []

    def body() -> list[int]:
        def further(future: Any) -> None:
            if future.result() < 4:
                after = add.delay(future.result(), 1)
                after.add_done_callback(further)
                got.append(after.result())

        first = add.delay(0, 1)
        first.add_done_callback(further)
        return [first.result(), *got[::-1]]

    def main() -> Any:
        calls.append(body)
        return do.delay(0).result(timeout=tasks.PATIENCE)

    assert mpitasks.run(main, backend="threads", slaves=slaves, grace=0.0) == [1, 2, 3, 4]
    calls.clear()


def test_a_deadlock_in_a_callback_is_its_own(inside: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """It is logged like all that a callback raises, and the call goes on."""
    released: list[str] = []

    def body() -> str:
        first = add.delay(1)
        first.add_done_callback(lambda _: released.append(looping.delay(1).result()))
        return f"got {first.result()}"

    assert inside(body) == "got 1"
    assert "Deadlock" in caplog.text
    assert released == []


@task("nested.looping", memo=True)
def looping(n: int) -> str:
    """Wait for itself."""
    return looping.delay(n).result()


@task("nested.giving", memo=True)
def giving(n: int) -> Any:
    """Give back itself."""
    return giving.delay(n)


def test_a_deadlock_says_what_to_change(farm: Run) -> None:
    """A higher limit would help none of these."""
    waits, gives = farm(lambda: [one.delay(1).exception() for one in (looping, giving)])
    assert str(waits).endswith("; let no call wait for one that waits for it, such as an equal one of a task with memo=True")
    assert str(gives).endswith("; let it give back a value, or the future of a call that does not depend on it")


def test_callbacks_run_before_the_end(inside: Callable[..., Any]) -> None:
    """Of calls that nobody waits for, too."""
    got: list[int] = []

    def body() -> None:
        for number in range(5):
            add.delay(number).add_done_callback(lambda future: got.append(future.result()))

    inside(body)
    assert sorted(got) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("waits", [False, True])
def test_a_callback_may_submit_when_main_has_returned(farm: Run, waits: bool) -> None:
    """And so may the callback of that: the run ends after all of them."""

    def further(left: int) -> None:
        future = tasks.note.delay(left)
        if left:
            future.add_done_callback(lambda _: further(left - 1))
        elif waits:
            future.result()

    calls.append(lambda: further(5))
    farm(lambda: do.delay(0) and None)
    calls.clear()
    assert tasks.ran == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("ended", [False, True])
def test_a_callback_of_another_call_has_a_thread(threads: Run, ended: bool) -> None:
    """Of one that has ended, or waits further down: what it waits for could not run on top of the call that waits here."""
    gate, got = tasks.gate(), tasks.gate("got")

    def lower() -> Any:
        tasks.hold.delay().add_done_callback(lambda _: (add.delay(1).result(), got.begun.set()))
        gate.wait_for_a_call()  # the other slave has it
        return None if ended else do.delay(1).result()

    def upper() -> Any:
        return do.delay(2).result()

    def top() -> bool:
        gate.opened.set()
        return got.begun.wait(tasks.PATIENCE / 2)

    def main() -> Any:
        calls.extend([lower, upper, top])
        return do.delay(0).result() if not ended else (do.delay(0).result(), do.delay(1).result())[1]

    assert threads(main) is True
    calls.clear()


# ---------------------------------------------------------------- failures


def test_a_failure_comes_up_through_all_levels(farm: Run) -> None:
    """As itself, with a traceback of each level and a note of each call."""
    with pytest.raises(ValueError, match="the bottom") as caught:
        farm(lambda: fail.delay(3).result())
    text = "".join(traceback.format_exception(caught.value))
    assert [note for note in caught.value.__notes__ if "fail" in note][3:] != []
    assert text.count('raise ValueError("the bottom")') >= 1
    assert text.count("fail.delay(depth - 1).result()") >= 3


def test_a_failure_passes_through_what_gave_it_back(farm: Run) -> None:
    """It is the outcome of the call too."""
    with pytest.raises(ValueError, match="the bottom"):
        farm(lambda: give_back_failure.delay().result())


def test_what_needs_a_failed_call_never_runs(inside: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """Whether that has failed before or not; and its failure counts as told."""

    def body() -> list[str]:
        failed = fail.delay()
        found = []
        for _ in range(2):
            with pytest.raises(DependencyFailed) as caught:
                add.delay(failed.arg()).result()
            found.append(repr(caught.value.__cause__))
            failed.exception()
        return found

    assert inside(body) == ["ValueError('the bottom')"] * 2
    assert "nobody asked" not in caplog.text


def test_a_failure_that_nobody_asks_for_is_logged(inside: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """As in main."""

    def body() -> None:
        mpitasks.wait([fail.delay()])
        gc.collect()

    with caplog.at_level(logging.ERROR):
        inside(body)
    assert "failed, and nobody asked for its result" in caplog.text


SUM = "failed call{} of this run: nobody asked for the result"
kept: list[Any] = []


def forget() -> None:
    """Submit calls that fail, and ask for none: one is dropped, one is kept, one can't run."""
    fail.delay()
    failed = fail.delay()
    kept.extend([fail.delay(), add.delay(failed.arg())])
    mpitasks.wait(kept)


def raise_after() -> None:
    """The same, and fail."""
    forget()
    raise OSError("the parent")


def raise_first() -> None:
    """Fail the first time, after a failure that nobody asked for."""
    if mpitasks.current().attempt == 1:
        raise_after()


def give_back() -> Any:
    """End as another call does, and forget one."""
    fail.delay()
    return add.delay(1)


def forget_in_a_callback() -> None:
    """What that submits belongs to this call, which has returned by then, perhaps."""
    add.delay(1).add_done_callback(lambda _: (fail.delay(), None)[1])


def ask() -> None:
    """For all."""
    mpitasks.wait([fail.delay()]).done.pop().exception()
    Futures(fail.map([0, 0])).outcomes()


@pytest.mark.parametrize(
    ("body", "count"),
    [(forget, 3), (raise_after, 0), (raise_first, 0), (give_back, 1), (forget_in_a_callback, 1), (ask, 0)],
)
def test_failures_that_a_call_did_not_ask_for_count(
    farm: Run, caplog: pytest.LogCaptureFixture, body: Callable[[], Any], count: int
) -> None:
    """As main's do; not those of one that has failed itself: its own failure is told in their place."""
    calls.append(body)
    farm(lambda: do.options(retries=int(body is raise_first)).delay(0).exception())
    kept.clear()
    calls.clear()
    sums = [one for one in map(logging.LogRecord.getMessage, caplog.records) if "of this run" in one]
    assert sums == [f"{count} {SUM.format('s'[: count > 1])}"] * (count > 0)


def test_the_failures_of_a_cancelled_call_do_not_count(threads: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Though it returns: nobody wants to know."""
    gate = tasks.gate()

    def body() -> None:
        fail.delay()
        gate.begun.set()
        while not mpitasks.current().should_stop():
            gate.opened.wait(0.001)

    def main() -> None:
        future = do.delay(0)
        gate.wait_for_a_call()
        future.cancel()
        future.exception()

    calls.append(body)
    threads(main)
    calls.clear()
    assert "of this run" not in caplog.text


def test_a_wrong_argument_is_named_on_the_line_of_the_call(inside: Callable[..., Any]) -> None:
    """In a task as in main."""

    def body() -> None:
        with pytest.raises(EncodeError, match="argument 'one' of"):
            add.delay(threading.Lock())  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            add.delay()  # type: ignore[call-arg]

    inside(body)


def test_a_future_of_main_is_no_argument_inside_of_a_task(farm: Run) -> None:
    """It belongs to main's farm."""

    def main() -> None:
        future = add.delay(1)
        calls.append(lambda: add.delay(future.arg()))
        with pytest.raises(NotRunning, match="inside a task that has not submitted it"):
            do.delay(len(calls) - 1).result()

    farm(main)
    calls.clear()


def test_a_call_that_fails_takes_along_what_has_not_begun(threads: Run) -> None:
    """Nobody could ask for it; what runs goes on, and nothing is left at the end."""
    begun: list[int] = []

    def parent() -> None:
        for _ in range(5):
            do.delay(1)
        raise OSError

    def main() -> None:
        calls[:] = [parent, lambda: begun.append(1)]
        assert isinstance(do.delay(0).exception(), OSError)

    mpitasks.run(main, backend="threads", slaves=1)
    calls.clear()
    assert begun == []


def test_a_call_that_fails_takes_along_what_waits_for_those(threads: Run) -> None:
    """They end with each other, and not once more by themselves."""

    def parent() -> None:
        add.delay(add.delay(do.delay(1)))
        raise OSError

    def main() -> tuple[type, int]:
        calls[:] = [parent]
        return type(do.delay(0).exception()), add.delay(1).result()

    assert mpitasks.run(main, backend="threads", slaves=1) == (OSError, 1)
    calls.clear()


def test_a_call_that_returns_leaves_its_calls_to_themselves(threads: Run) -> None:
    """They are waited for when main has returned."""
    begun: list[int] = []

    def parent() -> None:
        for _ in range(5):
            do.delay(1)

    def main() -> None:
        calls[:] = [parent, lambda: begun.append(1)]
        do.delay(0).result()

    threads(main)
    calls.clear()
    assert begun == [1] * 5


def test_a_call_that_runs_again_submits_again(inside: Callable[..., Any], names: None) -> None:
    """And gets the values of its last attempt."""

    def body() -> int:
        def parent() -> int:
            future = add.delay(mpitasks.current().attempt)
            if mpitasks.current().attempt < 3:
                raise OSError
            return future.result()

        flaky = task("nested.flaky", retries=2)(parent)
        return flaky.delay().result()

    assert inside(body) == 3


def test_a_call_of_a_call_is_cancelled(threads: Run) -> None:
    """True only before it was sent, as in main; what waits for it then is cancelled too."""

    def body() -> tuple[bool, bool]:
        first, second = add.delay(1), add.delay(2)
        last = add.delay(second.arg())
        cancelled = second.cancel()
        first.result()
        with pytest.raises(CancelledError):
            second.result()
        return cancelled, last.cancelled()

    def main() -> Any:
        calls.append(body)
        return do.delay(0).result()

    assert mpitasks.run(main, backend="threads", slaves=1) == (True, True)
    calls.clear()


def test_a_wait_may_run_out(threads: Run) -> None:
    """The call goes on."""
    gate = tasks.gate()

    def body() -> bool:
        future = do.delay(1)
        with pytest.raises(mpitasks.ResultTimeout):
            future.result(timeout=0.01)
        gate.opened.set()
        return bool(future.result())

    def main() -> Any:
        calls[:] = [body, lambda: gate.opened.wait(tasks.PATIENCE)]
        return do.delay(0).result()

    assert threads(main)
    calls.clear()


@pytest.mark.parametrize("levels", [0, 1])
def test_an_attempt_names_its_calls_as_the_last_one_did(farm: Run, tmp_path: Path, names: None, levels: int) -> None:
    """`id=` names a call of a call: whichever attempt submits it, and of whichever call above."""
    failures = [OSError, OSError]

    def lower() -> int:
        value = add.options(id="x").delay(7).result()
        if failures:
            raise failures.pop()
        return value

    def main() -> int:
        calls[:] = [lower]
        parent = task("nested.names", retries=2)(lambda: do.delay(0).result() if levels else lower())
        return parent.delay().result()

    assert farm(main, journal=tmp_path / "run.jrnl") == 7
    calls.clear()


def test_a_name_is_that_of_one_call(farm: Run, tmp_path: Path) -> None:
    """As in main; whether the other one is of the same call, or of another."""

    def body() -> int:
        return add.options(id="x").delay(1).result()

    def main() -> list[str]:
        calls[:] = [body, lambda: [body(), body()]]
        do.delay(0).result()
        return [str(do.delay(0).exception()), str(do.delay(1).exception())]

    for text in farm(main, journal=tmp_path / "run.jrnl"):
        assert "id='x' names another call of" in text
    calls.clear()


# ---------------------------------------------------------------- calls that have ended before they began


@task("nested.known", memo=True)
def known(x: int) -> int:
    """Has an outcome that the master knows, once it was called."""
    return x + 1


@pytest.mark.parametrize(
    "body",
    [lambda: known.delay(1), lambda: add.delay(known.delay(1)).result(), lambda: add.options(after=[known.delay(1)]).delay(2)],
)
def test_a_known_outcome_is_given_back_and_handed_on(farm: Run, body: Callable[[], Any]) -> None:
    """The call ends while it is submitted; its slave does not know that yet, and names it all the same."""

    def main() -> list[int]:
        calls[:] = [body]
        return [known.delay(1).result(), do.delay(0).result(), known.delay(2).result()]

    assert farm(main) == [2, 2, 3]
    calls.clear()


def test_a_refused_call_is_given_back(threads: Run) -> None:
    """The run is closing: the call fails with what its child failed with, and the others keep their outcomes."""
    futures: list[Any] = []

    def late() -> Any:
        while not mpitasks.current().should_stop():
            pass
        return add.delay(1)

    def main() -> None:
        gate = tasks.gate()
        calls[:] = [late, lambda: gate.opened.wait(tasks.PATIENCE)]
        futures[:] = [do.delay(0), do.delay(1)]
        futures[0].add_done_callback(lambda _: gate.opened.set())
        while not all(future.running() for future in futures):
            pass
        raise OSError("main")

    with pytest.raises(OSError, match="main"):
        threads(main, grace=tasks.PATIENCE)
    with pytest.raises(FarmBroken, match="can't be called any more: the run is ending"):
        futures[0].result()
    assert futures[1].result()
    calls.clear()


class Unreadable:
    """An id that the master can't unpickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _unread, ()

    def __hash__(self) -> int:
        return 1


class Unread(Exception):
    """What unpickling raises."""


def _unread() -> None:
    raise Unread("not on this rank")


def test_what_the_master_cant_read_fails_that_call_alone(threads: Run) -> None:
    """By whatever its unpickling raises."""

    def main() -> tuple[Any, int]:
        calls[:] = [lambda: add.options(resource=Unreadable()).delay(1)]
        return do.delay(0).exception(), add.delay(1).result()

    error, after = threads(main)
    assert (type(error), str(error), after) == (Unread, "not on this rank", 1)
    calls.clear()


# ---------------------------------------------------------------- limits and resources


barrier = threading.Barrier(2)


@task("nested.left", max_slaves=1)
def left(depth: int) -> int:
    """Wait for the other, when both run."""
    barrier.wait(10)
    return right.delay(depth).result()


@task("nested.right", max_slaves=1)
def right(depth: int) -> int:
    """As `left`."""
    barrier.wait(10)
    return left.delay(depth).result()


@task("nested.async_left", max_slaves=1)
async def async_left() -> int:
    """As `left`."""
    barrier.wait(10)
    return await async_right.delay()


@task("nested.async_right", max_slaves=1)
async def async_right() -> int:
    """As `left`."""
    barrier.wait(10)
    return await async_left.delay()


@pytest.mark.parametrize("pair", [(left, right), (async_left, async_right)], ids=["plain", "async"])
def test_a_cycle_of_limits_raises_in_the_youngest(threads: Run, pair: Any) -> None:
    """Each waits for a call that the other keeps from running: the younger one is told, and the older one goes on."""
    barrier.reset()

    def main() -> list[Any]:
        futures = [call.delay(*([1] if pair[0] is left else [])) for call in pair]
        younger = futures[1].exception()
        barrier.abort()  # the call of the other task runs now, alone
        return [younger, futures[0].exception()]

    younger, older = threads(main)
    assert isinstance(younger, Deadlock)
    assert "its limit max_slaves is reached by slave" in str(younger)
    assert str(younger).endswith("; raise that limit, or return the future in place of waiting for it")
    assert not isinstance(older, Deadlock)


@task("nested.clashing_left", max_slaves=1)
def clashing_left(depth: int) -> int:
    """As `left`, after a call that was refused."""
    add.options(id="x").delay(1).result()
    with pytest.raises(ValueError, match="names another call"):
        add.options(id="x").delay(2).result()
    barrier.wait(10)
    return clashing_right.delay(depth).result()


@task("nested.clashing_right", max_slaves=1)
def clashing_right(depth: int) -> int:
    """As `right`."""
    barrier.wait(10)
    return clashing_left.delay(depth).result()


def test_a_call_that_was_refused_hides_no_cycle(threads: Run, tmp_path: Path) -> None:
    """It has ended: who has submitted it does not wait for it."""
    barrier.reset()

    def main() -> list[Any]:
        futures = [clashing_left.delay(1), clashing_right.delay(1)]
        younger = futures[1].exception(timeout=5)
        barrier.abort()
        return [younger, futures[0].exception()]

    younger, older = threads(main, journal=tmp_path / "run.jrnl")
    assert isinstance(younger, Deadlock)
    assert not isinstance(older, Deadlock)


@resource("nested.few", max_holders=1)
def few() -> Iterator[str]:
    """One slave may hold it."""
    yield "few"


@task("nested.uses_few", resource=few)
def uses_few(depth: int) -> str:
    """Hold it on all levels."""
    return few.get() if depth == 0 else uses_few.delay(depth - 1).result() + few.get()


@task("nested.keyed", resource="mesh", key="path")
def keyed(path: str, depth: int) -> list[str]:
    """Another id on each level."""
    return [path] if depth == 0 else [path, *keyed.delay(f"{path}x", depth - 1).result()]


def test_what_a_waiting_call_holds_its_children_hold_too(farm: Run) -> None:
    """It is held once, and still there when the lower levels go on."""
    assert farm(lambda: uses_few.delay(3).result()) == "few" * 4


def test_calls_on_top_may_need_other_things(farm: Run) -> None:
    """Of plain ids."""
    assert farm(lambda: keyed.delay("p", 3).result()) == ["p", "px", "pxx", "pxxx"]


# ---------------------------------------------------------------- journal and memo


def test_what_calls_of_calls_have_returned_is_not_run_again(farm: Run, tmp_path: Path) -> None:
    """Equal ones by their place among those of the same parent; a parent whose outcome is known submits nothing."""
    ran: list[int] = []
    broken = [True]

    def leaf() -> int:
        ran.append(1)
        return len(ran)

    def parent() -> list[int]:
        calls.append(leaf)
        values = [do.delay(1).result() for _ in range(3)]
        if broken[0]:
            raise OSError
        return values

    def main() -> Any:
        calls[:] = [parent, leaf]
        return do.delay(0).exception() or do.delay(0).result()

    assert isinstance(farm(main, journal=tmp_path / "run.jrnl"), OSError)
    assert len(ran) == 3
    broken[0] = False
    assert farm(
        lambda: (calls.__setitem__(slice(None), [parent, leaf]), do.delay(0).result())[1], journal=tmp_path / "run.jrnl"
    )
    assert len(ran) == 3
    calls.clear()
