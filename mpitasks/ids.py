"""Ids as types: a rank is no call id."""

from __future__ import annotations

from typing import NewType

Rank = NewType("Rank", int)
"""Number of a process in our communicator."""

CallId = NewType("CallId", int)
"""Number of a call, growing by age."""

MASTER = Rank(0)
