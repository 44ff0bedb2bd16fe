"""What a run has done, the next one does not do again."""

from __future__ import annotations

import itertools
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpitasks
from mpitasks import Context, DependencyFailed, Executor, FarmBroken, JournalError, NoIdentity, registry, task
from mpitasks import farm as the_farm
from mpitasks.journal.listing import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Run = Callable[..., Any]

ran: list[Any] = []
"""The arguments of every call that a slave has run."""
numbers = itertools.count()
hold = threading.Event()
faults: set[Any] = set()
"""For which arguments calls fail."""


@task("tests.journal.double")
def double(x: Any, times: int = 2) -> Any:
    """Twice that."""
    ran.append(x)
    if isinstance(x, int) and x in faults:
        msg = f"no {x}"
        raise ValueError(msg)
    return x * times


@task("tests.journal.sample")
def sample() -> int:
    """Another number each time."""
    return next(numbers)


@task("tests.journal.sampled", bind=True)
def sampled(ctx: Context) -> int:
    """One of those, by a call of its own."""
    return sample.delay().result()


@task("tests.journal.samples")
def samples() -> list[int]:
    """One by a plain call, and one more."""
    return [sampled(), sample.delay().result()]


@task("tests.journal.shared", memo=True)
def shared(x: Any) -> tuple[int, Any]:
    """Another number each time that it runs."""
    ran.append(x)
    if x in faults:
        raise ValueError(x)
    return next(numbers), x


@task("tests.journal.held", memo=True)
def held(x: Any) -> Any:
    """Run until the test lets it end."""
    ran.append(x)
    hold.wait(30)
    return x


@task("tests.journal.big")
def big(x: int) -> np.ndarray[Any, Any]:
    """What travels by itself."""
    ran.append(x)
    return np.full(100_000, x)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Nothing has run."""
    ran.clear(), faults.clear(), hold.clear()
    yield
    hold.set()


@pytest.fixture(params=["threads", "inline"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """`run` with a journal, on either backend."""
    return partial(mpitasks.run, backend=request.param, slaves=2, grace=0.0, journal=tmp_path / "run.jrnl")


@pytest.fixture
def threads(tmp_path: Path) -> Run:
    """The same, where calls can be late."""
    return partial(mpitasks.run, backend="threads", slaves=2, grace=0.0, journal=tmp_path / "run.jrnl")


def again(run: Run, main: Callable[[], Any]) -> tuple[Any, list[Any]]:
    """Run it twice: what the second run gives must be equal; that, and what the second one has run."""
    first = run(main)
    ran.clear()
    second = run(main)
    np.testing.assert_equal(second, first)
    return second, list(ran)


@pytest.mark.parametrize(
    "main",
    [
        lambda: double.delay(3).result(),
        lambda: double.map([3, 1, 2]).results(),
        lambda: double.starmap([(3,), (1,)]).results(),
        lambda: list(double.imap(range(50), buffersize=3)),
        lambda: sorted(double.imap(range(50), ordered=False)),
        lambda: double.delay(double.delay(3)).result(),
        lambda: double.delay([double.delay(3).arg()]).result(),
        lambda: double.options(after=[double.delay(1)]).delay(2).result(),
        lambda: big.delay(big.delay(3)).result(),
        lambda: double.options(id="x").delay(object).exception() is not None or 1,
        lambda: double.delay(None).exception() is not None or 1,
    ],
)
def test_what_has_returned_does_not_run_again(run: Run, main: Callable[[], Any]) -> None:
    """However it was submitted; only `Done` is replayed, so a failure runs again."""
    _, ran_again = again(run, main)
    assert ran_again in ([], [object], [None])


def test_a_replayed_call_has_ended_at_once(run: Run) -> None:
    """It went to no slave; callbacks, waits and dependents find it ended."""

    def main() -> tuple[bool, Any, int, int]:
        future = double.delay(1)
        done = future.done()
        called: list[Any] = []
        future.add_done_callback(called.append)
        mpitasks.wait([future])
        return done, future.rank, future.attempts, double.delay(future).result() + len(called)

    run(main)
    assert run(main) == (True, None, 0, 5)


def test_a_failure_runs_again(run: Run) -> None:
    """And what depends on it; what has returned does not."""

    def main() -> list[Any]:
        futures = double.map([1, 2, 3])
        last = double.delay(futures[1])
        return [*(type(future.exception()) for future in futures), type(last.exception())]

    faults.add(2)
    assert run(main) == [type(None), ValueError, type(None), DependencyFailed]
    ran.clear()
    faults.clear()
    assert (run(main), ran) == ([type(None)] * 4, [2, 4])


def test_equal_calls_stay_as_many(run: Run) -> None:
    """100 equal `sample.delay()` are 100 samples, in this run and in the next."""

    def main(count: int) -> list[int]:
        return [sample.delay().result() for _ in range(count)]

    first = run(main, 100)
    assert len(set(first)) == 100
    more = run(main, 110)
    assert (more[:100], len(set(more))) == (first, 110)


def test_a_plain_call_counts_with_the_call_that_makes_it(threads: Run, tmp_path: Path) -> None:
    """What it submits and what the other submits are told from each other, also where they are equal."""
    threads(lambda: samples.delay().result())
    assert sorted(call["task"] for call in read(tmp_path / "run.jrnl").calls) == [sample.name] * 2 + [samples.name]


def test_how_an_argument_is_given_does_not_matter(run: Run) -> None:
    """By place, by name, or by default; but its value does, a default's too."""
    run(lambda: double.delay(1).result())
    ran.clear()
    run(lambda: [double.delay(x=1, times=2).result()])
    assert ran == []
    run(lambda: [double.delay(1, 3).result()])
    assert ran == [1]


