"""`@resource`: what a provider is, who may get what it yields, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import mpitasks
from mpitasks import Context, DuplicateTask, NotHeld, Resource, current, registry, resource, run, task
from mpitasks.resources import Resource as ResourceType
from tests.api.tasks import PATIENCE, Locked, add, echo, gate, hold

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.api.conftest import Clock, Run

pytestmark = pytest.mark.usefixtures("names")


@pytest.fixture
def log() -> list[str]:
    """What was acquired, "+db", and released, "-db"."""
    return []


@pytest.fixture
def db(log: list[str]) -> Resource[str]:
    """A provider with a default argument."""

    @resource("db")
    def db(dsn: str = "main") -> Iterator[str]:
        log.append(f"+{dsn}")
        yield dsn.upper()
        log.append(f"-{dsn}")

    return db


# ---------------------------------------------------------------- use


def test_a_slave_acquires_once_and_releases_at_the_end(farm: Run, db: Resource[str], log: list[str]) -> None:
    """All calls get the same, and main's end is the release."""

    @task("store", resource=db, max_slaves=1)
    def store(x: int) -> str:
        return f"{db.get()} {x}"

    def main() -> list[str]:
        values = [*store.map(range(3)).results(), store.delay(9).result()]
        assert log == ["+main"]
        return values

    assert farm(main) == ["MAIN 0", "MAIN 1", "MAIN 2", "MAIN 9"]
    assert log == ["+main", "-main"]


def test_plain_async_and_bound_tasks_get_it(farm: Run, db: Resource[str]) -> None:
    """In the function's own words: `db.get()`."""

    @task("plain", resource=db)
    def plain() -> str:
        return db.get()

    @task("later", resource=db)
    async def later() -> str:
        return db.get()

    @task("bound", resource=db, bind=True)
    def bound(ctx: Context, x: int) -> str:
        return f"{db.get()} {ctx.task_name} {x}"

    def main() -> list[str]:
        return [plain.delay().result(), later.delay().result(), bound.delay(1).result()]

    assert farm(main) == ["MAIN", "MAIN", "MAIN bound 1"]


def test_an_async_main_gets_it_too(farm: Run, db: Resource[str]) -> None:
    """Inline, where an async task runs in a thread of its own."""

    @task("later", resource=db)
    async def later() -> str:
        return db.get()

    async def main() -> str:
        return await later.delay()

    assert farm(main) == "MAIN"


def by_letter(path: str = "def") -> str:
    """A key."""
    return path[0]


@pytest.mark.parametrize(("key", "expected"), [("path", ["WING", "TAIL", "WING", "DEF"]), (by_letter, ["W", "T", "W", "D"])])
def test_a_key_says_which(farm: Run, db: Resource[str], key: Any, expected: list[str]) -> None:
    """A parameter of the task, with its default; or what a callable makes of the arguments."""

    @task("load", resource=db, key=key, max_slaves=1)
    def load(path: str = "def") -> str:
        return db.get()

    def main() -> list[str]:
        calls = [load.delay("wing"), load.delay("tail"), load.delay(path="wing"), load.delay()]
        return [call.result() for call in calls]

    assert farm(main) == expected


def test_a_default_and_the_same_value_are_one(farm: Run, db: Resource[str], log: list[str]) -> None:
    """`resource=db`, and `key=` with the default's value."""

    @task("one", resource=db, max_slaves=1)
    def one() -> str:
        return db.get()

    @task("other", resource=db, key="dsn", max_slaves=1)
    def other(dsn: str) -> str:
        return db.get()

    def main() -> list[str]:
        return [one.delay().result(), other.delay("main").result()]

    assert farm(main) == ["MAIN", "MAIN"]
    assert log == ["+main", "-main"]


