"""What goes wrong in a call, and what can't travel: it comes back as an error that tells all, and the slave lives on."""

from __future__ import annotations

import socket
import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.mpi.launcher import Mpiexec

TASKS = """
import os, sys, threading, traceback
import mpitasks
from mpitasks import task

class Plain(Exception):
    pass

class Kept(Exception):
    '''Made from one argument, kept with two.'''
    def __init__(self, code, why):
        super().__init__(f"code {code} because {why}")
        self.code, self.why = code, why
    def __reduce__(self):
        return Kept, (self.code, self.why)

class TwoArguments(Exception):
    '''Its pickle can't be read again: unpickling calls it with the text alone.'''
    def __init__(self, code, why):
        super().__init__(f"code {code} because {why}")

class Changed(Exception):
    '''Its pickle gives another text.'''
    def __init__(self, text="nothing"):
        super().__init__(f"<{text}>")

class Holding(Exception):
    '''It holds what can't be pickled.'''
    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()

class OnlyThere(Exception):
    '''It can be unpickled on slaves only.'''
    def __reduce__(self):
        return only_there, (str(self),)

class Rude(Exception):
    def __str__(self):
        raise RuntimeError("no text for you")

def only_there(text):
    if mpitasks.is_master():
        raise LookupError("not on the master")
    return OnlyThere(text)

def only_here(value):
    if not mpitasks.is_master():
        raise LookupError("not on a slave")
    return value

class HereOnly:
    def __reduce__(self):
        return only_here, (3,)

class ThereOnly:
    def __reduce__(self):
        return only_there, ("it",)

@task("inner")
def fail(kind, *args):
    raise kind(*args)

@task
def give(text):
    return eval(text)

@task
def echo(value=None):
    return value

def show(future):
    error = future.exception()
    print(f"{type(error).__module__}.{type(error).__name__}: {error}")
    return error
"""

START = """
if __name__ == "__main__":
    mpitasks.run(main)
"""


def program(main: str) -> str:
    """A script with the tasks above and this main; its last call shows that the slave lives on."""
    body = f"{textwrap.dedent(main).strip()}\nprint('alive:', echo.delay(1).result())"
    return f"{TASKS}\ndef main():\n{textwrap.indent(body, '    ')}\n{START}"


# ---------------------------------------------------------------- exceptions


def test_a_tasks_exception_comes_back_as_itself(mpiexec: Mpiexec) -> None:
    """Type, arguments, the traceback from the slave as its cause, and a note: task, call, attempt, rank, host."""
    main = """
        try:
            fail.delay(Kept, 3, "it is").result()
        except Kept as error:
            print(error.code, error.why, type(error.__cause__).__name__)
            print(error.__notes__)
            text = str(error.__cause__)
            print("raise kind(*args)" in text, "in fail" in text, "code 3 because it is" in text, "mpitasks" in text)
    """
    ended = mpiexec(2, program(main))
    note = f"task 'inner', call 1, attempt 1, slave rank 1 on {socket.gethostname()}"
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"3 it is RemoteTraceback\n{[note]}\nTrue True True False\nalive: 1\n"


def test_an_error_that_nobody_catches_shows_both_tracebacks(mpiexec: Mpiexec) -> None:
    """What the user reads: the line in the task, the line in main, and the note."""
    ended = mpiexec(2, program("fail.delay(Plain, 'of the task').result()"))
    parts = ["in fail\n", "The above exception was the direct cause", "in main\n", "Plain: of the task\ntask 'inner', call 1"]
    places = [ended.stderr.find(part) for part in parts]
    assert (ended.returncode, min(places) > 0, places) == (1, True, sorted(places)), ended.stderr


