"""`run(main)`: who is master, what backend, and how everything ends.

::

    every rank ── run(main) ─┬─ rank 0: Master, main(...), the end, main's value
                             └─ others: Slave.serve(), exit code 0, never back

The end, when main returned: all calls end, the slaves leave, MPI is finalized. When main raised, a signal came or the
walltime is over: what is queued is cancelled, what runs has `grace` seconds, then the slaves leave; if one can't, the job is
aborted.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from operator import index
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, SupportsIndex, TypeVar, TypeVarTuple, Unpack, cast, overload

from . import ending, farm, guard, handshake, profiles, ranks, registry, surroundings
from .context import inside_a_call
from .ending import End
from .errors import Drained, FarmBroken, HostLost, StartError, Terminated
from .ids import MASTER
from .isolation import aside
from .isolation import start as nannies
from .journal import choice
from .options import check_isolate
from .runtime import backoff, places
from .runtime import stall as stalls
from .runtime.memory import collecting_less_often, keep_freed_memory
from .seconds import is_seconds
from .shm import forget_names
from .survival import link

if TYPE_CHECKING:
    import logging
    from pathlib import Path

    from mpi4py import MPI

    from . import walltime
    from .runtime.master import Master

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Backend = Literal["auto", "mpi", "inline", "threads"]

GOODBYE = 30.0
"""Seconds that idle slaves get to leave; they need milliseconds, on an overloaded host perhaps a second."""


class _Ending(NamedTuple):
    """What to do about slaves that can't leave."""

    give_up: Callable[[BaseException | None, dict[int, str]], object]
    """They are in calls that somebody waits for, or don't answer."""
    leave_behind: Callable[[dict[int, str]], object]
    """They are in calls that have outlasted their timeout, and nobody waits for those."""


_ended_under_mpi: list[str] = []


@overload
def run(
    main: Callable[[Unpack[Ts]], Coroutine[Any, Any, T]],
    /,
    *args: *Ts,
    slaves: int | None = None,
    backend: Backend = "auto",
    journal: choice.Named | None = None,
    isolate: bool = False,
    grace: float = 5.0,
    strikes: int = 3,
    stall: float | None = stalls.USUALLY,
) -> T: ...
@overload
def run(
    main: Callable[[Unpack[Ts]], T],
    /,
    *args: *Ts,
    slaves: int | None = None,
    backend: Backend = "auto",
    journal: choice.Named | None = None,
    isolate: bool = False,
    grace: float = 5.0,
    strikes: int = 3,
    stall: float | None = stalls.USUALLY,
) -> T: ...
def run(  # type: ignore[misc]  # noqa: PLR0913  *args of Any take every tuple; options by keyword
    main: Callable[..., Any],
    /,
    *args: Any,
    slaves: int | None = None,
    backend: Backend = "auto",
    journal: choice.Named | None = None,
    isolate: bool = False,
    grace: float = 5.0,
    strikes: int = 3,
    stall: float | None = stalls.USUALLY,
) -> Any:
    """Run `main(*args)` on rank 0, with all other ranks as its slaves; under MPI, once.

    Every rank runs the same script and calls this at its end; only on rank 0 it returns.

    Args:
        main: A plain or an async function.
        *args: Its arguments.
        slaves: How many to start, by this program again under mpiexec; else `MPITASKS_SLAVES`. Ranks of a job start none.
        backend: "mpi"; "inline": calls run here, inside `delay`; "threads", for tests; "auto": MPI or inline.
        journal: A file that keeps what calls return, so that the next run does not run them again.
        isolate: Whether all calls run in children of the slaves, which may crash alone.
        grace: Seconds that running calls get when main fails, a signal comes, or the walltime is over.
        strikes: Where ranks may die: after how many dead slaves a call fails with `SlaveLost`; with 1, none runs again.
        stall: Seconds without an outcome while calls wait, after which a message on stderr says why; 0 or None: never.

    Returns:
        What main returned.

    Raises:
        StartError: It can't begin: a run is running already, or the ranks differ.
        JournalError: The journal can't be used.
        Exception: What main raised; after Ctrl-C under MPI, SystemExit with code 130.
    """
    _refuse_to_begin(main, isolate, grace=grace, strikes=strikes)
    chosen = _choose(backend, slaves, is_isolating=isolate or registry.wants_isolation())
    asked = _asked(grace, choice.chosen(journal), stalls.stall_of(stall))
    return _run_on(chosen, main, args, slaves, asked._replace(isolate=isolate, strikes=strikes))


