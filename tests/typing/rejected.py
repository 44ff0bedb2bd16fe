"""What must be rejected: where a checker accepts such a line, its comment is unused, and that is an error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from mpitasks import Context, Future, Resource, Task, as_completed, gather, resource, run, submit, task, wait

from .tasks import bare, bound, called, db, later, later_bound, named, nothing, plain, total


def wrong_types() -> None:
    bare.delay("a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    bare.delay(1, y=2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    named.delay(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    later.delay("a")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    bare("a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def wrong_arguments() -> None:
    bare.delay()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    bare.delay(1, "a", True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    bare.delay(1, z=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    bare.delay(1, x=1)  # type: ignore[misc]  # pyright: ignore[reportCallIssue]
    nothing.delay(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    later.delay()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


def a_context_of_ones_own(ctx: Context) -> None:
    bound.delay(ctx, 1)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
    bound(ctx, 1)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
    later_bound.delay(ctx, 1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


def a_bare_future(one: Future[int], other: Future[str]) -> None:
    called.delay(one)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    called.delay(other.arg())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    total.delay(bare.map([1]))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    total.delay(called.map([1]).arg())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def options_of_a_call(one: Future[int]) -> None:
    bare.options(priorty=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    bare.options(max_slaves=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    bare.options(isolate="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    bare.options(retry=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    bare.options(retry_for="OSError")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    bare.options(priority="high")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    bare.options(after=one)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    bare.options(copy=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    bare.options(priority=1).delay("a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def options_of_a_task() -> None:
    task("a", max_slave=1)(plain)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    task("a", ranks=1)(plain)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    task("a", timeout="long")(plain)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    task("a", weight="heavy")(plain)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    task(name="a")(plain)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    task(5)(plain)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    task("a", resource=5)(plain)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


def a_bound_task_without_a_context() -> None:
    @task(bind=True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    def first(x: int) -> int:
        return x


def wrong_results(some: Task[[str], int]) -> None:
    one: Future[int] = called.delay(1)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    two: int = bare.delay(1).result()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    three: list[int] = called.map([1]).results()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    four: Iterator[int] = called.imap([1])  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    five: Task[[int], int] = some  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    six: Future[str] = later_bound.delay(1)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    del one, two, three, four, five, six


def wrong_ways_to_map() -> None:
    bare.map(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    bare.map([1], chunksize="many")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    bare.map([1], chunk=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    bare.starmap([1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    bare.starmap([(1,)], [(2,)])  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
    bare.imap([1], buffersize="large")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    bare.imap([1], progress=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    bare.map([1])[0] = bare.delay(1)  # type: ignore[index]  # pyright: ignore[reportIndexIssue]


def wrong_ways_to_submit() -> None:
    submit(plain, "a")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    submit(plain)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    submit(5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    submit(bound, Context("a"), 1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


def wrong_ways_to_run() -> None:
    run(plain)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportArgumentType, reportCallIssue]
    run(plain, "a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    run(plain, 1, 2)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportArgumentType, reportCallIssue]
    run(plain, 1, backend="dask")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    run(plain, 1, workers=2)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    run(5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    value: int = run(plain, 1)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    del value


async def wrong_ways_to_wait() -> None:
    wait([1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    wait(bare.delay(1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    as_completed([1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await gather(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    text: str = await bare.delay(1)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    del text


def iterates() -> Iterator[int]:
    yield 1


async def iterates_later() -> AsyncIterator[int]:
    yield 1


def wrong_ways_to_make_a_resource() -> None:
    resource(plain)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    resource("a")(plain)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    resource(iterates_later)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    resource("a", max_holder=1)(iterates)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    resource("a", max_holders="many")(iterates)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    resource("a", keep=None)(iterates)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    resource("a", idle_timeout="a minute")(iterates)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    resource("a", resource="mesh")(iterates)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    resource(name="a")(iterates)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    resource(5)(iterates)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


def wrong_ways_to_use_a_resource() -> None:
    text: str = db.get()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    other: Resource[int] = db  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    db.get("main")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    db.delay()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    db("main")  # type: ignore[operator]  # pyright: ignore[reportCallIssue]
    task("a", resorce=db)(plain)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    bare.options(cost="high")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    del text, other
