"""`@task`: names, options, what is refused and how."""

from __future__ import annotations

import importlib.util
import inspect
import pickle
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import mpitasks
from mpitasks import Context, DuplicateTask, NotRunning, UnknownTask, task
from tests.api import tasks
from tests.api.tasks import add, attempt_of, echo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from tests.api.conftest import Recorder, Run


def python(*words: str | Path, cwd: Path) -> str:
    """Run Python in that folder; what it printed."""
    ended = subprocess.run([sys.executable, *words], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


# ---------------------------------------------------------------- the function stays a function


def test_a_task_called_is_the_plain_function() -> None:
    """`f(x)` runs here and now, without a farm; `f.fn` is the function itself."""
    assert (add(2), add(2, y=5), add.fn(2, 3)) == (3, 7, 5)
    assert inspect.isfunction(add.fn)


def test_a_task_looks_like_its_function() -> None:
    """Name, documentation and signature are the function's."""
    assert (add.__name__, add.__doc__, add.__module__) == ("add", "Add.", "tests.api.tasks")
    assert inspect.signature(add) == inspect.signature(add.fn)
    assert repr(add) == "<Task 'tests.api.tasks.add'>"


def test_a_bound_task_called_gets_a_context() -> None:
    """A plain call of a bound task makes the context itself: attempt 1, on the master."""
    assert attempt_of(factor=3) == ("tests.api.tasks.attempt_of", 3)

    @task("test.bound", bind=True)
    def show(ctx: Context) -> str:
        return f"{ctx.rank} {ctx.should_stop()} {ctx!r}"

    assert show() == "0 False <Context of 'test.bound', attempt 1, on rank 0>"


def test_a_decorator_can_be_used_twice(names: None) -> None:
    """What `task(...)` returns holds no state."""
    decorate = task(max_slaves=2)
    first, second = decorate(inspect.cleandoc), decorate(inspect.getdoc)
    assert [first.name, second.name] == ["inspect.cleandoc", "inspect.getdoc"]


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("made", "name"),
    [(task(len), "builtins.len"), (task("a name")(len), "a name"), (task()(abs), "builtins.abs"), (add, "tests.api.tasks.add")],
)
def test_the_name_is_given_or_made(made: mpitasks.Task[..., Any], name: str) -> None:
    """By default module.qualname, else what the user says."""
    assert made.name == name


SCRIPT = """
import sys
import mpitasks
assert "mpi4py.MPI" not in sys.modules
@mpitasks.task
def f(x): return x
if __name__ == "__main__":
    import app  # the same file under its other name
    assert app.f is mpitasks.get("app.f") and app is not sys.modules["__main__"]
    print(f.name, app.f.name)
    print(mpitasks.run(lambda: f.delay(7).result(), backend="inline"))
    assert "mpi4py.MPI" not in sys.modules
"""


def test_the_name_holds_the_real_module_of_a_script(tmp_path: Path) -> None:
    """Never `__main__`; the script imported again by its real name is the same task; nothing of this starts MPI."""
    (tmp_path / "app.py").write_text(SCRIPT)
    assert python("app.py", cwd=tmp_path) == "app.f app.f\n7\n"
    assert python("-m", "app", cwd=tmp_path) == "app.f app.f\n7\n"


def test_the_name_holds_the_real_module_of_a_package(tmp_path: Path) -> None:
    """`python -m package` has tasks of the package."""
    (tmp_path / "farmer").mkdir()
    (tmp_path / "farmer" / "__init__.py").touch()
    (tmp_path / "farmer" / "__main__.py").write_text("import mpitasks\nprint(mpitasks.task(lambda: 1, ).name)")
    text = "import mpitasks\n@mpitasks.task\ndef f(): ...\nprint(f.name)\n"
    (tmp_path / "farmer" / "__main__.py").write_text(text)
    assert python("-m", "farmer", cwd=tmp_path) == "farmer.f\n"


def test_two_functions_of_one_name_are_refused(names: None) -> None:
    """The error names both places, and the way out."""

    @task("test.twice")
    def one() -> None: ...

    def two() -> None: ...

    places = [rf"\S*test_tasks\.py:{fn.__code__.co_firstlineno}" for fn in (one.fn, two)]
    words = rf"two tasks are named 'test\.twice': {places[0]} and {places[1]}; give one of them a name of its own: @task\("
    with pytest.raises(DuplicateTask, match=words):
        task("test.twice")(two)
    assert mpitasks.get("test.twice") is one


