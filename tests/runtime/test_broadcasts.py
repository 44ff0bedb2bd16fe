"""Broadcasts between master and slaves: how often they travel, on which ways, and when they are forgotten."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpitasks
from mpitasks import broadcast
from mpitasks.ids import Rank
from mpitasks.runtime import copies, messages, shipping
from mpitasks.runtime.places import Place
from mpitasks.transport import wire
from tests.runtime.world import World, do, echo, fail, inside

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.runtime.world import Clock

    NewWorld = Callable[..., World]

SIZE = 1 << 20
LARGE = np.arange(SIZE // 8)


@mpitasks.task
def at(table: Any, place: int) -> Any:
    """One of its elements."""
    return table[place]


def hosts(*names: str) -> list[Place]:
    """Places of ranks on these hosts, rank 0 first; all of them are in this process."""
    return [Place(name, os.getpid(), "", -1) for name in names]


def apart(slaves: int) -> list[Place]:
    """Each rank on a host of its own."""
    return hosts(*(f"host{rank}" for rank in range(slaves + 1)))


def inode(copy: copies.Copy) -> int:
    """Which memory it is; 0: that of one process."""
    return 0 if copy.where is None else os.fstat(copy.where.descriptor).st_ino


def ships(world: World) -> list[tuple[int, int]]:
    """Who sent the value to whom."""
    return [message[:2] for message in world.messages("SHIP")]


# ---------------------------------------------------------------- how often it travels


def test_one_transfer_a_slave_for_a_thousand_calls(new_world: NewWorld, counted: dict[str, int]) -> None:
    """On hosts of their own: 3 times the size, and a few bytes a call. API: "shipped to a slave once"."""
    world = new_world(3, places=apart(3))
    table = broadcast(LARGE)
    futures = at.map([table] * 1000, range(1000))
    world.finish()
    assert [future.result() for future in futures] == list(range(1000))
    assert sorted(ships(world)) == [(0, 1), (0, 2), (0, 3)]
    assert 3 * SIZE <= counted["bytes"] < 3 * SIZE + 1000 * 600


def test_slaves_of_the_masters_host_take_it_from_memory(new_world: NewWorld, counted: dict[str, int]) -> None:
    """Nothing large is on the wire, and no element is copied."""
    world = new_world(3, places=hosts(*["here"] * 4))
    table = broadcast(LARGE)
    futures = at.map([table] * 1000, range(1000))
    world.finish()
    assert [future.result() for future in futures] == list(range(1000))
    assert (ships(world), counted["bytes"] < 1000 * 600) == ([], True)
    assert len({inode(slave._holding.copy(1)) for slave in world.slaves.values()} - {0}) == 1


def test_a_host_gets_it_once(new_world: NewWorld) -> None:
    """Its first slave by the wire; the others, which ask meanwhile, from that one's memory."""
    world = new_world(5, places=hosts("a", "a", "b", "b", "c", "b"))
    table = broadcast(LARGE)
    futures = [at.delay(table, place) for place in range(5)]
    world.finish()
    assert [future.result() for future in futures] == list(range(5))
    ((_, to), (_, other)) = ships(world)
    assert 4 in (to, other)
    assert {to, other} & {2, 3, 5}
    inodes = {int(rank): inode(slave._holding.copy(1)) for rank, slave in world.slaves.items()}
    assert len({inodes[2], inodes[3], inodes[5]}) == 1
    assert inodes[1] not in (0, inodes[2])
    assert inodes[4] == 0  # alone on its host, it keeps what has come


@pytest.mark.parametrize("value", [None, 0, "text", {"a": [1, 2]}, b"x" * 70_000, np.arange(3)], ids=str)
def test_any_value_goes(new_world: NewWorld, value: object) -> None:
    """Small or large, with buffers or without."""
    world = new_world(2)
    futures = [echo.delay(broadcast(value)) for _ in range(4)]
    world.finish()
    assert all(np.array_equal(future.result(), value) for future in futures)  # type: ignore[arg-type]


