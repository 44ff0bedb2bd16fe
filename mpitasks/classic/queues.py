"""Queues of work, handed to masters as the scheduler decides.

::

    add_work ──► core.Scheduler ──► (slave, work) ──► master.run(slave, data)
                      ▲                                   │
                      └── the result was collected ◄── master.get_data(slave)

Each master is one queue of the scheduler, and the slaves of all are its slaves: whom it chooses moves to the master whose
work it gets. `run` and `get_data`, which may be overridden, are called inside `do_work` and `get_completed_work` only.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import count
from time import monotonic
from typing import Any, cast

from ..core.calls import PLAIN, Call
from ..core.scheduler import Rules, Scheduler, Send
from ..errors import EncodeError
from ..ids import CallId, Rank
from . import world
from .endpoint import Run
from .master import Master, is_whole

_RULES = Rules(most_calls=1)


class _Work(Call):
    """Something to do."""

    __slots__ = ("data",)

    def __init__(self, number: CallId, queue: str, data: object, resource_id: Hashable) -> None:
        super().__init__(number, queue, resource=PLAIN if resource_id is None else resource_id)
        self.data = data


class _Desk:
    """Where the work of some masters waits, and is handed out.

    Args:
        masters: Each with its limit, by the name of its queue.
    """

    def __init__(self, masters: Mapping[str, tuple[Master, int | None]]) -> None:
        self.beside: set[int] = set()
        """Slaves that no master has."""
        self._masters = {name: master for name, (master, _) in masters.items()}
        self._limits = {name: limit for name, (_, limit) in masters.items()}
        self._scheduler = Scheduler(_RULES)
        for name, limit in self._limits.items():
            self._scheduler.queue_defined(name, max_slaves=limit)
        self._numbers = count(1)
        self._joined: set[int] = set()
        """The slaves of which the scheduler knows."""
        self._runs: dict[int, tuple[_Work, Run]] = {}
        """What was handed out and is not collected."""

    def add(self, name: str, data: object, resource_id: Hashable) -> None:
        """Some more work for that master.

        Raises:
            TypeError: The id can't be one; nothing was changed.
        """
        _check_resource(resource_id)
        self._scheduler.submitted(_Work(CallId(next(self._numbers)), name, data, resource_id))

    def done(self) -> bool:
        """Whether no work is left, and all results are collected."""
        self._settle()
        return not self._scheduler.unfinished and all(master.done() for master in self._masters.values())

    def hand_out(self) -> None:
        """Give work to every slave that can have some.

        Raises:
            EncodeError: Some data can't be pickled.
            Exception: What a `run` raises, the first of them; its work waits again, and what others get is given first.
        """
        self._settle()
        self._meet()
        orders = [order for order in self._scheduler.decide(monotonic()) if isinstance(order, Send)]
        failures: list[Exception] = []
        try:
            while orders:
                self._give_or_note(orders.pop(0), failures)
        finally:
            for order in orders:
                self._scheduler.given_back(order.rank, [call.id for call in order.calls], monotonic())
        if failures:
            raise failures[0]

    def _give_or_note(self, order: Send, failures: list[Exception]) -> None:
        """Hand one piece of work to one slave; one that an overridden `run` never takes must not stand in the way of all."""
        try:
            self._give(order)
        except EncodeError:
            raise  # at once, since it is raised once: that work is dropped
        except Exception as error:  # noqa: BLE001  what the program's own `run` raises
            failures.append(error)

    def _settle(self) -> None:
        """Slaves whose results are collected have ended what they were given, whoever has collected them."""
        for slave, (work, run) in list(self._runs.items()):
            if run.collected:
                del self._runs[slave]
                self._scheduler.calls_finished(Rank(slave), [(work.id, run.seconds)], monotonic())

    def _meet(self) -> None:
        """Tell the scheduler who is ready. Whoever is not, and has no work of ours, was taken by the program's own hand."""
        ready = set().union(*(master.get_ready_slaves() for master in self._masters.values()))
        ready |= {slave for slave in self.beside if world.endpoint().is_idle(Rank(slave))}
        self.count_on(ready & self.beside)
        for slave in sorted(self._joined - ready - self._runs.keys()):
            self._joined.remove(slave)
            self._scheduler.slave_lost(Rank(slave))
        for slave in sorted(ready - self._joined):
            self._joined.add(slave)
            self._scheduler.slave_joined(Rank(slave))

    def _give(self, order: Send) -> None:
        """Hand one piece of work to one slave."""
        (work,) = cast("list[_Work]", order.calls)
        master, slave = self._masters[work.queue], int(order.rank)
        self._lend(slave, work.queue)
        is_over = False
        try:
            master.run(slave, work.data)
            is_over = True  # also where an overridden run has kept the data to itself
        except EncodeError:
            is_over = True  # it would fail again
            raise
        finally:
            run = master._running(slave)
            if run is not None:
                self._runs[slave] = (work, run)
            else:
                self._scheduler.given_back(order.rank, [work.id], monotonic())
                if is_over:
                    self._scheduler.cancelled(work)

    def count_on(self, slaves: Iterable[int]) -> None:
        """Any of the masters may have to let these slaves go."""
        for master in self._masters.values():
            for slave in slaves:
                master._expect(slave)

    def _lend(self, slave: int, name: str) -> None:
        """Let that master have that slave; one that has all it may have gives an idle one for it."""
        taker, limit = self._masters[name], self._limits[name]
        if slave in taker.slaves:
            return
        owner = next((one for one in self._masters.values() if slave in one.slaves), None)
        idle = None if limit is None or len(taker.slaves) < limit else min(taker.slaves - self._runs.keys(), default=None)
        _move(slave, self.beside if owner is None else owner.slaves, taker.slaves)
        taker._expect(slave)
        if idle is not None:
            _move(idle, taker.slaves, self.beside if owner is None else owner.slaves)
            self.count_on([idle])