def test_decorated_functions_of_one_name_are_refused(names: None) -> None:
    """Two functions under one decorator have one code object, and are still two."""

    def decorate(fn: Callable[[], None]) -> Callable[[], None]:
        import functools  # noqa: PLC0415  for this decorator only

        return functools.wraps(fn)(lambda: fn())  # noqa: PLW0108  the wrapper is the point

    @task("test.decorated")
    @decorate
    def one() -> None: ...

    with pytest.raises(DuplicateTask, match=r"two tasks are named 'test\.decorated'"):

        @task("test.decorated")
        @decorate
        def two() -> None: ...

    assert mpitasks.get("test.decorated") is one


def load(path: Path, name: str) -> ModuleType:
    """Import a file under a name."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_file_imported_under_two_names_is_one_task(names: None, tmp_path: Path) -> None:
    """The function is the same, so its name is no duplicate."""
    file = tmp_path / "lib.py"
    file.write_text("from mpitasks import task\n@task('test.imported')\ndef f(): ...\n")
    load(file, "lib")
    second = load(file, "pkg.lib")
    assert mpitasks.get("test.imported") is second.f


def test_a_task_is_found_by_its_name() -> None:
    """`get` gives the task itself."""
    assert mpitasks.get("tests.api.tasks.add") is add


def test_an_unknown_name_is_refused_with_near_ones(names: None) -> None:
    """The error lists similar names, and asks the question that mends it most often."""
    words = r"no task named 'tests\.api\.tasks\.ad'; known: 'tests\.api\.tasks\.add',.*imported on every rank\?"
    with pytest.raises(UnknownTask, match=words):
        mpitasks.get("tests.api.tasks.ad")


def test_an_unknown_name_among_no_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no task at all, the error says so."""
    monkeypatch.setattr("mpitasks.registry._tasks", {})
    with pytest.raises(UnknownTask, match="no task named 'x'; known: none"):
        mpitasks.get("x")


def test_a_pickled_task_is_its_name() -> None:
    """It comes back as the task that the other side has under that name."""
    data = pickle.dumps(add)
    assert b"tests.api.tasks.add" in data
    assert len(data) < 100
    assert pickle.loads(data) is add


def test_a_task_can_be_an_argument(farm: Run) -> None:
    """A task travels like any other value."""
    assert farm(lambda: echo.delay(add).result()) is add


# ---------------------------------------------------------------- options

LATER = ["ranks"]


@pytest.mark.parametrize("option", LATER)
def test_an_option_not_built_yet_is_refused(option: str) -> None:
    """Never accepted and ignored."""
    with pytest.raises(
        TypeError, match=rf"@task\('x'\) has no option '{option}'; .*known: backoff, bind, isolate, key, max_slaves, "
    ):
        task("x", **{option: 1})(abs)


@pytest.mark.parametrize("option", [*LATER, "max_slaves", "weight", "key", "version"])
def test_an_option_of_no_call_is_refused(option: str) -> None:
    """What the task alone decides, and what is not built yet, is no option of a call."""
    with pytest.raises(
        TypeError,
        match=rf"add\.options\(\) has no option '{option}'; .*known: after, backoff, copy, cost, id, isolate, memo, priority",
    ):
        add.options(**{option: 1})


@pytest.mark.parametrize(
    ("given", "meant"),
    [("max_slave", "max_slaves"), ("priorty", "priority"), ("wieght", "weight"), ("ressource", "resource"), ("bnd", "bind")],
)
def test_a_misspelt_option_is_refused_with_the_nearest(given: str, meant: str) -> None:
    """The error asks whether the nearest known option was meant."""
    with pytest.raises(TypeError, match=rf"has no option '{given}'; did you mean '{meant}'\?"):
        task("x", **{given: 1})(abs)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"max_slaves": 0}, ValueError, r"max_slaves=0 must be 1 or more, or None"),
        ({"max_slaves": -1}, ValueError, r"max_slaves=-1 must be 1 or more"),
        ({"max_slaves": 1.5}, TypeError, r"max_slaves=1\.5 must be a whole number"),
        ({"max_slaves": True}, TypeError, r"max_slaves=True must be a whole number"),
        ({"max_slaves": "2"}, TypeError, r"max_slaves='2' must be a whole number"),
        ({"isolate": 1}, TypeError, r"isolate=1 must be True or False: whether calls run in a child of the slave"),
        ({"priority": 0.5}, TypeError, r"priority=0\.5 must be a whole number; higher goes first"),
        ({"weight": 0}, ValueError, r"weight=0 must be a number above 0, and finite"),
        ({"weight": float("inf")}, ValueError, r"weight=inf must be a number above 0, and finite"),
        ({"weight": float("nan")}, ValueError, r"weight=nan must be"),
        ({"weight": "heavy"}, ValueError, r"weight='heavy' must be"),
        ({"resource": 5}, TypeError, r"resource=5 must be what @resource made, a name, or a function that makes the id"),
        ({"resource": ["a"]}, TypeError, r"resource=\['a'\] must be what @resource made"),
        ({"key": "x"}, TypeError, r"key='x' says which resource a call needs, so it goes with resource=\"name\""),
        ({"resource": "mesh", "key": "y"}, ValueError, r"key='y' is no parameter; it has: x"),
    ],
)
def test_a_senseless_value_is_refused(options: dict[str, Any], kind: type[Exception], words: str) -> None:
    """At decoration, by a message that says what it must be."""
    with pytest.raises(kind, match=r"@task\('test\.senseless'\): " + words):
        task("test.senseless", **options)(lambda x: x)


