"""`python -m mpitasks`: start programs, measure this machine, simulate."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from . import launch, profiles, surroundings, walltime
from .command_line import number_of
from .errors import MpiTasksError
from .journal import choice
from .version import __version__

_EPILOG = """\
examples:
  python -m mpitasks -n 4 app.py --depth 3     app.py on 4 ranks: rank 0 runs main, 3 are slaves
  python -m mpitasks -n 4 -m app               the same for a module or package
  python -m mpitasks --profile -n 4 app.py     a profile of each rank, and their sum, in the folder profile/
  python -m mpitasks --journal run.jrnl app.py keep what calls return, and don't run them again next time
  python -m mpitasks --survive -n 8 app.py     go on when slaves die
  python -m mpitasks --journal run.jrnl --walltime 55m app.py
                                               hand out nothing more after 55 minutes; the same again goes on
  python -m mpitasks --mpiexec "-hosts one,two" -n 16 app.py    on two hosts, in words of the mpiexec at hand
  python -m mpitasks journal run.jrnl          list what a journal holds
  python -m mpitasks stacks                    what a running program waits for, and where each rank is
  python -m mpitasks bench                     how fast calls are on this machine
  python -m mpitasks simulate example5         how the scheduler would share out calls, without MPI

The mpiexec used is the one that belongs to the installed mpi4py. Ctrl-C, SIGTERM and SIGUSR1 end the run in order: queued
calls are cancelled, running ones get run(grace=...) seconds.

exit codes:
  0        complete: main returned, and every failed call was asked for
  1        main raised, or a call failed and nobody asked for its result
  n        main or the script called sys.exit(n)
  75       interrupted: SIGUSR1 came, or the walltime is over; with a journal, run the same again
  70       unknown: mpiexec says that all is well, and rank 0 never said how the run ended
  130 143  Ctrl-C, SIGTERM