EXCEPTIONS = {
    "Plain, 'a', 1": "__main__.Plain: ('a', 1)",
    "KeyError, 'a'": "builtins.KeyError: 'a'",
    "TwoArguments, 1, 'a'": "mpitasks.errors.RemoteError: __main__.TwoArguments: code 1 because a",
    "Changed, 'a'": "mpitasks.errors.RemoteError: __main__.Changed: <a>",
    "Holding, 'a'": "mpitasks.errors.RemoteError: __main__.Holding: a",
    "OnlyThere, 'a'": "mpitasks.errors.RemoteError: __main__.OnlyThere: a",
    "Rude": "mpitasks.errors.RemoteError: __main__.Rude: <its __str__ raised RuntimeError>",
    "SystemExit, 3": "mpitasks.errors.RemoteError: SystemExit: 3",
    "KeyboardInterrupt": "mpitasks.errors.RemoteError: KeyboardInterrupt",
    "GeneratorExit": "mpitasks.errors.RemoteError: GeneratorExit",
    "StopIteration, 4": "builtins.StopIteration: 4",
}


def test_every_exception_is_an_outcome(mpiexec: Mpiexec) -> None:
    """As itself if its pickle gives an equal one back, else a RemoteError; always with the remote traceback."""
    main = f"""
        for given in {list(EXCEPTIONS)}:
            error = show(fail.delay(*eval(given + ",")))
            assert "in fail" in str(error.__cause__), error.__cause__
            assert "task 'inner', call " in error.__notes__[-1], error.__notes__
    """
    ended = mpiexec(2, program(main))
    assert (ended.returncode, ended.stdout.splitlines()) == (0, [*EXCEPTIONS.values(), "alive: 1"]), ended.stderr


def test_sys_exit_and_ctrl_c_of_a_task_do_not_end_main(mpiexec: Mpiexec) -> None:
    """They are failures of a call like others: `except Exception` around `result()` gets them."""
    main = """
        for name in ("sys.exit('enough')", "exit(0)", "os.kill(os.getpid(), 2)", "(_ for _ in ()).throw(KeyboardInterrupt)"):
            try:
                print(give.delay(name).result())
            except Exception as error:
                print(error)
    """
    ended = mpiexec(2, program(main))
    # A Ctrl-C sent to a slave alone means nothing there: rank 0 decides.
    lines = ["SystemExit: enough", "SystemExit: 0", "None", "KeyboardInterrupt", "alive: 1"]
    assert (ended.returncode, ended.stdout.splitlines()) == (0, lines), ended.stderr


# ---------------------------------------------------------------- values


VALUES = ["None", "()", "float('inf')", "b''", "'é\\0'", "{None: [None]}", "10**400", "Ellipsis", "print", "echo"]


def test_every_value_travels(mpiexec: Mpiexec) -> None:
    """`None` is a value, as an argument and as a result; so are functions and tasks, which travel by name."""
    main = f"""
        for text in {VALUES}:
            value = eval(text)
            print(give.delay(text).result() == value, echo.delay(value).result() == value)
        print(echo.delay().result(), echo.delay(None).result(), echo.delay(echo.delay(None)).result())
    """
    ended = mpiexec(2, program(main))
    expected = "True True\n" * len(VALUES) + "None None None\nalive: 1\n"
    assert (ended.returncode, ended.stdout) == (0, expected), ended.stderr


RESULTS = {
    "lambda: 1": "'app.give' returned function, which can't be pickled: ",
    "threading.Lock()": "'app.give' returned lock, which can't be pickled: cannot pickle '_thread.lock' object",
    "(x for x in 'ab')": "'app.give' returned generator, which can't be pickled: cannot pickle 'generator' object",
    "[1, sys]": "'app.give' returned list, which can't be pickled: cannot pickle 'module' object",
}


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_result_that_cannot_be_pickled_fails_its_call(mpiexec: Mpiexec, ranks: int) -> None:
    """The error names task and type, and says why, in one process too."""
    main = f"""
        for text in {list(RESULTS)}:
            show(give.delay(text))
    """
    ended = mpiexec(ranks, program(main))
    lines = ended.stdout.splitlines()
    assert (ended.returncode, len(lines), lines[-1]) == (0, len(RESULTS) + 1, "alive: 1"), ended.stderr
    expected = [f"mpitasks.errors.EncodeError: {text}" for text in RESULTS.values()]
    assert [line[: len(text)] for line, text in zip(lines, expected, strict=False)] == expected


