"""`delay`, `submit` and options: what travels, and what runs where and when."""

from __future__ import annotations

import functools
import logging
import operator
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpitasks
from mpitasks import EncodeError, NotRunning, RemoteError, current, task
from tests.api.tasks import Locked, Picky, add, add_later, attempt_of, echo, fail, gate, hold, note, ran, rank_here

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpitasks import Context
    from tests.api.conftest import Run

LARGE = 1 << 17
"""Bytes that travel outside of the pickle."""


@task
def mixed(first: Any, *rest: Any, **named: Any) -> tuple[Any, ...]:
    """Give back all that it is given."""
    return first, rest, named


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("value", [None, 0, "", (), [None], {"a": None}, NotImplemented, b"x" * LARGE])
def test_a_value_goes_there_and_back(farm: Run, value: object) -> None:
    """None is a value like any other."""
    assert farm(lambda: echo.delay(value).result()) == value


def test_an_array_goes_there_and_back(farm: Run) -> None:
    """What is large travels outside of the pickle, and can be written to on the other side."""

    def main() -> Any:
        return echo.delay(np.arange(LARGE)).result()

    array = farm(main)
    assert (array.sum(), array.flags.writeable) == (np.arange(LARGE).sum(), True)


def test_arguments_come_as_they_were_given(farm: Run) -> None:
    """Positional, named, collected, and by names that the library uses itself."""

    def main() -> list[Any]:
        named = {"self": 1, "fn": 2, "args": 3, "kwargs": 4, "timeout": 5, "name": 6}
        return [mixed.delay(1, 2, 3, x=4).result(), mixed.delay(0, **named).result()]

    named = {"self": 1, "fn": 2, "args": 3, "kwargs": 4, "timeout": 5, "name": 6}
    assert farm(main) == [(1, (2, 3), {"x": 4}), (0, (), named)]


def test_what_delay_saw_is_what_runs(threads: Run) -> None:
    """Changes after `delay` don't reach the call, be the value small or large, sent at once or queued."""

    def main() -> list[Any]:
        small, idle, queued = [1], np.zeros(LARGE), np.zeros(LARGE)
        door = gate()
        hold.delay()
        door.wait_for_a_call()
        futures = [echo.delay(small), echo.delay(idle), hold.delay(value=queued)]
        small.append(2)
        idle += 1
        queued += 1
        door.opened.set()
        return [futures[0].result(), futures[1].result().max(), futures[2].result().max()]

    assert threads(main) == [[1], 0.0, 0.0]


def test_copy_false_hands_the_buffer_over(threads: Run) -> None:
    """The user has promised to leave it alone, so nothing is copied while it waits."""

    def main() -> float:
        door, array = gate(), np.zeros(LARGE)
        hold.delay()
        door.wait_for_a_call()
        waiting = hold.options(copy=False).delay(value=array)
        array += 1
        door.opened.set()
        return float(waiting.result().max())

    assert threads(main) == 1.0


# ---------------------------------------------------------------- what can't travel


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: mixed.delay(Locked()), "first"),
        (lambda: mixed.delay(first=Locked()), "first"),
        (lambda: mixed.delay(1, 2, Locked()), r"rest\[1\]"),
        (lambda: mixed.delay(1, lock=Locked()), "lock"),
        (lambda: mixed.delay(1, deep=[{"a": (Locked(),)}]), "deep"),
        (lambda: mixed.map([1], [Locked()]), r"rest\[0\]"),
    ],
)
def test_an_argument_that_cannot_be_pickled_is_named(farm: Run, call: Callable[[], Any], name: str) -> None:
    """On the caller's line, with pickle's reason and the way out."""
    words = rf"argument '{name}' of '\S+\.mixed' can't be pickled: cannot pickle '_thread\.lock' object; pass what it is made"
    with pytest.raises(EncodeError, match=words) as caught:
        farm(call)
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: mpitasks.submit(operator.add, Locked(), 1), "a"),
        (lambda: mpitasks.submit(max, 1, Locked()), "1"),  # it has no signature: the argument's place
        (lambda: mpitasks.submit(max, 1, key=Locked()), "key"),
    ],
)
def test_an_argument_of_a_plain_function_is_named(farm: Run, call: Callable[[], Any], name: str) -> None:
    """By its parameter, or where that is unknown by its place."""
    with pytest.raises(EncodeError, match=rf"argument '{name}' of '(_operator\.add|builtins\.max)' can't be pickled"):
        farm(call)


