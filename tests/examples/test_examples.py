"""Every example does what it shows, on one rank and on four."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.mpi.launcher import Mpiexec

EXAMPLES = Path(__file__).parents[2] / "examples"
MOST_LINES = 60

EXPECTED = {
    "quickstart.py": """\
one: 9.574274444021285
mean: 492.6823451882228
""",
    "pi.py": """\
320,000 darts: pi is about 3.1395, off by 0.0020
""",
    "sweep.py": """\
growth 2.800: between 0.643 and 0.643, comes back every 1
growth 3.200: between 0.513 and 0.799, comes back every 2
growth 3.500: between 0.383 and 0.875, comes back every 4
growth 3.550: between 0.355 and 0.887, comes back every 8
growth 3.700: between 0.257 and 0.925, never comes back
growth 3.835: between 0.152 and 0.959, comes back every 3
growth 3.900: between 0.095 and 0.975, never comes back
""",
    "crawl.py": """\
65 folders, 65 files, 2284 bytes; largest: leaf3210.txt
""",
    "limits.py": """\
fetch: sum 40, limit 2: kept
crunch: sum 120, limit None: kept
store: sum 120, limit 1: kept
""",
    "sticky.py": """\
wing.msh: area 246.40, loaded 1x
fuselage.msh: area 554.40, loaded 1x
tail.msh: area 246.40, loaded 1x
""",
    "tree.py": """\
sorted: True
steps from 27 to 1: 111
20! = 2432902008176640000
""",
    "worklist.py": """\
0 squared is 0
1 squared is 1
2 squared is 4
3 squared is 9
4 squared is 16
5 squared is 25
6 squared is 36
7 squared is 49
8 squared is 64
9 squared is 81
11 squared is 121
12 squared is 144
""",
    "by_hand.py": """\
root of 0: 0
root of 1: 1
root of 4: 2
root of 9: 3
root of 16: 4
root of 81: 9
15 numbers have no whole root
""",
    "kinds.py": """\
add: 12 sums, in all 384
join: 9 pairs, first 1-2, last 23-24
repeat: 9 texts, in all 270 letters
""",
    "database.py": """\
east: 50 rows, sum 328.048
west: 50 rows, sum 333.415
""",
    "resume.py": """\
the longest way down is from 27: 111 steps
""",
    "async_main.py": """\
one: 144
many: [0, 1, 4, 9, 16, 25, 36, 49, 10000]
as they ended, in all: 140
meanwhile: 81 lift-off
""",
}


def test_every_example_is_tested() -> None:
    """An example that nobody runs is wrong sooner or later."""
    assert sorted(EXPECTED) == sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_is_short_and_says_how_to_start_it(name: str) -> None:
    """Under 60 lines, and the docstring names the three ways to start it."""
    text = (EXAMPLES / name).read_text()
    assert len(text.splitlines()) < MOST_LINES
    docstring = text.split('"""')[1]
    ranks = "8" if name == "quickstart.py" else "4"
    assert [line for line in docstring.splitlines() if "mpiexec" in line] == [
        f"mpiexec -n {ranks} python {name}  |  python -m mpitasks -n {ranks} {name}  |  python {name}"
    ]


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_runs_in_one_process(name: str) -> None:
    """Plain python prints what is expected, and one line that says how to get more ranks."""
    alone = {key: value for key, value in os.environ.items() if key != "MPITASKS_SLAVES"}
    ended = subprocess.run(
        [sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=60, check=False, env=alone
    )
    assert (ended.returncode, ended.stdout) == (0, EXPECTED[name])
    assert [line.partition(":")[0] for line in ended.stderr.splitlines()] == ["mpitasks"]


@pytest.mark.mpi
@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_runs_under_mpiexec(mpiexec: Mpiexec, name: str) -> None:
    """Four ranks print the same, and complain of nothing."""
    ended = mpiexec(4, EXAMPLES / name, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, EXPECTED[name], "")


@pytest.mark.mpi
def test_an_example_runs_by_python_m_mpitasks(mpiexec: Mpiexec) -> None:
    """The command in the README finds the mpiexec of this Python by itself."""
    name = "quickstart.py"
    with mpiexec.start_command([sys.executable, "-m", "mpitasks", "-n", "4", str(EXAMPLES / name)]) as app:
        ended = app.wait(timeout=60)
    assert (ended.returncode, ended.stdout) == (0, EXPECTED[name])