def _run_on(chosen: str, main: Callable[..., T], args: tuple[Any, ...], slaves: int | None, asked: _Asked) -> T:
    """Run main on "mpi", or in this process: with slaves that are "threads", or with one in the thread that submits."""
    if chosen == "mpi":
        return _run_mpi(main, args, asked)
    count = (slaves or surroundings.usable_cores()) if chosen == "threads" else 1
    if asked.isolate or registry.wants_isolation():
        nannies.prepare(count)
    try:
        return _run_threads(main, args, count, asked) if chosen == "threads" else _run_inline(main, args, asked)
    finally:
        nannies.dismiss()


def is_master() -> bool:
    """Whether this process runs main: it is rank 0, or no rank of an MPI job at all."""
    if aside.is_aside():
        return False
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is not None and mpi.Is_initialized() and not mpi.Is_finalized():
        return bool(mpi.COMM_WORLD.Get_rank() == 0)
    return surroundings.may_be_rank_0()


# ---------------------------------------------------------------- which backend


def _choose(backend: Backend, slaves: int | None, *, is_isolating: bool) -> str:
    """Either "mpi", "inline", "threads", or a number of slaves to start. Starts MPI, if it may be "mpi".

    Raises:
        StartError: Nothing fits.
    """
    _refuse_second_run()
    if backend not in ("auto", "mpi", "inline", "threads"):
        msg = f"backend={backend!r} is not known; known: 'auto', 'mpi', 'inline', 'threads'"
        raise ValueError(msg)
    wanted = slaves if slaves is not None else _slaves_by_environment()
    if os.environ.get(surroundings.STARTED) == "1":  # `python -m mpitasks -n 1` has the last word
        wanted = None
    if wanted is not None and wanted < 1:
        msg = f"slaves={wanted} must be 1 or more; for none, use backend='inline'"
        raise ValueError(msg)
    if backend in ("inline", "threads"):
        return backend
    if surroundings.has_launcher() or "mpi4py.MPI" in sys.modules:
        if is_isolating and not is_master():
            nannies.prepare(1)  # now or never: a process of MPI may not fork
        if surroundings.start_mpi() > 1:
            return "mpi"
        _refuse_broken_world()
    if wanted is not None:
        _refuse_what_is_no_script()
        from . import launch  # noqa: PLC0415  only who starts ranks needs it

        sys.exit(launch.start(sys.orig_argv[1:], wanted + 1))
    if backend == "mpi":
        msg = f"backend='mpi' needs 2 ranks or more, and this is 1: start it with mpiexec -n 4 python {sys.argv[0] or 'app.py'}"
        raise StartError(msg)
    program = sys.argv[0] or "app.py"
    print(f"mpitasks: 1 rank, so calls run in this process; for more: mpiexec -n 4 python {program}", file=sys.stderr)
    return "inline"


def _refuse_to_begin(main: object, isolate: object, *, grace: object, strikes: object) -> None:
    if aside.is_aside() and not inside_a_call():
        raise aside.RunReached  # a nanny imports the script for what it defines, and has come to run() by that
    check_isolate(isolate, "run()")
    if not is_seconds(grace):
        msg = f"grace={grace!r} must be seconds, from 0 to 1e9: what running calls get when main fails or has to end"
        raise ValueError(msg)
    if not (isinstance(strikes, SupportsIndex) and index(strikes) >= 1):
        msg = f"strikes={strikes!r} must be a whole number, 1 or more: after so many dead slaves, a call does not run again"
        raise ValueError(msg)
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
    promise = surroundings.promised_size()
    if promise is None:
        return
    raise StartError(surroundings.wrong_launcher(promise))