def test_options_choose_for_one_call(farm: Run, db: Resource[str]) -> None:
    """A Resource, a plain id, or None for nothing."""

    @task("held")
    def held() -> str:
        try:
            return db.get()
        except NotHeld:
            return "not held"

    def main() -> list[str]:
        return [held.options(resource=which).delay().result() for which in (db, "db", ("mesh", 7), None)]

    assert farm(main) == ["MAIN", "not held", "not held", "not held"]


def test_a_callable_may_choose_the_provider(farm: Run, db: Resource[str]) -> None:
    """As it may choose an id, or nothing."""

    @task("held", resource=lambda wanted: db if wanted else None)
    def held(wanted: bool) -> bool:
        try:
            return db.get() == "MAIN"
        except NotHeld:
            return False

    assert farm(lambda: held.map([True, False, True]).results()) == [True, False, True]


# ---------------------------------------------------------------- not held


def test_get_outside_of_a_call_says_where_it_belongs(db: Resource[str]) -> None:
    """And what to do in a test of the plain function."""
    message = r"resource 'db' is not held here, since no call runs: get\(\) is for .* with db\.hold\(\): \.\.\."
    with pytest.raises(NotHeld, match=message):
        db.get()


def test_get_in_a_task_that_does_not_declare_it_says_what_to_declare(farm: Run, db: Resource[str]) -> None:
    """Although the slave holds it for other tasks."""

    @task("yes", resource=db)
    def yes() -> str:
        return db.get()

    @task("no")
    def no() -> str:
        return db.get()

    def main() -> None:
        assert yes.delay().result() == "MAIN"
        with pytest.raises(NotHeld, match=r"resource 'db' is not held here: say @task\(resource=\.\.\.\) or @resource\("):
            no.delay().result()

    farm(main)


def test_hold_serves_plain_calls(db: Resource[str], log: list[str]) -> None:
    """Within, `get` works in this thread; afterwards, all is as it was."""

    @resource("mesh", resource=db)
    def mesh(path: str) -> Iterator[str]:
        yield f"{path} by {db.get()}"

    @task("area", resource=mesh, key="path")
    def area(path: str) -> str:
        return mesh.get()

    with mesh.hold("wing") as held, db.hold("other"):
        assert (held, area("wing"), db.get()) == ("wing by MAIN", "wing by MAIN", "OTHER")
    assert log == ["+main", "+other", "-other", "-main"]
    with pytest.raises(NotHeld):
        db.get()


def test_hold_releases_where_the_body_fails(db: Resource[str]) -> None:
    """What the provider has in a `finally` runs, and nothing stays held."""
    with pytest.raises(ZeroDivisionError), db.hold():
        1 // 0  # noqa: B018  it raises
    with pytest.raises(NotHeld):
        db.get()


def test_hold_works_inside_a_call_too(farm: Run, db: Resource[str]) -> None:
    """For a moment, and in this call alone; what main holds is none of a task's business."""

    @task("briefly")
    def briefly() -> list[str]:
        with pytest.raises(NotHeld):
            db.get()
        with db.hold("here"):
            found = [db.get()]
        with pytest.raises(NotHeld):
            db.get()
        return found

    def main() -> list[str]:
        with db.hold("there"):
            return briefly.delay().result()

    assert farm(main) == ["HERE"]


# ---------------------------------------------------------------- keep, idle, max_holders


def test_an_unused_one_is_released_while_the_run_goes_on(threads: Run) -> None:
    """After `idle_timeout`, although no call comes; and the next call acquires again."""
    released, acquired = threading.Event(), []

    @resource("db", idle_timeout=0.01)
    def db() -> Iterator[int]:
        acquired.append(1)
        yield 1
        released.set()

    @task("use", resource=db)
    def use() -> int:
        return db.get()

    def main() -> None:
        use.delay().result()
        assert released.wait(PATIENCE)
        use.delay().result()

    threads(main)
    assert len(acquired) == 2


