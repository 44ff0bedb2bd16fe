"""`run(main)`: who is master, what backend, and how everything ends.

::

    every rank ── run(main) ─┬─ rank 0: Master, main(...), the end, main's value
                             └─ others: Slave.serve(), exit code 0, never back

The end, when main returned: all calls end, the slaves leave, MPI is finalized. When main raised or a signal came: what is
queued is cancelled, what runs has `grace` seconds, then the slaves leave; if one can't, the job is aborted.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from inspect import iscoroutine
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn, TypeVar, TypeVarTuple, cast, overload

from typing_extensions import Unpack

from . import farm, futures, guard, handshake, launch, output, profiles
from .context import inside_a_call
from .errors import StartError
from .ids import MASTER
from .journal import choice
from .runtime import backoff, logs, stacks
from .runtime.inline import InlineMaster
from .runtime.master import Master
from .runtime.memory import collecting_less_often, keep_freed_memory
from .runtime.profiled import ProfiledSlave
from .runtime.slave import Slave
from .survival import departure, link
from .transport.base import Transport
from .transport.local import local_world

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Backend = Literal["auto", "mpi", "inline", "threads"]

GOODBYE = 30.0
"""Seconds that idle slaves get to leave; they need milliseconds, on an overloaded host perhaps a second."""

THREADS_AT_MOST = 5.0
"""Seconds that a slave waits at the end for threads which tasks have started; one that never ends must not keep the job."""

_LEFT_TO_RANK_0 = (signal.SIGINT, signal.SIGTERM)
_GiveUp = Callable[[BaseException | None, dict[int, str]], None]
_logger = logging.getLogger("mpitasks")
_ended_under_mpi: list[str] = []


@overload
def run(
    main: Callable[[Unpack[Ts]], Coroutine[Any, Any, T]],
    /,
    *args: *Ts,
    slaves: int | None = None,
    backend: Backend = "auto",
    journal: choice.Named | None = None,
    grace: float = 5.0,
    strikes: int = 3,
) -> T: ...
@overload
def run(
    main: Callable[[Unpack[Ts]], T],
    /,
    *args: *Ts,
    slaves: int | None = None,
    backend: Backend = "auto",
    journal: choice.Named | None = None,
    grace: float = 5.0,
    strikes: int = 3,
) -> T: ...
def run(  # type: ignore[misc]  # noqa: PLR0913  *args of Any take every tuple, which mypy does not see; options of a run
    main: Callable[..., Any],
    /,
    *args: Any,
    slaves: int | None = None,
    backend: Backend = "auto",
    journal: choice.Named | None = None,
    grace: float = 5.0,
    strikes: int = 3,
) -> Any:
    """Run `main(*args)` on rank 0, with all other ranks as its slaves.

    Every rank runs the same script and calls this at its end; only on rank 0 it returns. Under MPI it can be called once.

    Args:
        main: A plain or an async function.
        *args: Its arguments.
        slaves: How many to start, by this program again under mpiexec; else `MPITASKS_SLAVES`. Ranks of a job start none.
        backend: "mpi"; "inline": calls run here, inside `delay`; "threads": slaves are threads, for tests; "auto": MPI where
            there is more than one rank, else inline.
        journal: A file that keeps what calls return, so that the next run does not run them again.
        grace: Seconds that running calls get when main fails, or a signal comes.
        strikes: Where ranks may die: how many slaves may die of one call before it fails with `SlaveLost`. With 1, no call
            of a dead slave runs again.

    Returns:
        What main returned.

    Raises:
        StartError: It can't begin: a run is running already, or the ranks differ.
        JournalError: The journal can't be used.
        Exception: What main raised; after Ctrl-C under MPI, SystemExit with code 130.
    """
    _refuse_what_is_no_main(main)
    asked = _asked(grace, journal, strikes)
    chosen = _choose(backend, slaves)
    if chosen.isdigit():
        sys.exit(launch.start(sys.orig_argv[1:], int(chosen) + 1))
    return _run_chosen(chosen, main, args, slaves, asked)


def is_master() -> bool:
    """Whether this process runs main: it is rank 0, or no rank of an MPI job at all."""
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is not None and mpi.Is_initialized() and not mpi.Is_finalized():
        return bool(mpi.COMM_WORLD.Get_rank() == 0)
    ranks = (os.environ.get(name) for name in ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"))
    return next((rank for rank in ranks if rank is not None), "0") == "0"


# ---------------------------------------------------------------- which backend


def _choose(backend: Backend, slaves: int | None) -> str:
    """Either "mpi", "inline", "threads", or a number of slaves to start.

    Raises:
        StartError: Nothing fits.
    """
    _refuse_second_run()
    if backend not in ("auto", "mpi", "inline", "threads"):
        msg = f"backend={backend!r} is not known; known: 'auto', 'mpi', 'inline', 'threads'"
        raise ValueError(msg)
    wanted = slaves if slaves is not None else _slaves_by_environment()
    if os.environ.get(launch.STARTED) == "1":  # `python -m mpitasks -n 1` has the last word
        wanted = None
    if wanted is not None and wanted < 1:
        msg = f"slaves={wanted} must be 1 or more; for none, use backend='inline'"
        raise ValueError(msg)
    if backend in ("inline", "threads"):
        return backend
    if launch.has_launcher() or "mpi4py.MPI" in sys.modules:
        if launch.start_mpi() > 1:
            return "mpi"
        _refuse_broken_world()
    if wanted is not None:
        _refuse_what_is_no_script()
        return str(wanted)
    if backend == "mpi":
        msg = f"backend='mpi' needs 2 ranks or more, and this is 1: start it with mpiexec -n 4 python {sys.argv[0] or 'app.py'}"
        raise StartError(msg)
    program = sys.argv[0] or "app.py"
    print(f"mpitasks: 1 rank, so calls run in this process; for more: mpiexec -n 4 python {program}", file=sys.stderr)
    return "inline"


def _refuse_what_is_no_main(main: object) -> None:
    if not callable(main):
        msg = f"run() takes the function to run on rank 0, as run(main) without parentheses after main, and got {main!r}"
        raise TypeError(msg)


def _refuse_second_run() -> None:
    if inside_a_call():
        msg = "run() was called inside a task: a task returns what main needs, and main submits more"
        raise StartError(msg)
    if farm.is_running():
        msg = "run() was called while a run is running: a program has one farm; call delay() in the main that runs now"
        raise StartError(msg)
    if _ended_under_mpi:
        msg = "run() was called a second time under MPI, where the slaves have left after the first: put both into one main"
        raise StartError(msg)


def _slaves_by_environment() -> int | None:
    text = os.environ.get("MPITASKS_SLAVES", "")
    if not text:
        return None
    if not text.isdigit():
        msg = f"MPITASKS_SLAVES={text!r} must be a whole number"
        raise ValueError(msg)
    return int(text)


def _refuse_broken_world() -> None:
    """One rank, but a launcher that has started more: N serial runs would look like one slow run."""
    promise = launch.promised_size()
    if promise is None:
        return
    raise StartError(launch.wrong_launcher(promise))


def _refuse_what_is_no_script() -> None:
    if launch.STARTED in os.environ:
        msg = "mpiexec was started by mpitasks, and yet this is the only rank: mpi4py and mpiexec are of different MPIs"
        raise StartError(msg)
    main = sys.modules["__main__"]
    if getattr(main, "__file__", None) is None:
        msg = "slaves= starts this script again under mpiexec, and here is no script; use backend='threads' or 'inline'"
        raise StartError(msg)


# ---------------------------------------------------------------- in this process


def _run_chosen(chosen: str, main: Callable[..., T], args: tuple[Any, ...], slaves: int | None, asked: _Asked) -> T:
    """Run main in this process, which is all of it, or rank 0, or a slave."""
    if chosen == "mpi":
        return _run_mpi(main, args, asked)
    if chosen == "threads":
        return _run_threads(main, args, slaves, asked)
    return _run_farm(InlineMaster(), main, args, asked, _log_stuck)


class _Asked(NamedTuple):
    """How the user wants the run, beside who runs what."""

    grace: float
    """Seconds for running calls, if main fails."""
    journal: Path | None
    strikes: int
    """How many slaves may die of one call."""


def _asked(grace: float, journal: choice.Named | None, strikes: int) -> _Asked:
    if strikes < 1:
        msg = f"strikes={strikes} must be 1 or more: after so many dead slaves, a call does not run again"
        raise ValueError(msg)
    return _Asked(grace, choice.chosen(journal), strikes)


def _run_farm(master: Master, main: Callable[..., T], args: tuple[Any, ...], asked: _Asked, give_up: _GiveUp) -> T:
    """Run main with this farm, and end the farm in order.

    Args:
        master: The farm.
        main: What to run.
        args: Its arguments.
        asked: How.
        give_up: What to do about slaves that can't leave.
    """
    with (
        _profiles_added_up(),
        _serving(master),
        collecting_less_often(),
        logs.records_with_rank(0),
        master.interrupts.installed(),
    ):
        try:
            _open_journal(master, asked.journal)
            value = profiles.call_main(_call_main, main, args)
            master.finish()
        except BaseException as error:
            try:
                _say_cancelled(error, master.abandon(asked.grace))
                _let_go(master, error, give_up)
            except BaseException:  # noqa: BLE001  a second signal, or a broken farm: at once
                master.end_journal(_why(error))
                give_up(error, master.busy_ranks())
            raise
        _let_go(master, None, give_up)
    return value


def _open_journal(master: Master, path: Path | None) -> None:
    """Keep what calls return in that file, and say what it holds."""
    if path is not None:
        count = master.keep_journal(path)
        if count:
            print(f"mpitasks: {count} outcome{'s'[: count > 1]} of earlier runs in {path}", file=sys.stderr)


def _why(error: BaseException | None) -> str:
    """How main has ended, in a line; empty if it returned."""
    return "" if error is None else f"{type(error).__name__}: {error}"[:500]


def _profiles_added_up() -> AbstractContextManager[None]:
    """Add up here, unless mpitasks has started mpiexec and will."""
    return nullcontext() if launch.STARTED in os.environ else profiles.added_up_here()


def _let_go(master: Master, error: BaseException | None, give_up: _GiveUp) -> None:
    """Let the slaves leave, and sum up."""
    stuck = master.busy_ranks()
    left = master.close(GOODBYE)
    master.end_journal(_why(error) or ("slaves did not leave" if stuck or left else ""))
    _summarize()
    if stuck or left:
        give_up(error, stuck or dict.fromkeys(left, "?"))


def _log_stuck(_: BaseException | None, stuck: dict[int, str]) -> None:
    """Threads can't be ended from outside."""
    for rank, name in stuck.items():
        _logger.error("slave %d is still in a call of %r after the grace; its thread goes on", rank, name)