class Cross:
    """Fails to be pickled in a way of its own."""

    def __reduce__(self) -> Any:
        raise KeyError("hook")


def test_an_error_in_a_pickle_hook_is_shown(farm: Run) -> None:
    """What the hook raised is told with its type, and is the cause."""
    with pytest.raises(EncodeError, match=r"argument 'value' of \S+ can't be pickled: KeyError: 'hook'") as caught:
        farm(lambda: echo.delay(Cross()))
    assert isinstance(caught.value.__cause__, KeyError)


class Moody:
    """Can be pickled, but not at first."""

    tries = 0

    def __reduce__(self) -> Any:
        Moody.tries += 1
        if Moody.tries == 1:
            raise OSError("not yet")
        return Moody, ()


def test_an_error_that_no_argument_repeats_is_still_told(farm: Run) -> None:
    """Each argument alone can be pickled, so the error speaks of all."""
    Moody.tries = 0
    with pytest.raises(EncodeError, match=r"the arguments of '\S+\.echo' can't be pickled: OSError: not yet"):
        farm(lambda: echo.delay(Moody()))


def test_a_function_that_cannot_travel_is_refused(farm: Run) -> None:
    """A closure over a lock: the error says what must be picklable."""
    lock = threading.Lock()
    words = r"<function \S+<lambda> at \S+ can't travel to a slave: TypeError: cannot pickle '_thread\.lock' object; what it"
    with pytest.raises(EncodeError, match=words):
        farm(lambda: mpitasks.submit(lambda: lock))


def test_the_farm_goes_on_after_a_refused_call(farm: Run) -> None:
    """A call that was refused leaves nothing behind for which the end would wait."""

    def main() -> int:
        with pytest.raises(EncodeError):
            echo.delay(Locked())
        with pytest.raises(TypeError, match="missing a required argument: 'x'"):
            add.delay()
        return add.delay(1).result()

    assert farm(main) == 2


@task
def bring(what: str) -> object:
    """Return what can't travel."""
    return {"lock": Locked, "cross": Cross}[what]()


@pytest.mark.parametrize(("what", "reason"), [("lock", "cannot pickle '_thread.lock' object"), ("cross", "'hook'")])
def test_a_value_that_cannot_be_pickled_fails_the_call(farm: Run, what: str, reason: str) -> None:
    """The error names task and type."""
    kind = {"lock": "Locked", "cross": "Cross"}[what]
    with pytest.raises(EncodeError, match=rf"'\S+\.bring' returned {kind}, which can't be pickled: {reason}"):
        farm(lambda: bring.delay(what).result())


class OneWay:
    """Can be pickled, not unpickled."""

    def __reduce__(self) -> Any:
        return operator.truediv, (1, 0)


@task
def one_way() -> OneWay:
    """Return what can't be unpickled."""
    return OneWay()


def test_a_value_that_cannot_be_unpickled_here_fails_its_future(farm: Run) -> None:
    """The master's own error is the cause."""
    with pytest.raises(
        RemoteError, match=r"ZeroDivisionError: what '\S+one_way' returned can't be unpickled on the master: div"
    ):
        farm(lambda: one_way.delay().result())


def test_an_argument_that_cannot_be_unpickled_there_fails_the_call(farm: Run) -> None:
    """The slave survives, and the error is an outcome."""

    def main() -> int:
        with pytest.raises(ZeroDivisionError, match="division by zero"):
            echo.delay(OneWay()).result()
        return add.delay(1).result()

    assert farm(main) == 2


# ---------------------------------------------------------------- failures


def test_an_exception_comes_back_as_itself(farm: Run) -> None:
    """With the slave's traceback as its cause, and a note: task, call, attempt, slave rank, host."""
    with pytest.raises(ValueError, match="broken") as caught:
        farm(lambda: fail.delay("broken").result())
    assert str(caught.value) == "broken"
    cause = caught.value.__cause__
    assert isinstance(cause, mpitasks.RemoteTraceback)
    assert "raise ValueError(text)\nValueError: broken\n" in str(cause)
    assert "mpitasks/runtime" not in str(cause)  # from the first frame that is the user's
    note = caught.value.__notes__[0]
    assert note.startswith("task 'tests.api.tasks.fail', call 1, attempt 1, slave rank ")
    assert note.endswith(" on this process")


