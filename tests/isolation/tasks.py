"""What is called in children: it crashes, hangs, keeps, tells."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mpitasks
from mpitasks import Context, current, resource, task

if TYPE_CHECKING:
    from collections.abc import Iterator


@task
def echo(value: Any = None) -> Any:
    """Give back what it is given."""
    return value


@task
def pid() -> int:
    """Which process this is."""
    return os.getpid()


@task
def fail(text: str) -> None:
    """Raise what the caller can tell from others."""
    raise ValueError(text)


@task
def crash(how: str) -> None:
    """End this process in one of many ways."""
    libc = ctypes.CDLL(None)
    ways: dict[str, Any] = {
        "SIGSEGV": lambda: ctypes.string_at(0),
        "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "SIGABRT": os.abort,
        "os._exit(0)": lambda: os._exit(0),
        "os._exit(3)": lambda: os._exit(3),
        "exit(4)": lambda: libc.exit(4),
    }
    ways[how]()


@task
def hang(where: str) -> None:
    """Never end."""
    if where == "Python":
        while True:
            try:
                time.sleep(60)
            except:  # noqa: E722, S112  what would not let the alarm through either
                continue
    library = ctypes.CDLL(None) if where == "C" else ctypes.PyDLL(None)
    # Locked twice: C code that no signal ends.
    mutex = ctypes.create_string_buffer(256)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


@task
def sleep() -> None:
    """Wait where an alarm is heard."""
    time.sleep(300)


@task
def kill_nanny() -> None:
    """Kill the parent, and go on."""
    os.kill(os.getppid(), signal.SIGKILL)
    while True:
        os.sched_yield()


@task
def interrupt(pid: int) -> None:
    """Send Ctrl-C to a process, and go on."""
    os.kill(pid, signal.SIGINT)
    while True:
        os.sched_yield()


@task
def leave_behind(file: str) -> None:
    """Start programs that outlive this call: a child, one in a session of its own, one whose parent has gone."""
    sleep = "exec sleep 300 >/dev/null 2>&1"
    commands = [f"{sleep} & echo $!; exit", f"exec setsid /bin/sh -c 'echo $$; {sleep}'", f"echo $$; {sleep}"]
    with Path(file).open("w", buffering=1) as pids:
        for command in commands:
            started = subprocess.Popen(["/bin/sh", "-c", command], stdout=subprocess.PIPE)
            assert started.stdout is not None
            pids.write(started.stdout.readline().decode())
    os._exit(5)


@task
def until_stopped() -> str:
    """Go on until somebody says stop."""
    while not current().should_stop():
        os.sched_yield()
    return "stopped"


@task
def say(text: str, *, then_crash: bool = False) -> None:
    """Print and log."""
    sys.stdout.write(text)
    logging.getLogger("tests").warning(text)
    if then_crash:
        os._exit(1)


@task(bind=True)
def about(ctx: Context, _: int) -> tuple[str, int, int, bool]:
    """What a call knows of itself."""
    return ctx.task_name, ctx.rank, ctx.attempt, mpitasks.is_master()


@task
async def later(value: int) -> int:
    """An async task."""
    await asyncio.sleep(0)
    return value


@task
def variables() -> dict[str, str]:
    """The environment of this process."""
    return dict(os.environ)


@task
def no_memory() -> None:
    """What a limit of memory leads to."""
    raise MemoryError


@task
def close_all() -> None:
    """Close what is not this task's."""
    os.closerange(3, 1000)


@task
def add_one(array: Any) -> Any:
    """Write to the argument."""
    array += 1
    return array


@task
def shared() -> str:
    """Named shared memory, which the task itself removes."""
    with closing(SharedMemory(create=True, size=16)) as memory:
        memory.unlink()
        return memory.name


@resource(keep=2)
def box(name: str) -> Iterator[tuple[str, int]]:
    """Where it was made."""
    os.write(1, f"acquire {name}\n".encode())
    yield name, os.getpid()
    os.write(1, f"release {name}\n".encode())


@resource(idle_timeout=0.05)
def brief() -> Iterator[int]:
    """Released soon."""
    yield os.getpid()


@task(resource=box, key="name")
def in_box(name: str) -> tuple[str, int]:
    """What is held."""
    return box.get()


@task(resource=brief)
def in_brief() -> int:
    """What is held for a moment."""
    return brief.get()


@resource(timeout=0.1)
def stuck() -> Iterator[None]:
    """Never acquired."""
    hang.fn("C")
    yield


@task(resource=stuck)
def in_stuck() -> None:
    """Never begun."""


@resource
def kept_for_good() -> Iterator[None]:
    """Never released."""
    yield
    hang.fn("C")


@task(resource=kept_for_good)
def in_kept_for_good() -> int:
    """Where it is held."""
    return os.getpid()