def _run_threads(main: Callable[..., T], args: tuple[Any, ...], slaves: int | None, asked: _Asked) -> T:
    """Run main with slaves that are threads."""
    ours, *others = local_world((slaves or launch.usable_cores()) + 1)
    for transport in others:
        slave = Slave(transport, host="this process", backoff=backoff.threads())
        threading.Thread(target=slave.serve, name=f"mpitasks-slave-{transport.rank}", daemon=True).start()
    return _run_farm(Master(ours, backoff=backoff.threads, strikes=asked.strikes), main, args, asked, _log_stuck)


@contextmanager
def _serving(master: Master) -> Iterator[None]:
    """Within, tasks find this farm."""
    futures.begin_counting()
    farm.bind(master)
    master.start()
    try:
        yield
    finally:
        farm.remember(master.statistics())
        farm.unbind()


def _call_main(main: Callable[..., T], args: tuple[Any, ...]) -> T:
    mpitasks_calls = "main"  # noqa: F841  what follows is the user's code: see interrupts.MARK
    value = main(*args)
    return cast("T", asyncio.run(value)) if iscoroutine(value) else value


def _say_cancelled(error: BaseException, cancelled: int) -> None:
    """One line where calls were lost on purpose."""
    if cancelled:
        lost = "1 call that had not begun is" if cancelled == 1 else f"{cancelled} calls that had not begun are"
        print(f"mpitasks: main ended by {type(error).__name__}; {lost} cancelled", file=sys.stderr)


