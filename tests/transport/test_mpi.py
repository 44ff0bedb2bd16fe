"""The MPI transport keeps the contract, also when every frame is split."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.transport import contract

if TYPE_CHECKING:
    from tests.mpi.launcher import Mpiexec

ROOT = Path(__file__).parents[2]

SCRIPT = f"""
    import sys, time
    sys.path.insert(0, {str(ROOT)!r})
    from mpi4py import MPI
    from mpitasks.transport.mpi import MpiTransport
    from tests.transport.contract import CONTRACT

    world = MPI.COMM_WORLD.Dup()
    limit = int(sys.argv[1])
    for name in sys.argv[2:]:
        transport = MpiTransport(world, limit=limit) if limit else MpiTransport(world)
        CONTRACT[name](transport)
        world.Barrier()
        assert transport.receive() is None and not transport.sending
        world.Barrier()  # only now the next one begins
        if world.rank == 0:
            print(name, flush=True)
"""
HEAVY = "every_size_both_ways_at_once"


def run(mpiexec: Mpiexec, limit: int, checks: list[str]) -> list[str]:
    """Run these checks on two ranks; those that both passed."""
    ended = mpiexec(2, SCRIPT, str(limit), *checks, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.split()


def test_the_contract(mpiexec: Mpiexec) -> None:
    """As tests/transport/contract.py states it."""
    assert run(mpiexec, 0, list(contract.CONTRACT)) == list(contract.CONTRACT)


@pytest.mark.parametrize("limit", [1000, 65_537])
def test_frames_above_the_limit_are_split(mpiexec: Mpiexec, limit: int) -> None:
    """No message over 2 GiB, by construction: with a small limit, all of the contract is the same."""
    checks = [name for name in contract.CONTRACT if name != HEAVY]
    assert run(mpiexec, limit, checks) == checks


def test_messages_are_no_larger_than_the_limit(mpiexec: Mpiexec) -> None:
    """Seen from the receiver's side, by bare MPI; an empty frame needs no message at all."""
    source = f"""
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from mpi4py import MPI
        from mpitasks.transport.mpi import BULK, HEADER, MpiTransport
        from mpitasks.transport.wire import Packet

        world = MPI.COMM_WORLD.Dup()
        if world.rank == 0:
            transport = MpiTransport(world, limit=10)
            transport.send(1, Packet(b"h", [b"x" * 25, b"", b"y" * 10]))
            while transport.sending:
                pass
        else:
            status, sizes = MPI.Status(), []
            for tag in (HEADER, BULK, BULK, BULK, BULK):
                world.Probe(0, tag, status)
                data = bytearray(status.Get_count(MPI.BYTE))
                world.Recv([data, MPI.BYTE], 0, tag)
                sizes.append(len(data))
            print(sizes[1:], world.Iprobe())
    """
    ended = mpiexec(2, source)
    assert (ended.stdout, ended.stderr) == ("[10, 10, 5, 10] False\n", "")


def test_large_sends_are_seen_as_sending(mpiexec: Mpiexec) -> None:
    """Until the other side receives, a large frame is under way, and its memory is MPI's."""
    source = f"""
        import sys, time
        sys.path.insert(0, {str(ROOT)!r})
        from mpi4py import MPI
        from mpitasks.transport.mpi import MpiTransport
        from mpitasks.transport.wire import Packet
        from tests.transport.contract import finish_sending, next_packet

        world = MPI.COMM_WORLD.Dup()
        transport = MpiTransport(world)
        if world.rank == 0:
            transport.send(1, Packet(b"", [b"x" * 64_000_000]))
            print(transport.sending)
            world.Barrier()
            finish_sending(transport)
            print(transport.sending)
        else:
            world.Barrier()
            assert len(next_packet(transport).packet.frames[0]) == 64_000_000
    """
    ended = mpiexec(2, source)
    assert (ended.stdout, ended.stderr) == ("True\nFalse\n", "")


def test_our_messages_are_not_the_users(mpiexec: Mpiexec) -> None:
    """What the user sends on COMM_WORLD, with any tag, does not reach us."""
    source = f"""
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from mpi4py import MPI
        from mpitasks.transport.mpi import BULK, HEADER, MpiTransport
        from tests.transport.contract import CONTRACT

        comm = MPI.COMM_WORLD
        transport = MpiTransport(comm.Dup())
        requests = [comm.isend("theirs", 1 - comm.rank, tag) for tag in (HEADER, BULK)]
        CONTRACT["order_is_kept"](transport)
        assert [comm.recv(source=1 - comm.rank, tag=tag) for tag in (HEADER, BULK)] == ["theirs", "theirs"]
        MPI.Request.waitall(requests)
        print("kept")
    """
    assert sorted(mpiexec(2, source).stdout.split()) == ["kept", "kept"]


def test_the_contract_on_the_users_own_communicator(mpiexec: Mpiexec) -> None:
    """COMM_WORLD is shared by private tags and by sources: the same rules, and what the user sends there is the user's."""
    source = f"""
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from mpi4py import MPI
        from mpitasks.transport.mpi import on_world
        from tests.transport.contract import CONTRACT

        comm = MPI.COMM_WORLD
        if comm.rank == 2:  # not among the sources: nobody hears of it, whatever it says
            ours = on_world([])._header
            requests = [comm.isend("theirs", rank, tag) for rank in (0, 1) for tag in (0, 1, 2, ours)]
        else:
            transport = on_world([1 - comm.rank])
            transport.size = 2
            requests = [comm.isend("theirs", 1 - comm.rank, tag) for tag in range(5)]
            for name in sys.argv[1:]:
                CONTRACT[name](transport)
                comm.sendrecv(None, 1 - comm.rank, 9, None, 1 - comm.rank, 9)
                assert transport.receive() is None and not transport.sending
                comm.sendrecv(None, 1 - comm.rank, 9, None, 1 - comm.rank, 9)
            assert [comm.recv(source=1 - comm.rank, tag=tag) for tag in range(5)] == ["theirs"] * 5
            assert [comm.recv(source=2, tag=tag) for tag in (0, 1, 2, transport._header)] == ["theirs"] * 4
            print("kept")
        MPI.Request.waitall(requests)
    """
    ended = mpiexec(3, source, *contract.CONTRACT, timeout=60)
    assert (ended.returncode, ended.stdout.split()) == (0, ["kept", "kept"]), ended.stderr


def test_the_contract_has_no_check_that_nobody_runs() -> None:
    """Every function of the contract that takes a transport and states a rule is in the table."""
    checks = {
        name
        for name, fn in vars(contract).items()
        if inspect.isfunction(fn) and list(inspect.signature(fn).parameters) == ["transport"]
    }
    assert checks - set(contract.CONTRACT) == {"next_packet", "finish_sending", "other"}
