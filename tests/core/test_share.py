"""The share: how many slaves each queue gets, compared with exact computations."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise, permutations
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .world import World

if TYPE_CHECKING:
    from collections.abc import Callable


class Due(NamedTuple):
    """A queue that always has demand."""

    limit: int | None
    weight: float


DUES = st.lists(
    st.builds(Due, st.sampled_from([None, None, 1, 2, 4]), st.sampled_from([1.0, 1.0, 2.0, 3.0, 0.5])), min_size=1, max_size=5
)


def max_min(slaves: int, dues: list[Due]) -> list[Fraction]:
    """The weighted max-min fair share of each queue, cut at its limit, in parts of slaves.

    Raise one level for all queues until the slaves are used up; a queue stops at its limit.
    """
    shares = [Fraction(0)] * len(dues)
    growing = set(range(len(dues)))
    left = Fraction(slaves)
    while growing and left:
        weight = sum(Fraction(dues[i].weight) for i in growing)
        steps = [left / weight]
        steps += [(limit - shares[i]) / Fraction(dues[i].weight) for i in growing if (limit := dues[i].limit) is not None]
        step = min(steps)
        for i in growing:
            shares[i] += step * Fraction(dues[i].weight)
        left -= step * weight
        growing = {i for i in growing if shares[i] != dues[i].limit}
    return shares


def better_places(counts: list[int], dues: list[Due]) -> list[tuple[int, int]]:
    """From where to where one slave could move, so that the smaller of both shares becomes larger.

    None means: the counts are weighted max-min fair, as far as slaves are whole.
    """
    places = [(i, j) for i in range(len(dues)) for j in range(len(dues)) if i != j and counts[i] and counts[j] != dues[j].limit]
    return [(i, j) for i, j in places if (counts[i] - 1) / dues[i].weight > counts[j] / dues[j].weight]


def farm_of(slaves: int, dues: list[Due], calls: int = 300) -> World:
    """A farm in which the first queue has all the slaves it may have, when the others get their calls."""
    world = World(slaves)
    for number, due in enumerate(dues):
        world.queue(f"{number}-", max_slaves=due.limit, weight=due.weight)
    world.submit("0-", calls)
    world.obey()
    for number in range(1, len(dues)):
        world.submit(f"{number}-", calls)
    return world


def running(world: World, dues: list[Due]) -> list[int]:
    """Slaves by queue."""
    return [world.running(f"{number}-") for number in range(len(dues))]


def of_length(name: str) -> float:
    """Long calls, of another length in each queue."""
    return 1.0 + 0.3 * int(name.split("-", maxsplit=1)[0])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(slaves=st.integers(1, 9), dues=DUES)
def test_slaves_go_where_the_smallest_share_is(slaves: int, dues: list[Due]) -> None:
    """With long calls each queue has its weighted max-min share in whole slaves, from the first round on and for good."""
    world = farm_of(slaves, dues)
    world.run(3.0, of_length)  # the longest call is of 2.2 s
    used = min(slaves, sum(due.limit or slaves for due in dues))
    seen = []
    for _ in range(4):
        world.run(1.7, of_length)
        counts = running(world, dues)
        seen.append((sum(counts), better_places(counts, dues)))
    assert seen == [(used, [])] * 4


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    level=st.integers(1, 2), dues=st.lists(st.builds(Due, st.none(), st.sampled_from([1.0, 2.0, 3.0])), min_size=1, max_size=4)
)
def test_shares_that_are_whole_are_given_exactly(level: int, dues: list[Due]) -> None:
    """Where the exact shares are whole numbers of slaves, each queue runs on exactly that many."""
    limited = [Due(int(due.weight), due.weight) if number % 2 else due for number, due in enumerate(dues)]
    slaves = sum(int(due.weight) * (1 if due.limit else level) for due in limited)
    world = farm_of(slaves, limited)
    world.run(6.0, of_length)
    assert running(world, limited) == max_min(slaves, limited)


@pytest.mark.parametrize(
    ("slaves", "weights"),
    [(1, [1, 1]), (1, [3, 1]), (2, [1, 1, 1]), (3, [1, 1]), (4, [1, 1, 1]), (4, [2, 1]), (7, [2, 1]), (2, [1] * 5)],
    ids=str,
)
def test_what_is_left_over_goes_round(slaves: int, weights: list[float]) -> None:
    """Where the exact shares are no whole numbers, the slave that is left over goes round: over time shares are exact."""
    dues = [Due(None, weight) for weight in weights]
    world = farm_of(slaves, dues, calls=800)
    world.run(5.0, lambda _: 1.0)
    used = world.run(120.0, lambda _: 1.0)
    shares = [used[f"{number}-"] / 120.0 for number in range(len(dues))]
    assert shares == pytest.approx([float(share) for share in max_min(slaves, dues)], rel=0.06)


def test_the_exact_share_is_what_the_design_says() -> None:
    """The yardstick of these tests: five slaves, limits and weights, worked out by hand."""
    assert max_min(6, [Due(1, 1), Due(None, 1), Due(None, 3)]) == [1, Fraction(5, 4), Fraction(15, 4)]
    assert max_min(5, [Due(1, 1), Due(2, 1)]) == [1, 2]
    fair, unfair = [1, 4], [3, 2]
    assert better_places(fair, [Due(None, 1), Due(None, 3)]) == []
    assert better_places(unfair, [Due(None, 1), Due(None, 3)]) == [(0, 1)]


@pytest.mark.parametrize("order", list(permutations("abc")), ids="".join)
def test_the_order_of_definition_has_no_influence(world_of: Callable[..., World], order: tuple[str, ...]) -> None:
    """Queues defined in any order get the same slaves for the same events."""
    world = world_of(slaves=3)
    world.queue(*order)
    world.submit("b", n=3)
    assert world.decide() == {3: "b1", 2: "b2", 1: "b3"}
    world.submit("c", n=2)
    world.submit("a", n=2)
    world.finish(3, 2, 1)
    assert world.decide() == {1: "c1", 2: "a1", 3: "c2"}
    world.finish(1, 2, 3)
    assert world.decide() == {3: "a2"}


def test_a_queue_without_demand_lends_all_its_slaves(world_of: Callable[..., World]) -> None:
    """While one queue has nothing to run, the other has all slaves."""
    world = world_of(slaves=4)
    world.queue("a", "b")
    world.submit("b", n=9)
    assert world.decide() == {4: "b1", 3: "b2", 2: "b3", 1: "b4"}
    world.finish(4)
    assert world.decide() == {4: "b5"}


def test_lent_slaves_return_as_their_calls_end(world_of: Callable[..., World]) -> None:
    """No running call is interrupted; each that ends brings a slave home, until both have their share."""
    world = world_of(slaves=4)
    world.queue("a", "b")
    world.submit("b", n=9)
    assert world.decide() == {4: "b1", 3: "b2", 2: "b3", 1: "b4"}
    world.submit("a", n=9)
    assert world.decide() == {}
    world.finish(2)
    assert world.decide() == {2: "a1"}
    world.finish(4)
    assert world.decide() == {4: "a2"}
    world.finish(1)
    assert world.decide() == {1: "b5"}


def test_a_tie_goes_to_the_queue_that_the_slave_comes_from(world_of: Callable[..., World]) -> None:
    """Where two queues have an equal claim, the slave stays with its own, for a turn."""
    world = world_of(slaves=1)
    world.queue("a", "b")
    world.submit("a", n=2, chunk=1)
    world.submit("b", chunk=1)
    assert world.decide() == {1: "a1"}
    world.finish(1, seconds=0.06)
    assert world.decide() == {1: "a2"}
    world.finish(1, seconds=0.06)
    world.submit("a", chunk=1)
    assert world.decide() == {1: "b1"}
    world.finish(1)
    assert world.decide() == {1: "a3"}


def test_queues_with_an_equal_claim_go_by_age(world_of: Callable[..., World]) -> None:
    """Where shares and service are equal, the queue with the oldest call goes first, not the one that was busy first."""
    world = world_of(slaves=0)
    world.queue("a", "b")
    world.submit("b")
    world.submit("a")
    world.submit("b")
    world.cancel("b1")
    world.join()
    assert world.one_by_one() == "a1 b2"


@pytest.mark.parametrize("weight", [1.0, 2.0, 4.0])
def test_short_calls_take_turns(weight: float) -> None:
    """On one slave, two queues of short calls wait no longer for each other than turns and windows, by weight."""
    world = World(slaves=1)
    world.queue("a", weight=weight)
    world.queue("b")
    world.submit("a", n=4000)
    world.submit("b", n=4000)
    used = world.run(3.0, lambda _: 0.001)
    assert used["a"] / used["b"] == pytest.approx(weight, rel=0.15)
    starts = [sent.at for sent in world.sent if sent.name.startswith("b")]
    gaps = [after - before for before, after in pairwise(starts)]
    assert max(gaps) <= weight * (2 * world.rules.turn + 2 * world.rules.worth) + 2 * world.rules.worth


def test_a_queue_that_had_no_demand_does_not_catch_up(world_of: Callable[..., World]) -> None:
    """Time without demand earns nothing: a queue that comes late takes turns from then on."""
    world = world_of(slaves=1)
    world.queue("a", "b")
    world.submit("a", n=200)
    world.run(100.5, lambda _: 1.0)
    world.submit("b", n=200)
    used = world.run(40.0, lambda _: 1.0)
    assert used["a"] == pytest.approx(20, abs=1.5)
    world.cancel_all()
