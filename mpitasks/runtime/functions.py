"""Functions that slaves don't know by name, sent once to each."""

from __future__ import annotations

import io
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from ..digests import blake2b
from ..errors import EncodeError
from ..ids import Rank

MOST_KEPT = 256
"""Functions that slaves keep; a program that makes a closure for every call must not fill their memory."""


def names_known_everywhere() -> frozenset[str]:
    """The names that the script has defined by now, on every rank alike."""
    return frozenset(vars(sys.modules["__main__"]))


def is_known(obj: Any, known: frozenset[str]) -> bool:  # noqa: ANN401  a function or class
    """Whether every rank finds this function or class by its module and name."""
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    if module is None:
        return False
    top, *inner = obj.__qualname__.split(".")
    if obj.__module__ == "__main__" and top not in known:
        return False
    found = vars(module).get(top)
    for name in inner:
        found = getattr(found, name, None)
    return found is obj


def dumps(function: object, known: frozenset[str]) -> bytes:
    """A callable as bytes.

    Raises:
        EncodeError: It can't be pickled, not by cloudpickle either.
    """
    from .by_value import Pickler  # noqa: PLC0415  only who submits such a function needs it

    file = io.BytesIO()
    try:
        Pickler(file, partial(is_known, known=known)).dump(function)
    except Exception as error:
        msg = f"{function!r} can't travel to a slave: {type(error).__name__}: {error}; what it refers to must be picklable"
        raise EncodeError(msg) from error
    return file.getvalue()


class Functions:
    """What has been sent to which slave.

    A function is pickled at every call, since what it refers to may have changed; equal bytes are sent once.
    """

    def __init__(self) -> None:
        self._numbers: OrderedDict[bytes, int] = OrderedDict()
        self._pickled: dict[int, bytes] = {}
        self._in_use: dict[int, int] = {}
        self._sent: dict[Rank, set[int]] = {}
        self._dropped: dict[Rank, list[int]] = {}
        self._lasting: dict[bytes, int] = {}
        self._count = count()

    def number_of(self, pickled: bytes) -> int:
        """The number of these bytes; they are in use by one call more."""
        digest = blake2b(pickled, digest_size=16).digest()
        number = self._numbers.get(digest)
        if number is None:
            number = self._numbers[digest] = next(self._count)
            self._pickled[number] = pickled
        self._numbers.move_to_end(digest)
        self._in_use[number] = self._in_use.get(number, 0) + 1
        if len(self._numbers) > MOST_KEPT:
            self._drop_unused()
        return number

    def number_for_ever(self, pickled: bytes) -> int:
        """The number of an initializer: slaves never forget which they have called, so it never changes."""
        number = self._lasting.get(pickled)  # bytes keep their hash, so those of large arguments are read once
        if number is None:
            number = self._lasting[pickled] = self.number_of(pickled)
        return number

    def use(self, number: int) -> None:
        """One call more uses it."""
        self._in_use[number] += 1

    def release(self, number: int) -> None:
        """One call less uses it."""
        self._in_use[number] -= 1

    def to_send(self, rank: Rank, numbers: set[int]) -> tuple[dict[int, Callable[..., Any]], list[int]]:
        """What that slave lacks of these, and what it may forget; from now on it has them."""
        sent = self._sent.setdefault(rank, set())
        lacking = sorted(numbers - sent)
        sent |= numbers
        return {number: _Travelling(self._pickled[number]) for number in lacking}, self._dropped.pop(rank, [])

    def forget(self, rank: Rank) -> None:
        """That slave is gone, with all that was sent there."""
        self._sent.pop(rank, None)
        self._dropped.pop(rank, None)

    def _drop_unused(self) -> None:
        """Forget the one used longest ago, if no call needs it."""
        digest, number = next(iter(self._numbers.items()))
        if self._in_use[number]:
            self._numbers.move_to_end(digest)
            return
        del self._numbers[digest], self._pickled[number], self._in_use[number]
        for rank, sent in self._sent.items():
            if number in sent:
                sent.discard(number)
                self._dropped.setdefault(rank, []).append(number)


class _Travelling:
    """A pickled function, unpickled on the slave when it is first called, where its errors are an outcome."""

    def __init__(self, pickled: bytes) -> None:
        self._pickled = pickled
        self._loaded: Callable[..., Any] | None = None

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  whatever the function returns
        if self._loaded is None:
            self._loaded = pickle.loads(self._pickled)  # noqa: S301  it comes from the master of this job
        return self._loaded(*args, **kwargs)

    def __reduce__(self) -> tuple[type[_Travelling], tuple[bytes]]:
        return _Travelling, (self._pickled,)