def test_inline_an_unused_one_is_released_after_a_later_call(log: list[str]) -> None:
    """There, nobody looks between calls."""

    @resource("db", idle_timeout=0)
    def db() -> Iterator[int]:
        log.append("+db")
        yield 1
        log.append("-db")

    @task("use", resource=db)
    def use() -> int:
        return db.get()

    def main() -> list[str]:
        use.delay().result()
        echo.delay().result()
        return list(log)

    assert run(main, backend="inline") == ["+db", "-db"]


def test_a_long_call_is_no_idleness(farm: Run, clock: Clock, log: list[str]) -> None:
    """`idle_timeout` counts from the end of a call."""

    @resource("db", idle_timeout=50)
    def db() -> Iterator[int]:
        log.append("+db")
        yield 1

    @task("use", resource=db)
    def use() -> None:
        clock.extra += 100

    def main() -> None:
        for _ in range(3):
            use.delay().result()

    farm(main)
    assert log == ["+db"]


class Holders:
    """Counts who holds what, at every moment."""

    def __init__(self) -> None:
        self.now: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.lock = threading.Lock()

    @contextmanager
    def one(self, name: str) -> Iterator[str]:
        """Within, there is one holder more."""
        with self.lock:
            self.now[name] = self.now.get(name, 0) + 1
            self.most[name] = max(self.most.get(name, 0), self.now[name])
        try:
            yield name
        finally:
            with self.lock:
                self.now[name] -= 1


@pytest.mark.parametrize("most", [1, 2])
def test_no_more_than_max_holders_ever_hold_it(threads: Run, most: int) -> None:
    """For each value of the key; with four slaves, evictions, and calls of other tasks in between."""
    holders = Holders()

    @resource("file", max_holders=most)
    def file(path: str) -> Iterator[str]:
        with holders.one(path):
            yield path

    @task("read", resource=file, key="path")
    def read(path: str, n: int) -> str:
        return file.get()

    @task("scan", resource=file, key="path")
    def scan(path: str) -> str:
        threading.Event().wait(0.01)  # long enough that further slaves would acquire it, were they free to
        return file.get()

    def main() -> list[str]:
        paths = ["abcde"[n * n % 5] for n in range(120)]
        reads, scans, _ = read.starmap((path, 0) for path in paths), scan.map(paths), echo.map(range(50))
        return reads.results() + scans.results()

    values = threads(main, slaves=4)
    assert len(values) == 240
    assert all(found <= most for found in holders.most.values()), holders.most
    assert set(holders.now.values()) == {0}


def test_the_inner_one_has_its_own_max_holders(threads: Run) -> None:
    """Whoever needs it through another one counts too, and it is held for as long as that other is."""
    holders = Holders()

    @resource("db", max_holders=1)
    def db() -> Iterator[str]:
        with holders.one("db"):
            yield "db"

    @resource("mesh", resource=db, keep=2)
    def mesh(path: str) -> Iterator[str]:
        assert holders.now["db"] == 1
        yield f"{path} by {db.get()}"
        assert holders.now["db"] == 1

    @task("load", resource=mesh, key="path")
    def load(path: str) -> str:
        return f"{mesh.get()}, {db.get()}"

    @task("store", resource=db)
    def store(n: int) -> str:
        return db.get()

    def main() -> set[str]:
        loads, stores = load.map("abc" * 10), store.map(range(30))
        return {*loads.results(), *stores.results()}

    assert threads(main, slaves=4) == {"a by db, db", "b by db, db", "c by db, db", "db"}
    assert (holders.most, holders.now) == ({"db": 1}, {"db": 0})


def test_a_slave_tells_what_it_gave_up_before_it_has_the_next(threads: Run) -> None:
    """Others may wait for that, and the next acquisition may take long."""
    waiting, going = threading.Event(), threading.Event()

    @resource("file", max_holders=1)
    def file(path: str) -> Iterator[str]:
        if path == "slow":
            waiting.set()
            assert going.wait(PATIENCE)
        yield path

    @task("read", resource=file, key="path")
    def read(path: str) -> int:
        return current().rank

    def main() -> None:
        opening, elsewhere = gate(), hold.delay()
        opening.wait_for_a_call()
        first = read.delay("a").result()
        slow = read.delay("slow")
        assert waiting.wait(PATIENCE)
        opening.opened.set()
        assert read.delay("a").result(timeout=PATIENCE) == elsewhere.rank
        going.set()
        assert slow.result() == first != elsewhere.rank

    threads(main)