def test_a_key_of_a_task_without_parameters_is_refused() -> None:
    """The error does not list nothing."""
    with pytest.raises(ValueError, match="key='x' is no parameter; it has: none"):
        task("test.keyless", resource="mesh", key="x")(lambda: 1)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"priority": "high"}, TypeError, "priority='high' must be a whole number"),
        ({"resource": ["a"]}, TypeError, r"resource=\['a'\] must be hashable: it is an id"),
        ({"after": [1]}, TypeError, r"after=\[1\] must hold futures of calls, such as \[f\.delay\(\)\], and 1 is none"),
        ({"after": 1}, TypeError, "after=1 must hold futures"),
    ],
)
def test_a_senseless_value_of_a_call_is_refused(options: dict[str, Any], kind: type[Exception], words: str) -> None:
    """In `options()` already, not when the call is made."""
    with pytest.raises(kind, match=r"add\.options\(\): " + words):
        add.options(**options)


def test_options_make_another_task() -> None:
    """The task itself stays as it was."""
    urgent = add.options(priority=5)
    assert (add._plan.priority, urgent._plan.priority, urgent.options(copy=False)._plan.priority) == (0, 5, 5)
    assert (urgent.name, urgent(1)) == (add.name, 2)


# ---------------------------------------------------------------- what can't be a task


class Shop:
    def sell(self) -> None: ...

    @staticmethod
    def close() -> None: ...

    @classmethod
    def open(cls) -> None: ...


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (Shop.sell, r"Shop\.sell is a method, and slaves know only functions: define a function at the top level"),
        (Shop().sell, r"Shop\.sell is a method"),
        (Shop.close, r"Shop\.close is a method"),
        (Shop.open, r"Shop\.open is a method"),
        (Shop.__dict__["close"], r"@task is for functions, and this is <staticmethod"),
        (Shop.__dict__["open"], r"@task is for functions, and this is <classmethod"),
        (Shop, r"@task is for functions, and this is <class '\S*Shop'>; define a function at the top level of a module"),
        (5, r"@task is for functions, and this is 5"),
        (lambda: 1, r"<lambda> has no name that other ranks could know: move it .* @task\(\"name\"\).*mpitasks\.submit\(fn"),
    ],
)
def test_what_has_no_place_is_refused(thing: Any, words: str) -> None:
    """Each with the way out."""
    with pytest.raises(TypeError, match=words):
        task(thing)


def test_a_local_function_needs_a_name(names: None) -> None:
    """Its `<locals>` name is nothing that other ranks could know; a name of its own is."""

    def local(x: int) -> int:
        return 2 * x

    with pytest.raises(TypeError, match=r"<locals>\.local has no name that other ranks could know"):
        task(local)
    assert task("test.local")(local)(4) == 8


def test_a_method_is_refused_with_a_name_too() -> None:
    """A name does not make `self` travel."""
    with pytest.raises(TypeError, match=r"Shop\.sell is a method"):
        task("test.sell")(Shop.sell)


@pytest.mark.parametrize("fn", [lambda: 1, lambda *, ctx: 1, lambda *args: 1])
def test_a_bound_task_takes_its_context_first(fn: Callable[..., int]) -> None:
    """`bind=True` needs a positional parameter for it."""
    with pytest.raises(TypeError, match=r"has bind=True, so it takes its Context as first positional parameter; it takes \("):
        task("test.contextless", bind=True)(fn)


