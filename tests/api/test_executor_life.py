"""`Executor` and its futures: from submit to shutdown, as in the standard library."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import weakref
from typing import Any, NoReturn

import pytest

import mpitasks
from mpitasks import Executor
from mpitasks.errors import Terminated
from tests.api.executors import (
    AFTER,
    BOTH,
    Counter,
    begun,
    bench,
    divide,
    divide_by,
    fresh,
    hold,
    in_main,
    later,
    note,
    with_executor,
)

_fresh = pytest.fixture(autouse=True)(fresh)

# ---------------------------------------------------------------- futures


def test_the_life_of_a_future() -> None:
    """running, done, cancelled, cancel and the timeouts, before and after."""

    def body(executor: Executor) -> None:
        running, waiting = executor.submit(hold, 1), executor.submit(hold, 2)
        begun(1)
        assert (running.running(), running.done(), running.cancelled(), running.cancel()) == (True, False, False, False)
        assert (waiting.running(), waiting.done(), waiting.cancelled()) == (False, False, False)
        with pytest.raises(TimeoutError):
            running.result(timeout=0)
        with pytest.raises(concurrent.futures.TimeoutError):
            waiting.exception(timeout=0.001)
        assert (waiting.cancel(), waiting.cancel()) == (True, True)
        assert (waiting.running(), waiting.done(), waiting.cancelled()) == (False, True, True)
        with pytest.raises(concurrent.futures.CancelledError):
            waiting.result()
        with pytest.raises(concurrent.futures.CancelledError):
            waiting.exception()
        bench.gate.set()
        assert (running.result(), running.done(), running.cancel(), running.cancelled()) == (1, True, False, False)

    with_executor(body, max_workers=1)


def test_the_waits_of_the_standard_library_work() -> None:
    """All three conditions, a timeout, and `as_completed`, also for futures of two executors."""

    def main() -> None:
        with Executor() as one, Executor() as other:
            held, failing, quick = one.submit(hold, 1), other.submit(divide, 1, 0), other.submit(abs, -2)
            done, _ = concurrent.futures.wait([held, quick], return_when=concurrent.futures.FIRST_COMPLETED)
            assert done == {quick}
            done, _ = concurrent.futures.wait([held, failing], return_when=concurrent.futures.FIRST_EXCEPTION)
            assert done == {failing}
            assert concurrent.futures.wait([held, quick], timeout=0.01).not_done == {held}
            with pytest.raises(TimeoutError):
                list(concurrent.futures.as_completed([held], timeout=0.01))
            order = []
            for future in concurrent.futures.as_completed([held, quick]):
                order.append(future.result())
                bench.gate.set()
            assert order == [2, 1]
            assert concurrent.futures.wait([held, failing, quick]).not_done == set()

    in_main(main)


@BOTH
def test_callbacks_run_in_the_order_in_which_they_were_added(backend, caplog) -> None:
    """With the future, once; one that raises is logged, and the next runs; added late, they run at once."""
    calls: list[Any] = []

    def body(executor: Executor) -> None:
        future = executor.submit(hold if backend == "threads" else abs, -1)
        for x in range(3):
            future.add_done_callback(lambda one, x=x: calls.append((x, one)))
        future.add_done_callback(lambda _: calls.append(divide_by(0)))
        future.add_done_callback(lambda one: calls.append((4, one)))
        bench.gate.set()
        executor.shutdown()
        future.add_done_callback(lambda one: calls.append((5, one)))
        assert calls == [(x, future) for x in (0, 1, 2, 4, 5)]

    with caplog.at_level(logging.ERROR):
        with_executor(body, backend, max_workers=1)
    assert "ZeroDivisionError" in caplog.text


def test_shutdown_waits_for_the_callbacks_too() -> None:
    """As the standard library's does, where a thread of the executor runs them."""
    entered, leave = threading.Event(), threading.Event()
    seen: list[str] = []

    def call_back(_: object) -> None:
        entered.set()
        leave.wait(20)
        seen.append("called back")

    def main() -> list[str]:
        executor = Executor()
        executor.submit(abs, 1).add_done_callback(call_back)
        assert entered.wait(20)
        ending = threading.Thread(target=lambda: (executor.shutdown(), seen.append("ended")))
        ending.start()
        ending.join(0.02)
        leave.set()
        ending.join(20)
        return seen

    assert in_main(main) == ["called back", "ended"]


def test_a_callback_may_shut_down() -> None:
    """It does not wait for itself."""
    seen: list[str] = []

    def body(executor: Executor) -> list[str]:
        future = executor.submit(hold)
        future.add_done_callback(lambda _: (executor.shutdown(), seen.append("ended")))
        bench.gate.set()
        executor.shutdown()
        return seen

    assert with_executor(body) == ["ended"]