# ---------------------------------------------------------------- failures


def test_a_failed_acquisition_fails_the_call_and_the_next_one_tries_again(farm: Run) -> None:
    """The error says what was acquired, and for which call; its traceback begins in the provider."""
    tries: list[int] = []

    @resource("db")
    def db(dsn: str) -> Iterator[int]:
        tries.append(1)
        if len(tries) < 3:
            raise OSError(f"{dsn} is down")
        yield len(tries)

    @task("use", resource=db, key=lambda: "here")
    def use() -> int:
        return db.get()

    def main() -> None:
        for _ in range(2):
            error = use.delay().exception()
            assert isinstance(error, OSError)
            assert str(error) == "here is down"
            assert error.__notes__[0] == "while acquiring resource db('here')"
            assert re.match(r"task 'use', call \d, attempt 1, slave rank \d on ", error.__notes__[1])
            assert "keeper.py" not in str(error.__cause__)
            assert "test_resources.py" in str(error.__cause__)
        assert use.delay().result() == 3

    farm(main)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_is_no_exception_is_an_outcome_too(farm: Run, kind: type[BaseException]) -> None:
    """The slave lives on."""

    @resource("db")
    def db() -> Iterator[int]:
        raise kind("no")
        yield 1

    @task("use", resource=db)
    def use() -> int:
        return db.get()

    def main() -> None:
        error = use.delay().exception()
        assert isinstance(error, mpitasks.RemoteError)
        assert f"{kind.__name__}: no" in str(error)
        assert echo.delay(7).result() == 7

    farm(main)


def test_what_was_not_acquired_is_held_by_nobody(threads: Run) -> None:
    """With `max_holders=1`, another slave may try as soon as the first has failed."""
    broken = [True]

    @resource("db", max_holders=1)
    def db() -> Iterator[int]:
        if broken:
            broken.pop()
            raise OSError
        yield current().rank

    @task("use", resource=db)
    def use() -> int:
        return db.get()

    def main() -> None:
        failed = use.delay()
        assert isinstance(failed.exception(), OSError)
        echo.delay().result()  # what the slave had to say has come by now
        found = mpitasks.statistics()
        assert [one.holds for one in found.slaves.values()] == [(), ()]
        assert found.resources["db()"].holders == 0
        opening = gate()
        first = hold.delay()
        opening.wait_for_a_call()
        second = use.delay()
        assert second.result(timeout=PATIENCE) == second.rank != first.rank
        opening.opened.set()

    threads(main)


def test_a_failed_outer_one_leaves_the_inner_one_held(farm: Run) -> None:
    """And says so, but not that the outer one is."""

    @resource("db")
    def db() -> Iterator[int]:
        yield 1

    @resource("mesh", resource=db)
    def mesh() -> Iterator[int]:
        raise OSError
        yield 1

    @task("use", resource=mesh)
    def use() -> int:
        return mesh.get()

    def main() -> list[str]:
        assert isinstance(use.delay().exception(), OSError)
        echo.delay().result()
        return [name for one in mpitasks.statistics().slaves.values() for name in one.holds]

    assert farm(main) == ["db()"]


def test_a_failing_release_is_on_the_masters_log(farm: Run, caplog: pytest.LogCaptureFixture) -> None:
    """With its traceback; the call that drives it out is none the worse for it."""

    @resource("file")
    def file(path: str) -> Iterator[str]:
        yield path
        raise OSError("disk full")

    @task("read", resource=file, key="path", max_slaves=1)
    def read(path: str) -> str:
        return file.get()

    assert farm(lambda: [read.delay(path).result() for path in "ab"], slaves=1) == ["a", "b"]
    assert [record.getMessage() for record in caplog.records] == [
        "releasing resource file('a') failed",
        "releasing resource file('b') failed",
    ]
    assert caplog.text.count("OSError: disk full") == 2


