"""Statistics: what is counted, for which reason a call went where it went, and what is printed."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

import mpitasks
from mpitasks import farm as the_farm
from mpitasks import resource, task
from mpitasks.core.calls import PLAIN, Call, Kind, Provided
from mpitasks.core.scheduler import Scheduler, Send
from mpitasks.ids import CallId, Rank
from mpitasks.observe.counts import QueueStatistics, ResourceStatistics, SlaveStatistics, Statistics, take
from tests.api.conftest import clock, farm, names  # noqa: F401  fixtures
from tests.api.tasks import echo

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from tests.api.conftest import Clock, Run

DB = Provided(Kind("db", max_holders=1), ("main",))


class Told:
    """A scheduler that is told what happens, by hand."""

    def __init__(self, slaves: int) -> None:
        self.scheduler = Scheduler()
        self.ids = count(1)
        for name in "ab":
            self.scheduler.queue_defined(name)
        for rank in range(1, slaves + 1):
            self.scheduler.slave_joined(Rank(rank))

    def submit(self, resource: Hashable = PLAIN, *, queue: str = "a", n: int = 1) -> None:
        """So many calls."""
        for _ in range(n):
            self.scheduler.submitted(Call(CallId(next(self.ids)), queue, 0, resource))

    def decide(self, now: float) -> dict[Rank, list[CallId]]:
        """What is sent now."""
        return {
            order.rank: [call.id for call in order.calls] for order in self.scheduler.decide(now) if isinstance(order, Send)
        }

    def finish(self, rank: int, *calls: int, seconds: float, now: float) -> None:
        """These have ended there."""
        self.scheduler.calls_finished(Rank(rank), [(CallId(one), seconds) for one in calls], now)

    @property
    def sent(self) -> dict[str, int]:
        """What queue a has sent, by reason."""
        return dict(take(self.scheduler).queues["a"].sent)

    @property
    def words(self) -> str:
        """The latest decision."""
        return take(self.scheduler).latest[-1]


def test_plain_new_and_sticky() -> None:
    """A call without resource; one whose resource nobody held; one whose resource the slave holds."""
    told = Told(slaves=1)
    told.submit()
    assert told.decide(0.0) == {1: [1]}
    assert (told.sent, told.words) == ({"plain": 1}, "slave 1 got call 1 of 'a': plain, needs no resource")
    told.finish(1, 1, seconds=1.0, now=1.0)
    told.submit("x")
    told.decide(1.0)
    assert told.words == "slave 1 got call 2 of 'a', resource x: new, nobody held the resource"
    told.finish(1, 2, seconds=1.0, now=2.0)
    told.submit("x")
    told.decide(2.0)
    assert told.words == "slave 1 got call 3 of 'a', resource x: sticky, the slave holds the resource"
    assert told.sent == {"plain": 1, "new": 1, "sticky": 1}
    assert take(told.scheduler).resources["x"].sent == {"new": 1, "sticky": 1}


def test_overdue() -> None:
    """The holder is busy for longer than the patience of 30 seconds, and no price is known."""
    told = Told(slaves=2)
    told.submit("x", n=2)
    assert (told.decide(0.0), told.decide(29.0), len(told.decide(31.0))) == ({2: [1]}, {}, 1)
    assert told.sent == {"new": 1, "overdue": 1}
    assert "overdue, others hold the resource, but the call has waited long enough" in told.words


def test_duplicated() -> None:
    """Acquiring takes a second, and the holder would need ten for what waits."""
    told = Told(slaves=2)
    told.submit(DB._replace(kind=(kind := Kind("mesh"))))
    mesh = Provided(kind, ("main",))
    assert told.decide(0.0) == {2: [1]}
    told.scheduler.resources_held(Rank(2), [mesh], [(mesh, 1.0)], 1.0)
    told.finish(2, 1, seconds=2.0, now=3.0)
    told.submit(mesh, n=10)
    assert told.decide(3.0) == {2: [2], 1: [3]}
    assert told.sent == {"new": 1, "sticky": 1, "duplicated": 1}
    assert "duplicated, others hold the resource, but acquiring it once more ends its calls sooner" in told.words
    assert take(told.scheduler).resources["mesh('main')"].holders == 2


def test_owed() -> None:
    """What needs the db through something else goes to the one slave that may hold the db."""
    told = Told(slaves=2)
    told.submit(DB)
    assert told.decide(0.0) == {2: [1]}
    told.scheduler.resources_held(Rank(2), [DB], [(DB, 1.0)], 1.0)
    told.finish(2, 1, seconds=0.1, now=1.1)
    told.submit(Provided(Kind("mesh"), ("wing",), DB))
    assert told.decide(1.1) == {2: [2]}
    assert told.sent == {"new": 1, "owed": 1}
    assert "resource mesh('wing'): owed, all slaves that may hold the resource hold it" in told.words


def test_lent() -> None:
    """A slave that comes from another queue is counted there, and said."""
    told = Told(slaves=1)
    told.submit()
    told.decide(0.0)
    told.finish(1, 1, seconds=1.0, now=1.0)
    told.submit(queue="b", n=2)
    told.decide(1.0)
    found = take(told.scheduler)
    assert (found.queues["b"].lent_from, found.queues["a"].lent_from, found.slaves[1].moves) == ({"a": 1}, {}, 1)
    assert found.latest[-1].endswith("plain, needs no resource; lent from 'a'")


def test_what_is_taken_does_not_change() -> None:
    """It is of one moment."""
    told = Told(slaves=1)
    before = take(told.scheduler)
    told.submit()
    told.decide(0.0)
    assert (before.queues["a"].sent, before.queues["a"].windows, before.latest) == ({}, 0, ())
    with pytest.raises(AttributeError):
        before.latest = ()  # type: ignore[misc]  # that is the point


# ---------------------------------------------------------------- of a run


def test_before_any_run_there_is_nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the error says where to call it."""
    monkeypatch.setattr(the_farm, "_last", [])
    with pytest.raises(
        mpitasks.NotRunning, match=r"statistics\(\) was called before mpitasks\.run\(\): .* in main, or after the run"
    ):
        mpitasks.statistics()