def test_a_small_value_goes_once_too(new_world: NewWorld) -> None:
    """To each slave, as it needs no memory that is shared."""
    world = new_world(2)
    table = broadcast({"scale": 0.5})
    at.map([table] * 50, ["scale"] * 50)
    world.finish()
    assert sorted(ships(world)) == [(0, 1), (0, 2)]


def test_a_slave_that_no_call_goes_to_gets_nothing(new_world: NewWorld) -> None:
    """It is brought when it is needed."""
    world = new_world(3, places=apart(3))
    table = broadcast(LARGE)
    world.turn()
    assert world.messages("SHIP", "ATTACH") == []
    at.delay(table, 1)
    world.finish()
    assert len(ships(world)) == 1


def test_calls_of_a_slave_get_the_same_object(new_world: NewWorld) -> None:
    """It is unpickled once: what one call does to a list, the next one sees. So the docs say: leave it alone."""
    world = new_world(1)
    table = broadcast([0])
    futures = [add_to.delay(table) for _ in range(3)]
    world.finish()
    assert [future.result() for future in futures] == [1, 2, 3]
    assert table.value == [0]


@mpitasks.task
def add_to(numbers: list[int]) -> int:
    """Change what is not the call's own."""
    numbers[0] += 1
    return numbers[0]


def test_what_is_changed_later_reaches_nobody(new_world: NewWorld) -> None:
    """The value is as it was when it was broadcast; and nobody can write to an array."""
    world = new_world(1)
    array = LARGE.copy()
    table = broadcast(array)
    array[:] = 0
    future = at.delay(table, 5)
    written = mpitasks.submit(write, table)
    world.finish()
    assert (future.result(), table.value[5], table.value.flags.writeable) == (5, 5, False)
    with pytest.raises(ValueError, match="read-only"):
        written.result()


def write(array: Any) -> None:
    """Try to."""
    array[0] = 1


# ---------------------------------------------------------------- on other ways