def _summarize() -> None:
    """Log how many failures nobody has asked for."""
    count = futures.report_unretrieved()
    if count:
        _logger.error("%d failed call%s of this run: nobody asked for the result", count, "" if count == 1 else "s")


# ---------------------------------------------------------------- under MPI


def _run_mpi(main: Callable[..., T], args: tuple[Any, ...], asked: _Asked) -> T:
    """On rank 0, run main; on every other rank, serve and leave."""
    from mpi4py import MPI  # noqa: PLC0415  starts MPI, which only run() may do

    from .transport.mpi import MpiTransport, Survivors  # noqa: PLC0415  as above

    _refuse_few_threads(MPI)
    guard.run_has_begun()
    keep_freed_memory()
    comm = MPI.COMM_WORLD.Dup()
    problem = handshake.compare(comm)
    if problem:
        raise StartError(problem) if comm.Get_rank() == 0 else SystemExit(1)
    places = comm.gather(stacks.answer()) or ()
    _ended_under_mpi.append("begun")
    transport, is_orphan = MpiTransport(comm), launch.orphan_watch()
    watch = link.introduce(comm, transport.deaths)
    link.begun()
    survivors = transport.survivors = Survivors.of(comm, link.suspect_with(watch))
    if comm.Get_rank() != 0:
        _serve(_new_slave(transport, lambda: is_orphan() or (survivors is not None and MASTER in survivors.failed)))
    launch.say_where(asked.grace)
    master = Master(transport, is_orphan=is_orphan, places=places, strikes=asked.strikes)
    return _run_rank_0(master, main, args, asked)


