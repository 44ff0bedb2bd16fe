"""Python's stack while calls run on top of each other."""

from __future__ import annotations

import sys

import pytest

from mpitasks.runtime import depth
from mpitasks.runtime.depth import CStack, one_level_deeper


def test_a_level_has_the_room_that_the_one_below_has() -> None:
    """The limit grows by what that has used, and is what it was when the level ends."""
    before, frame = sys.getrecursionlimit(), sys._getframe()

    def further(count: int) -> int:
        if count:
            return further(count - 1)
        with one_level_deeper(sys._getframe(), frame):
            return sys.getrecursionlimit()

    assert further(50) - before == 51 + depth.OURS
    assert sys.getrecursionlimit() == before


@pytest.mark.parametrize(("used", "full"), [(0.5, False), (0.9, True)])
def test_a_full_stack_is_an_error(monkeypatch: pytest.MonkeyPatch, used: float, full: bool) -> None:
    """Once it was found full, at as many levels again: how much of it is in use can't be seen."""
    shares = [used]
    monkeypatch.setattr(depth, "_used", lambda _: shares[0] * depth._stack_size())
    monkeypatch.setattr(depth, "_stack_size", lambda: 8 << 20)
    stack = CStack()
    stack.check(64)
    if not full:
        stack.check(2048)
        return
    with pytest.raises(RecursionError, match="2048 calls wait on this slave"):
        stack.check(2048)
    shares[0] = 0.1
    stack.check(1024)
    with pytest.raises(RecursionError):
        stack.check(2048)
