"""`Master` by hand: who is ready, who is not, and what comes back."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mpitasks.classic import Master, Slave, SlaveNotReady, endpoint, world
from mpitasks.classic import master as master_module
from mpitasks.errors import EncodeError, RemoteError, StartError
from mpitasks.ids import Rank

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.classic.conftest import Farm

    NewFarm = Callable[[int], Farm]


def square(_: int, value: int) -> int:
    """Do the work of most slaves here."""
    return value * value


def collect(farm: Farm, master: Master, slave: int) -> Any:
    """The result of that slave, waited for."""
    farm.until(lambda: slave in master.get_completed_slaves())
    return master.get_data(slave)


def test_a_slave_is_offered_once_it_is_ready(farm: NewFarm) -> None:
    """A rank that has not called `run` is none."""
    world = farm(4)
    master = Master(range(1, 4))
    world.start(2, lambda value: value)
    world.until(lambda: master.get_ready_slaves() == {2})
    assert (master.num_slaves(), master.done()) == (3, True)


def test_a_result_comes_back_once(farm: NewFarm) -> None:
    """And until it is collected, the slave is offered to nobody by this master."""
    world = farm(2)
    master = Master([1])
    world.start_all(square)
    master.run(1, data=7)
    assert not master.done()
    world.until(lambda: master.get_completed_slaves() == {1})
    assert (master.get_ready_slaves(), master.done()) == (set(), False)
    assert (master.get_data(1), master.get_completed_slaves(), master.done()) == (49, set(), True)
    assert master.get_ready_slaves() == {1}


@pytest.mark.parametrize("value", [None, 0, "", [], b"x" * 200_000], ids=["None", "0", "empty", "list", "large"])
def test_any_value_goes_and_comes(farm: NewFarm, value: object) -> None:
    """None is a value, as data and as a result."""
    world = farm(2)
    master = Master([1])
    world.start_all(lambda _, data: (data, data))
    master.run(1, value)
    assert collect(world, master, 1) == (value, value)


def test_what_do_work_raises_is_raised_by_get_data(farm: NewFarm) -> None:
    """As its own type, with the slave's traceback as cause and a note; and the slave goes on."""
    world = farm(2)
    master = Master([1])
    world.start_all(lambda _, value: 1 // value)
    master.run(1, 0)
    with pytest.raises(ZeroDivisionError) as caught:
        collect(world, master, 1)
    assert 'test_master.py", line' in str(caught.value.__cause__)
    assert caught.value.__notes__[0].startswith("do_work number 1, slave rank 1 on ")
    assert "slave.py" not in str(caught.value.__cause__)
    assert master.done()
    master.run(1, 1)
    assert collect(world, master, 1) == 1


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=["exit", "interrupt"])
def test_even_an_exit_is_an_outcome(farm: NewFarm, error: BaseException) -> None:
    """It would end the master without a word if it came back as itself."""

    def do_work(_: int, value: int) -> int:
        if value:
            raise error
        return value

    world = farm(2)
    master = Master([1])
    world.start_all(do_work)
    master.run(1, 1)
    with pytest.raises(RemoteError, match=type(error).__name__):
        collect(world, master, 1)
    master.run(1, 0)
    assert collect(world, master, 1) == 0


def test_a_result_that_cannot_be_pickled_is_an_error(farm: NewFarm) -> None:
    """It names the type, and the slave goes on."""
    world = farm(2)
    master = Master([1])
    world.start_all(lambda _, value: threading.Lock() if value else 0)
    master.run(1, 1)
    with pytest.raises(EncodeError, match=r"do_work returned lock, which can't be pickled: cannot pickle '_thread.lock'"):
        collect(world, master, 1)
    master.run(1, 0)
    assert collect(world, master, 1) == 0


def test_data_that_cannot_be_pickled_is_an_error(farm: NewFarm) -> None:
    """It is raised by `run`, and the slave stays ready."""
    world = farm(2)
    master = Master([1])
    world.start_all(square)
    with pytest.raises(EncodeError, match=r"the data for slave 1, a lock, can't be pickled: cannot pickle '_thread.lock'"):
        master.run(1, threading.Lock())
    assert (master.get_ready_slaves(), master.done()) == ({1}, True)


# ---------------------------------------------------------------- what is refused


def test_a_slave_that_is_not_ready_is_named(farm: NewFarm) -> None:
    """And it is said why it is not."""
    world = farm(4)
    master = Master([1, 2])
    hold = threading.Event()
    world.start(1, lambda _: hold.wait(10))
    world.until(lambda: world.is_ready(1))
    master.run(1, 0)
    for slave, why in (
        (1, r"slave 1 is busy;"),
        (2, "slave 2 is not there:"),
        (3, r"slave 3 is none of this master's, \[1, 2\];"),
    ):
        with pytest.raises(SlaveNotReady, match=why + ".* takes one of get_ready_slaves"):
            master.run(slave, 0)
    hold.set()
    world.until(lambda: master.get_completed_slaves() == {1})
    with pytest.raises(SlaveNotReady, match=r"slave 1 has a result that get_data\(\) has not collected"):
        master.run(1, 0)