@pytest.mark.parametrize("end", [ValueError, SystemExit, KeyboardInterrupt])
def test_it_is_released_however_main_ends(farm: Run, db: Resource[str], log: list[str], end: type[BaseException]) -> None:
    """By an exception, by sys.exit, by Ctrl-C."""

    @task("use", resource=db)
    def use() -> str:
        return db.get()

    def main() -> None:
        use.delay().result()
        raise end

    with pytest.raises(end):
        farm(main)
    assert log == ["+main", "-main"]


def test_it_is_released_after_a_call_that_fails(farm: Run, db: Resource[str], log: list[str]) -> None:
    """At the end: the next call gets the same."""

    @task("use", resource=db, max_slaves=1)
    def use(divisor: int) -> float:
        return len(db.get()) / divisor

    def main() -> float:
        assert isinstance(use.delay(0).exception(), ZeroDivisionError)
        return use.delay(2).result()

    assert farm(main) == 2
    assert log == ["+main", "-main"]


# ---------------------------------------------------------------- what is refused


def one() -> Iterator[int]:
    """Acquire one."""
    yield 1


def of_path(path: str) -> Iterator[str]:
    """Acquire what lies there."""
    yield path


def test_an_unknown_option_is_refused_with_the_nearest_known_one() -> None:
    """And nothing is registered."""
    with pytest.raises(
        TypeError, match=r"@resource\('db'\) has no option 'max_holder'; did you mean 'max_holders'\? known: idle"
    ):
        resource("db", max_holder=2)(one)  # type: ignore[call-overload]  # that is the point
    with pytest.raises(mpitasks.UnknownTask, match="no resource named 'db'"):
        registry.resource("db")


WRONG_VALUES: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "max_holders=0": ({"max_holders": 0}, ValueError, "max_holders=0 must be 1 or more, or None"),
    "max_holders text": ({"max_holders": "2"}, TypeError, "max_holders='2' must be a whole number"),
    "keep=0": ({"keep": 0}, ValueError, "keep=0 must be 1 or more"),
    "keep=None": ({"keep": None}, TypeError, "keep=None must be a whole number"),
    "idle_timeout below 0": ({"idle_timeout": -1}, ValueError, "idle_timeout=-1 must be a number of seconds, at most 1e9"),
    "idle_timeout too large": ({"idle_timeout": 10**400}, ValueError, "0 must be a number of seconds, at most 1e9, or None"),
    "idle_timeout text": ({"idle_timeout": "1"}, ValueError, "idle_timeout='1' must be a number of seconds, at most 1e9"),
    "idle_timeout nan": ({"idle_timeout": float("nan")}, ValueError, "idle_timeout=nan must be a number"),
    "resource is an id": ({"resource": "mesh"}, TypeError, "resource='mesh' must be a resource, made by @resource"),
    "key alone": ({"key": "path"}, TypeError, "key='path' says which of another resource"),
}


@pytest.mark.parametrize("case", WRONG_VALUES)
def test_a_wrong_value_is_refused(case: str) -> None:
    """Where the provider is defined."""
    options, kind, message = WRONG_VALUES[case]
    with pytest.raises(kind, match=f"@resource.*{re.escape(message)}"):
        resource("db", **options)(of_path)


def test_an_inner_one_needs_a_fitting_key(db: Resource[str]) -> None:
    """A parameter of the provider that needs it; and one only if the inner one takes it."""
    path = resource("path")(of_path)
    with pytest.raises(ValueError, match=r"@resource\('outer'\): key='pth' is no parameter; it has: path"):
        resource("outer", resource=db, key="pth")(of_path)
    with pytest.raises(
        TypeError, match=r"@resource\('outer'\): the provider of resource 'path' takes \(path: .*; say which by key="
    ):
        resource("outer", resource=path)(one)
    with pytest.raises(TypeError, match=r"the provider of resource '.*one' takes \(\) -> .*: too many .*; leave key= out"):
        resource("outer", resource=resource(one), key="path")(of_path)


