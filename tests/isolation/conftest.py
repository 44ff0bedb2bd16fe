"""A slave's side of isolated calls, without a slave."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mpitasks.ids import Rank
from mpitasks.isolation import start
from mpitasks.isolation.handle import Isolation
from mpitasks.retries import Failure
from mpitasks.transport import wire
from mpitasks.transport.failures import decode_failure
from tests.isolation import tasks

if TYPE_CHECKING:
    from collections.abc import Iterator


class Rig:
    """Runs calls as a slave would, and writes down what it would tell the master."""

    def __init__(self) -> None:
        self.records: deque[dict[str, Any]] = deque()
        self.acquired: list[tuple[Any, float]] = []
        self.failure: Failure | None = None
        self.seconds: float | None = None
        self.stopped = False
        self.heard: list[int] = []
        """The calls that know that they should stop."""
        self.calls = 0
        self.isolation = Isolation(
            Rank(7),
            host="here",
            is_stopped=lambda _: self.stopped,
            tell_heard=self.heard.append,
            tell_acquired=self.acquired.extend,
            records=self.records,
        )

    def call(self, name: str, *args: Any, limit: float | None = None, resource: Any = None, **kwargs: Any) -> Any:
        """What a task returns; or raise how it fails."""
        full = f"{tasks.__name__}.{name}"
        return self.send(full, full, wire.encode((args, kwargs)), limit=limit, resource=resource)

    def send(  # noqa: PLR0913  what a call may bring
        self,
        name: str,
        target: Any,
        arguments: wire.Payload,
        *,
        filled: Any = (),
        setup: int | None = None,
        limit: float | None = None,
        resource: Any = None,
    ) -> Any:
        """As `call`, from a call as it travels."""
        self.calls += 1
        call: Any = (self.calls, name, target, 1, setup, arguments, filled, resource, (limit, True))
        packet = wire.pack(self.isolation.run(call))
        call_id, self.failure, self.seconds, payload = wire.unpack(packet)
        assert call_id == self.calls
        if self.failure is None:
            return wire.decode(payload)
        raise decode_failure(payload)

    def nanny(self) -> int:
        """The pid of the nanny."""
        assert self.isolation._nanny is not None
        return self.isolation._nanny._pid


def descendants() -> set[int]:
    """All processes below this one."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[int] = set()
    to_do = [os.getpid()]
    while to_do:
        below = parents.get(to_do.pop(), [])
        found.update(below)
        to_do += below
    return found


def prepare() -> None:
    """Fork a nanny; the thread by which pytest limits the time of a test is none to mind."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("threading.active_count", lambda: 1)
        start.prepare(1)


@pytest.fixture(params=["fork", "exec"])
def rig(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """With a nanny of both kinds; afterwards nothing of it is left, in memory or as a process."""
    processes, memory = descendants(), set(os.listdir("/dev/shm"))  # noqa: PTH208, S108  names alone; no file of ours
    for name in ("PMI_OF_A_RANK", "OMPI_OF_A_RANK"):
        monkeypatch.setenv(name, "1")
    if request.param == "fork":
        prepare()
    rig = Rig()
    yield rig
    rig.isolation.close()
    start.dismiss()
    assert descendants() <= processes
    assert {name for name in os.listdir("/dev/shm") if "mpitasks" in name} <= memory  # noqa: PTH208, S108  as above


@pytest.fixture
def forked() -> Iterator[Rig]:
    """With a forked nanny alone, where the kind makes no difference."""
    processes = descendants()
    prepare()
    rig = Rig()
    yield rig
    rig.isolation.close()
    start.dismiss()
    assert descendants() <= processes