def test_a_value_that_only_one_side_can_read(mpiexec: Mpiexec) -> None:
    """What a slave can't unpickle fails the call there, what the master can't fails `result()`; both say so."""
    main = """
        print(give.delay("HereOnly()").result())
        error = show(give.delay("ThereOnly()"))
        print(repr(error.__cause__))
        error = show(echo.delay(HereOnly()))
        print("only_here" in str(error.__cause__))
        print(echo.delay(echo.delay(1)).result())
    """
    ended = mpiexec(2, program(main))
    text = "what 'app.give' returned can't be unpickled on the master: not on the master"
    lines = [
        "3",
        f"mpitasks.errors.RemoteError: LookupError: {text}",
        "LookupError('not on the master')",
        "builtins.LookupError: not on a slave",
        "True",
        "1",
        "alive: 1",
    ]
    assert (ended.returncode, ended.stdout.splitlines()) == (0, lines), ended.stderr


def test_a_result_that_the_master_cannot_read_still_goes_on(mpiexec: Mpiexec) -> None:
    """A future given as an argument is never unpickled on the master."""
    main = """
        there = give.delay("ThereOnly()")
        print(echo.delay([there, there]).exception() is None, give.options(after=[there]).delay("5").result())
    """
    ended = mpiexec(2, program(main.replace("echo.delay([", "count.delay([")).replace("@task\ndef echo", COUNT))
    assert (ended.returncode, ended.stdout) == (0, "True 5\nalive: 1\n"), ended.stderr


COUNT = """@task
def count(values):
    return len(values)

@task
def echo"""


def test_an_argument_that_cannot_be_pickled_is_refused_at_once(mpiexec: Mpiexec) -> None:
    """EncodeError on the caller's line names the argument; nothing is sent."""
    main = """
        for call in (lambda: echo.delay(value=threading.Lock()), lambda: fail.delay(Plain, 1, (x for x in "ab"))):
            try:
                call()
            except mpitasks.EncodeError as error:
                print(str(error).partition(":")[0])
    """
    ended = mpiexec(2, program(main))
    lines = ["argument 'value' of 'app.echo' can't be pickled", "argument 'args[1]' of 'inner' can't be pickled", "alive: 1"]
    assert (ended.returncode, ended.stdout.splitlines()) == (0, lines), ended.stderr


# ---------------------------------------------------------------- what is seen


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_what_a_task_prints_appears_once(mpiexec: Mpiexec, ranks: int) -> None:
    """On stdout and stderr, every line once, before the run ends."""
    main = """
        for future in [give.delay(f"print('line {n}', file=sys.{where})") for n in range(9) for where in ("stdout", "stderr")]:
            future.result()
    """
    ended = mpiexec(ranks, program(main))
    lines = [f"line {n}" for n in range(9)]
    assert (ended.returncode, sorted(ended.stdout.splitlines())) == (0, ["alive: 1", *lines]), ended.stderr
    assert sorted(line for line in ended.stderr.splitlines() if line.startswith("line")) == lines


def test_what_a_task_prints_is_seen_while_main_goes_on(mpiexec: Mpiexec) -> None:
    """A slave that has nothing to do flushes what its calls have printed."""
    main = """
        give.delay("print('seen')").result()
        give.delay("__import__('time').sleep(1000)").result()
    """
    with mpiexec.start(3, program(main)) as app:
        app.wait_for("seen", timeout=15)


def test_a_failure_that_nobody_asked_for_is_logged(mpiexec: Mpiexec) -> None:
    """With its traceback, whether or not main keeps the future, and one line at the end counts them; others are not."""
    main = """
        global kept
        fail.delay(Plain, "dropped")
        kept = fail.delay(Plain, "kept")
        asked = fail.delay(Plain, "asked for").exception()
        echo.delay(echo.delay(2)).result()
    """
    ended = mpiexec(2, program(main))
    texts = ["Plain: dropped", "Plain: kept", "Plain: asked for", "a call of 'inner' failed, and nobody asked for its result"]
    counts = [ended.stderr.count(text) // 2 for text in texts[:3]] + [ended.stderr.count(texts[3])]
    assert (ended.returncode, ended.stdout, counts) == (1, "alive: 1\n", [1, 1, 0, 2]), ended.stderr
    assert ended.stderr.count("raise kind(*args)") == 2
    assert "2 failed calls of this run: nobody asked for the result; the exit code is 1" in ended.stderr