def _new_slave(transport: Transport, is_orphan: Callable[[], bool]) -> Slave:
    """The slave that this rank is to be."""
    host, profile = socket.gethostname(), profiles.of_this_process()
    if profile is None:
        return Slave(transport, host=host, is_orphan=is_orphan)
    return ProfiledSlave(transport, host=host, is_orphan=is_orphan, profile=profile)


def _refuse_few_threads(mpi: Any) -> None:  # noqa: ANN401  the module mpi4py.MPI
    if mpi.Query_thread() < mpi.THREAD_SERIALIZED:
        msg = (
            "MPI was started for one thread only, and the farm also works while main computes: "
            "remove the setting of mpi4py.rc.thread_level or MPI4PY_RC_THREAD_LEVEL, or set it to 'serialized'"
        )
        raise StartError(msg)


def _run_rank_0(master: Master, main: Callable[..., T], args: tuple[Any, ...], asked: _Asked) -> T:
    """Run main, and end the job."""
    try:
        value = _run_farm(master, main, args, asked, _abort)
    except KeyboardInterrupt:
        _end_mpi(master)
        print("mpitasks: interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except BaseException as error:
        _end_mpi(master, error)
        raise
    _end_mpi(master)
    return value


def _end_mpi(master: Master, error: BaseException | None = None) -> None:
    """End MPI, or see to it that this process ends without."""
    link.end()
    if master.has_lost_slaves:
        guard.mpi_is_over()
        departure.Departure(_leave_tidily, _code_of(error) if isinstance(error, SystemExit) else 0).install()
    else:
        _finalize()


def _code_of(error: BaseException) -> int:
    """The exit code with which Python would end."""
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 1


def _abort(error: BaseException | None, stuck: dict[int, str]) -> NoReturn:
    """End the job although slaves are in calls."""
    from mpi4py import MPI  # noqa: PLC0415  it is started by now

    if error is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
        traceback.print_exception(error)
    for rank, name in stuck.items():
        print(f"mpitasks: rank {rank} is still in a call of {name!r}; the job is aborted", file=sys.stderr)
    code = (error and _code_of(error)) or 1
    _leave_tidily()
    launch.tell_code(code)
    time.sleep(launch.LAST_WORDS)
    MPI.COMM_WORLD.Abort(code)
    os._exit(1)


def _serve(slave: Slave) -> NoReturn:
    """Be a slave until the end, and exit."""
    os.register_at_fork(before=_hold_signals, after_in_parent=_release_signals, after_in_child=_restore_signals)
    for number in _LEFT_TO_RANK_0:
        if threading.current_thread() is threading.main_thread():
            # Rank 0 decides. Not SIG_IGN, which programs that a task starts would inherit.
            signal.signal(number, lambda *_: None)
    with logs.records_with_rank(slave.rank), logs.forwarding(slave.records):
        try:
            slave.serve()
        except BaseException as error:  # noqa: BLE001  the top of a rank: without an abort, the master would wait for ever
            if link.is_guarded():  # the others go on
                traceback.print_exception(error)
                output.flush()
                os._exit(1)
            _abort(error, {})
    _join_threads()
    _leave_tidily()
    if slave.after_deaths:
        departure.leave(0)
    _finalize()
    # Not os._exit: MPICH's library says goodbye to mpiexec in a C destructor, and mpiexec kills the job of a rank that
    # did not. Not sys.exit: what follows run() in the script must not run on slaves.
    ctypes.PyDLL(None).exit(0)
    os._exit(0)


def _hold_signals() -> None:
    """Before a fork: a signal to the child waits until the child can take it, since Python forgets it else."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_TO_RANK_0)


def _release_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _LEFT_TO_RANK_0)


def _restore_signals() -> None:
    """In a child that a task has forked: there, signals mean what they always mean."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _release_signals()


def _join_threads() -> None:
    """Wait a moment for threads that tasks have started, as Python does at its end."""
    deadline = time.monotonic() + THREADS_AT_MOST
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, deadline - time.monotonic()))


def _leave_tidily() -> None:
    """What Python does at its end, before an end by `os._exit`."""
    atexit._run_exitfuncs()  # noqa: SLF001  there is no public name for it
    logging.shutdown()
    output.flush()


def _finalize() -> None:
    """End MPI here: a slave would burn a core in Finalize for as long as rank 0 goes on without."""
    from mpi4py import MPI  # noqa: PLC0415  it is started by now

    link.leaving(link.END_WITHIN)  # if somebody dies now, this waits for ever
    MPI.Finalize()
    link.leaving()