def _refuse_what_is_no_script() -> None:
    if surroundings.STARTED in os.environ:
        msg = "mpiexec was started by mpitasks, and yet this is the only rank: mpi4py and mpiexec are of different MPIs"
        raise StartError(msg)
    main = sys.modules["__main__"]
    if getattr(main, "__file__", None) is None:
        msg = "slaves= starts this script again under mpiexec, and here is no script; use backend='threads' or 'inline'"
        raise StartError(msg)


# ---------------------------------------------------------------- in this process


class _Asked(NamedTuple):
    """How the user wants the run, beside who runs what."""

    grace: float
    """Seconds for running calls, if main fails."""
    journal: Path | None
    stall: float
    """Seconds without an outcome until the watchdog speaks."""
    limit: walltime.Limit | None = None
    """When to end, if that is known."""
    isolate: bool = False
    """All calls run in children of slaves."""
    strikes: int = 3
    """How many slaves may die of one call."""


def _asked(grace: float, journal: Path | None, stall: float) -> _Asked:
    """The same, with what the environment says.

    Raises:
        StartError: It does not go together.
        ValueError: The walltime is none.
    """
    restarts = os.environ.pop(surroundings.RESTARTS, "")
    if not is_master():
        return _Asked(grace, journal, stall)
    if restarts and journal is None:
        msg = "--restarts without a journal would begin anew each time: add --journal FILE, or run(main, journal=...)"
        raise StartError(msg)
    from . import walltime  # noqa: PLC0415  no slave needs it

    return _Asked(grace, journal, stall, walltime.chosen(grace, keeps=journal is not None))


def _run_farm(master: Master, main: Callable[..., T], args: tuple[Any, ...], asked: _Asked, how: _Ending) -> T:
    """Run main with this farm, and end the farm in order.

    Args:
        master: The farm.
        main: What to run.
        args: Its arguments.
        asked: How.
        how: What to do about slaves that can't leave.
    """
    from .runtime import logs  # noqa: PLC0415  no slave needs it

    with (
        _profiles_added_up(),
        _serving(master),
        collecting_less_often(),
        logs.records_with_rank(0),
        master.interrupts.installed(),
        _in_time(master, asked, how),
        _watched(master, asked.stall),
    ):
        try:
            if asked.isolate:
                master.isolate()
            _open_journal(master, asked.journal)
            value = profiles.call_main(_call_main, main, args)
            master.finish()
        except BaseException as error:
            _end_early(master, _meant(master, error), asked.grace, how)
            if isinstance(error, FarmBroken) and master.interrupts.was_told:
                raise Drained from error
            raise
        _let_go(master, None, how)
    return value


def _end_early(master: Master, error: BaseException, grace: float, how: _Ending) -> None:
    """Main has raised: end what runs, in order if there is time."""
    try:
        _say_cancelled(master, error, master.abandon(grace))
        _let_go(master, error, how)
    except BaseException:  # noqa: BLE001  a second signal, or a broken farm: at once
        _note_end(master, error, 0)
        how.give_up(error, master.busy_ranks())


def _meant(master: Master, error: BaseException) -> BaseException:
    """Why main has ended: after a drain, its clean-up may have waited in vain."""
    return Drained() if isinstance(error, FarmBroken) and master.interrupts.was_told else error


