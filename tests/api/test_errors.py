"""The tree of errors: public, as drawn, and with the standard library's types beside."""

from __future__ import annotations

import pickle
import re
from concurrent.futures import BrokenExecutor

import pytest

import mpitasks
from mpitasks import errors

CLASSES = [one for one in vars(errors).values() if isinstance(one, type) and one.__module__ == errors.__name__]

ALSO = {
    "NotRunning": RuntimeError,
    "StartError": RuntimeError,
    "FarmBroken": RuntimeError,
    "Deadlock": RuntimeError,
    "HostLost": errors.FarmBroken,
    "InitializerFailed": BrokenExecutor,
    "DuplicateTask": ValueError,
    "UnknownTask": LookupError,
    "NotHeld": LookupError,
    "EncodeError": pickle.PicklingError,
    "JournalError": RuntimeError,
    "NoIdentity": TypeError,
    "ResultTimeout": TimeoutError,
    "TaskTimeout": TimeoutError,
    "SlaveNotReady": RuntimeError,
}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_is_public_and_drawn(kind: type[BaseException]) -> None:
    """By its name, in the package and in the tree."""
    name = kind.__name__
    assert getattr(mpitasks, name) is kind
    assert name in mpitasks.__all__
    assert re.search(rf"^\s+(?:[├└]── )?{name}\b", str(errors.__doc__), re.MULTILINE)
    assert kind.__doc__


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_can_be_caught_as_what_it_is(kind: type[BaseException]) -> None:
    """All by the root, and each by the type that the standard library has for it; a traceback and an exit are no errors."""
    assert issubclass(kind, errors.MpiTasksError) == (kind not in (errors.RemoteTraceback, errors.Terminated, errors.Drained))
    also = ALSO.get(kind.__name__)
    assert also is None or issubclass(kind, also)
    drawn = re.search(rf"{kind.__name__} .*\(also (?:\w+\.)*(\w+)\)", str(errors.__doc__))
    assert (drawn and drawn[1]) == (also and also.__name__)