def test_a_task_needs_a_fitting_key(db: Resource[str]) -> None:
    """As a provider does."""
    path = resource("path")(of_path)
    with pytest.raises(
        TypeError, match=r"@task\('t'\): the provider of resource 'path' takes .*; say which by key=\"parameter\" on the d"
    ):
        task("t", resource=path)(len)
    with pytest.raises(
        TypeError, match=r"tests\.api\.tasks\.echo\.options\(\): the provider of resource 'path' takes .* on the decorator"
    ):
        echo.options(resource=path)
    with pytest.raises(TypeError, match=r"@task\('t'\): the provider of resource '.*one' takes \(\) -> .*; leave key= out"):
        task("t", resource=resource(one), key="path")(by_letter)
    with pytest.raises(ValueError, match=r"@task\('t'\): key='pth' is no parameter; it has: path"):
        task("t", resource=db, key="pth")(by_letter)


class Unequal:
    """Another one after every pickling."""


@pytest.mark.parametrize(
    "key", [Unequal(), Locked(), lambda: 1, float("nan")], ids=["unequal", "unpicklable", "function", "nan"]
)
def test_a_key_that_is_not_the_same_on_every_rank_is_refused(farm: Run, db: Resource[str], key: Any) -> None:
    """On the line of `delay`; the farm goes on."""

    @task("use", resource=db, key=lambda: key)
    def use() -> str:
        return db.get()

    def main() -> int:
        with pytest.raises(
            TypeError, match=r"@task\('use'\): key .* must be equal to itself after pickling: it is an id, such as"
        ):
            use.delay()
        return echo.delay(7).result()

    assert farm(main) == 7


def test_a_key_that_is_not_hashable_is_refused(farm: Run, db: Resource[str]) -> None:
    """As a plain id would be."""

    @task("use", resource=db, key="path")
    def use(path: Any) -> str:
        return db.get()

    def main() -> None:
        with pytest.raises(TypeError, match=r"@task\('use'\): key \['a'\] must be hashable"):
            use.delay(["a"])

    farm(main)


async def asynchronous() -> AsyncIterator[int]:
    """Acquire, asynchronously."""
    yield 1


NO_PROVIDERS = {
    "a function": by_letter,
    "an async generator": asynchronous,
    "a context manager": contextmanager(one),
    "a class": Holders,
    "a generator": one(),
    "nothing": 5,
}


@pytest.mark.parametrize("case", NO_PROVIDERS)
def test_what_is_no_generator_function_is_refused(case: str) -> None:
    """A context manager too, which yields by another way."""
    wrong: Any = NO_PROVIDERS[case]
    with pytest.raises(
        TypeError, match=r"@resource is for generator functions, which acquire, yield once, and release; and this is "
    ):
        resource("db")(wrong)


def test_one_name_is_for_one_provider(db: Resource[str]) -> None:
    """The error names both places."""
    with pytest.raises(
        DuplicateTask, match=r"two resources are named 'db': .*:\d+ and .*:\d+; .*@resource\(\"another.name\"\)"
    ):
        resource("db")(one)


def test_a_provider_imported_under_two_names_is_one(farm: Run) -> None:
    """As happens to a script that another module imports: `max_holders` counts both."""
    first, second = (resource("db", max_holders=1)(one) for _ in range(2))

    @task("use first", resource=first)
    def use_first() -> int:
        return first.get()

    @task("use second", resource=second)
    def use_second() -> int:
        return second.get()

    def main() -> list[int]:
        return [which.delay().result() for which in (use_first, use_second, use_first)]

    assert farm(main) == [1, 1, 1]
    assert mpitasks.statistics().resources["db()"].sent == {"new": 1, "sticky": 2}


