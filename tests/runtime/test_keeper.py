"""What a slave holds: what is acquired, kept and released, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mpitasks import Context, current, registry, resource
from mpitasks.context import enter, leave
from mpitasks.ids import Rank
from mpitasks.runtime import keeper as module
from mpitasks.runtime.keeper import Keeper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mpitasks import Resource

    New = Callable[..., Resource[str]]

HERE = Rank(3)


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The keeper's clock."""
    clock = Clock()
    monkeypatch.setattr(module, "perf_counter", clock)
    return clock


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test defines is forgotten after it."""
    monkeypatch.setattr(registry, "_resources", {})


@pytest.fixture
def log() -> list[str]:
    """What was acquired, "+db()", and released, "-db()"."""
    return []


@pytest.fixture
def new(log: list[str]) -> New:
    """Make a provider that writes its log."""

    def make(name: str, **options: Any) -> Resource[str]:
        @resource(name, **options)
        def provide(which: str = "") -> Iterator[str]:
            log.append(f"+{name}{which}")
            yield f"{name}{which}"
            log.append(f"-{name}{which}")

        return provide

    return make


def use(keeper: Keeper, which: Resource[Any], *args: Any) -> tuple[dict[str, Any], list[str]]:
    """A call that needs it, begun and ended: what it could get, and what had to be acquired."""
    context = Context("task", HERE)
    acquired: list[tuple[Any, float]] = []
    token = enter(context)
    try:
        keeper.use(which.identity(args), context._resources, acquired)
    finally:
        leave(token)
        keeper.rest()
    return context._resources, [name for (name, _), _ in acquired]


def test_what_is_held_is_not_acquired_again(new: New, log: list[str]) -> None:
    """The second call gets what the first has acquired."""
    keeper, db = Keeper(HERE), new("db")
    assert [use(keeper, db), use(keeper, db)] == [({"db": "db"}, ["db"]), ({"db": "db"}, [])]
    assert (log, keeper.held) == (["+db"], (("db", ("",)),))


def test_the_default_argument_is_the_same_thing_as_the_argument(new: New, log: list[str]) -> None:
    """`db()` and `db("")` are one resource where "" is the default."""
    keeper, db = Keeper(HERE), new("db")
    use(keeper, db)
    use(keeper, db, "")
    use(keeper, db, "x")
    assert log == ["+db", "-db", "+dbx"]


def test_a_default_that_is_no_key_is_left_to_the_provider() -> None:
    """Such as a list: what can't be compared can't be an id."""

    @resource
    def listed(values: list[int] = [1]) -> Iterator[list[int]]:  # noqa: B006  the point of it
        yield values

    keeper = Keeper(HERE)
    assert use(keeper, listed)[0] == {listed.name: [1]}
    assert keeper.held == ((listed.name, ()),)


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (1, ["+ma", "-ma", "+mb", "-mb", "+ma", "-ma", "+mc", "-mc", "+ma"]),
        (2, ["+ma", "+mb", "-mb", "+mc"]),
        (3, ["+ma", "+mb", "+mc"]),
    ],
)
def test_the_longest_unused_goes_first(new: New, log: list[str], keep: int, expected: list[str]) -> None:
    """`keep` of one provider; what is too much goes before the next is acquired."""
    keeper, mesh = Keeper(HERE), new("m", keep=keep)
    for path in "abaca":
        use(keeper, mesh, path)
    assert log == expected


def test_providers_do_not_drive_each_other_out(new: New, log: list[str]) -> None:
    """`keep` counts one provider's only."""
    keeper, one, two = Keeper(HERE), new("one"), new("two")
    for _ in range(2):
        use(keeper, one)
        use(keeper, two)
    assert log == ["+one", "+two"]


def test_all_are_released_in_reverse_order_of_acquisition(new: New, log: list[str]) -> None:
    """However they were used since."""
    keeper, things = Keeper(HERE), [new(name) for name in "abc"]
    for thing in [*things, things[0]]:
        use(keeper, thing)
    assert (keeper.release_all(), keeper.held, keeper.release_all()) == (True, (), False)
    assert log == ["+a", "+b", "+c", "-c", "-b", "-a"]


# ---------------------------------------------------------------- idleness


def test_what_was_unused_for_too_long_is_released(new: New, log: list[str], clock: Clock) -> None:
    """Counted from the end of the last call that needed it, and not before the time."""
    keeper, db, other = Keeper(HERE), new("db", idle_timeout=10), new("other")
    keeper.use(db.identity(()), {}, [])
    clock.now += 50  # a long call
    keeper.rest()
    use(keeper, other)
    assert (keeper.due, keeper.release_idle()) == (1060.0, False)
    clock.now += 9.9
    assert keeper.release_idle() is False
    clock.now += 0.1
    assert keeper.release_idle() is True
    assert (log, keeper.due) == (["+db", "+other", "-db"], float("inf"))


def test_what_another_one_needs_does_not_count_as_unused(new: New, log: list[str], clock: Clock) -> None:
    """The inner one stays as long as the outer does; then both go, the outer first."""
    keeper, db = Keeper(HERE), new("db", idle_timeout=1)
    mesh = new("mesh", resource=db, idle_timeout=10)
    use(keeper, mesh)
    clock.now += 5
    assert (keeper.release_idle(), keeper.due) == (False, 1010.0)
    clock.now += 5
    keeper.release_idle()
    assert log == ["+db", "+mesh", "-mesh", "-db"]


