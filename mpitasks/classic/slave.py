"""A rank that does work until it is told to leave."""

from __future__ import annotations

import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from time import perf_counter
from typing import Any

from .. import output, surroundings
from ..errors import EncodeError
from ..ids import MASTER, CallId
from ..retries import Failure, names_of
from ..runtime.backoff import Backoff
from ..runtime.messages import BYE, LEAVE, REPORT, Outcome
from ..transport import wire
from ..transport.base import Transport
from ..transport.failures import encode_failure
from . import world
from .endpoint import never


class Slave(ABC):
    """Extend it with `do_work`, make one on each rank that is to be a slave, and call its `run`.

    What a slave keeps between two pieces of work, it keeps in attributes of its own.

    Attributes:
        comm: COMM_WORLD, which is yours.
    """

    def __init__(self) -> None:
        self.comm = world.comm()

    @abstractmethod
    def do_work(self, data: Any, /) -> Any:  # noqa: ANN401  whatever the program sends and wants
        """Do what the master asks for. What this raises is raised on the master by `get_data`, and the slave goes on.

        Args:
            data: What was given to `add_work`, or to `Master.run`.

        Returns:
            Anything that can be pickled, None too.
        """

    def run(self) -> None:
        """Do work until the master calls `terminate_slaves`.

        Raises:
            StartError: This is rank 0, or the only one.
        """
        serve(self.do_work, world.transport(), is_orphan=surroundings.orphan_watch())


def serve(
    do_work: Callable[[Any], Any],
    transport: Transport,
    *,
    is_orphan: Callable[[], bool] = never,
    backoff: Backoff | None = None,
) -> None:
    """Be a slave until the master lets it go.

    Args:
        do_work: What to do with each piece of data.
        transport: To the master.
        is_orphan: Whether whoever started this job has died.
        backoff: How to wait.
    """
    backoff, receiving = backoff or Backoff(), False
    transport.send(MASTER, wire.pack((REPORT, [])))
    while True:
        arrival = transport.receive()
        if arrival is None:
            if transport.receiving and not receiving:
                backoff.reset()  # after a long silence, naps are long, and a large message moves while we look
            receiving = transport.receiving
            _pause(backoff, is_orphan)
            continue
        backoff.reset()
        message = wire.unpack(arrival.packet)
        if message[0] == LEAVE:
            break
        outcome = _outcome(do_work, transport, *message[1:])
        transport.send(MASTER, wire.pack((REPORT, [outcome])))
        output.flush()
    transport.send(MASTER, wire.pack((BYE,)))
    # What is large is not copied, and must stay as it is until it is sent. No next do_work can change it before: the master
    # gives new data only after it has the outcome. But what follows run() can.
    while transport.sending:
        _pause(backoff, is_orphan)


def _pause(backoff: Backoff, is_orphan: Callable[[], bool]) -> None:
    if is_orphan():
        os._exit(1)  # with the launcher, everybody has gone who could end this process
    backoff.pause()


def _outcome(do_work: Callable[[Any], Any], transport: Transport, number: CallId, payload: wire.Payload) -> Outcome:
    """Do one piece of work; every exception is an outcome."""
    began = perf_counter()
    failure: Failure | None = None
    try:
        result = _result(do_work, payload)
    except BaseException as error:  # noqa: BLE001  do_work raises anything, SystemExit and KeyboardInterrupt too
        note = f"do_work number {number}, slave rank {transport.rank} on {socket.gethostname()}"
        failure, result = (names_of(error), None), encode_failure(_without_our_frames(error), note)
    return number, failure, perf_counter() - began, wire.sendable(result)


def _result(do_work: Callable[[Any], Any], payload: wire.Payload) -> wire.Payload:
    """What do_work returns, encoded."""
    result = do_work(wire.decode(payload))
    try:
        return wire.encode(result)
    except Exception as error:
        msg = f"do_work returned {type(result).__qualname__}, which can't be pickled: {error}"
        raise EncodeError(msg) from error


def _without_our_frames(error: BaseException) -> BaseException:
    """The traceback from the first frame that is the user's."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None and traceback.tb_frame.f_globals.get("__name__") == __name__:
        traceback = traceback.tb_next
    return error.with_traceback(traceback)
