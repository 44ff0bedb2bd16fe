"""`Executor` takes what the standard library's executors take, and more."""

from __future__ import annotations

import concurrent.futures
import functools
import operator
import pickle
import threading
from typing import Any

import pytest

import mpitasks
from mpitasks import EncodeError, Executor, NotRunning
from mpitasks.broken import InitializerFailed
from tests.api.executors import (
    BOTH,
    MANY,
    BadOnArrival,
    Counter,
    Falsey,
    Sizeless,
    Unpicklable,
    attempt_of,
    begun,
    bench,
    capture,
    divide,
    double,
    fail,
    fresh,
    hold,
    in_main,
    keyed,
    later,
    note,
    single,
    with_executor,
)

_fresh = pytest.fixture(autouse=True)(fresh)

# ---------------------------------------------------------------- submit


@BOTH
@pytest.mark.parametrize(
    ("fn", "args", "expected"),
    [
        pytest.param(pow, (2, 8), 256, id="builtin"),
        pytest.param(divide, (1, 4), 0.25, id="function"),
        pytest.param(lambda x: x + 1, (1,), 2, id="lambda"),
        pytest.param(functools.partial(divide, 3), (4,), 0.75, id="partial"),
        pytest.param(functools.partial(lambda a, b: a + b, b=1), (4,), 5, id="partial-of-lambda"),
        pytest.param(Counter(5).plus, (2,), 7, id="bound-method"),
        pytest.param(Counter.make, (2,), 2, id="classmethod"),
        pytest.param(Counter.negative, (2,), -2, id="staticmethod"),
        pytest.param(Counter(5), (2,), 10, id="callable-instance"),
        pytest.param("a-b".split, ("-",), ["a", "b"], id="method-of-a-builtin"),
        pytest.param(complex, (1, 2), 1 + 2j, id="class"),
        pytest.param(operator.itemgetter(1), ("xyz",), "y", id="C-callable"),
        pytest.param(later, (3,), 3, id="coroutine-function"),
        pytest.param(double, (4,), 8, id="task"),
        pytest.param(attempt_of, (4,), (1, 4), id="task-with-context"),
        pytest.param(keyed, (4,), 4, id="task-with-resource"),
        pytest.param(print, (), None, id="None-as-value"),
    ],
)
def test_any_callable_can_be_submitted(backend, fn, args, expected) -> None:
    """What can be called here can be called on a slave."""
    assert with_executor(lambda executor: executor.submit(fn, *args).result(), backend) == expected


@BOTH
def test_a_closure_is_taken_as_it_is_when_submitted(backend) -> None:
    """Later changes of what it refers to don't reach the call."""

    def body(executor: Executor) -> list[int]:
        futures = [executor.submit(lambda: x) for x in range(3)]  # noqa: B023  that is the test
        return [future.result() for future in futures]

    assert with_executor(body, backend) == [0, 1, 2]


@BOTH
def test_named_arguments_may_have_any_name(backend) -> None:
    """`fn` and `self` are positional only, so that calls can have arguments of these names."""

    def body(executor: Executor) -> Any:
        return executor.submit(capture, 1, self=2, fn=3, chunk=4).result(), executor.submit(lambda self: self, self=5).result()

    assert with_executor(body, backend) == (((1,), {"self": 2, "fn": 3, "chunk": 4}), 5)


def test_the_callable_is_positional() -> None:
    """As in the standard library."""

    def body(executor: Any) -> None:
        with pytest.raises(TypeError, match="fn"):
            executor.submit(fn=capture, arg=1)
        with pytest.raises(TypeError):
            executor.submit(arg=1)

    with_executor(body)


@BOTH
@pytest.mark.parametrize("thing", [5, None, "abs"])
def test_what_is_not_callable_fails_the_call(backend, thing) -> None:
    """The error is in the future."""

    def body(executor: Any) -> BaseException:
        return executor.submit(thing).exception()

    error = with_executor(body, backend)
    assert (type(error), str(error)) == (TypeError, f"{thing!r} is not callable")


@BOTH
@pytest.mark.parametrize(
    ("fn", "args", "text"),
    [
        pytest.param(
            abs, (Unpicklable(),), "argument 'x' of 'builtins.abs' can't be pickled: ZeroDivisionError", id="argument"
        ),
        pytest.param(capture, (1, lambda: 1), r"argument 'args\[1\]' of .*capture' can't be pickled", id="lambda-as-argument"),
        pytest.param(Counter(Unpicklable()).plus, (1,), "can't travel to a slave: ZeroDivisionError", id="callable"),  # type: ignore[arg-type]
        pytest.param(threading.Lock, (), "returned .*lock, which can't be pickled", id="result"),
    ],
)
def test_what_cannot_be_pickled_fails_the_call(backend, fn, args, text) -> None:
    """The error is in the future, submit raises nothing, and the executor goes on."""

    def body(executor: Executor) -> int:
        future = executor.submit(fn, *args)
        with pytest.raises(EncodeError, match=text) as caught:
            future.result()
        assert isinstance(caught.value, pickle.PicklingError)
        assert (future.done(), future.running(), future.cancelled(), future.cancel()) == (True, False, False, False)
        return executor.submit(abs, -1).result()

    assert with_executor(body, backend) == 1