"""

_WITH_VALUE = (["-n"], ["--journal"], ["--walltime"], ["--restarts"])
"""Options that take the next word."""


def main(arguments: Sequence[str]) -> int:
    """What `python -m mpitasks ARGUMENTS` does; returns the exit code."""
    command = _command(arguments[0]) if arguments else None
    return _run(arguments) if command is None else command(arguments[1:])


def _command(name: str) -> Callable[[Sequence[str]], int] | None:
    """The command of that name; None: it is no command, but belongs to a program to be run."""
    if name == "bench":
        from .bench import main as bench  # noqa: PLC0415  only who measures needs it

        return bench
    if name == "simulate":
        from .simulator.command import main as simulate  # noqa: PLC0415  only who simulates needs it

        return simulate
    if name == "journal":
        from .journal.listing import main as journal  # noqa: PLC0415  only who looks into one needs it

        return journal
    if name == "stacks":
        from .whereabouts import main as stacks  # noqa: PLC0415  only who asks needs it

        return stacks
    return None


def _run(arguments: Sequence[str]) -> int:
    """Run a program; returns the exit code."""
    given = _parser().parse_args(_with_folder(arguments))
    program = given.program
    if given.m:
        program = ["-m", *given.m]
    if not program:
        _parser().error("which program? Give the path of a script, or -m and the name of a module")
    _hand_on(given)
    try:
        return _start(program, given.n, given.restarts)
    except MpiTasksError as error:
        print(f"mpitasks: {error}", file=sys.stderr)
        return 1


def _hand_on(given: argparse.Namespace) -> None:
    """Let all ranks know what the user wants."""
    if given.profile:
        os.environ[profiles.FOLDER] = str(given.profile.absolute())
    if given.mpiexec is not None:
        os.environ[launch.WORDS] = given.mpiexec
    if given.journal:
        os.environ[choice.FILE] = str(given.journal.absolute())
    if given.walltime:
        os.environ[walltime.VARIABLE] = given.walltime
    if given.survive:
        if surroundings.promised_size() is not None:
            _parser().error("--survive is for who starts mpiexec, and this is one of its ranks already")
        os.environ[launch.SURVIVE] = "1"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mpitasks",
        usage="python -m mpitasks [-n N] [--profile[=FOLDER]] [--journal FILE] [--walltime TIME]\n"
        "                          [--restarts N] [--survive] [--mpiexec WORDS] (app.py | -m MODULE) [arguments]\n"
        "       python -m mpitasks journal FILE [--check | --json | --csv]\n"
        "       python -m mpitasks stacks [PID]\n"
        "       python -m mpitasks bench [--help]\n"
        "       python -m mpitasks simulate [--help]",
        description="Run a program that uses mpitasks on N ranks of this machine or of this job.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-n",
        type=partial(number_of, "ranks"),
        metavar="N",
        help="ranks: the master and N-1 slaves; default: one for each core, at least 2",
    )
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="[=FOLDER]",
        help="run each rank under cProfile, and write rank-0.prof, rank-1.prof, ... and their sum all.prof into "
        f"{profiles.USUAL_FOLDER}/, or with an equals sign into another folder",
    )
    _add_ends(parser)
    parser.add_argument("--mpiexec", metavar="WORDS", help='what else mpiexec is told: --mpiexec "-hosts one,two"')
    # All that follows is the module's, options too; of a positional `program` after it, argparse would take them for ours.
    parser.add_argument(
        "-m", nargs=argparse.REMAINDER, metavar="MODULE", help="run this module, with what follows as its arguments"
    )
    parser.add_argument("--version", action="version", version=f"mpitasks {__version__}")
    parser.add_argument("program", nargs=argparse.REMAINDER, metavar="app.py [arguments]", help="the script, and its arguments")
    return parser


def _add_ends(parser: argparse.ArgumentParser) -> None:
    """What a run that may be cut off needs."""
    parser.add_argument(
        "--journal",
        type=Path,
        metavar="FILE",
        help="keep what calls return in this file, and don't run again what is there: for runs that may be cut off",
    )
    parser.add_argument(
        "--walltime",
        type=_walltime,
        metavar="TIME",
        help="hand out nothing more after this time, such as 90s, 55m, 1h30m, 2d or 1:30:00, and end with exit code 75",
    )
    parser.add_argument(
        "--restarts",
        type=partial(number_of, "restarts"),
        default=0,
        metavar="N",
        help="with a journal: if the run is cut off, or its walltime is over, begin it again, up to N times",
    )
    parser.add_argument("--survive", action="store_true", help="go on when slaves die: their calls run elsewhere")


def _walltime(text: str) -> str:
    try:
        return walltime.checked(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _with_folder(arguments: Sequence[str]) -> list[str]:
    """Give a bare `--profile` its folder, and `--mpiexec` its value: argparse would take the script for one, a dash amiss."""
    words: list[str] = []
    for place, word in enumerate(arguments):
        if words[-1:] == ["--mpiexec"]:
            words[-1] += f"={word}"
            continue
        if word == "-m" or not (word.startswith("-") or words[-1:] in _WITH_VALUE):
            return [*words, *arguments[place:]]  # from here on they are the program's
        words.append(f"{word}={profiles.USUAL_FOLDER}" if word == "--profile" else word)
    return words


def _start(program: list[str], ranks: int | None, restarts: int) -> int:
    """Start the program under mpiexec; inside a job, be one of its ranks."""
    if surroundings.promised_size() is not None:
        return _be_a_rank(program)
    if program[0] != "-m" and not Path(program[0]).is_file():
        print(
            f"mpitasks: there is no file {program[0]!r}; for a module: python -m mpitasks -m {program[0]}",
            file=sys.stderr,
        )
        return 2
    return launch.start(program, ranks or max(2, surroundings.usable_cores()), restarts=restarts)


def _be_a_rank(program: list[str]) -> int:
    """Run the program here, as one rank of the job; what it raises outside of run() ends the job: see `guard`."""
    if program[0] == "-m":
        sys.argv = program[1:]
        sys.path.insert(0, os.getcwd())  # noqa: PTH109  sys.path holds strings
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = program
        sys.path.insert(0, str(Path(program[0]).resolve().parent))
        runpy.run_path(str(Path(program[0]).resolve()), run_name="__main__")
    return 0