def _check_resource(resource_id: object) -> None:
    """Refuse what can't be an id."""
    try:
        hash(resource_id)
    except TypeError:
        msg = (
            f"add_work: resource_id={resource_id!r} must be hashable: it is an id, such as a string, a number or a tuple of "
            "them; nothing was added"
        )
        raise TypeError(msg) from None


def _move(slave: int, source: set[int], target: set[int]) -> None:
    source.discard(slave)
    target.add(slave)


def _results(master: Master) -> Iterator[Any]:
    for slave in sorted(master.get_completed_slaves()):
        yield master.get_data(slave)


class WorkQueue:
    """Keeps the slaves of one master at work until nothing is left to do.

    Args:
        master: Whose slaves do it.
    """

    def __init__(self, master: Master) -> None:
        self._master = master
        self._desk = _Desk({"": (master, None)})

    def add_work(self, data: Any, resource_id: Hashable = None) -> None:  # noqa: ANN401  whatever the program sends
        """Add something to do; at any time.

        Args:
            data: What `do_work` of a slave will get.
            resource_id: What the slave will need for it: better done by a slave that did the last work with the same one.

        Raises:
            TypeError: `resource_id` is not hashable; nothing was added.
        """
        self._desk.add("", data, resource_id)

    def do_work(self) -> None:
        """Give work to the slaves that are ready, and return at once. Call it again and again.

        Raises:
            EncodeError: Some data can't be pickled. It is dropped, all other work stays.
            Exception: What an overridden `run` raises, once all other work is given out; it is tried again next time.
        """
        self._desk.hand_out()

    def get_completed_work(self) -> Iterator[Any]:
        """What slaves have returned since the last time, in no order.

        Raises:
            Exception: What `do_work` raised; whoever asks again gets the rest.
        """
        return _results(self._master)

    def done(self) -> bool:
        """Whether nothing is left to do, and all results were given out."""
        return self._desk.done()