@BOTH
def test_what_cannot_be_unpickled_fails_the_call(backend) -> None:
    """As an argument and as a value."""

    def body(executor: Executor) -> None:
        with pytest.raises(LookupError, match="lost on the way"):
            executor.submit(capture, BadOnArrival()).result()
        with pytest.raises(mpitasks.RemoteError, match="lost on the way"):
            executor.submit(BadOnArrival).result()

    with_executor(body, backend)


@BOTH
def test_a_task_called_wrongly_fails_the_call(backend) -> None:
    """As a function called wrongly; also where the arguments are looked at before they travel."""

    def body(executor: Any) -> list[type]:
        return [type(executor.submit(fn, 1, 2, 3).exception()) for fn in (divide, double, keyed)]

    assert with_executor(body, backend) == [TypeError] * 3


@BOTH
def test_an_exception_comes_with_the_remote_traceback(backend) -> None:
    """Its own type, the traceback's text as cause, and a note."""

    def body(executor: Executor) -> None:
        future = executor.submit(divide, 1, 0)
        with pytest.raises(ZeroDivisionError) as caught:
            future.result()
        assert "in divide" in str(caught.value.__cause__)
        assert "task 'tests.api.executors.divide'" in caught.value.__notes__[0]
        assert future.exception() is caught.value

    with_executor(body, backend)


@BOTH
@pytest.mark.parametrize("kind", [Falsey, Sizeless])
def test_an_exception_that_counts_as_false_is_raised(backend, kind) -> None:
    """Only None means that there was none."""

    def body(executor: Executor) -> None:
        with pytest.raises(kind, match="nothing"):
            executor.submit(fail, kind, "nothing").result()
        with pytest.raises(kind, match="nothing"):
            next(executor.map(fail, [kind], ["nothing"]))

    with_executor(body, backend)


def test_a_future_as_argument_gives_its_value() -> None:
    """More than the standard library can: nobody has to wait between two calls."""

    def body(executor: Executor) -> float:
        return executor.submit(divide, executor.submit(abs, -3).arg(), 2).result()

    assert with_executor(body) == 1.5


# ---------------------------------------------------------------- what it is made with


@pytest.mark.parametrize("count", [0, -1])
def test_fewer_workers_than_one_are_refused(count) -> None:
    """In the words of the standard library."""
    with pytest.raises(ValueError, match=f"max_workers must be greater than 0, and is {count}"):
        with_executor(print, max_workers=count)


@pytest.mark.parametrize("count", [1.5, "2"])
def test_a_number_of_workers_must_be_whole(count) -> None:
    """A float would be a limit that is never reached exactly."""
    with pytest.raises(TypeError, match=f"max_workers={count!r} must be a whole number"):
        with_executor(print, max_workers=count)


@pytest.mark.parametrize(("option", "reason"), [("mp_context", "mpiexec starts"), ("max_tasks_per_child", "can't be replaced")])
def test_options_about_processes_are_refused_with_the_reason(option, reason) -> None:
    """Never accepted and ignored; None, their default, is fine."""
    with pytest.raises(ValueError, match=f"{option}=5 must be None: slaves are ranks.*{reason}"):
        with_executor(print, **{option: 5})
    assert with_executor(lambda executor: executor.submit(abs, -1).result(), **{option: None}) == 1


def test_the_order_of_the_arguments_is_the_standard_one() -> None:
    """max_workers, mp_context, initializer, initargs."""

    def main() -> list[Any]:
        with Executor(1, None, note, ("began",)) as executor:
            executor.submit(abs, 1).result()
        return bench.notes

    assert in_main(main) == ["began"]


@pytest.mark.parametrize(("given", "seen"), [(None, 3), (2, 2), (7, 7)])
def test_libraries_can_ask_for_the_number_of_workers(given, seen) -> None:
    """Some look at `_max_workers`, as the executors of the standard library have it."""
    assert with_executor(operator.attrgetter("_max_workers"), max_workers=given) == seen


def test_max_workers_is_a_limit() -> None:
    """With two of three slaves, the third call waits, although a slave is idle."""

    def body(executor: Executor) -> list[Any]:
        futures = [executor.submit(hold, x) for x in range(3)]
        begun(2)
        assert [future.running() for future in futures] == [True, True, False]
        assert not bench.began.acquire(blocking=False)
        bench.gate.set()
        return [future.result() for future in futures]

    assert with_executor(body, max_workers=2) == [0, 1, 2]