def test_callbacks_of_a_cancelled_call_run_inside_cancel() -> None:
    """The future is cancelled already then."""
    seen: list[bool] = []

    def body(executor: Executor) -> None:
        executor.submit(hold)
        future = executor.submit(hold)
        future.add_done_callback(lambda one: seen.append(one.cancelled()))
        future.cancel()
        assert seen == [True]
        bench.gate.set()

    with_executor(body, max_workers=1)


@BOTH
def test_a_callback_may_submit(backend) -> None:
    """From the thread that runs the farm."""
    more: list[mpitasks.Future[int]] = []

    def body(executor: Executor) -> int:
        future = executor.submit(abs, -1)
        future.add_done_callback(lambda one: more.append(executor.submit(abs, one.result() - 5)))
        executor.submit(abs, 0).result()
        future.result()
        while not more:
            executor.submit(abs, 0).result()
        return more[0].result()

    assert with_executor(body, backend) == 4


def test_nothing_is_kept_of_a_call_that_has_ended() -> None:
    """Neither its callable, nor its arguments, nor its future: an executor lives long."""

    def body(executor: Executor) -> list[bool]:
        counter = Counter(1)
        reference = weakref.ref(counter)
        future = executor.submit(counter.plus, 1)
        future.result()
        forgotten = weakref.ref(future)
        del counter, future
        executor.submit(abs, 1).result()
        return [reference() is None, forgotten() is None, len(executor._futures) <= 1]

    assert with_executor(body) == [True, True, True]


# ---------------------------------------------------------------- shutdown


@BOTH
def test_after_shutdown_nothing_is_taken(backend) -> None:
    """Word by word as the standard library says it; a second shutdown does no harm."""

    def body(executor: Executor) -> None:
        future = executor.submit(abs, -1)
        executor.shutdown()
        executor.shutdown(wait=False, cancel_futures=True)
        with pytest.raises(RuntimeError, match=AFTER):
            executor.submit(abs, -1)
        with pytest.raises(RuntimeError, match=AFTER):
            executor.map(abs, [1])
        assert list(executor.map(abs, [])) == []
        assert future.result() == 1

    with_executor(body, backend)


def test_shutdown_waits_for_its_own_calls_only() -> None:
    """What another executor runs goes on."""

    def main() -> bool:
        with Executor() as other:
            held = other.submit(hold)
            begun(1)
            with Executor() as executor:
                executor.map(note, range(50))
            assert sorted(bench.notes) == list(range(50))
            was_running = held.running()
            bench.gate.set()
        return was_running

    assert in_main(main) is True


def test_shutdown_without_waiting_lets_the_calls_end() -> None:
    """It returns at once, and what was submitted is done."""

    def main() -> list[Any]:
        executor = Executor(max_workers=1)
        futures = [executor.submit(hold, x) for x in range(3)]
        begun(1)
        executor.shutdown(wait=False)
        assert not any(future.done() for future in futures)
        bench.gate.set()
        return [future.result() for future in futures]

    assert in_main(main) == [0, 1, 2]


def test_shutdown_can_cancel_what_waits(monkeypatch) -> None:
    """In the order of submission; what runs ends well, and is not told to stop."""

    def main() -> list[int]:
        executor = Executor(max_workers=1)
        running = executor.submit(hold, 7)
        begun(1)
        withdrawn: list[object] = []
        withdraw = executor._farm.withdraw
        monkeypatch.setattr(executor._farm, "withdraw", lambda future: withdrawn.append(future) or withdraw(future))
        order: list[int] = []
        waiting = [executor.submit(abs, x) for x in range(5)]
        for x, future in enumerate(waiting):
            future.add_done_callback(lambda _, x=x: order.append(x))
        executor.shutdown(wait=False, cancel_futures=True)
        assert [future.cancelled() for future in waiting] == [True] * 5
        assert withdrawn == waiting
        assert running.running()
        bench.gate.set()
        assert running.result() == 7
        return order

    assert in_main(main) == [0, 1, 2, 3, 4]


def test_shutdown_cancels_what_waits_of_a_map() -> None:
    """What runs ends well, and its value is there; nothing else runs."""

    def main() -> int:
        executor = Executor(max_workers=1)
        values = executor.map(hold, range(50))
        begun(1)
        executor.shutdown(wait=False, cancel_futures=True)
        bench.gate.set()
        executor.shutdown()
        first = next(values)
        with pytest.raises(concurrent.futures.CancelledError):
            next(values)
        return first

    assert in_main(main) == 0


def test_shutdown_waits_for_maps() -> None:
    """Nobody has to iterate."""

    def main() -> int:
        executor = Executor()
        executor.map(note, range(1000))
        executor.shutdown()
        return len(bench.notes)

    assert in_main(main) == 1000