@task
def raise_it(kind: str) -> None:
    """Raise what does not travel as itself."""
    if kind == "local":

        class LocalError(Exception): ...

        raise LocalError("of a local class")
    raise {"picky": Picky("one", "two"), "exit": SystemExit(3), "stop": KeyboardInterrupt()}[kind]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("local", "tests.api.test_calls.raise_it.<locals>.LocalError: of a local class"),
        ("picky", "tests.api.tasks.Picky: one and two"),
        ("exit", "SystemExit: 3"),
        ("stop", "KeyboardInterrupt"),
    ],
)
def test_an_exception_that_cannot_travel_is_described(farm: Run, kind: str, text: str) -> None:
    """`RemoteError` has the type's name and the text; `SystemExit` in a task ends neither slave nor main."""

    def main() -> None:
        raise_it.delay(kind).result()

    with pytest.raises(RemoteError) as caught:
        farm(main)
    assert str(caught.value) == text
    assert isinstance(caught.value.__cause__, mpitasks.RemoteTraceback)
    assert "raise_it" in str(caught.value.__cause__)


# ---------------------------------------------------------------- any callable


class Counter:
    """Has a method, and can be called."""

    def __init__(self, start: int) -> None:
        self.start = start

    def plus(self, more: int) -> int:
        return self.start + more

    __call__ = plus


async def slowly(x: int) -> int:
    """Is asynchronous."""
    return -x


@pytest.mark.parametrize(
    ("fn", "args", "value"),
    [
        (lambda x: x + 1, (1,), 2),
        (functools.partial(pow, 2), (5,), 32),
        (abs, (-1,), 1),
        (operator.itemgetter(1), ("ab",), "b"),
        (Counter(3).plus, (4,), 7),
        (Counter(3), (5,), 8),
        (str, (5,), "5"),
        (slowly, (1,), -1),
        (add, (1, 5), 6),
        (add_later, (1, 6), 7),
        ("-".join, (["a", "b"],), "a-b"),
    ],
    ids=["lambda", "partial", "builtin", "itemgetter", "method", "object", "class", "async", "task", "async task", "string"],
)
def test_any_callable_can_be_submitted(farm: Run, fn: Callable[..., object], args: tuple[Any, ...], value: object) -> None:
    """Lambda, partial, builtin, method, object, class, coroutine function, task, and a method of a string."""
    assert farm(lambda: mpitasks.submit(fn, *args).result()) == value


def test_a_class_made_in_main_can_be_submitted(farm: Run) -> None:
    """It travels by value, with the function or the method that needs it."""

    def main() -> int:
        class Local:
            def __init__(self, x: int) -> None:
                self.x = x

            def double(self) -> int:
                return 2 * self.x

        return mpitasks.submit(lambda: Local(4).double()).result() + mpitasks.submit(Local(5).double).result()

    assert farm(main) == 18


def test_a_closure_travels_as_it_is_when_submitted(farm: Run) -> None:
    """Each call sees what the closure held then."""

    def main() -> list[int]:
        factor = 1

        def scale(x: int) -> int:
            return factor * x

        futures = [mpitasks.submit(scale, 10)]
        factor = 2
        futures.append(mpitasks.submit(scale, 10))
        return [future.result() for future in futures]

    assert farm(main) == [10, 20]


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (abs, "builtins.abs"),
        (functools.partial(pow, 2), "builtins.pow"),
        (Counter(1).plus, "tests.api.test_calls.Counter.plus"),
        (Counter(1), "tests.api.test_calls.Counter"),
        (add, "tests.api.tasks.add"),
    ],
)
def test_a_submitted_callable_has_a_name(farm: Run, fn: Callable[..., object], name: str) -> None:
    """For notes and logs."""
    assert farm(lambda: mpitasks.submit(fn, 1).task_name) == name


def test_a_task_defined_in_main_runs(farm: Run, names: None) -> None:
    """Slaves don't know its name, so it travels; also with a context, a limit and as coroutine."""

    def main() -> list[Any]:
        offset = 100

        @task("test.inside", max_slaves=1)
        def inside(x: int) -> int:
            return offset + x

        @task("test.inside.bound", bind=True)
        def bound(ctx: Context, fn: int, **named: int) -> tuple[str, int, dict[str, int]]:
            return ctx.task_name, fn, named

        @task("test.inside.async")
        async def later(x: int) -> int:
            return offset - x

        return [
            inside.delay(1).result(),
            bound.delay(2, self=3).result(),
            later.delay(4).result(),
            bound.delay(fn=5).result()[1],
        ]

    assert farm(main) == [101, ("test.inside.bound", 2, {"self": 3}), 96, 5]