def test_without_max_workers_all_slaves_work() -> None:
    """None means all."""

    def body(executor: Executor) -> None:
        executor.map(hold, range(3))
        begun(3)
        bench.gate.set()

    with_executor(body)


def test_a_task_keeps_its_limit() -> None:
    """In an executor without one, a task's own `max_slaves` holds, also together with its calls from elsewhere."""

    def body(executor: Executor) -> list[int]:
        futures = [single.delay(0), executor.submit(single, 1)]
        begun(1)
        assert [future.running() for future in futures] == [True, False]
        bench.gate.set()
        return [future.result() for future in futures]

    assert with_executor(body) == [0, 1]


def test_two_limits_are_refused() -> None:
    """One of them would not be kept."""

    def body(executor: Executor) -> list[int]:
        with pytest.raises(ValueError, match="'executor-test-single' has max_slaves=1 and this executor has max_workers=2"):
            executor.submit(single, 1)
        return list(executor.map(double, range(3)))

    assert with_executor(body, max_workers=2) == [0, 2, 4]


# ---------------------------------------------------------------- initializer


@BOTH
def test_the_initializer_runs_once_a_slave_and_before_the_calls(backend) -> None:
    """Calls that don't belong to the executor don't cause it."""

    def main() -> tuple[list[Any], list[Any]]:
        mpitasks.submit(note, "other").result()
        with Executor(initializer=note, initargs=("hello",)) as executor:
            list(executor.map(note, range(20)))
        return bench.notes[:2], sorted(bench.notes[1:], key=str)

    first, rest = in_main(main, backend, slaves=1)
    assert first == ["other", "hello"]
    assert rest == sorted(["hello", *range(20)], key=str)


def test_every_slave_that_works_is_initialized() -> None:
    """Each of three, when it gets its first call."""

    def body(executor: Executor) -> int:
        executor.map(hold, range(3))
        begun(3)
        bench.gate.set()
        return len(bench.notes)

    assert with_executor(body, initializer=note, initargs=[0]) == 3


def test_two_executors_run_their_own_initializers() -> None:
    """Even if it is the same function with the same arguments."""

    def main() -> list[Any]:
        options: dict[str, Any] = {"initializer": note, "initargs": ("hello",)}
        with Executor(**options) as one, Executor(**options) as other:
            one.submit(abs, 1).result()
            other.submit(abs, 1).result()
            one.submit(abs, 1).result()
        return bench.notes

    assert in_main(main, slaves=1) == ["hello", "hello"]


def test_an_initializer_is_not_run_again_after_many_functions() -> None:
    """The slaves forget functions that were not called for long, and not what has been initialized."""

    def body(executor: Executor) -> list[Any]:
        executor.submit(abs, 1).result()
        list(executor.map(lambda f: f, [1]))
        for x in range(300):
            mpitasks.submit(lambda x=x: x)
        executor.submit(abs, 1).result()
        return bench.notes

    assert with_executor(body, backend="inline", initializer=note, initargs=(1,)) == [1]


def test_an_initializer_may_be_a_closure() -> None:
    """It travels as the calls do, with what it refers to."""
    word = "closed over"
    assert with_executor(lambda executor: executor.submit(abs, -1).result(), initializer=lambda: note(word)) == 1
    assert bench.notes == [word]


def test_an_initializer_must_be_callable() -> None:
    """In the words of the standard library."""
    with pytest.raises(TypeError, match="initializer must be a callable, and is 5"):
        with_executor(print, initializer=5)


def test_an_initializer_that_cannot_be_pickled_fails_the_calls() -> None:
    """The error names it."""

    def body(executor: Executor) -> BaseException | None:
        return executor.submit(abs, -1).exception()

    error = with_executor(body, initializer=note, initargs=[Unpicklable()])
    assert isinstance(error, EncodeError)
    assert "can't travel to a slave: ZeroDivisionError: no pickle of this" in str(error)


BROKEN = "the initializer of this executor raised RuntimeError: not here"


@BOTH
def test_a_failed_initializer_breaks_the_executor(backend) -> None:
    """Its calls fail, later ones are refused, each with the cause; `shutdown` still works."""

    def body(executor: Executor) -> None:
        with pytest.raises(concurrent.futures.BrokenExecutor, match=BROKEN) as caught:
            executor.submit(abs, -1).result()
        assert "in fail" in str(caught.value.__cause__)
        with pytest.raises(concurrent.futures.BrokenExecutor, match=BROKEN) as caught:
            executor.submit(abs, -1)
        assert "in fail" in str(caught.value.__cause__)
        with pytest.raises(concurrent.futures.BrokenExecutor, match=BROKEN):
            executor.map(abs, [1])
        assert mpitasks.submit(abs, -1).result() == 1

    with_executor(body, backend, initializer=fail, initargs=(RuntimeError, "not here"))