# ---------------------------------------------------------------- nested


def test_the_inner_one_is_acquired_first(log: list[str], new: New) -> None:
    """And a provider gets it, both when it acquires and when it releases."""
    db = new("db")

    @resource("mesh", resource=db)
    def mesh(path: str) -> Iterator[str]:
        log.append(f"+mesh {path} by {db.get()}")
        yield path
        log.append(f"-mesh {path} by {db.get()}")

    keeper = Keeper(HERE)
    values, acquired = use(keeper, mesh, "wing")
    keeper.release_all()
    assert (values, acquired) == ({"db": "db", "mesh": "wing"}, ["db", "mesh"])
    assert log == ["+db", "+mesh wing by db", "-mesh wing by db", "-db"]


def test_a_key_chooses_the_inner_one(new: New, log: list[str]) -> None:
    """By the provider's own parameter, or what a callable makes of it; the inner one that a kept one needs stays."""
    folder = new("folder")
    file = new("file", resource=folder, key=lambda which: which[0], keep=2)
    keeper = Keeper(HERE)
    for path in ["a1", "a2", "b1"]:
        use(keeper, file, path)
    assert log == ["+foldera", "+filea1", "+filea2", "-filea1", "+folderb", "+fileb1"]
    use(keeper, file, "b2")
    assert log[6:] == ["-filea2", "-foldera", "+fileb2"]


def test_what_another_one_needs_stays_also_where_it_was_used_alone(new: New, log: list[str]) -> None:
    """Then it is the later one of both in the order of use."""
    folder = new("folder")
    file = new("file", resource=folder, key=lambda which: "a")
    keeper = Keeper(HERE)
    use(keeper, file)
    use(keeper, folder, "a")
    use(keeper, folder, "b")
    assert log == ["+foldera", "+file", "+folderb"]


# ---------------------------------------------------------------- failures


def test_what_fails_to_be_acquired_is_not_held(new: New, log: list[str]) -> None:
    """The inner one is, and the next call acquires only what is lacking."""
    db, broken = new("db"), [True]

    @resource("mesh", resource=db)
    def mesh() -> Iterator[int]:
        if broken:
            broken.pop()
            raise OSError("no disk")
        yield 7

    keeper = Keeper(HERE)
    with pytest.raises(OSError, match="no disk") as caught:
        use(keeper, mesh)
    assert caught.value.__notes__ == ["while acquiring resource mesh()"]
    assert keeper.held == (("db", ("",)),)
    assert use(keeper, mesh) == ({"db": "db", "mesh": 7}, ["mesh"])
    assert log == ["+db"]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration])
def test_whatever_a_provider_raises_is_let_through(kind: type[BaseException]) -> None:
    """BaseExceptions too; only a StopIteration is what Python makes of it in generators."""

    @resource("db")
    def db() -> Iterator[int]:
        raise kind
        yield 1

    keeper = Keeper(HERE)
    with pytest.raises(RuntimeError if kind is StopIteration else kind):
        use(keeper, db)
    assert keeper.held == ()


def test_a_provider_that_never_yields_is_told_so() -> None:
    """And what it has to do instead."""

    @resource("db")
    def db() -> Iterator[int]:
        yield from ()

    message = r"the provider of resource db\(\) ended without a yield: it has to acquire, yield once, and release"
    with pytest.raises(RuntimeError, match=message):
        use(Keeper(HERE), db)


def test_a_second_yield_is_logged_and_the_provider_closed(log: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """What stands in its `finally` runs then and there."""

    @resource("db")
    def db() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            log.append("closed")

    keeper = Keeper(HERE)
    use(keeper, db)
    generators = [holding.generator for holding in keeper._holdings.values()]  # or the garbage collector would close them
    assert keeper.release_all() is True
    assert len(generators) == 1
    logged = [record for record in caplog.records if record.module == "keeper"]
    assert [record.getMessage() for record in logged] == [
        "the provider of resource db() yielded a second time instead of ending"
    ]
    assert (log, keeper.held) == (["closed"], ())


@pytest.mark.parametrize("kind", [OSError, SystemExit, KeyboardInterrupt])
def test_a_failing_release_is_logged_and_the_others_go_on(
    new: New, log: list[str], caplog: pytest.LogCaptureFixture, kind: type[BaseException]
) -> None:
    """With its traceback; it counts as released."""
    db = new("db")

    @resource("mesh", resource=db)
    def mesh() -> Iterator[int]:
        yield 1
        raise kind("stuck")

    keeper = Keeper(HERE)
    use(keeper, mesh)
    keeper.release_all()
    assert (log, keeper.held) == (["+db", "-db"], ())
    logged = [record for record in caplog.records if record.module == "keeper"]  # another test's future may be forgotten here
    assert [record.getMessage() for record in logged] == ["releasing resource mesh() failed"]
    assert f"{kind.__name__}: stuck" in caplog.text


def test_a_release_is_no_part_of_the_call_that_drives_it_out(log: list[str]) -> None:
    """It knows its slave, and no task."""

    @resource("mesh")
    def mesh(path: str) -> Iterator[str]:
        yield path
        log.append(f"-{path} on {current().rank} for {current().task_name!r}")

    keeper = Keeper(HERE)
    use(keeper, mesh, "a")
    use(keeper, mesh, "b")
    assert log == ["-a on 3 for ''"]