class MultiWorkQueue:
    """Keeps slaves at work for several masters, each with a limit, which lend each other what they don't need.

    Args:
        slaves: Ranks, shared by all.
        masters_details: For each master a tuple: an id for its work, the master, and the most slaves that it may have at a
            time, or None.

    Raises:
        TypeError: One of `masters_details` is no such tuple, or one of `slaves` is no whole number.
        ValueError: An id, or a master, is there twice; or a limit below 1.
    """

    def __init__(self, slaves: Iterable[int], masters_details: Iterable[tuple[Hashable, Master, int | None]]) -> None:
        details = list(masters_details)
        _check(details)
        self._masters = {task_id: master for task_id, master, _ in details}
        self._names = {task_id: str(number) for number, task_id in enumerate(self._masters)}
        self._desk = _Desk({self._names[task_id]: (master, limit) for task_id, master, limit in details})
        self._deal(list(slaves), details)

    def add_work(self, task_id: Hashable, data: Any, resource_id: Hashable = None) -> None:  # noqa: ANN401  as above
        """Add something to do for the master of that id; at any time.

        Raises:
            KeyError: There is no such id.
            TypeError: `resource_id` is not hashable; nothing was added.
        """
        self._desk.add(self._names[self._known(task_id)], data, resource_id)

    def do_work(self) -> None:
        """Give work to the slaves that are ready, and return at once. Call it again and again.

        Raises:
            EncodeError: Some data can't be pickled. It is dropped, all other work stays.
            Exception: What an overridden `run` raises, once all other work is given out; it is tried again next time.
        """
        self._desk.hand_out()

    def get_completed_work(self, task_id: Hashable) -> Iterator[Any]:
        """What slaves have returned for that id since the last time, in no order.

        Raises:
            KeyError: There is no such id.
            Exception: What `do_work` raised; whoever asks again gets the rest.
        """
        return _results(self._masters[self._known(task_id)])

    def done(self) -> bool:
        """Whether nothing is left to do, and all results of all ids were given out."""
        return self._desk.done()

    def _known(self, task_id: Hashable) -> Hashable:
        if task_id not in self._masters:
            msg = f"no work has the id {task_id!r}; known: {', '.join(map(repr, self._masters))}"
            raise KeyError(msg)
        return task_id

    def _deal(self, slaves: list[int], details: list[tuple[Hashable, Master, int | None]]) -> None:
        """Give the slaves to the masters in turn; what is over when all have all they may have stays beside."""
        if not details:
            return
        owned = set().union(*(master.slaves for master in self._masters.values()))
        left = [slave for slave in dict.fromkeys(slaves) if slave not in owned]
        while left and (takers := [master for _, master, most in details if most is None or master.num_slaves() < most]):
            for master in takers[: len(left)]:
                master.add_slave(left.pop(0), ready=False)
        self._desk.beside.update(left)
        for master in self._masters.values():
            master._beside = self._desk.beside
        self._desk.count_on(dict.fromkeys(slaves))


def _check(details: list[tuple[Hashable, Master, int | None]]) -> None:
    """Refuse what could not work."""
    ids: dict[Master, Hashable] = {}
    for detail in details:
        _check_types(detail)
        task_id, master, limit = detail
        if task_id in ids.values():
            msg = f"masters_details has the id {task_id!r} twice"
            raise ValueError(msg)
        if master in ids:
            msg = f"masters_details has the same master for {ids[master]!r} and {task_id!r}; make one for each"
            raise ValueError(msg)
        if limit is not None and limit < 1:
            msg = f"the limit {limit!r} of {task_id!r} must be 1 or more, or None for no limit"
            raise ValueError(msg)
        ids[master] = task_id


def _check_types(detail: Any) -> None:  # noqa: ANN401  whatever the program has there
    """Refuse what is not (id, master, limit)."""
    try:
        task_id, master, limit = detail
    except (TypeError, ValueError):
        msg = f"masters_details has {detail!r}, which must be (id, master, limit); the limit is None for no limit"
        raise TypeError(msg) from None
    if not isinstance(master, Master):
        msg = f"masters_details has {master!r} as the master of {task_id!r}, which must be a Master; make one for each id"
        raise TypeError(msg)
    if limit is not None and not is_whole(limit):
        msg = f"the limit {limit!r} of {task_id!r} must be a whole number, 1 or more, or None for no limit"
        raise TypeError(msg)
