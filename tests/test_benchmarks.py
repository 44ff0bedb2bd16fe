"""The tables of tests/benchmarks, of samples that nobody measured: the libraries themselves are no part of CI."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

HERE = Path(__file__).parent / "benchmarks"
PAGE = HERE.parents[1] / "docs" / "performance.md"

if TYPE_CHECKING:
    from types import ModuleType


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module; its folder is no package, and lies beside programs for other Pythons."""
    monkeypatch.syspath_prepend(str(HERE))
    import tables  # noqa: PLC0415  it can't be found before

    return tables


def samples(tables: ModuleType, measure: str, *values: Any, workers: int = 1, reason: str = "") -> list[Any]:
    """One for each value."""
    return [tables.Sample("schwimmbad", workers, measure, value, reason) for value in values]


def test_a_cell_holds_the_median_and_the_spread(tables: ModuleType) -> None:
    """Of all rounds; one value has no spread."""
    results = tables.Results([*samples(tables, "submit", 3_000, 1_000, 2_000), *samples(tables, "arguments", [1, 2, 3])])
    assert results.cell("schwimmbad", "submit", 1) == "2,000 (1,000–3,000)"
    assert results.cell("schwimmbad", "arguments", 1, place=2) == "3"
    assert results.cell("schwimmbad", "submit", 3) == ""


def test_what_was_not_measured_says_why(tables: ModuleType) -> None:
    """Once for each reason, below the tables."""
    text = tables.tables(samples(tables, "submit", None, reason="has | no *wings*"), "about")
    assert "| schwimmbad | – [1] |" in text
    assert text.endswith("Not measured, because:\n\n1. schwimmbad: has no wings")


def test_tables_are_written_in_place_of_the_last(tables: ModuleType, tmp_path: Path) -> None:
    """What stands around them stays; and the page of the documentation has a place for them."""
    page = tmp_path / "page.md"
    begin, end = "<!-- peers: written by tests/benchmarks/peers.py -->", "<!-- peers: end -->"
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    tables.write(page, samples(tables, "submit", 1), "about")
    assert "old" not in page.read_text()
    tables.write(page, [], "nothing")
    assert page.read_text() == f"before\n{begin}\n\nnothing\n\n{end}\nafter\n"
    assert all(PAGE.read_text().count(line) == 1 for line in (begin, end))
    with pytest.raises(ValueError, match="has no place for the tables; they go between the lines '<!-- other -->'"):
        tables.between(page, "other", "text")


def test_goals_stand_beside_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each figure; what misses its goal says so, and of goals that differ with the ranks, each where it belongs."""
    monkeypatch.syspath_prepend(str(HERE))
    import goals  # noqa: PLC0415  as above

    trip = {"value": 72.4, "values": [71.0, 72.4, 90.6], "unit": "µs", "ratio": 26.1, "goal": "<= 1.3 x", "reached": False}
    memory = {"value": 500, "values": [500], "unit": "bytes", "ratio": None, "goal": "<= 600 bytes", "reached": True}
    text = goals.rows(
        {"trip": trip, "memory": memory}, {"trip": {**trip, "goal": "<= 250 µs", "reached": True}, "memory": memory}
    )
    *_, first, second = text.splitlines()
    assert first == (
        "| trip | 72.4 (71.0–90.6) µs | 26.1 | 72.4 (71.0–90.6) µs | 26.1 | 2 ranks: ≤ 1.3 x: **missed**; 4 ranks: ≤ 250 µs |"
    )
    assert second == "| memory | 500 bytes |  | 500 bytes |  | ≤ 600 bytes |"
    assert PAGE.read_text().count(f"<!-- {goals.NAME} -->") == 1


@pytest.mark.parametrize(("script", "word"), [("peers.py", "schwimmbad"), ("goals.py", "goals in docs/performance.md")])
def test_the_scripts_say_what_they_do(script: str, word: str) -> None:
    """--help needs none of the libraries."""
    said = subprocess.run([sys.executable, HERE / script, "--help"], capture_output=True, text=True, timeout=60, check=True)
    assert word in said.stdout
