"""How exceptions travel."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from mpitasks import MpiTasksError, RemoteError, RemoteTraceback, TaskCrashed
from mpitasks.transport.failures import decode_failure, encode_failure, gist_of, with_earlier
from mpitasks.transport.wire import size_of


class Same(Exception):
    """Travels as it is."""

    def __init__(self, one: int, two: str) -> None:
        super().__init__(one, two)
        self.one, self.two = one, two


class Half(Exception):
    """Loses something on its way: its pickle gives another text."""

    def __init__(self, text: str, extra: str = "") -> None:
        super().__init__(text + extra)
        self.args = (text,)
        self.text = text + extra

    def __str__(self) -> str:
        return self.text

    def __reduce__(self) -> Any:
        return Half, self.args


class Two(Exception):
    """Can't be unpickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one}{two}")


class Silent(Exception):
    """Can't even be shown."""

    def __str__(self) -> str:
        raise OSError("no text")


class HereOnly(Exception):
    """Can be unpickled where it was made, and nowhere else."""

    elsewhere = False

    def __setstate__(self, state: object) -> None:
        if HereOnly.elsewhere:
            raise ImportError("not on this rank")

    def __reduce__(self) -> Any:
        return HereOnly, self.args, {"some": "state"}


def travelled(error: BaseException) -> BaseException:
    """The exception, raised and caught, after its way."""
    try:
        raise error  # noqa: TRY301  that it has a traceback is the point
    except BaseException as raised:  # noqa: BLE001  exactly that one
        return decode_failure(encode_failure(raised, "the note"))


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("k"), OSError(2, "gone"), Same(1, "b"), StopIteration(3)], ids=repr
)
def test_an_exception_travels_as_itself(error: Exception) -> None:
    """With its attributes, its note, and the remote traceback as its cause."""
    got = travelled(error)
    assert (type(got), got.args, vars(got).get("two")) == (type(error), error.args, vars(error).get("two"))
    assert got.__notes__ == ["the note"]
    assert isinstance(got.__cause__, RemoteTraceback)
    assert not isinstance(got.__cause__, MpiTasksError)
    assert "in travelled" in str(got.__cause__)
    assert str(got.__cause__).startswith("\nTraceback (most recent call last)")


@pytest.mark.parametrize(
    ("error", "name", "text"),
    [
        (Half("a", "b"), "tests.transport.test_failures.Half", "ab"),
        (Two(1, 2), "tests.transport.test_failures.Two", "12"),
        (Silent(), "tests.transport.test_failures.Silent", "<its __str__ raised OSError>"),
        (SystemExit(3), "SystemExit", "3"),
        (KeyboardInterrupt(), "KeyboardInterrupt", ""),
        (GeneratorExit("late"), "GeneratorExit", "late"),
        (ValueError(lambda: 1), "ValueError", None),
    ],
    ids=["half", "two", "silent", "exit", "interrupt", "generator", "unpicklable"],
)
def test_what_cannot_travel_is_described(error: BaseException, name: str, text: str | None) -> None:
    """By its type and text. What is no `Exception` never travels: it would end main without a word."""
    got = travelled(error)
    assert isinstance(got, RemoteError)
    assert got.type_name == name
    assert got.message == (str(error) if text is None else text)
    assert str(got) == (f"{name}: {got.message}" if got.message else name)
    assert isinstance(got.__cause__, RemoteTraceback)
    assert got.__notes__ == ["the note"]


def test_a_failure_tells_of_earlier_ones() -> None:
    """In its note, each in a line; the exception and its own notes stay as they were."""
    error = TaskCrashed("killed\nsee above", signal=9)
    error.add_note("it was here")
    first = encode_failure(error, "attempt 1 on rank 2")
    last = encode_failure(error, "attempt 2 on rank 3")
    got = decode_failure(with_earlier(last, [gist_of(first)]))
    assert isinstance(got, TaskCrashed)
    assert got.__notes__ == ["it was here", "attempt 2 on rank 3\nbefore that:\n  attempt 1 on rank 2: killed"]


def test_what_cannot_be_unpickled_here_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slave could, the master can't: a note says why."""
    payload = encode_failure(HereOnly("x"), "the note")
    monkeypatch.setattr(HereOnly, "elsewhere", True)
    got = decode_failure(payload)
    assert isinstance(got, RemoteError)
    assert str(got) == "tests.transport.test_failures.HereOnly: x"
    assert got.__notes__ == ["the exception itself could not be unpickled here: ImportError: not on this rank", "the note"]


def test_causes_and_groups_are_in_the_traceback() -> None:
    """The text tells the whole story, also where the exceptions themselves stay behind."""
    try:
        try:
            raise KeyError("first")  # noqa: TRY301  as above
        except KeyError as error:
            raise ValueError("second") from error
    except ValueError as error:
        text = str(travelled(error).__cause__)
    assert text.index("KeyError: 'first'") < text.index("ValueError: second")
    group = travelled(ExceptionGroup("many", [ValueError("one"), KeyError("two")]))
    assert isinstance(group, ExceptionGroup)
    assert "ValueError: one" in str(group.__cause__)


def test_a_remote_error_can_travel_again() -> None:
    """It can be pickled, as when it is a result itself."""
    again = pickle.loads(pickle.dumps(RemoteError("Kind", "text")))
    assert (str(again), again.type_name, again.message) == ("Kind: text", "Kind", "text")


def test_a_remote_traceback_can_travel_again() -> None:
    """The same of the cause."""
    assert str(pickle.loads(pickle.dumps(RemoteTraceback("lines")))) == "\nlines"


@pytest.mark.parametrize("error", [Two(1, 2), SystemExit(3), ValueError("x")], ids=lambda error: type(error).__name__)
def test_notes_come_along(error: BaseException) -> None:
    """What the task has added, before our own; once each, whether the exception comes as itself or not."""
    error.add_note("while acquiring resource db()")
    got = decode_failure(encode_failure(error, "the note"))
    assert got.__notes__ == ["while acquiring resource db()", "the note"]


def test_a_failure_that_travels_often_stays_short() -> None:
    """As one that comes up through a thousand calls: the first cause is there, and who heard of it last."""
    error: BaseException = ValueError("the bottom")
    for level in range(1000):
        try:
            raise error
        except ValueError as raised:
            payload = encode_failure(raised, f"call {level}")
        error = decode_failure(payload)
    assert [*error.__notes__[:2], error.__notes__[-1]] == ["call 0", "call 1", "call 999"]
    assert len(error.__notes__) <= 20
    assert "the bottom" in str(error.__cause__)[:2000]
    assert size_of(payload) < 80_000