# ---------------------------------------------------------------- wrong calls

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "()": lambda: (),
    "(a)": lambda a: a,
    "(a, b=2)": lambda a, b=2: (a, b),
    "(a, /, b)": lambda a, /, b: (a, b),
    "(a, b=2, /)": lambda a, b=2, /: (a, b),
    "(a, /, **kw)": lambda a, /, **kw: (a, kw),
    "(*, a)": lambda *, a: a,
    "(*, a=1, b)": lambda *, a=1, b: (a, b),
    "(a, *args)": lambda a, *args: (a, args),
    "(*args, **kw)": lambda *args, **kw: (args, kw),
    "(a, /, b=1, *args, c, d=4, **kw)": lambda a, /, b=1, *args, c, d=4, **kw: (a, b, args, c, d, kw),
    "(self, fn, args=0)": lambda self, fn, args=0: (self, fn, args),
}
CALLS: list[tuple[tuple[int, ...], dict[str, int]]] = [
    ((), {}),
    ((1,), {}),
    ((1, 2), {}),
    ((1, 2, 3), {}),
    ((), {"a": 1}),
    ((), {"b": 1}),
    ((), {"a": 1, "b": 2}),
    ((1,), {"a": 1}),
    ((1,), {"b": 2}),
    ((1,), {"x": 9}),
    ((1,), {"c": 3, "x": 9}),
    ((1, 2, 3), {"c": 4, "d": 5, "x": 6}),
    ((), {"self": 1, "fn": 2}),
    ((1,), {"args": 5, "fn": 3}),
]


@pytest.mark.parametrize("call", CALLS, ids=str)
@pytest.mark.parametrize("signature", FUNCTIONS)
def test_a_call_is_refused_exactly_as_bind_does(
    names: None, recorder: Recorder, signature: str, call: tuple[tuple[int, ...], dict[str, int]]
) -> None:
    """What the function takes, `delay` takes; what it does not, `delay` refuses in the words of `bind`."""
    fn = FUNCTIONS[signature]
    args, kwargs = call
    made: mpitasks.Task[..., Any] = task("test.signature")(fn)
    try:
        fn(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError) as bind:
            inspect.signature(fn).bind(*args, **kwargs)
        with pytest.raises(TypeError) as caught:
            made.delay(*args, **kwargs)
        assert (str(bind.value), []) == (str(caught.value), recorder.calls)
        assert caught.value.__suppress_context__  # the user reads one error, not two
        assert caught.value.__notes__ == [f"task 'test.signature' takes {inspect.signature(fn)}"]
    else:
        made.delay(*args, **kwargs)
        assert recorder.calls == [call]


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_a_bound_task_is_called_without_its_context(
    names: None, recorder: Recorder, call: tuple[tuple[int, ...], dict[str, int]]
) -> None:
    """`delay` of a bound task takes what follows the context."""
    args, kwargs = call
    bound: mpitasks.Task[..., Any] = task("test.signature", bind=True)(lambda ctx, a, b=2: (a, b))
    try:
        inspect.signature(lambda a, b=2: (a, b)).bind(*args, **kwargs)
    except TypeError as error:
        with pytest.raises(TypeError, match=f"^{re.escape(str(error))}\ntask 'test.signature' takes"):
            bound.delay(*args, **kwargs)
    else:
        bound.delay(*args, **kwargs)
        assert recorder.calls == [call]


def test_a_default_is_not_evaluated_again(names: None, recorder: Recorder) -> None:
    """A default of any type, even one that can't be written as code, is no obstacle to the check."""
    made: mpitasks.Task[..., Any] = task("test.default")(lambda a=tasks.Locked(), *, b=object(): None)  # noqa: B008  the point
    made.delay()
    made.delay(1, b=2)
    assert recorder.calls == [((), {}), ((1,), {"b": 2})]


def test_a_c_function_without_signature_takes_anything(names: None, recorder: Recorder) -> None:
    """There is nothing to check against, and the slave's error will come back."""
    made: mpitasks.Task[..., Any] = task("test.max")(max)
    made.delay(1, 2)
    assert recorder.calls == [((1, 2), {})]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: add.delay(1),
            r"tests\.api\.tasks\.add\.delay\(\) was called outside mpitasks\.run\(\): move it into main\(\)",
        ),
        (lambda: add.map([1]), r"add\.map\(\) was called outside mpitasks\.run\(\)"),
        (lambda: add.starmap([[1]]), r"add\.map\(\) was called outside"),
        (lambda: add.imap([1]), r"add\.imap\(\) was called outside"),
        (lambda: mpitasks.submit(abs, 1), r"mpitasks\.submit\(\) was called outside mpitasks\.run\(\)"),
    ],
)
def test_a_call_outside_of_run_is_refused(call: Callable[[], object], words: str) -> None:
    """The error says where to move it."""
    with pytest.raises(NotRunning, match=words):
        call()