# ---------------------------------------------------------------- context


def test_a_call_knows_itself(farm: Run) -> None:
    """Task, attempt and rank; the future knows the same."""

    def main() -> tuple[Any, ...]:
        future = rank_here.delay()
        bound = attempt_of.delay(factor=2)
        submitted = mpitasks.submit(lambda: current().task_name)
        return future.result() == future.rank, future.rank, bound.result(), bound.attempts, submitted.result()

    same, rank, bound, attempts, submitted = farm(main)
    assert (same, rank in (1, 2), bound, attempts) == (True, True, ("tests.api.tasks.attempt_of", 2), 1)
    assert submitted.endswith("test_a_call_knows_itself.<locals>.main.<locals>.<lambda>")


def test_there_is_no_context_outside_of_a_call(farm: Run) -> None:
    """Neither outside of `run` nor in main."""
    with pytest.raises(NotRunning, match=r"current\(\) was called where no call runs: use it inside a task"):
        current()
    with pytest.raises(NotRunning, match=r"current\(\) was called where no call runs"):
        farm(current)


def test_a_cancelled_call_is_told_to_stop(threads: Run) -> None:
    """`cancel` of a running call is False, and `should_stop()` becomes true inside."""

    def main() -> tuple[bool, bool, bool]:
        door = gate()
        future = until_stopped.delay()
        door.wait_for_a_call()
        return future.cancel(), future.result(), future.cancelled()

    assert threads(main) == (False, True, False)


@task
def until_stopped() -> bool:
    """Wait until it should stop; whether that was right at the start."""
    from tests.api.tasks import gates  # noqa: PLC0415  as fresh as the call

    at_first = current().should_stop()
    door = gates["gate"]
    door.begun.set()
    for _ in range(2000):
        if current().should_stop():
            return not at_first
        door.opened.wait(0.005)
    return False


def test_a_running_call_is_told_when_main_fails(threads: Run) -> None:
    """Main's end makes `should_stop()` true, and the call's last word is waited for."""

    def main() -> None:
        door = gate()
        until_stopped.delay().add_done_callback(lambda future: note.fn(future.result()))
        door.wait_for_a_call()
        raise KeyError("main")

    with pytest.raises(KeyError, match="main"):
        threads(main, grace=5.0)
    assert ran == [True]


def test_log_records_tell_rank_and_task(farm: Run, caplog: pytest.LogCaptureFixture) -> None:
    """So a format may use %(rank)s and %(task)s, in main too."""

    def main() -> int | None:
        logging.getLogger("app").warning("in main")
        future = log_it.delay()
        future.result()
        return future.rank

    rank = farm(main)
    said = [(record.getMessage(), vars(record)["rank"], vars(record)["task"]) for record in caplog.records]
    assert said == [("in main", 0, ""), ("in a task", rank, "tests.api.test_calls.log_it")]


@task
def log_it() -> None:
    """Log."""
    logging.getLogger("app").warning("in a task")


# ---------------------------------------------------------------- options at work


def test_higher_priority_goes_first(threads: Run) -> None:
    """Across tasks, whenever a slave comes free."""

    def main() -> None:
        door = gate()
        held = hold.delay()
        door.wait_for_a_call()
        for priority in (0, 2, 1):
            note.options(priority=priority).delay(priority)
        fast = add_after.options(priority=3).delay()
        door.opened.set()
        held.result()
        fast.result()

    threads(main, slaves=1)
    assert ran == ["add_after", 2, 1, 0]


@task
def add_after() -> None:
    """Write down that it ran, as another task than `note`."""
    ran.append("add_after")


@pytest.mark.parametrize("limit", [1, 2])
def test_a_limit_is_kept(threads: Run, names: None, limit: int) -> None:
    """Never more than `max_slaves` slaves run the task."""
    inside: list[int] = []
    most: list[int] = []

    def crowd() -> None:
        inside.append(1)
        most.append(len(inside))
        inside.pop()

    limited: mpitasks.Task[[], None] = task("test.limited", max_slaves=limit)(crowd)
    threads(lambda: limited.starmap([()] * 100).results(), slaves=3)
    assert len(most) == 100
    assert max(most) <= limit


@task(resource="mesh", key="path")
def by_name(path: str, more: int = 0) -> int:
    """Tell the rank that holds this path."""
    return current().rank


@task(resource="mesh", key=lambda path, more: path.upper())
def by_callable(path: str, more: int) -> int:
    """Tell the rank that holds this path in capitals."""
    return current().rank


