"""Every program in the README and in the docs runs, and prints what the page says.

A Python block is a program if it asks for `__main__`; a `text` block right after it is its output. The other Python blocks
are fragments: they must be correct syntax, and those with tests must pass.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import mpitasks
import mpitasks.classic

if TYPE_CHECKING:
    from tests.mpi.launcher import Mpiexec

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)

BLOCKS = {
    f"{page.relative_to(ROOT)}:{page.read_text().count(chr(10), 0, block.start()) + 1}": (block[1], block[2])
    for page in PAGES
    for block in BLOCK.finditer(page.read_text())
}
PROGRAMS = {place: block for place, block in BLOCKS.items() if '__name__ == "__main__"' in block[0]}
FRAGMENTS = {place: code for place, (code, _) in BLOCKS.items() if place not in PROGRAMS}
FARMED = {place: block for place, block in PROGRAMS.items() if "tutorial.md" in place and "mpitasks" in block[0]}


def _run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    alone = {key: value for key, value in os.environ.items() if key != "MPITASKS_SLAVES"}
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=60, check=False, env=alone, cwd=cwd
    )


@pytest.mark.parametrize("place", PROGRAMS)
def test_a_program_prints_what_the_page_says(place: str, tmp_path: Path) -> None:
    """With plain python; every program has its output beside it."""
    code, output = PROGRAMS[place]
    (tmp_path / "app.py").write_text(code)
    ended = _run("app.py", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, output), ended.stderr


@pytest.mark.parametrize("place", FARMED)
def test_the_tutorial_prints_the_same_on_four_ranks(mpiexec: Mpiexec, place: str) -> None:
    """As its first lines promise."""
    code, output = FARMED[place]
    ended = mpiexec(4, code, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, output), ended.stderr


@pytest.mark.parametrize("place", FRAGMENTS)
def test_a_fragment_is_python(place: str) -> None:
    """It compiles, with `await` allowed at the top."""
    compile(FRAGMENTS[place], place, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_tests_on_the_page_about_testing_pass(tmp_path: Path) -> None:
    """A reader copies them as they are."""
    (code,) = (code for place, code in FRAGMENTS.items() if "guides/testing.md" in place)
    (tmp_path / "test_app.py").write_text(code)
    ended = _run("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_app.py", cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert "3 passed" in ended.stdout


def test_the_page_in_the_readme_is_the_quickstart() -> None:
    """What is copied must not drift."""
    example = (ROOT / "examples" / "quickstart.py").read_text()
    (code, _) = next(iter(BLOCKS.values()))
    assert code == example[example.index("import mpitasks") :]


def test_the_reference_has_every_public_name() -> None:
    """A name that users may import is on the page."""
    page = (DOCS / "reference.md").read_text()
    shown = re.findall(r"^\.\. auto\w+:: (?:mpitasks\.)?(?:\w+\.)?(\w+)", page, re.MULTILINE)
    missing = [name for name in mpitasks.__all__ if name not in shown and not name.startswith("_")]
    assert missing == []


def test_the_reference_has_every_classic_name() -> None:
    """The same of `mpitasks.classic`."""
    page = (DOCS / "reference.md").read_text()
    shown = re.findall(r"^\.\. auto\w+:: (?:mpitasks\.classic\.)?(\w+)", page, re.MULTILINE)
    assert [name for name in mpitasks.classic.__all__ if name not in shown] == []


def _is_part(page: Path, target: str, option: str, value: str) -> bool:
    """Whether that is in the file."""
    path = page.parent / target
    value = value.strip('"')
    return path.exists() and (f"{value}(" if option == "pyobject" else value) in path.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_includes_is_an_example(page: Path) -> None:
    """So it is run with the examples; and the part that is shown is there."""
    found = re.findall(
        r"^```\{literalinclude\} (\S+)\n(?::language: \w+\n)?(?::([\w-]+): (.*)\n)?", page.read_text(), re.MULTILINE
    )
    assert [one for one in found if "/examples/" not in one[0] or not _is_part(page, *one)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Sphinx checks those inside docs; nobody else checks the README's."""
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []
