"""How a task's exception travels.

An exception goes as itself if its pickle gives an equal one back; the slave tries. Else its type's name, its text and
its traceback go, as a `RemoteError`. So does what is no `Exception`: a `SystemExit` that came back as itself would end main
without a word.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import NamedTuple

from ..errors import RemoteError, RemoteTraceback
from . import wire

MOST_LETTERS = 24_000
"""Of a traceback: a failure that comes up through a thousand calls would else tell each level all that is below it."""
MOST_NOTES = 20
"""On an exception, for the same reason."""
_HEADING = f"{RemoteTraceback.__module__}.{RemoteTraceback.__qualname__}: \n"
_LEFT_OUT = "... and more calls between, which are left out here"


class _Failure(NamedTuple):
    """A failure as it travels."""

    pickled: bytes | None
    type_name: str
    message: str
    text: str
    note: str
    notes: tuple[str, ...]
    """What the task itself has added; the pickle holds them too, where there is one."""


def encode_failure(error: BaseException, note: str) -> wire.Payload:
    """A task's exception as bytes; this never fails.

    Args:
        error: The exception.
        note: Which call it was, and where.
    """
    kind = type(error)
    type_name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return wire.encode(
        tuple(_Failure(_pickled(error), type_name, _text_of(error), _traceback_of(error), note, _notes_of(error)))
    )


def decode_failure(payload: wire.Payload) -> BaseException:
    """The exception again, with the remote traceback as its cause and the note."""
    failure = _Failure(*wire.decode(payload))
    error: BaseException = RemoteError(failure.type_name, failure.message)
    for note in failure.notes:
        error.add_note(note)
    if failure.pickled is not None:
        try:
            loaded = pickle.loads(failure.pickled)  # noqa: S301  it comes from a rank of this job
        except Exception as why:  # noqa: BLE001  unpickling runs user code
            error.add_note(f"the exception itself could not be unpickled here: {type(why).__name__}: {why}")
        else:
            error = loaded
    if failure.text:
        error.__cause__ = RemoteTraceback(failure.text)
    error.add_note(failure.note)
    notes = getattr(error, "__notes__", None)
    if isinstance(notes, list) and len(notes) > MOST_NOTES:
        notes[MOST_NOTES // 2 : MOST_NOTES // 2 + 2] = [_LEFT_OUT]  # they come one by one
    return error


def gist_of(payload: wire.Payload) -> str:
    """A failure in a line: which call it was, and where, and its text."""
    failure = _Failure(*wire.decode(payload))
    return f"{failure.note}: {failure.message}".partition("\n")[0]


def with_earlier(payload: wire.Payload, earlier: Sequence[str]) -> wire.Payload:
    """A failure that also says what became of the call before."""
    failure = _Failure(*wire.decode(payload))
    return wire.encode(
        tuple(failure._replace(note="\n".join((failure.note, "before that:", *(f"  {one}" for one in earlier)))))
    )


def _pickled(error: BaseException) -> bytes | None:
    """The exception's pickle, if it gives an equal exception back."""
    if not isinstance(error, Exception):
        return None
    try:
        data = pickle.dumps(error, 5)
        again = pickle.loads(data)  # noqa: S301  our own bytes
        same = type(again) is type(error) and str(again) == str(error)
    except Exception:  # noqa: BLE001  pickling runs user code
        return None
    return data if same else None


def _notes_of(error: BaseException) -> tuple[str, ...]:
    """What was added to the exception, as far as that is text."""
    notes = getattr(error, "__notes__", ())
    return tuple(note for note in notes if isinstance(note, str)) if isinstance(notes, list) else ()


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as why:  # noqa: BLE001  __str__ is user code
        return f"<its __str__ raised {type(why).__name__}>"


def _traceback_of(error: BaseException) -> str:
    if error.__traceback__ is None and error.__cause__ is None:  # nobody has raised it: its text says all
        return ""
    try:
        import traceback  # noqa: PLC0415  2 ms, for what seldom happens
    except Exception:  # noqa: BLE001  the task has left no descriptor to open a file, or no memory
        return f"{type(error).__qualname__}\n"
    try:
        return _shortened("".join(traceback.format_exception(error)))
    except Exception:  # noqa: BLE001  formatting runs user code, such as __str__ and __repr__
        return "".join(traceback.format_tb(error.__traceback__)) + f"{type(error).__qualname__}\n"


def _shortened(text: str) -> str:
    """The text with its ends alone, if it is long: there are the first cause, and who heard of it last."""
    while text.startswith(_HEADING * 2):  # each level puts one above all that is below it
        text = text.removeprefix(_HEADING)
    if len(text) <= MOST_LETTERS:
        return text
    head, tail = text[: MOST_LETTERS // 2].rpartition("\n")[0], text[-MOST_LETTERS // 2 :].partition("\n")[2]
    return f"{head}\n{_LEFT_OUT}\n{tail}"