@pytest.mark.usefixtures("names")
def test_the_time_of_providers_is_not_the_time_of_calls(farm: Run, clock: Clock) -> None:  # noqa: F811  fixtures
    """Seconds in calls and seconds in providers are two numbers; a failed acquisition is no time in calls."""

    @resource("slow")
    def slow(which: str) -> Iterator[str]:
        clock.extra += 1000
        if which == "broken":
            raise OSError(which)
        yield which

    @task("use", resource=slow, key="which", max_slaves=1)
    def use(which: str) -> None:
        clock.extra += 100

    def main() -> None:
        mpitasks.wait([use.delay("good") for _ in range(3)])
        assert isinstance(use.delay("broken").exception(), OSError)

    farm(main)
    found = mpitasks.statistics()
    queue = found.queues["use"]
    assert (round(queue.seconds, -1), round(queue.mean or 0, -1), queue.failed) == (300, 100, 1)
    assert [round(sum(one.seconds for one in found.slaves.values()), -1), sum(one.calls for one in found.slaves.values())] == [
        300,
        3,
    ]
    assert [(round(one.acquiring, -1), one.acquisitions) for one in found.slaves.values() if one.acquisitions] == [(1000, 1)]
    good = found.resources["slow('good')"]
    assert (good.acquisitions, round(good.acquiring, -1)) == (1, 1000)
    assert found.resources["slow('broken')"].acquisitions == 0


@pytest.mark.usefixtures("names")
def test_main_and_what_follows_may_ask(farm: Run) -> None:  # noqa: F811  the fixture
    """In main, of what was done so far; after the run, of all of it; a new run counts anew."""

    @task("count")
    def number(n: int) -> int:
        return n

    def main() -> int:
        number.map(range(5)).results()
        found = mpitasks.statistics().queues["count"].ended
        number.map(range(2)).results()
        return found

    assert (farm(main), mpitasks.statistics().queues["count"].ended) == (5, 7)
    assert (farm(lambda: None), mpitasks.statistics().queues) == (None, {})