@task(resource=lambda path: path)
def by_resource(path: Any) -> int:
    """Tell the rank that holds what the callable made."""
    return current().rank


@pytest.mark.parametrize(
    ("call", "resource"),
    [
        (lambda: by_name.delay("a"), ("mesh", "a")),
        (lambda: by_name.delay(more=1, path="b"), ("mesh", "b")),
        (lambda: by_callable.delay("a", more=1), ("mesh", "A")),
        (lambda: by_resource.delay("c"), "c"),
        (lambda: by_name.options(resource="own").delay("a"), "own"),
        (lambda: add.options(resource=("x", 1)).delay(1), ("x", 1)),
    ],
)
def test_a_call_needs_the_resource_that_its_options_say(threads: Run, call: Callable[[], Any], resource: object) -> None:
    """The value of the parameter, or what the callable makes of the arguments; for one call by `options`."""

    def main() -> object:
        door = gate()
        hold.delay()
        door.wait_for_a_call()
        waiting = call()
        needed = waiting._call.resource
        door.opened.set()
        waiting.result()
        return needed

    assert threads(main, slaves=1) == resource


@pytest.mark.parametrize("options", [{"resource": None}, {}])
def test_a_call_may_need_nothing(farm: Run, options: dict[str, None]) -> None:
    """`resource=None` for one call of a task with resources; a callable that says None."""
    assert farm(lambda: by_name.options(**options).delay("a").result()) in (1, 2)
    assert farm(lambda: by_resource.options(**options).delay(None).result()) in (1, 2)


_loaded = threading.local()


@task("test.calls.slow_to_load", resource="mesh", key="path")
def slow_to_load(path: str) -> int:
    """Take long at the first call with another path, so that it pays to stay; and tell the rank."""
    if getattr(_loaded, "path", None) != path:
        _loaded.path = path
        time.sleep(0.5)
    return mpitasks.current().rank


def test_equal_resources_go_to_one_slave(threads: Run) -> None:
    """Calls of one id stay with the slave that holds it, while others go elsewhere."""

    def main() -> list[set[int]]:
        paths = ["a", "b"] * 20
        futures = [slow_to_load.delay(path) for path in paths]
        return [{future.result() for future in futures[start::2]} for start in (0, 1)]

    first, second = threads(main)
    assert (len(first), len(second)) == (1, 1)


def test_an_id_that_cannot_be_one_is_refused(farm: Run) -> None:
    """The key of a call must be hashable; the refused call does not keep the run from ending."""
    words = r"@task\('\S+by_name'\): resource=\('mesh', \['a'\]\) must be hashable"
    with pytest.raises(TypeError, match=words):
        farm(lambda: by_name.delay(["a"]))

    def main() -> int:
        with pytest.raises(TypeError, match=r"resource=\[\] must be hashable"):
            by_resource.delay([])
        return add.delay(1).result()

    assert farm(main) == 2


def test_after_orders_calls_without_data(threads: Run) -> None:
    """A call begins when those in `after` have ended well."""

    def main() -> tuple[bool, int]:
        door = gate()
        first = hold.delay()
        door.wait_for_a_call()
        second = add.options(after=[first]).delay(1)
        add.delay(5).result()  # the other slave is free, and still the second does not begin
        begun = second.running()
        door.opened.set()
        return begun, second.result()

    assert threads(main) == (False, 2)


def test_after_takes_what_map_gives(farm: Run) -> None:
    """And futures that have ended."""
    assert farm(lambda: add.options(after=add.map([1, 2])).delay(3).result()) == 4


@task("test.calls.inner", bind=True)
def inner(ctx: mpitasks.Context) -> tuple[str, int, int]:
    """Tell what the context knows."""
    return ctx.task_name, ctx.rank, ctx.attempt


@task("test.calls.outer")
def outer() -> tuple[tuple[str, int, int], int]:
    """Call a bound task plainly, on a slave."""
    return inner(), mpitasks.current().rank


def test_a_bound_task_called_plainly_inside_a_call_is_where_that_call_is(farm: Run) -> None:
    """Its context knows the slave; plainly on the master, it knows the master."""

    def main() -> tuple[Any, Any]:
        return outer.delay().result(), inner()

    (inside, rank), plain = farm(main)
    assert (inside, plain) == (("test.calls.inner", rank, 1), ("test.calls.inner", 0, 1))
    assert rank > 0