@task("tests.journal.versioned", version=1)
def versioned(x: int) -> int:
    """Something that will change."""
    ran.append(x)
    return x


def test_another_version_is_another_call(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the old one has returned is not used; going back, it is."""
    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))
    for version, expected in [(1, [5]), (1, [5]), ("2", [5, 5]), (1, [5, 5])]:
        changed = task("tests.journal.versioned", version=version)(versioned.fn)
        run(lambda changed=changed: changed.delay(5).result())
        assert ran == expected


def test_the_users_id_comes_first(run: Run) -> None:
    """Whatever the arguments are, and also where they have no identity."""
    run(lambda: double.options(id="a").delay(1).result())
    assert run(lambda: double.options(id="a").delay(7).result()) == 2
    assert run(lambda: double.options(id="b").delay(7).result()) == 14
    nameless = Nameless()
    for _ in range(2):
        assert run(lambda: double.options(id="c", retries=0).delay(nameless).exception()) is None
    assert ran[2:] == [3]


class Nameless:
    """Without identity; twice it is 6."""

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return int, (3,)


def test_an_id_names_one_call(run: Run) -> None:
    """`map` with an id would give all of them one outcome. One that has failed may be tried again."""

    def main() -> str:
        one = double.options(id="a")
        with pytest.raises(ValueError, match=r"id='a' names another call of 'tests.journal.double' in this run already; each"):
            one.map([1, 2])
        return "refused"

    for _ in range(2):
        assert run(main) == "refused"
    faults.add(5)

    def retry() -> Any:
        assert double.options(id="e").delay(5).exception() is not None
        faults.clear()
        return double.options(id="e").delay(5).result()

    assert run(retry) == 10


def test_a_call_without_identity_is_refused_where_it_is_made(run: Run) -> None:
    """With the argument's name and two ways out."""
    words = (
        r"argument 'x' of 'tests.journal.double' is or holds a tests.journal.test_resume.Nameless, and nothing tells that .*"
        r"f.options\(id=\"...\"\).delay\(...\), or the class a method __mpitasks_id__"
    )

    def main() -> None:
        with pytest.raises(NoIdentity, match=words):
            double.delay([Nameless()])
        with pytest.raises(NoIdentity, match=r"argument 'x' of 'tests.journal.double' holds itself"):
            double.delay(circle)

    circle: list[Any] = []
    circle.append(circle)
    run(main)
    mpitasks.run(lambda: double.delay(Nameless()).result(), backend="inline")


def test_functions_that_are_no_tasks(run: Run) -> None:
    """Known by their names, if they have some; a lambda is refused."""

    def main() -> list[Any]:
        with pytest.raises(NoIdentity, match=r"is called in a run with a journal, .* can't be imported .*: @task\('"):
            mpitasks.submit(lambda: 1)
        with Executor() as executor:
            return [
                mpitasks.submit(double.fn, 4).result(),
                *executor.map(double.fn, [5, 6]),
                executor.submit(double, 7).result(),
            ]

    assert again(run, main) == ([8, 10, 12, 14], [])


def test_memo_shares_an_outcome_within_a_run_and_between_runs(run: Run) -> None:
    """Between equal calls, and no others."""

    def main() -> list[Any]:
        return [shared.delay(1).result(), shared.delay(1).result(), *shared.map([1, 2, 2]).results()]

    values, ran_again = again(run, main)
    assert (len(set(values)), ran_again) == (2, [])


def test_memo_needs_no_journal() -> None:
    """Within a run. It can be asked for by call, and forbidden."""

    def main() -> tuple[int, int, int]:
        many = [shared.delay(1).result(), shared.delay(1).result()]
        some = [sample.options(memo=True).delay().result() for _ in range(3)]
        none = [shared.options(memo=False).delay(5).result() for _ in range(3)]
        return len(set(many)), len(set(some)), len(set(none))

    assert mpitasks.run(main, backend="inline") == (1, 1, 3)


def test_equal_calls_under_way_follow_the_first(threads: Run) -> None:
    """One runs, all get what it returns, each a value of its own."""

    def main() -> list[Any]:
        first, *others = futures = held.map([[1]] * 4)
        while not ran:
            time.sleep(0.001)
        assert not any(future.done() for future in futures)
        chained = double.delay(others[-1])
        hold.set()
        first.result().append("mine")
        return [*(future.result() for future in others), chained.result()]

    assert threads(main) == [[1], [1], [1], [1, 1]]
    assert ran == [[1], [1]]


def test_followers_share_no_memory(threads: Run) -> None:
    """Not even of what travels by itself."""

    def main() -> list[float]:
        futures = held.map([np.zeros(20_000)] * 3)
        while not ran:
            time.sleep(0.001)
        hold.set()
        for number, future in enumerate(futures):
            future.result()[number] = 1
        return [float(future.result().sum()) for future in futures]

    assert threads(main) == [1.0, 1.0, 1.0]


@task("tests.journal.late")
def late() -> None:
    """Fail when the test lets it."""
    ran.append("late")
    hold.wait(30)
    raise ValueError


def test_followers_of_what_never_runs_hear_of_it_too(threads: Run) -> None:
    """Because of what they all need."""

    def main() -> list[str]:
        needed = late.delay()
        futures = [shared.delay(needed) for _ in range(3)]
        hold.set()
        return [type(future.exception(timeout=20)).__name__ for future in futures]

    assert threads(main) == ["DependencyFailed"] * 3


def test_a_follower_that_needs_another_equal_call_goes_on(threads: Run) -> None:
    """When what the first one needs is cancelled, and what this one needs is not."""

    def main() -> tuple[bool, int, int]:
        busy = held.map([1, 2])
        while len(ran) < 2:
            time.sleep(0.001)
        one, other = held.map([3, 3])
        first, second = shared.delay(one), shared.delay(other)
        one.cancel()
        hold.set()
        assert busy.results() == [1, 2]
        return first.cancelled(), second.result(timeout=20)[1], the_farm._bound[0]._scheduler.unfinished

    assert threads(main) == (True, 3, 0)


def test_a_full_disk_ends_every_call(threads: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that follow another one, and those that have not begun: nothing runs on for hours in vain."""
    futures: list[Any] = []

    def main() -> None:
        futures.extend([*held.map([1, 1, 1, 2]), *double.map(range(2000))])
        while len(ran) < 2:
            time.sleep(0.001)
        monkeypatch.setattr("os.pwrite", full)
        hold.set()
        mpitasks.wait(futures)

    with pytest.raises((JournalError, FarmBroken), match="can't be written"):
        threads(main)
    monkeypatch.undo()
    assert all(future.cancelled() or type(future.exception(timeout=0)) is FarmBroken for future in futures)
    assert not any(future.cancelled() for future in futures[:3])
    assert len(ran) < 2000


def test_followers_fail_with_the_first(threads: Run) -> None:
    """Each hears of it."""

    def main() -> list[str]:
        faults.add(9)
        return [type(future.exception()).__name__ for future in shared.map([9, 9, 9])]

    assert threads(main) == ["ValueError"] * 3
    assert len(ran) <= 3


def test_the_first_may_be_cancelled(threads: Run) -> None:
    """Then the next runs for the others; a follower that is cancelled costs nobody else anything."""

    def main() -> list[Any]:
        busy = held.map([1, 2])
        while len(ran) < 2:
            time.sleep(0.001)
        first, second, third, fourth = held.map([3] * 4)
        assert [third.cancel(), third.cancel(), first.cancel()] == [True] * 3
        hold.set()
        values = [*busy.results(), second.result(), fourth.result()]
        return [*values, first.cancelled(), third.cancelled(), the_farm._bound[0]._scheduler.unfinished]

    assert threads(main) == [1, 2, 3, 3, True, True, 0]
    assert sorted(ran) == [1, 2, 3]


@task("tests.journal.giving_way", memo=True, bind=True, retries=1)
def giving_way(ctx: Context, how: str) -> str:
    """Run until the test lets it end, or nobody wants the outcome; then end with half of it, or by failing."""
    ran.append(how)
    while not hold.wait(0.001):
        if ctx.should_stop():
            if how == "fails":
                raise ValueError
            return "half of it"
    return "all of it"


@pytest.mark.parametrize("how", ["returns", "fails"])
def test_the_first_may_be_cancelled_while_it_runs(threads: Run, how: str) -> None:
    """It ends early, and the next runs for the others, who have not given up anything."""

    def main() -> list[Any]:
        first, second, third = giving_way.map([how] * 3)
        while not ran:
            time.sleep(0.001)
        taken = first.cancel()
        ended = first.exception() is None and first.result()
        hold.set()
        return [taken, ended, second.result(), third.result()]

    assert threads(main) == [False, how == "returns" and "half of it", "all of it", "all of it"]
    assert ran == [how] * 2


def test_followers_are_cancelled_with_the_run(threads: Run) -> None:
    """Nobody waits for ever."""
    futures: list[Any] = []

    def main() -> None:
        futures.extend([*held.map([1, 2]), *held.map([3, 3, 3])])
        while len(ran) < 2:
            time.sleep(0.001)
        raise KeyError

    with pytest.raises(KeyError):
        threads(main)
    assert all(future.done() for future in futures)
    assert [future.cancelled() for future in futures[2:]] == [True] * 3


def test_a_full_disk_ends_the_run_with_nothing_lost(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What main has heard of is in the journal, whatever it does with the error; the next run goes on."""
    heard: list[int] = []

    def main() -> None:
        try:
            for number in range(100):
                heard.append(double.delay(number).result() // 2)
                if number == 20:
                    monkeypatch.setattr("os.pwrite", full)
        except FarmBroken as error:
            assert "can't be written: No space left on device" in str(error)  # noqa: PT017  and nothing else

    with pytest.raises((JournalError, FarmBroken), match=r"can't be written: No space left on device. All that calls have"):
        run(main)
    assert heard == list(range(21))
    monkeypatch.undo()
    ran.clear()
    run(lambda: double.map(range(100)).results())
    assert sorted(ran) == list(range(21, 100))


def full(*_: object) -> None:
    """What a full disk says."""
    raise OSError(28, "No space left on device")


def test_a_second_run_on_the_same_journal_is_refused(run: Run, tmp_path: Path) -> None:
    """Main never begins, and the slaves leave."""
    from mpitasks.journal.book import Journal  # noqa: PLC0415  only here

    journal = Journal(tmp_path / "run.jrnl")
    with pytest.raises(JournalError, match="has a writer already"):
        run(lambda: ran.append("main"))
    journal.close()
    run(lambda: ran.append("main"))
    assert ran == ["main"]


def test_how_many_outcomes_there_are_is_said(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """On stderr, when there are some."""
    run(lambda: double.map([1, 2]).results())
    assert "outcomes" not in capsys.readouterr().err
    run(lambda: None)
    assert f"mpitasks: 2 outcomes of earlier runs in {tmp_path}/run.jrnl\n" in capsys.readouterr().err


def test_without_a_journal_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No identity is made, and no file."""
    monkeypatch.setattr("mpitasks.journal.identity.Identities.of", full)
    assert mpitasks.run(lambda: double.map([1, 2]).results(), backend="threads", slaves=1) == [2, 4]