def test_a_process_that_cannot_be_reached_gets_its_own(new_world: NewWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where hosts only seem to be one, as containers do; and later broadcasts don't try again."""
    world = new_world(2)

    def refuse(where: copies.Where) -> copies.Copy:
        raise PermissionError(where)

    monkeypatch.setattr(copies, "attach", refuse)
    for _ in range(2):
        table = broadcast(LARGE)
        futures = at.map([table] * 10, range(10))
        world.finish()
        assert [future.result() for future in futures] == list(range(10))
    assert (len(world.messages("LACKS")), len(ships(world))) == (2, 4)


def test_memory_of_another_is_not_taken_for_it(new_world: NewWorld) -> None:
    """The secret at its beginning tells."""
    mine, other = copies.copy_of(wire.encode(LARGE)), copies.copy_of(wire.encode(LARGE))
    assert mine.where is not None
    assert other.where is not None
    copies.attach(mine.where)
    for wrong in (
        mine.where._replace(descriptor=other.where.descriptor),
        mine.where._replace(process=1 << 30),
        mine.where._replace(sizes=(16, 1 << 30)),
    ):
        with pytest.raises(OSError, match=r"descriptor \d+ is of other memory|No such file"):
            copies.attach(wrong)


def test_without_shared_memory_each_slave_has_its_own(new_world: NewWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has none to give."""
    monkeypatch.setattr(copies.memory, "put", _no_memory)
    world = new_world(2, places=hosts("a", "b", "b"))
    table = broadcast(LARGE)
    futures = at.map([table] * 10, range(10))
    world.finish()
    assert [future.result() for future in futures] == list(range(10))
    assert sorted(ships(world)) == [(0, 1), (0, 2)]


def _no_memory(parts: object) -> int:
    raise OSError(28, "No space left on device")


def test_above_8_hosts_slaves_ship_to_slaves(new_world: NewWorld) -> None:
    """A tree: the master to 1, 2, 4 and 8 in the order of their need; they to the others."""
    world = new_world(12, places=apart(12))
    table = broadcast(LARGE)
    futures = [at.delay(table, place) for place in range(12)]
    world.finish()
    assert [future.result() for future in futures] == list(range(12))
    sent = ships(world)
    order = [to for _, to, *_ in world.messages("WINDOW")][:12]
    places = {rank: place for place, rank in enumerate([0, *order])}
    assert sorted((places[source], places[to]) for source, to in sent) == sorted(
        [(0, 1), (0, 2), (0, 4), (0, 8), (1, 3), (1, 5), (1, 9), (2, 6), (2, 10), (3, 7), (3, 11), (4, 12)]
    )


@pytest.mark.parametrize("slaves", [8, 9])
def test_up_to_8_hosts_the_master_ships_to_each(new_world: NewWorld, slaves: int) -> None:
    """No slave depends on another then."""
    world = new_world(slaves, places=apart(slaves))
    table = broadcast(LARGE)
    for place in range(slaves):
        at.delay(table, place)
    world.finish()
    assert len(ships(world)) == slaves
    assert any(source for source, _ in ships(world)) is (slaves > shipping.STAR)


def test_a_call_waits_for_its_broadcast_and_goes_back_if_asked(new_world: NewWorld, clock: Clock) -> None:
    """Until the slave has the value, the call has not begun: the master may have it run elsewhere."""
    world, table = _ready_for_a_tree(new_world)
    futures = [at.delay(table, place) for place in range(9)]
    late = _third(world)
    world.turn(late)
    assert world.slaves[late]._inbox
    assert not any(future.done() for future in futures)
    world.finish()
    assert [future.result() for future in futures] == list(range(9))


def test_where_a_forwarder_dies_the_master_ships(new_world: NewWorld) -> None:
    """And the calls of both end."""
    world, table = _ready_for_a_tree(new_world)
    futures = [at.delay(table, place) for place in range(9)]
    first, late = _first(world), _third(world)
    assert world.messages("PASS_ON")[0][:2] == (0, first)
    world.kill(first)
    world.finish()
    assert [future.result() for future in futures] == list(range(9))
    assert (0, late) in ships(world)


def test_what_is_on_its_way_to_a_dead_slave_is_let_go(new_world: NewWorld) -> None:
    """Its forwarder hears of it, or MPI would wait for ever."""
    world, table = _ready_for_a_tree(new_world)
    futures = [at.delay(table, place) for place in range(9)]
    first, late = _first(world), _third(world)
    world.turn(first)
    world.kill(late)
    world.finish()
    assert [future.result() for future in futures] == list(range(9))
    assert world.messages("GONE") == [(0, first, "GONE", late)]


def test_a_forwarder_that_is_stuck_is_not_waited_for(
    new_world: NewWorld, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call may hold its interpreter: after a while, the master ships."""
    monkeypatch.setattr(shipping, "monotonic", clock)
    world, table = _ready_for_a_tree(new_world)
    futures = [at.delay(table, place) for place in range(9)]
    first, late = _first(world), _third(world)
    others = [rank for rank in world.slaves if rank != first]
    world.turn(*others)
    assert (0, late) not in ships(world)
    clock.now += shipping.LATE + SIZE / shipping.SLOWEST + 1
    world.turn(*others)
    world.turn(*others)
    assert (0, late) in ships(world)
    assert sum(one.done() for one in futures) >= 6
    world.finish()  # now it passes it on, a second time
    assert [one.result() for one in futures] == list(range(9))


def _ready_for_a_tree(new_world: NewWorld) -> tuple[World, Any]:
    """9 slaves on as many hosts, and something to broadcast."""
    return new_world(9, places=apart(9)), broadcast(LARGE)


def _first(world: World) -> Rank:
    """The first to need it, which passes it on."""
    return Rank(world.messages("WINDOW")[0][1])


def _third(world: World) -> Rank:
    """The third, which gets it from the first."""
    return Rank(world.messages("WINDOW")[2][1])


# ---------------------------------------------------------------- how long it is kept


def test_it_is_freed_when_nobody_needs_it(new_world: NewWorld) -> None:
    """Main has no handle, and no call waits: not before the last one has ended."""
    world = new_world(2, places=apart(2))
    table = broadcast(LARGE)
    futures = [at.delay(table, place) for place in range(6)]
    del table
    gc.collect()
    world.master.step()
    assert world.messages("FREE") == []
    world.finish()
    assert [future.result() for future in futures] == list(range(6))
    gc.collect()
    world.turn()
    assert sorted(message[:2] for message in world.messages("FREE")) == [(0, 1), (0, 2)]
    assert not any(slave._holding.has(1) for slave in world.slaves.values())
    assert world.master._shipping._shipments == {}


def test_release_frees_it_though_the_handle_lives(new_world: NewWorld) -> None:
    """Calls that were given it before still get it; new ones are refused, with the reason."""
    world = new_world(1)
    table = broadcast(LARGE)
    futures = [at.delay(table, place) for place in range(3)]
    table.release()
    with pytest.raises(
        mpitasks.NotRunning, match=r"<Broadcast of ndarray: released> is used after release\(\): release it when"
    ):
        at.delay(table, 1)
    with pytest.raises(mpitasks.NotRunning, match="is used after release"):
        _ = table.value
    world.finish()
    assert [future.result() for future in futures] == [0, 1, 2]
    world.turn()
    assert len(world.messages("FREE")) == 1


def test_a_cancelled_call_needs_it_no_more(new_world: NewWorld) -> None:
    """Nor does one that has failed."""
    world = new_world(1)
    table = broadcast(LARGE)
    futures = [fail.delay(table), *(at.delay(table, 1) for _ in range(3))]
    assert all(future.cancel() for future in futures[1:])
    del table
    world.finish()
    assert futures[0].exception() is not None
    gc.collect()
    world.turn()
    assert world.master._shipping._shipments == {}


def test_what_comes_too_late_is_freed_at_once(new_world: NewWorld) -> None:
    """A second time, from a forwarder that was stuck, when all is over."""
    world = new_world(2, places=apart(2))
    table = broadcast(LARGE)
    futures = [at.delay(table, 1) for _ in range(2)]
    world.finish()
    payload = world.slaves[Rank(1)]._holding.copy(1).payload
    del table, futures
    gc.collect()
    world.turn()
    world.slaves[Rank(2)]._holding._send(Rank(1), (messages.SHIP, 1, wire.sendable(payload), False))
    world.turn()
    world.turn()
    assert not world.slaves[Rank(1)]._holding.has(1)


def test_memory_and_descriptors_go_with_it(new_world: NewWorld) -> None:
    """On master and slaves."""
    world = new_world(2)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  names alone
    for _ in range(5):
        table = broadcast(LARGE)
        futures = [at.delay(table, 1) for _ in range(4)]
        world.finish()
        assert [future.result() for future in futures] == [1] * 4
        del table, futures
        gc.collect()
        world.turn()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208  as above


# ---------------------------------------------------------------- in calls of calls


def test_a_call_hands_it_on_by_reference(new_world: NewWorld, counted: dict[str, int]) -> None:
    """What the call was given goes to its own calls as a number, also where the slave that runs them lacks it."""
    world = new_world(2, places=apart(2))
    table = broadcast(LARGE)
    future = hands_on.delay(table, 5)
    world.finish()
    assert future.result() == list(range(5))
    assert {to for _, to in ships(world)} <= {1, 2}
    assert counted["bytes"] < 2 * SIZE + 20_000


@mpitasks.task
def hands_on(table: Any, count: int) -> Any:
    """Give back what its calls return."""
    return joined.delay([at.delay(table, place) for place in range(count)])


@mpitasks.task
def joined(values: list[Any]) -> list[Any]:
    """Them."""
    return values


def test_broadcast_in_a_task_is_refused(new_world: NewWorld) -> None:
    """It belongs to main."""
    world = new_world(1)
    inside.append(lambda: broadcast(1))
    future = do.delay()
    world.finish()
    with pytest.raises(mpitasks.NotRunning, match=r"broadcast\(\) was called inside a task: call it in main\(\), and hand"):
        future.result()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Bytes that have gone over the in-memory wire, of all messages."""
    from mpitasks.transport.local import LocalTransport  # noqa: PLC0415  for this alone

    send, counted = LocalTransport.send, {"bytes": 0}

    def count(self: LocalTransport, rank: Rank, packet: wire.Packet) -> None:
        parts = (packet.header, *packet.frames)
        counted["bytes"] += sum(memoryview(part).nbytes for part in parts)
        send(self, rank, packet)

    monkeypatch.setattr(LocalTransport, "send", count)
    return counted
