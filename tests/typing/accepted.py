"""What must be accepted, and with which types."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Iterator
from typing import Any, assert_type

import mpitasks
from mpitasks import (
    Broadcast,
    Context,
    Done,
    Failed,
    Future,
    Futures,
    Resource,
    Statistics,
    Task,
    as_completed,
    broadcast,
    gather,
    resource,
    run,
    submit,
    wait,
)

from . import tasks
from .tasks import bare, bound, bound_named, called, generic, keyed, later, later_bound, made, made_named, named, nothing, total


def broadcasts() -> None:
    numbers = broadcast([1, 2])
    assert_type(numbers, Broadcast[list[int]])
    assert_type(numbers.arg(), list[int])
    assert_type(numbers.value, list[int])
    assert_type(generic.delay(numbers.arg()), Future[list[int]])
    assert_type(submit(sum, numbers.arg()), Future[int])


def every_kind_of_task() -> None:
    assert_type(bare.delay(1), Future[float])
    assert_type(bare.delay(1, "a", flag=True), Future[float])
    assert_type(bare.delay(x=1, y="a"), Future[float])
    assert_type(called.delay(1), Future[str])
    assert_type(named.delay("a"), Future[int])
    assert_type(keyed.delay(path="a"), Future[int])
    assert_type(bound.delay(1), Future[int])
    assert_type(bound_named.delay(1, y="a"), Future[str])
    assert_type(later.delay(1), Future[str])
    assert_type(later_bound.delay(x=1), Future[bytes])
    assert_type(generic.delay(1), Future[int])
    assert_type(generic.delay("a"), Future[str])
    assert_type(tasks.variadic.delay(1, "a", "b", z=0.5), Future[list[str]])
    assert_type(nothing.delay(), Future[None])
    assert_type(made.delay(1), Future[str])
    assert_type(made_named.delay(1), Future[str])


def the_plain_function() -> None:
    assert_type(bare(1), float)
    assert_type(bound(1), int)
    assert_type(generic([1]), list[int])
    assert_type(bare.name, str)
    assert_type(bare.bind, bool)


def options() -> None:
    first = bare.delay(1)
    again = bare.options(priority=5, resource=("mesh", 1), after=[first], copy=False)
    assert_type(again.delay(1, flag=True), Future[float])
    assert_type(bound.options(resource=None, isolate=True).delay(1), Future[int])
    assert_type(later.options(after=bare.map([1])).delay(1), Future[str])
    assert_type(bare.options().map([1]), Futures[float])


def one_future() -> None:
    future = bare.delay(1)
    assert_type(future.result(), float)
    assert_type(future.result(timeout=1.5), float)
    assert_type(future.exception(), BaseException | None)
    assert_type(future.cancel(), bool)
    assert_type(future.done(), bool)
    assert_type(future.arg(), float)
    assert_type(future.task_name, str)
    assert_type(future.rank, int | None)
    assert_type(future.attempts, int)
    future.add_done_callback(lambda one: one.result().is_integer())


def futures_as_arguments() -> None:
    assert_type(called.delay(named.delay("a").arg()), Future[str])
    assert_type(total.delay(bare.map([1, 2]).arg()), Future[float])
    assert_type(total.delay([bare.delay(1).arg(), 2.0]), Future[float])
    assert_type(called.delay(later_length().arg()), Future[str])


def later_length() -> Future[int]:
    return bound.delay(1)


def many() -> None:
    futures = bare.map([1, 2], ["a", "b"], chunksize=10)
    assert_type(futures, Futures[float])
    assert_type(bare.map([1], chunksize="auto"), Futures[float])
    assert_type(bare.starmap([(1, "a"), (2,)]), Futures[float])
    assert_type(later.map([1]), Futures[str])
    assert_type(later.starmap([(1,)], chunksize=2), Futures[str])
    assert_type(bound.map([1]), Futures[int])
    assert_type(futures[0], Future[float])
    assert_type(futures[1:], Futures[float])
    assert_type(futures.results(), list[float])
    assert_type(futures.results(timeout=1), list[float])
    assert_type(futures.arg(), list[float])
    assert_type(futures.cancel(), bool)
    assert_type(len(futures), int)
    for future in futures:
        assert_type(future, Future[float])


def outcomes() -> None:
    for outcome in bare.map([1]).outcomes():
        assert_type(outcome, Done[float] | Failed)
        if isinstance(outcome, Done):
            assert_type(outcome.value, float)
        else:
            assert_type(outcome.error, BaseException)
    match bare.map([1]).outcomes()[0]:
        case Done(value):
            assert_type(value, float)
        case Failed(error):
            assert_type(error, BaseException)


def lazily() -> None:
    assert_type(bare.imap(range(3)), Iterator[float])
    assert_type(bare.imap(range(3), "abc", chunksize=5, buffersize=10, ordered=False), Iterator[float])
    assert_type(later.imap(range(3)), Iterator[str])
    for value in bound.imap(iter(int, 1)):
        assert_type(value, int)


def any_callable() -> None:
    assert_type(submit(tasks.plain, 1), Future[str])
    assert_type(submit(tasks.plain, x=1), Future[str])
    assert_type(submit(bare, 1, flag=True), Future[float])
    assert_type(submit(coroutine, 1), Future[str])
    assert_type(submit(later, 1), Future[str])
    assert_type(submit(lambda: 1), Future[int])
    assert_type(submit(round, 1.5), Future[int])
    assert_type(submit(Context, "name"), Future[Context])


async def coroutine(x: int) -> str:
    return str(x)


def waiting() -> None:
    futures = bare.map([1])
    done, not_done = wait(futures)
    assert_type(done, set[Future[float]])
    assert_type(not_done, set[Future[float]])
    assert_type(wait([bare.delay(1)], timeout=1, return_when=concurrent.futures.FIRST_EXCEPTION).done, set[Future[float]])
    for future in as_completed(futures, timeout=1.0):
        assert_type(future, Future[float])
    for other in as_completed([named.delay("a"), bound.delay(1)]):
        assert_type(other, Future[int])


def of_the_standard_library() -> None:
    future = bare.delay(1)
    assert_type(concurrent.futures.wait([future]).done, set[concurrent.futures.Future[float]])
    for one in concurrent.futures.as_completed([future]):
        assert_type(one.result(), float)


async def asynchronously() -> None:
    assert_type(await bare.delay(1), float)
    assert_type(await later.delay(1), str)
    assert_type(await gather(bare.delay(1), bare.delay(2)), list[float])
    assert_type(await gather(bare.map([1, 2])), list[float])
    assert_type(await gather(bare.map([1, 2]), [bare.delay(3)], bare.delay(4), return_exceptions=True), list[float])
    async for future in as_completed([later.delay(1)]):
        assert_type(future, Future[str])
        assert_type(await future, str)
    assert_type(await asyncio.wrap_future(bare.delay(1)), float)


def main(n: int, name: str = "") -> float:
    return bare.delay(n, name).result()


def no_value() -> None:
    return


async def async_main(n: int) -> str:
    return await later.delay(n)


def running() -> None:
    assert_type(run(main, 1), float)
    assert_type(run(main, 1, "a", backend="threads", slaves=2, grace=1.0), float)
    assert_type(run(async_main, 1), str)
    assert_type(run(async_main, 1, backend="inline"), str)
    assert_type(run(lambda: 5), int)
    assert_type(run(no_value), None)
    assert_type(mpitasks.is_master(), bool)


def contexts(ctx: Context) -> None:
    assert_type(ctx.rank, int)
    assert_type(ctx.task_name, str)
    assert_type(ctx.attempt, int)
    assert_type(ctx.should_stop(), bool)
    assert_type(mpitasks.current(), Context)


def by_name() -> None:
    assert_type(mpitasks.get("name"), Task[..., Any])
    assert_type(mpitasks.get("name").delay(1, a=2), Future[Any])


def resources() -> None:
    assert_type(tasks.counter, Resource[int])
    assert_type(tasks.stream, Resource[str])
    assert_type(tasks.db, Resource[list[str]])
    assert_type(tasks.opened, Resource[bytes])
    assert_type(tasks.by_letter, Resource[None])
    assert_type(resource(one_float), Resource[float])
    assert_type(tasks.counter.get(), int)
    assert_type(tasks.db.get(), list[str])
    assert_type(tasks.db.name, str)
    assert_type(tasks.store.delay(1), Future[str])
    assert_type(tasks.read.delay("a"), Future[bytes])
    assert_type(tasks.counted.delay(0.5), Future[float])
    assert_type(bare.options(resource=tasks.db, cost=2).delay(1), Future[float])
    with tasks.db.hold("other") as held:
        assert_type(held, list[str])


def one_float() -> Iterator[float]:
    yield 0.5


def covariant_resource() -> Resource[object]:
    return tasks.db


def statistics() -> None:
    found = mpitasks.statistics()
    assert_type(found, Statistics)
    assert_type(found.queues["a"].mean, float | None)
    assert_type(found.queues["a"].sent["sticky"], int)
    assert_type(found.slaves[1].acquiring, float)
    assert_type(found.resources["db('main')"].holders, int)
    assert_type(found.latest[-1], str)


def as_a_parameter(some: Task[[int], float]) -> Future[float]:
    return some.delay(1)


def covariant() -> Task[[str], object]:
    return named


class Holder:
    """Tasks are kept as any other value."""

    first: Task[[int], str] = called
    second = bound


def in_a_holder(holder: Holder) -> None:
    assert_type(holder.first.delay(1), Future[str])
    assert_type(holder.second.delay(1), Future[int])