class Wordless:
    """Can't be printed."""

    def __repr__(self) -> str:
        raise ValueError


def test_an_id_that_cannot_be_printed_ends_no_run(farm: Run) -> None:  # noqa: F811  the fixture
    """Its type stands for it."""

    def main() -> int:
        return echo.options(resource=Wordless()).delay(7).result()

    assert (farm(main), list(mpitasks.statistics().resources)) == (7, ["<Wordless without a text>"])


# ---------------------------------------------------------------- printed


def queue(**changed: Any) -> QueueStatistics:
    """A queue that did little."""
    usual = {
        "max_slaves": None,
        "waiting": 0,
        "running": 0,
        "sent": {"plain": 3},
        "windows": 1,
        "ended": 3,
        "failed": 0,
        "retried": 0,
    }
    return QueueStatistics(**{**usual, "seconds": 0.03, "mean": 0.01, "lent_from": {}, **changed})


def test_a_table_for_tasks_slaves_and_resources() -> None:
    """Numbers to the right, what took longest first; columns that say nothing are left out."""
    found = Statistics(
        {"short": queue(), "long": queue(ended=12_345, seconds=4321.0, mean=0.35, sent={"new": 2, "sticky": 9000}, failed=1)},
        {1: SlaveStatistics(3, 0.03, 0, 0.0, 0, ()), 2: SlaveStatistics(12_345, 4321.0, 2, 0.00045, 0, ["db('main')"])},
        {"db('main')": ResourceStatistics({"new": 2}, 2, 0.00045, 1)},
        [],
    )
    assert (
        str(found)
        == """\
task    ended  failed  in calls  a call  sent because
long   12,345       1   4,321 s  350 ms  sticky 9,000, new 2
short       3       0     30 ms   10 ms  plain 3

slave   calls  in calls  acquired  acquiring  holds
1           3     30 ms         0          -
2      12,345   4,321 s         2     450 µs  db('main')

resource    acquired  acquiring  holders  calls sent because
db('main')         2     450 µs        1  new 2"""
    )


def test_where_tasks_wait_and_borrow_it_is_shown() -> None:
    """With the slaves' moves."""
    found = Statistics(
        {"a": queue(waiting=1, running=2, lent_from={"b": 3})}, {1: SlaveStatistics(3, 0.03, 0, 0.0, 4, ())}, {}, []
    )
    assert (
        str(found)
        == """\
task  ended  waiting  running  in calls  a call  sent because  slaves lent from
a         3        1        2     30 ms   10 ms  plain 3       b 3

slave  calls  in calls  moves
1          3     30 ms      4"""
    )


def test_long_names_and_long_tables_are_cut() -> None:
    """A name loses its middle, a list its beginning, a table its end, and says so."""
    held = [f"m{n}" for n in range(5)]
    found = Statistics(
        {"a" * 30 + "b" * 30: queue()},
        {rank: SlaveStatistics(1, 1.0, 0, 0.0, 0, held) for rank in range(1, 1025)},
        {},
        [],
    )
    tasks, slaves = str(found).split("\n\n")
    assert tasks.splitlines()[1].split()[0] == "a" * 20 + "…" + "b" * 20
    assert slaves.splitlines()[1].split(None, 3)[3:] == ["s  …, m2, m3, m4"]
    assert (len(slaves.splitlines()), slaves.splitlines()[-1]) == (22, "... and 1,004 more")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "-"),
        (9.99e-7, "0.999 µs"),
        (0.00099949, "999 µs"),
        (0.0009996, "1 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (1234.5, "1,234 s"),
    ],
)
def test_seconds_are_easy_to_read(seconds: float, text: str) -> None:
    """Three digits and a unit."""
    printed = str(Statistics({"a": queue(seconds=seconds, mean=None)}, {}, {}, []))
    assert text in printed if seconds else "in calls" not in printed


def test_a_farm_that_did_nothing_prints_its_slaves_alone() -> None:
    """Not an error, and no table of nothing but a head."""
    assert str(Statistics({}, {1: SlaveStatistics(0, 0.0, 0, 0.0, 0, ())}, {}, [])) == "slave\n1"