def fails_on_the_second_slave(opened: str) -> None:
    """Fail where it runs as the second, once the test has written that down."""
    with bench.lock:
        bench.notes.append("slave")
        is_second = bench.notes.count("slave") == 2
    if is_second:
        bench.began.release()
        while opened not in bench.notes:
            bench.gate.wait(0.001)
        fail(RuntimeError, "not here")


def test_one_failed_initializer_fails_all_that_waits() -> None:
    """What runs elsewhere ends well; what waits fails at once, and so does what depends on it."""

    def body(executor: Executor) -> int:
        running = executor.submit(hold, 1)
        begun(1)
        second = executor.submit(abs, 2)
        begun(1)
        waiting = [executor.submit(note, x) for x in range(len(MANY))]
        dependent = mpitasks.submit(abs, waiting[-1].arg())
        note("fail now")
        errors = [future.exception() for future in (second, *waiting)]
        assert {(type(error), str(error)) for error in errors} == {(InitializerFailed, BROKEN)}
        assert errors[-1].__notes__ == ["task 'tests.api.executors.note', never begun"]
        assert isinstance(dependent.exception(), mpitasks.DependencyFailed)
        assert running.running()
        bench.gate.set()
        return running.result()

    options: dict[str, Any] = {"initializer": fails_on_the_second_slave, "initargs": ("fail now",)}
    assert with_executor(body, max_workers=2, **options) == 1
    assert bench.notes == ["slave", "slave", "fail now"]


def test_a_task_that_raises_broken_executor_breaks_nothing() -> None:
    """It may have had an executor of its own."""

    def body(executor: Executor) -> int:
        with pytest.raises(concurrent.futures.BrokenExecutor, match="mine"):
            executor.submit(fail, concurrent.futures.BrokenExecutor, "mine").result()
        return executor.submit(abs, -1).result()

    assert with_executor(body, initializer=abs, initargs=[1]) == 1


# ---------------------------------------------------------------- threads and places


def test_executors_can_be_used_from_many_threads() -> None:
    """Two executors, four threads, futures and maps; every value comes to whom it belongs."""

    def main() -> list[list[int]]:
        with Executor(max_workers=2) as one, Executor() as other:

            def work(start: int) -> list[int]:
                executor = one if start % 2 else other
                futures = [executor.submit(abs, -x) for x in range(start, start + 50)]
                return [future.result() for future in futures] + list(executor.map(abs, range(start)))

            with concurrent.futures.ThreadPoolExecutor(4) as threads:
                return list(threads.map(work, range(4)))

    assert in_main(main) == [[*range(start, start + 50), *range(start)] for start in range(4)]


def test_a_call_that_races_with_shutdown_is_taken_or_refused() -> None:
    """Nothing in between: what was taken has ended when shutdown returns."""

    def main() -> int:
        executor = Executor()
        taken: list[mpitasks.Future[Any]] = []
        refused = threading.Event()

        def submit_until_refused() -> None:
            while True:
                try:
                    taken.append(executor.submit(abs, -1))
                except RuntimeError:
                    refused.set()
                    return

        threads = [threading.Thread(target=submit_until_refused) for _ in range(3)]
        for thread in threads:
            thread.start()
        executor.submit(abs, 1).result()
        executor.shutdown()
        for thread in threads:
            thread.join(20)
        assert refused.is_set()
        return sum(not future.done() for future in taken)

    assert in_main(main) == 0


def test_an_executor_needs_a_farm() -> None:
    """Outside of run(), and after it, the error says where to go."""
    with pytest.raises(NotRunning, match=r"mpitasks\.Executor\(\) was called outside mpitasks\.run\(\)"):
        Executor()
    executor = in_main(Executor)
    with pytest.raises(NotRunning, match=r"mpitasks\.Executor\.submit\(\) was called outside"):
        executor.submit(abs, 1)
    executor.shutdown()
    assert isinstance(NotRunning(), RuntimeError)


def test_an_executor_belongs_to_its_run() -> None:
    """Another run does not take its calls."""
    executor = in_main(Executor)

    def main() -> None:
        with pytest.raises(mpitasks.FarmBroken, match=r"'builtins\.abs' can't be called any more"):
            executor.submit(abs, 1)

    in_main(main)


def test_an_executor_does_not_travel() -> None:
    """Only main submits calls: inside a task, there is no executor to be made or used."""

    def body(executor: Executor) -> None:
        with pytest.raises(NotRunning, match="Executor was used inside a task, and belongs to main"):
            executor.submit(Executor).result()
        with pytest.raises(EncodeError):
            executor.submit(executor.submit, abs, 1).result()

    with_executor(body)