def test_a_provider_that_comes_too_late_is_refused(farm: Run) -> None:
    """Slaves would not know it."""

    def main() -> None:
        with pytest.raises(
            TypeError, match=r"was made a resource while the farm runs, and slaves don't know it: put it at the top"
        ):
            resource("late")(one)

    farm(main)


@pytest.mark.parametrize("wrong", ["resorce", "key"])
def test_a_task_option_about_resources_is_never_ignored(wrong: str) -> None:
    """A typo names what was meant; a key alone says what is lacking."""
    message = "did you mean 'resource'" if wrong == "resorce" else 'it goes with resource="name"'
    with pytest.raises(TypeError, match=re.escape(message)):
        task("t", **{wrong: "db"})(by_letter)


def test_a_call_option_with_a_typo_is_refused() -> None:
    """With the nearest known one."""
    with pytest.raises(TypeError, match=r"echo\.options\(\) has no option 'resorce'; did you mean 'resource'\?"):
        echo.options(resorce="db")  # type: ignore[call-arg]  # refused, as it should


# ---------------------------------------------------------------- the object


def test_a_resource_is_what_it_says(db: Resource[str]) -> None:
    """Its name, its function, its repr; and it travels as its name."""
    assert (db.name, repr(db), next(db.fn("x")), type(db)) == ("db", "<Resource 'db'>", "X", ResourceType)
    assert pickle.loads(pickle.dumps(db)) is db
    assert resource(one).name == "tests.api.test_resources.one"
    assert resource(of_path).__doc__ == "Acquire what lies there."


def test_a_resource_may_be_an_argument(farm: Run, db: Resource[str]) -> None:
    """Which the task gets by its name."""

    @task("use", resource=db)
    def use(which: Resource[str]) -> str:
        return which.get()

    assert farm(lambda: use.delay(db).result()) == "MAIN"


# ---------------------------------------------------------------- cost


def test_the_costliest_call_goes_first(threads: Run) -> None:
    """Of those that wait; by default, in the order in which they were made."""
    order: list[int] = []

    @task("note")
    def note(n: int) -> None:
        order.append(n)

    def main() -> None:
        opening, first = gate(), hold.delay()
        opening.wait_for_a_call()
        notes = [note.options(cost=cost).delay(n) for n, cost in enumerate([1, 5, 0, 2.5, 5])]
        opening.opened.set()
        mpitasks.wait([first, *notes])

    threads(main, slaves=1)
    assert order == [1, 4, 3, 0, 2]


@pytest.mark.parametrize("cost", [-1, float("inf"), float("nan"), "high"])
def test_a_cost_that_is_none_is_refused(cost: Any) -> None:
    """It is a number, 0 or more."""
    with pytest.raises(ValueError, match=rf"echo\.options\(\): cost={cost!r} must be a number, 0 or more; higher goes first"):
        echo.options(cost=cost)


def generator(path: str) -> Iterator[str]:
    """A provider that lacks its decorator."""
    yield path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resource": "mesh", "key": 5}, "key=5 must be the name of a parameter, or a callable that makes the key"),
        ({"resource": generator}, "resource=<function generator at .*> is a generator function: put @resource on it"),
    ],
)
def test_what_makes_no_id_is_refused_at_once(options: dict[str, Any], words: str) -> None:
    """At decoration, where the mistake is."""
    with pytest.raises(TypeError, match=words):
        task("test.resources.wrong", **options)(lambda x: x)


def test_statistics_are_plain_data(farm: Run) -> None:
    """They can be pickled, and turned into what JSON takes."""
    farm(lambda: add.delay(1).result())
    found = mpitasks.statistics()
    assert pickle.loads(pickle.dumps(found)) == found
    assert json.loads(json.dumps(dataclasses.asdict(found)))["queues"]["tests.api.tasks.add"]["ended"] == 1
