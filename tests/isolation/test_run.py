"""Isolated calls as users make them, in one process."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import mpitasks
from mpitasks import TaskCrashed
from tests.isolation.conftest import descendants
from tests.isolation.tasks import about, crash, echo, in_box, interrupt, pid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mpitasks.session import Backend


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No process, after each."""
    before = descendants()
    yield
    assert descendants() <= before


@pytest.mark.parametrize("backend", ["inline", "threads"])
def test_isolated_calls_run_on_every_backend(backend: Backend) -> None:
    """In another process than this; a crash is an error, and no more."""

    def main() -> None:
        alone = pid.options(isolate=True)
        assert alone.delay().result() != os.getpid()
        assert pid.delay().result() == os.getpid()
        with pytest.raises(TaskCrashed, match="SIGKILL"):
            crash.options(isolate=True).delay("SIGKILL").result()
        assert echo.options(isolate=True).map(range(30)).results() == list(range(30))

    mpitasks.run(main, backend=backend, slaves=2 if backend == "threads" else None)


@pytest.mark.parametrize("backend", ["inline", "threads"])
def test_a_run_isolates_all_its_calls(backend: Backend) -> None:
    """Of tasks that don't ask for it, and of plain functions."""

    def main() -> tuple[Any, ...]:
        more = 2
        return pid.delay().result(), mpitasks.submit(lambda: os.getpid() + 0 * more).result(), about.delay(1).result()

    one, other, (_, rank, _, is_master) = mpitasks.run(
        main, backend=backend, slaves=1 if backend == "threads" else None, isolate=True
    )
    assert one == other != os.getpid()
    assert (rank, is_master) == (1, False)


def test_a_run_takes_true_or_false() -> None:
    """The error names the option."""
    with pytest.raises(TypeError, match=r"run\(\): isolate=1 must be True or False"):
        mpitasks.run(print, isolate=1, backend="inline")  # type: ignore[call-overload]  # refused at run time too


def test_a_slave_holds_at_one_place(capfd: pytest.CaptureFixture[str]) -> None:
    """Before an isolated call acquires, the slave releases what it holds, and the other way round; a crash releases nothing."""

    def main() -> None:
        for isolate in (True, True, False, False, True):
            in_box.options(isolate=isolate).delay("a").result()
        assert isinstance(crash.options(isolate=True).delay("os._exit(3)").exception(), TaskCrashed)
        in_box.options(isolate=True).delay("a").result()
        assert [one.holders for one in mpitasks.statistics().resources.values()] == [1]

    mpitasks.run(main, backend="inline")
    words = [line.split()[0] for line in capfd.readouterr().out.splitlines() if line.endswith(" a")]
    assert words == ["acquire", "release"] * 2 + ["acquire", "acquire", "release"]


def test_ctrl_c_ends_an_isolated_call() -> None:
    """In one process, where main waits for it in `delay`."""
    with pytest.raises(KeyboardInterrupt):
        mpitasks.run(lambda: interrupt.options(isolate=True).delay(os.getpid()), backend="inline")


PROGRAM = """
import sys
import mpitasks
{more}

class Thing:
    def __init__(self, number):
        self.number = number

@mpitasks.task
def double(thing):
    assert sys.modules["__main__"].__name__ == "__mp_main__"
    return Thing({twice} * thing.number)

def main():
    print(type(double.options(isolate=True).delay(Thing(21)).result()) is Thing)
    print(double.options(isolate=True).delay(Thing(21)).result().number)

{guard}mpitasks.run(main, backend="inline")
print("after")
"""


GUARD = 'if __name__ == "__main__": '


@pytest.mark.parametrize(
    ("start", "guard"),
    [("app.py", ""), ("app.py", GUARD), ("folder", ""), ("-m pack.inner", GUARD)],
)
def test_a_nanny_imports_the_program(tmp_path: Path, start: str, guard: str) -> None:
    """However it was started; and it does not run it again."""
    plain = PROGRAM.format(more="", twice=2, guard=guard)
    within = PROGRAM.format(more="from . import two", twice="two.TWO", guard=guard)
    files = {"app.py": plain, "pack/__init__.py": "", "pack/two.py": "TWO = 2", "pack/__main__.py": within}
    files |= {"pack/inner.py": within, "folder/__main__.py": plain}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    ended = subprocess.run(
        [sys.executable, *start.split()], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert sorted(ended.stdout.split()) == ["42", "True", *["after"] * (2 if guard else 1)]
