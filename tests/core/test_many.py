"""Calls that wait and travel together, and are cut where they are sent."""

from __future__ import annotations

import pytest

from mpitasks.core.calls import ENDED, WAITING, Call
from mpitasks.core.many import Many
from mpitasks.core.scheduler import Rules, Scheduler, Send, TakeBack
from mpitasks.ids import CallId, Rank


def farm(slaves: int, **rules: float) -> Scheduler:
    """A scheduler with one queue."""
    scheduler = Scheduler(Rules(**rules))  # type: ignore[arg-type]  # numbers
    scheduler.queue_defined("a")
    for rank in range(1, slaves + 1):
        scheduler.slave_joined(Rank(rank))
    return scheduler


def sent(scheduler: Scheduler, now: float) -> list[tuple[int, list[tuple[int, int]]]]:
    """To whom which calls go: the first, and how many."""
    return [
        (order.rank, [(call.id, call.items) for call in order.calls])
        for order in scheduler.decide(now)
        if isinstance(order, Send)
    ]


def many(first: int, items: int, chunk: int = 0) -> Many:
    """So many calls of the queue."""
    return Many(CallId(first), items, "a", chunk=chunk)


def test_they_are_cut_from_the_front() -> None:
    """One alone is a call of its own; when none is left, they have ended."""
    some = many(7, 4)
    some.state = WAITING
    first, rest = some.cut(1), some.cut(9)
    assert (type(first), first.id, first.state, first.items) == (Call, 7, WAITING, 1)
    assert (type(rest), rest.id, rest.items, some.items, some.state) == (Many, 8, 3, 0, ENDED)


def test_what_is_dropped_leaves_a_gap() -> None:
    """Nothing is cut across it."""
    some = many(1, 6)
    for call_id in (1, 4, 6):
        some.drop(CallId(call_id))
    assert [some.has(CallId(call_id)) for call_id in range(8)] == [False, False, True, True, False, True, False, False]
    assert (some.id, some.items) == (2, 3)
    assert [(one.id, one.items) for one in (some.cut(9), some.cut(9))] == [(2, 2), (5, 1)]
    assert some.state == ENDED


def test_an_unknown_time_is_tried_by_one_each() -> None:
    """Then windows are worth 10 ms, in two halves, and end together."""
    scheduler = farm(2)
    scheduler.submitted(many(1, 100))
    assert sent(scheduler, 0.0) == [(2, [(1, 1)]), (1, [(2, 1)])]
    scheduler.calls_finished(Rank(1), [(CallId(2), 0.001)], 0.1)
    assert sent(scheduler, 0.1) == [(1, [(3, 5), (8, 5)])]
    assert scheduler.looks().queues["a"].waiting == 88


def test_a_few_are_dealt_out_evenly() -> None:
    """However short they are."""
    scheduler = farm(3)
    scheduler.submitted(Call(CallId(1), "a"))
    scheduler.decide(0.0)
    scheduler.calls_finished(Rank(3), [(CallId(1), 1e-6)], 0.1)
    scheduler.submitted(many(2, 3))
    assert sorted(ids for _, ids in sent(scheduler, 0.2)) == [[(2, 1)], [(3, 1)], [(4, 1)]]


def test_some_end_one_goes_on_and_the_rest_waits_again() -> None:
    """The one is a call of its own in the window, and nothing joins it there; the rest is next for others."""
    scheduler = farm(1)
    scheduler.submitted(many(1, 10, chunk=5))
    assert sent(scheduler, 0.0) == [(1, [(1, 5)])]
    scheduler.many_ended(Rank(1), CallId(1), 2, 1, 0.002, 0.1)
    assert [(call.id, call.items, call.attempt) for _, call in scheduler.sent()] == [(3, 1, 1)]
    assert (scheduler.unfinished, sent(scheduler, 0.1)) == (8, [])
    scheduler.calls_finished(Rank(1), [(CallId(3), 1.0)], 1.1)
    assert sent(scheduler, 1.1) == [(1, [(4, 2), (6, 3)])]
    assert {call.attempt for _, call in scheduler.sent()} == {1}


def test_a_dead_slave_leaves_suspects() -> None:
    """Each by itself, and each was sent once."""
    scheduler = farm(2)
    scheduler.submitted(many(1, 3, chunk=3))
    assert sent(scheduler, 0.0) == [(2, [(1, 3)])]
    lost = scheduler.slave_lost(Rank(2))
    assert [(call.id, call.attempt) for call in lost.calls] == [(1, 1), (2, 1), (3, 1)]
    assert sent(scheduler, 0.1) == [(1, [(1, 1)])]


def test_one_is_cancelled_and_all_are() -> None:
    """The counts follow."""
    scheduler, some = farm(0), many(1, 5)
    scheduler.submitted(some)
    scheduler.one_cancelled(some, CallId(3))
    assert (scheduler.unfinished, scheduler.looks().queues["a"].waiting, some.state) == (4, 4, WAITING)
    assert scheduler.cancelled(some)
    assert (scheduler.unfinished, scheduler.waiting()) == (0, [])


def test_a_late_window_is_asked_back_though_nobody_idles() -> None:
    """Where its calls are a map's; what the user wants to travel together stays."""
    for chunk, asked in ((0, [TakeBack(Rank(1))]), (4, [])):
        scheduler = farm(2)
        for number in (1, 2):
            scheduler.submitted(Call(CallId(number), "a"))
        scheduler.decide(0.0)
        scheduler.submitted(many(3, 1000, chunk))
        scheduler.calls_finished(Rank(1), [(CallId(2), 0.001)], 0.1)
        scheduler.decide(0.1)
        assert scheduler.deadline() <= 0.2 or chunk
        assert [order for order in scheduler.decide(0.2) if isinstance(order, TakeBack)] == asked


def test_nothing_changes_where_a_slave_has_no_such_calls() -> None:
    """An illegal step."""
    scheduler = farm(1)
    with pytest.raises(KeyError):
        scheduler.many_ended(Rank(1), CallId(9), 1, 0, 0.1, 0.1)
    assert (scheduler.unfinished, scheduler.has_idle) == (0, True)