def test_get_data_without_a_result_is_an_error(farm: NewFarm) -> None:
    """None could be a result: mpi-master-slave gave it for both."""
    farm(2)
    master = Master([1])
    with pytest.raises(
        SlaveNotReady, match=r"slave 1 has no result to collect; get_data\(\) takes one of get_completed_slaves"
    ):
        master.get_data(1)


@pytest.mark.parametrize("slave", [0, -1, 3])
def test_a_rank_that_cannot_be_a_slave_is_refused(farm: NewFarm, slave: int) -> None:
    """Rank 0 is the master, and others are not there."""
    farm(3)
    with pytest.raises(ValueError, match=f"rank {slave} can't be a slave: rank 0 is the master, and there are 3 ranks in all"):
        Master([1, slave])


@pytest.mark.parametrize("slave", [1.5, True, "a", None])
def test_what_is_no_rank_is_refused(farm: NewFarm, slave: Any) -> None:
    """A whole number is one, numpy's too; and nothing has changed."""
    farm(3)
    rule = f"{slave!r} can't be a slave: a slave is the rank of a process in COMM_WORLD, a whole number from 1 on"
    with pytest.raises(TypeError, match=rule):
        Master([slave])
    master = Master([np.int64(1)])
    with pytest.raises(TypeError, match=rule):
        master.add_slave(slave, False)
    assert master.slaves == {1}


@pytest.fixture
def one_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """MPI says that this is the only rank."""
    world._transport.cache_clear()
    monkeypatch.setattr(world.surroundings, "start_mpi", lambda: 1)


@pytest.mark.usefixtures("one_rank")
def test_one_rank_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program for one rank would wait for ever; the error says how to start it."""
    monkeypatch.setattr(world.surroundings, "promised_size", lambda: None)
    with pytest.raises(
        StartError, match="a master needs slaves, and this is the only rank: start it with mpiexec -n 4 python "
    ):
        Master()


@pytest.mark.usefixtures("one_rank")
def test_the_wrong_mpiexec_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many ranks of one rank each are another mistake."""
    monkeypatch.setattr(world.surroundings, "promised_size", lambda: "PMI_SIZE=4")
    with pytest.raises(StartError, match="PMI_SIZE=4, but mpi4py uses another MPI"):
        Master()


