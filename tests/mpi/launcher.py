"""Run a script under the mpiexec that belongs to this Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tests.mpi.app import App, Ended

if TYPE_CHECKING:
    from collections.abc import Mapping


@cache
def mpi_name(mpiexec: Path) -> str:
    """Tell whose mpiexec it is: "openmpi" or "mpich"."""
    says = subprocess.run([mpiexec, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
    return "openmpi" if "Open MPI" in says else "mpich"


def find_mpiexec() -> Path | None:
    """Find the mpiexec of this virtual environment: one from elsewhere may belong to another MPI than mpi4py does."""
    found = shutil.which("mpiexec", path=str(Path(sys.executable).parent))
    return Path(found) if found else None


class Mpiexec:
    """The fixture: call it to run a script to its end, or `start` it and act while it runs."""

    def __init__(self, path: Path, folder: Path) -> None:
        """Use this mpiexec; keep scripts and logs in this folder, the test's own."""
        self.path, self.folder, self.mpi = path, folder, mpi_name(path)
        self.apps: list[App] = []

    def __call__(
        self, ranks: int, script: Path | str, *args: str, timeout: float = 30.0,
        env: Mapping[str, str] | None = None, cwd: Path | None = None,
    ) -> Ended:  # fmt: skip
        """Run a script on so many ranks to its end.

        Args:
            ranks: How many.
            script: A path; or source text, if it has a line break; or an option of Python, such as "-m".
            args: What follows the script.
            timeout: Seconds until it counts as a hang. Keep it well under the 120 s that pytest gives each test.
            env: Variables on top of those of this process.
            cwd: Where it runs, otherwise the test's own folder.

        Raises:
            Hang: It has not ended in time.
            Orphans: It has, and not all that it started.
        """
        __tracebackhide__ = True
        with self.start(ranks, script, *args, env=env, cwd=cwd) as app:
            return app.wait(timeout=timeout)

    def start(
        self, ranks: int, script: Path | str, *args: str,
        env: Mapping[str, str] | None = None, cwd: Path | None = None,
    ) -> App:  # fmt: skip
        """Start a script and return at once; the arguments are those of a call."""
        command = [*self.command(ranks), sys.executable, self._script(script), *args]
        return self.start_command(command, env={**self.root_env(), **(env or {})}, cwd=cwd)

    def start_command(self, command: list[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> App:
        """Start any command that ends up under mpiexec, such as `python -m mpitasks`, and watch it alike."""
        folder = self.folder / f"app{len(self.apps)}"
        folder.mkdir()
        self.apps.append(App(command, folder, cwd=cwd or self.folder, env=env or {}))
        return self.apps[-1]

    def command(self, ranks: int) -> list[str]:
        """Return the launcher's part of the command line. Open MPI alone refuses more ranks than cores."""
        oversubscribe = ["--map-by", ":OVERSUBSCRIBE"] if self.mpi == "openmpi" else []
        return [str(self.path), *oversubscribe, "-n", str(ranks)]

    def root_env(self) -> dict[str, str]:
        """Return what Open MPI wants to hear before it runs as root."""
        if self.mpi != "openmpi" or os.geteuid() != 0:
            return {}
        return {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

    def _script(self, script: Path | str) -> str:
        if isinstance(script, Path) or "\n" not in script:
            return str(script)
        path = self.folder / "app.py"
        path.write_text(textwrap.dedent(script))
        return str(path)
