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
    page.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    tables.write(page, samples(tables, "submit", 1), "about")
    assert "old" not in page.read_text()
    tables.write(page, [], "nothing")
    assert page.read_text() == f"before\n{tables.BEGIN}\n\nnothing\n\n{tables.END}\nafter\n"
    assert all(PAGE.read_text().count(line) == 1 for line in (tables.BEGIN, tables.END))


def test_the_script_says_what_it_does() -> None:
    """--help needs none of the libraries."""
    said = subprocess.run([sys.executable, HERE / "peers.py", "--help"], capture_output=True, text=True, timeout=60, check=True)
    assert "schwimmbad" in said.stdout