def test_shutdown_with_both_cancels_and_waits() -> None:
    """When it returns, nothing of the executor runs."""

    def main() -> list[str]:
        executor = Executor(max_workers=1)
        futures = [executor.submit(hold) for _ in range(3)]
        begun(1)
        opener = threading.Thread(target=bench.gate.set)
        futures[2].add_done_callback(lambda _: opener.start())
        executor.shutdown(wait=True, cancel_futures=True)
        opener.join()
        return [future._state for future in futures]

    assert in_main(main) == ["FINISHED", "CANCELLED_AND_NOTIFIED", "CANCELLED_AND_NOTIFIED"]


def test_what_is_still_being_submitted_is_waited_for() -> None:
    """A thread that pickles its arguments while another shuts down has begun before."""

    class Slow:
        def __reduce__(self) -> tuple[Any, ...]:
            hold()
            return note, ("slow",)

    def main() -> Any:
        executor = Executor()
        submitting = threading.Thread(target=executor.submit, args=(abs, Slow()))
        submitting.start()
        begun(1)
        ended = threading.Thread(target=executor.shutdown)
        ended.start()
        assert_refuses(executor)
        assert ended.is_alive()
        bench.gate.set()
        ended.join(20)
        submitting.join(20)
        return bench.notes

    assert in_main(main) == ["slow"]


def test_a_submit_may_shut_down() -> None:
    """In a pickle hook or a callback that runs inside of it; it does not wait for itself."""

    def main() -> int:
        executor = Executor()

        class Closing:
            def __reduce__(self) -> tuple[Any, ...]:
                executor.shutdown()
                return abs, (-1,)

        return executor.submit(abs, Closing()).result()

    assert in_main(main) == 1


def assert_refuses(executor: Executor) -> None:
    """Wait until the executor takes nothing any more."""
    for _ in range(10_000):
        try:
            executor.submit(abs, 1).result()
        except RuntimeError:
            return
    pytest.fail("shutdown has not begun")


@BOTH
def test_leaving_a_with_block_waits(backend) -> None:
    """And gives the executor itself."""

    def main() -> list[Any]:
        with Executor() as executor:
            executor.map(note, range(10))
        assert isinstance(executor, concurrent.futures.Executor)
        with pytest.raises(RuntimeError, match=AFTER):
            executor.submit(abs, 1)
        return sorted(bench.notes)

    assert in_main(main, backend) == list(range(10))


def test_an_exception_in_a_with_block_waits_too() -> None:
    """As in the standard library: nothing is cancelled."""

    def body(executor: Executor) -> NoReturn:
        executor.map(note, range(10))
        raise LookupError

    with pytest.raises(LookupError):
        with_executor(body, max_workers=1)
    assert bench.notes == list(range(10))


@pytest.mark.parametrize("signal", [KeyboardInterrupt, Terminated])
def test_a_signal_in_a_with_block_does_not_wait(signal) -> None:
    """After Ctrl-C nobody wants to wait for a thousand calls; what has not begun is cancelled."""
    futures: list[mpitasks.Future[Any]] = []

    def interrupted() -> NoReturn:
        with Executor(max_workers=1) as executor:
            futures.extend(executor.submit(hold) for _ in range(2))
            begun(1)
            raise signal

    def main() -> tuple[bool, bool]:
        with pytest.raises(signal):
            interrupted()
        state = futures[0].running(), futures[1].cancelled()
        bench.gate.set()
        return state

    assert in_main(main) == (True, True)


# ---------------------------------------------------------------- asyncio


def test_run_in_executor_works_in_an_async_main() -> None:
    """Many at once, an exception, and a cancelled wait."""

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        with Executor(max_workers=1) as executor:
            values = await asyncio.gather(*(loop.run_in_executor(executor, abs, -x) for x in range(20)))
            assert loop in executor._farm._pumps._pumps  # the loop itself runs the farm: a tenth of the latency
            with pytest.raises(ZeroDivisionError):
                await loop.run_in_executor(executor, divide, 1, 0)
            held = loop.run_in_executor(executor, hold)
            waiting = executor.submit(abs, 1)
            wrapped = asyncio.wrap_future(waiting)
            wrapped.cancel()
            await asyncio.wait([wrapped])
            assert waiting.cancelled()
            bench.gate.set()
            await held
            assert await executor.submit(abs, -7) == 7
        return values

    assert in_main(main) == list(range(20))


def test_run_in_executor_works_inline() -> None:
    """Where the call has ended before the loop waits."""

    async def main() -> Any:
        with Executor() as executor:
            return await asyncio.get_running_loop().run_in_executor(executor, later, 3)

    assert in_main(main, "inline") == 3
