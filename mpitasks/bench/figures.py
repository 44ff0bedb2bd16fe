"""What was measured, and what it should be."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Literal, NamedTuple


class Goal(NamedTuple):
    """What a figure should reach."""

    relation: Literal["<=", ">=", "=="]
    bound: float
    unit: str
    """The figure's unit; "x": the bound is one of the ratio."""
    ranks: int | None = None
    """With how many ranks; None: with any."""

    def holds(self, figure: Figure) -> bool:
        """Whether the figure reaches it."""
        measured = figure.ratio if self.unit == "x" else figure.value
        if measured is None:
            return False
        return {"<=": measured <= self.bound, ">=": measured >= self.bound, "==": measured == self.bound}[self.relation]

    def __str__(self) -> str:
        return f"{self.relation} {self.bound:,g} {self.unit}"


class Figure(NamedTuple):
    """One line of the table."""

    what: str
    values: Sequence[float]
    """One of each repetition."""
    unit: str
    besides: Sequence[float] = ()
    """The bare figures in the same unit, each measured right after the value in its place; or none at all."""
    goal: Goal | None = None

    @property
    def value(self) -> float:
        """Of the repetition in the middle."""
        return median(self.values)

    @property
    def beside(self) -> float | None:
        """The bare figure in the middle."""
        return median(self.besides) if self.besides else None

    @property
    def ratios(self) -> list[float]:
        """How often each bare figure goes into its value: what slows down both at that moment is not in it."""
        return [value / beside for value, beside in zip(self.values, self.besides, strict=True)] if self.besides else []

    @property
    def ratio(self) -> float | None:
        """The ratio in the middle."""
        return median(self.ratios) if self.besides else None

    @property
    def reached(self) -> bool | None:
        """Whether it reaches its goal; None if it has none."""
        return None if self.goal is None else self.goal.holds(self)


class Report(NamedTuple):
    """All that was measured."""

    setting: dict[str, str | int | None]
    """Where it was measured."""
    figures: dict[str, list[Figure]]
    """By section."""
    left_out: dict[str, str]
    """By section: why it can't be measured here."""


class NotHere(Exception):
    """A section can't be measured where this runs; the message says why."""
