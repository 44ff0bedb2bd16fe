"""The house's rules that a machine can check: see the numbers of the rules in the style guide of the project."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pytest

from tests.sources import ROOT, functions, modules

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_WORDS = 11
MOST_LINES, USUAL_LINES, MEDIAN_LINES = 40, 20, 7

BROAD = {
    # Where code runs that is not ours.
    ("broadcasts", "broadcast", "Exception"): "pickling of what is broadcast",
    ("classic.endpoint", "Endpoint.send", "Exception"): "pickling of data",
    ("classic.queues", "_Desk._give_or_note", "Exception"): "an overridden `run`",
    ("classic.slave", "_outcome", "BaseException"): "`do_work`",
    ("classic.slave", "_result", "Exception"): "pickling of results",
    ("executor", "Executor._sent", "Exception"): "pickle hooks and key functions",
    ("futures", "Future._call_back", "Exception"): "callbacks",
    ("futures", "Future._load", "Exception"): "unpickling of results",
    ("isolation.importing", "import_here", "Exception"): "modules of tasks",
    ("isolation.nanny", "Nanny._import", "Exception"): "the user's script",
    ("observe.counts", "_text_of", "Exception"): "`__str__` of ids and keys",
    ("options", "is_key", "Exception"): "pickling and comparing of keys",
    ("runtime.alarm", "Alarm.within", "BaseException"): "what a task makes of an alarm",
    ("runtime.arguments", "Encoder.arguments", "Exception"): "pickling of arguments",
    ("runtime.arguments", "Encoder.function_of_many", "Exception"): "pickling of a function",
    ("runtime.arguments", "_why_not", "Exception"): "pickling of one argument",
    ("runtime.children", "Children._submitted", "Exception"): "unpickling and comparing of ids",
    ("runtime.functions", "dumps", "Exception"): "pickling of functions",
    ("runtime.keeper", "_acquire", "BaseException"): "providers, up to their yield",
    ("runtime.keeper", "_end", "BaseException"): "providers, from their yield on",
    ("runtime.logs", "Forwarder.emit", "Exception"): "formats and `__str__` of what is logged",
    ("runtime.logs", "replay", "Exception"): "filters and handlers of logging",
    ("runtime.runner", "Runner.run", "BaseException"): "tasks",
    ("many", "Source.draw", "BaseException"): "iterables that are mapped over",
    ("runtime.batches", "_pickled", "Exception"): "pickling of arguments",
    ("runtime.items", "_decode", "Exception"): "unpickling of results",
    ("runtime.items", "_handed_over", "Exception"): "unpickling of results",
    ("runtime.loop", "Loop._run_one_by_one", "BaseException"): "tasks",
    ("runtime.loop", "Loop._run_through", "BaseException"): "tasks",
    ("runtime.runner", "Runner.encoded", "Exception"): "pickling of results",
    ("runtime.runner", "Runner._do_setup", "BaseException"): "initializers",
    ("session", "_run_farm", "BaseException"): "main",
    ("session", "_end_early", "BaseException"): "an end that fails too",
    ("session", "_run_rank_0", "BaseException"): "main",
    ("transport.failures", "decode_failure", "Exception"): "unpickling of exceptions",
    ("transport.failures", "_pickled", "Exception"): "pickling of exceptions",
    ("transport.failures", "_text_of", "Exception"): "`__str__` of exceptions",
    ("transport.failures", "_traceback_of", "Exception"): "`__str__` and `__repr__` in tracebacks",
    # At the top of a thread or rank.
    ("control", "_answer", "Exception"): "commands, in the control thread",
    ("runtime.drive", "Drive._run_background", "BaseException"): "the background thread",
    ("runtime.drive", "Drive.turn", "Exception"): "what ends the farm for every waiter",
    ("ranks", "serve", "BaseException"): "a slave",
    ("isolation.child", "live", "BaseException"): "a child",
    ("isolation.nanny", "serve", "BaseException"): "a nanny",
}
"""Rule 13: where `except` is broad, and for what."""


def broad_handlers() -> Iterator[tuple[str, str, str]]:
    """Module, function and type of every `except` for more than is named."""
    for name, tree in modules().items():
        within = {id(handler): (name, qualname) for qualname, fn in functions(tree) for handler in ast.walk(fn)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                caught = {one.id for one in ast.walk(node.type or ast.Name("BaseException")) if isinstance(one, ast.Name)}
                for kind in caught & {"Exception", "BaseException"}:
                    yield *within.get(id(node), (name, "<module>")), kind


def test_broad_handlers_are_where_they_may_be() -> None:
    """Where code runs that is not ours, and at the top of a thread or rank; nowhere else."""
    assert set(broad_handlers()) == set(BROAD)


def test_nothing_is_caught_without_a_name() -> None:
    """No bare `except:`, and no `suppress` of everything."""
    bare = [
        (name, node.lineno)
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.ExceptHandler) and node.type is None)
        or (isinstance(node, ast.Call) and ast.unparse(node) in ("suppress(Exception)", "suppress(BaseException)"))
    ]
    assert bare == []


@pytest.mark.parametrize("name", modules())
def test_a_module_says_its_idea_in_a_few_words(name: str) -> None:
    """Rule 1: the first line of its docstring has under 12 words, and ends as a sentence."""
    docstring = ast.get_docstring(modules()[name])
    assert docstring is not None
    first = docstring.splitlines()[0]
    assert len(first.split()) <= MOST_WORDS
    assert first[-1] in ".?"


def lengths() -> list[tuple[int, str]]:
    """Lines and name of every function."""
    return [
        ((fn.end_lineno or 0) - fn.lineno + 1, f"{name}.{qualname}")
        for name, tree in modules().items()
        for qualname, fn in functions(tree)
    ]


def test_functions_are_short() -> None:
    """Rule 7: 7 lines in the median, under 20 for nine in ten, none over 40."""
    found = lengths()
    assert [(lines, name) for lines, name in found if lines > MOST_LINES] == []
    assert median(lines for lines, _ in found) <= MEDIAN_LINES
    assert sum(lines < USUAL_LINES for lines, _ in found) >= 0.9 * len(found)


NOQA = re.compile(r"# noqa\b.*")
REASONED_NOQA = re.compile(r"# noqa: [A-Z]+[0-9]+(?:, [A-Z]+[0-9]+)*  \S|.* - see above$")
TYPE_IGNORE = re.compile(r"# type: ignore\b.*")
REASONED_TYPE_IGNORE = re.compile(r"# type: ignore\[[\w-]+(?:, [\w-]+)*\]  # \S")


def unreasoned(folder: Path, comment: re.Pattern[str], reasoned: re.Pattern[str]) -> list[str]:
    """Comments that turn a rule off and don't say why."""
    lines = [(path, line) for path in sorted(folder.rglob("*.py")) for line in path.read_text().splitlines()]
    found = [(path, match.group()) for path, line in lines if (match := comment.search(line))]
    return [f"{path.relative_to(ROOT.parent)}: {text}" for path, text in found if not reasoned.match(text)]


@pytest.mark.parametrize("folder", ["mpitasks", "tests", "examples"])
def test_every_lint_ignore_has_its_reason(folder: str) -> None:
    """It names the rule, and why that is broken here."""
    found = unreasoned(ROOT.parent / folder, NOQA, REASONED_NOQA)
    assert [text for text in found if not text.startswith("tests/test_style.py")] == []


def test_every_type_ignore_has_its_reason() -> None:
    """In the library; in tests/typing, such comments mark what must be rejected, and a file says so."""
    assert unreasoned(ROOT, TYPE_IGNORE, REASONED_TYPE_IGNORE) == []