def _in_time(master: Master, asked: _Asked, how: _Ending) -> AbstractContextManager[None]:
    """Within, the run ends when its time is over."""
    if asked.limit is None and master.is_inline:
        return nullcontext()  # main runs the calls, and whoever wants them to end sends a signal

    def too_late() -> None:
        if how.give_up is ranks.abort:  # elsewhere, main's thread can't be ended without the whole process
            print("mpitasks: main does not end although the time is over; the job is aborted", file=sys.stderr)
            _note_end(master, Drained(), 0)
            how.give_up(Drained(), master.busy_ranks())

    from .runtime.clock import Clock  # noqa: PLC0415  no slave needs it

    at, why = asked.limit or (None, "")
    return Clock(master.interrupts, asked.grace, too_late).running(at, why)


def _watched(master: Master, stall: float) -> AbstractContextManager[None]:
    """Within, somebody says why nothing happens, if calls don't run in this very thread."""
    if master.is_inline:
        return nullcontext()
    from .runtime.watchdog import Watchdog  # noqa: PLC0415  no slave needs it

    return Watchdog(master, stall=stall).watching()


def _open_journal(master: Master, path: Path | None) -> None:
    """Keep what calls return in that file, and say what it holds."""
    if path is not None:
        count = master.keep_journal(path)
        if count:
            print(f"mpitasks: {count} outcome{'s'[: count > 1]} of earlier runs in {path}", file=sys.stderr)


def _note_end(master: Master, error: BaseException | None, unretrieved: int, stuck: str = "") -> None:
    """Write down how the run has ended: in the journal, and for whoever has started it.

    Args:
        master: The farm.
        error: What main raised.
        unretrieved: Failures that nobody asked for.
        stuck: What is wrong beside that.
    """
    from .walltime import OVER  # noqa: PLC0415  no slave needs it

    is_drained = isinstance(error, Drained)
    why = stuck
    if error is not None:
        why = master.interrupts.draining if is_drained else f"{type(error).__name__}: {error}"[:500]
    is_cut_off = isinstance(master.broken, HostLost)
    interrupted = is_cut_off or isinstance(error, Drained | Terminated | KeyboardInterrupt)
    if master.kept is not None:
        from .journal import records  # noqa: PLC0415  for those that keep a journal

        master.end_journal(records.INTERRUPTED if interrupted else records.FAILED if why else records.COMPLETE, why)
    code = ranks.code_of(error) if error is not None else int(bool(unretrieved or stuck))
    # A SIGTERM that the user has not sent is the launcher's, after a rank was lost.
    again = why == OVER if is_drained else is_cut_off or isinstance(error, Terminated)
    ending.tell(End(code, why, stands=error is None or is_drained, again=again))


def _profiles_added_up() -> AbstractContextManager[None]:
    """Add up here, unless mpitasks has started mpiexec and will."""
    return nullcontext() if surroundings.STARTED in os.environ else profiles.added_up_here()


def _let_go(master: Master, error: BaseException | None, how: _Ending) -> None:
    """Let the slaves leave, and sum up."""
    stuck, overdue = master.busy_ranks(), master.left_in_calls()
    left = master.close(GOODBYE)
    _note_end(master, error, _summarize(master, error), "slaves did not leave" if stuck or left else "")
    if stuck or left:
        how.give_up(error, stuck or dict.fromkeys(left, "?"))
    if overdue:
        how.leave_behind(overdue)


def _logger() -> logging.Logger:
    import logging  # noqa: PLC0415  no slave needs it here

    return logging.getLogger("mpitasks")


def _log_stuck(_: BaseException | None, stuck: dict[int, str]) -> None:
    """Threads can't be ended from outside."""
    for rank, name in stuck.items():
        _logger().error("slave %d is still in a call of %r after the grace; its thread goes on", rank, name)


def _log_left_behind(overdue: dict[int, str]) -> None:
    """As above."""
    for rank, name in overdue.items():
        _logger().error("slave %d is left in a call of %r that has outlasted its timeout; its thread goes on", rank, name)


_IN_THREADS = _Ending(_log_stuck, _log_left_behind)