def test_each_rank_has_its_part(farm: NewFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Slave can't run on rank 0, nor a Master elsewhere."""

    class Lazy(Slave):
        def do_work(self, data: object, /) -> None:
            """Nothing."""

    monkeypatch.undo()
    transports = endpoint_free(3)
    monkeypatch.setattr(world, "comm", lambda: None)
    monkeypatch.setattr(world, "_transport", lambda: transports[0])
    with pytest.raises(StartError, match=r"Slave.run\(\) was called on rank 0, which is the master's"):
        Lazy().run()
    monkeypatch.setattr(world, "_transport", lambda: transports[2])
    with pytest.raises(StartError, match="this is rank 2, and a Master works on rank 0 only"):
        Master([1])


def endpoint_free(ranks: int) -> Any:
    """Transports that nobody uses."""
    from mpitasks.transport.local import local_world  # noqa: PLC0415  only here

    return local_world(ranks)


def test_do_work_must_be_written() -> None:
    """A Slave without it can't be made."""
    with pytest.raises(TypeError, match="do_work"):
        Slave()  # type: ignore[abstract]  # that is the point


# ---------------------------------------------------------------- whose slaves


def test_slaves_move_between_masters(farm: NewFarm) -> None:
    """A ready one, of the caller's choice or the lowest; and the other can use it at once."""
    world = farm(4)
    one, other = Master([1, 2, 3]), Master()
    world.start_all(square)
    assert (one.move_slave(other), one.move_slave(other, 3), one.move_slave(other, 3)) == (1, 3, None)
    assert (one.slaves, other.slaves, one.num_slaves(), other.num_slaves()) == ({2}, {1, 3}, 1, 2)
    assert other.get_ready_slaves() == {1, 3}
    other.run(3, 4)
    assert (other.move_slave(one, 3), other.remove_slave(3), other.remove_slave(1)) == (None, False, True)
    assert other.slaves == {3}
    assert collect(world, other, 3) == 16


def test_masters_may_have_the_same_slaves(farm: NewFarm) -> None:
    """A slave is busy for both; its result goes to who sent the data, whoever looks first."""
    world = farm(2)
    one, other = Master([1]), Master([1])
    world.start_all(square)
    one.run(1, 3)
    assert other.get_ready_slaves() == set()
    world.until(lambda: other.get_ready_slaves() == {1})
    assert (other.get_completed_slaves(), one.get_completed_slaves(), one.get_ready_slaves()) == (set(), {1}, set())
    other.run(1, 4)
    world.until(lambda: other.get_completed_slaves() == {1})
    assert (one.get_data(1), other.get_data(1)) == (9, 16)


# ---------------------------------------------------------------- the end


def test_each_of_several_masters_may_terminate(farm: NewFarm) -> None:
    """The slaves leave at the first; for the others there is nothing left to do."""
    world = farm(3)
    masters = [Master([1, 2]), Master([1, 2]), Master([2])]
    threads = [world.start(rank, lambda value: value) for rank in (1, 2)]
    for master in masters:
        master.terminate_slaves()
        for thread in threads:
            thread.join(5)
        assert [thread.is_alive() for thread in threads] == [False, False]
    assert masters[0].get_ready_slaves() == set()


def test_a_result_in_flight_outlives_the_end(farm: NewFarm) -> None:
    """A slave ends what it does before it leaves, and nothing is lost."""
    world = farm(2)
    master = Master([1])
    world.start_all(square)
    master.run(1, 5)
    master.terminate_slaves()
    assert (master.get_completed_slaves(), master.get_data(1)) == ({1}, 25)


def test_slaves_may_come_again(farm: NewFarm) -> None:
    """A program of several phases calls `run` anew; so may its master."""
    world = farm(2)
    master = Master([1])
    for phase in range(3):
        thread = world.start(1, lambda value: value)
        world.until(lambda: master.get_ready_slaves() == {1})
        master.run(1, phase)
        assert collect(world, master, 1) == phase
        master.terminate_slaves()
        thread.join(5)
        assert not thread.is_alive()


def test_a_new_master_waits_for_slaves_that_come_again(farm: NewFarm) -> None:
    """That they have left once says nothing about it."""
    world = farm(2)
    first = Master([1])
    world.start(1, lambda value: value)
    first.terminate_slaves()
    second = Master([1])
    thread = threading.Thread(target=second.terminate_slaves, daemon=True)
    thread.start()
    again = world.start(1, lambda value: value)
    again.join(5)
    thread.join(5)
    assert [again.is_alive(), thread.is_alive()] == [False, False]


def test_slaves_that_came_again_are_not_sent_away_by_the_masters_of_before(farm: NewFarm) -> None:
    """They are there for the next phase, in which the others of several masters have no part."""
    world = farm(2)
    masters = [Master([1]), Master([1])]
    world.start(1, lambda value: value)
    masters[0].terminate_slaves()
    thread = world.start(1, lambda value: value)
    world.until(lambda: world.is_ready(1))
    masters[1].terminate_slaves()
    later = Master([1])
    later.run(1, "still there")
    assert collect(world, later, 1) == "still there"
    later.terminate_slaves()
    thread.join(5)
    assert not thread.is_alive()


def test_a_rank_that_never_comes_does_not_hold_up_the_end(
    farm: NewFarm, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a while the master goes on without it, and says so."""
    monkeypatch.setattr(master_module, "UNHEARD_AT_MOST", 0.05)
    world = farm(3)
    master = Master([1, 2])
    world.start(1, lambda value: value)
    master.terminate_slaves()
    assert caplog.messages == ["slaves [2] have never called Slave.run(); should they do it later, they leave at once"]
    thread = world.start(2, lambda value: value)
    thread.join(5)
    assert not thread.is_alive()


def test_an_end_without_goodbye_names_who_is_busy(farm: NewFarm) -> None:
    """What is done at the exit of rank 0: slaves get a moment, and who does not use it is known."""
    world = farm(3)
    master = Master([1, 2])
    hold = threading.Event()
    world.start_all(lambda _, value: hold.wait(10))
    master.run(2, 0)
    assert world.endpoint.dismiss(world.endpoint.known(), unheard=0.0, heard=0.2) == [2]
    assert world.endpoint.busy() == [2]
    hold.set()
    world.until(lambda: collect(world, master, 2))


def test_a_look_listens_to_those_who_may_say_something(farm: NewFarm) -> None:
    """An idle slave says nothing, and each look at a slave costs a call of MPI."""
    world = farm(4)
    sources: set[Rank] = set()
    world.endpoint = endpoint.Endpoint(world.transports[0], sources)
    for rank in (1, 2, 3):
        world.endpoint.expect(Rank(rank))
    assert sources == {1, 2, 3}
    hold = threading.Event()
    for rank in (1, 2, 3):
        world.start(rank, lambda _: hold.wait(10))
    world.until(lambda: all(world.is_ready(rank) for rank in (1, 2, 3)))
    assert sources == set()
    world.endpoint.send(Rank(2), endpoint.Tray(), None)
    assert sources == {2}
    hold.set()
    world.until(lambda: world.is_ready(2))
    assert sources == set()