def _run_inline(main: Callable[..., T], args: tuple[Any, ...], asked: _Asked) -> T:
    """Run main and the calls in this thread."""
    from .runtime.inline import InlineMaster  # noqa: PLC0415  no rank needs it

    master = InlineMaster()
    with _answering(master, asked) if surroundings.control_folder() else nullcontext():
        return _run_farm(master, main, args, asked, _IN_THREADS)


def _run_threads(main: Callable[..., T], args: tuple[Any, ...], slaves: int, asked: _Asked) -> T:
    """Run main with slaves that are threads."""
    from .runtime.master import Master  # noqa: PLC0415  under MPI, rank 0 alone needs it
    from .runtime.slave import Slave  # noqa: PLC0415  under MPI, all others need it
    from .transport.local import local_world  # noqa: PLC0415  only here

    ours, *others = local_world(slaves + 1)
    for transport in others:
        slave = Slave(transport, host="this process", backoff=backoff.threads())
        threading.Thread(target=slave.serve, name=f"{places.SLAVE}{transport.rank}", daemon=True).start()
    master = Master(ours, backoff=backoff.threads, strikes=asked.strikes, places=[places.answer()])
    with _answering(master, asked):
        return _run_farm(master, main, args, asked, _IN_THREADS)


@contextmanager
def _serving(master: Master) -> Iterator[None]:
    """Within, tasks find this farm, and what children of slaves return finds the script's classes."""
    from . import futures  # noqa: PLC0415  no slave needs it

    sys.modules.setdefault(registry.MAIN_ELSEWHERE, sys.modules["__main__"])
    futures.begin_counting()
    farm.bind(master)
    master.start()
    try:
        yield
    finally:
        farm.remember(master.last_statistics())
        farm.unbind()


def _call_main(main: Callable[..., T], args: tuple[Any, ...]) -> T:
    mpitasks_calls = "main"  # noqa: F841  what follows is the user's code: see interrupts.MARK
    value = main(*args)
    if not isinstance(value, CoroutineType):
        return value
    import asyncio  # noqa: PLC0415  most mains are plain

    return cast("T", asyncio.run(value))


def _say_cancelled(master: Master, error: BaseException, cancelled: int) -> None:
    """One line where calls were lost on purpose."""
    if isinstance(error, Drained):
        print(f"mpitasks: interrupted: {master.interrupts.draining}; {_balance(master)}", file=sys.stderr)
    elif cancelled:
        lost = "1 call that had not begun is" if cancelled == 1 else f"{cancelled} calls that had not begun are"
        print(f"mpitasks: main ended by {type(error).__name__}; {lost} cancelled", file=sys.stderr)


def _balance(master: Master) -> str:
    """What a drained run leaves to the next."""
    left = "1 call is left" if master.left == 1 else f"{master.left} calls are left"
    kept = master.kept
    if kept is None:
        return f"{left}, and nothing is kept, as there is no journal: --journal FILE"
    return f"{left}, {kept} outcome{'s are' if kept != 1 else ' is'} in the journal: run the same again"


def _summarize(master: Master, error: BaseException | None) -> int:
    """Log how many failures nobody has asked for, and return it."""
    from . import futures  # noqa: PLC0415  as in `_serving`

    if isinstance(error, Drained):
        futures.forgive_unretrieved()  # main had no time to ask
        return 0
    count = futures.report_unretrieved() + master.unretrieved
    if count:
        code = "; the exit code is 1" if error is None and _gives_code() else ""
        _logger().error("%d failed call%s of this run: nobody asked for the result%s", count, "s"[: count > 1], code)
    return count


def _gives_code() -> bool:
    """Whether the run decides on the exit code: where ranks were started for it."""
    return surroundings.control_folder() is not None or surroundings.may_be_one_of_many()


# ---------------------------------------------------------------- under MPI


def _run_mpi(main: Callable[..., T], args: tuple[Any, ...], asked: _Asked) -> T:
    """On rank 0, run main; on every other rank, serve and leave."""
    from mpi4py import MPI  # noqa: PLC0415  starts MPI, which only run() may do

    from .transport.mpi import MpiTransport  # noqa: PLC0415  as above

    _refuse_few_threads(MPI)
    guard.run_has_begun()
    keep_freed_memory()
    comm = MPI.COMM_WORLD.Dup()
    problem = handshake.compare(comm)
    if problem:
        raise StartError(problem) if comm.Get_rank() == 0 else SystemExit(1)
    forget_names("mpich_shm_")  # all ranks have it by now; an abort, which some runs end with, would leave it behind
    everybody = comm.gather(places.answer()) or ()
    _ended_under_mpi.append("begun")
    transport, is_left, is_cut_off = MpiTransport(comm), surroundings.orphan_watch(), _host_watch(comm)
    transport.survive(link.introduce(comm, transport.deaths))

    def is_orphan() -> bool:
        return is_left() or is_cut_off() or transport.has_failed(MASTER)

    if comm.Get_rank() != 0:
        ranks.serve(ranks.new_slave(transport, is_orphan))
    from .runtime.master import Master  # noqa: PLC0415  with the scheduler it takes 10 ms, and no slave needs it

    master = Master(transport, is_orphan=is_orphan, places=everybody, strikes=asked.strikes)
    master.interrupts.by_signal = not link.is_guarded()
    with _answering(master, asked):
        return _run_rank_0(master, main, args, asked)


def _host_watch(comm: MPI.Comm) -> Callable[[], bool]:
    """See `lifeline.agree`, which has nothing to look after where all ranks are on one host."""
    told = comm.allgather((surroundings.host(), surroundings.SILENCE in os.environ))
    hosts = [host for host, _ in told]
    if len(set(hosts)) == 1 and not any(has_wish for _, has_wish in told):
        return lambda: False
    from . import lifeline  # noqa: PLC0415  3 ms, for those on several hosts

    return lifeline.agree(comm, hosts)


@contextmanager
def _answering(master: Master, asked: _Asked) -> Iterator[None]:
    """Within, other processes may ask this run for what it can do. Before main, which may keep all threads out."""
    from pathlib import Path  # noqa: PLC0415  no slave needs it

    from . import control  # noqa: PLC0415  as above

    commands: dict[str, Callable[[], Any]] = {
        "drain": lambda: master.interrupts.drain("SIGUSR1"),
        "stacks": lambda: _situation(master),
    }
    with ExitStack() as stack:
        with suppress(OSError):  # no folder for temporary files can be written to: nobody can ask, and all else goes on
            given = surroundings.control_folder()
            folder = Path(given) if given else stack.enter_context(control.own_folder())
            stack.enter_context(control.serve(folder, commands, grace=asked.grace, places=master.places))
        yield


def _situation(master: Master) -> str:
    from .runtime.situation import on_demand  # noqa: PLC0415  only who asks needs it

    return on_demand(master)


def _refuse_few_threads(mpi: Any) -> None:  # noqa: ANN401  the module mpi4py.MPI
    if mpi.Query_thread() < mpi.THREAD_SERIALIZED:
        msg = (
            "MPI was started for one thread only, and the farm also works while main computes: "
            "remove the setting of mpi4py.rc.thread_level or MPI4PY_RC_THREAD_LEVEL, or set it to 'serialized'"
        )
        raise StartError(msg)


def _run_rank_0(master: Master, main: Callable[..., T], args: tuple[Any, ...], asked: _Asked) -> T:
    """Run main, and end MPI."""
    try:
        value = _run_farm(master, main, args, asked, _Ending(ranks.abort, ranks.say_left_behind))
    except KeyboardInterrupt:
        ranks.end_mpi(master)
        print("mpitasks: interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except BaseException as error:
        ranks.end_mpi(master, error)
        if isinstance(error, SystemExit):
            guard.note_code(ranks.code_of(error))
        raise
    ranks.end_mpi(master)
    return value
