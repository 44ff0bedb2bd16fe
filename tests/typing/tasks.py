"""Every kind of task, as users write them: what the type checkers must understand."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TypeVar

from mpitasks import Context, resource, task

T = TypeVar("T")


@resource
def counter() -> Iterator[int]:
    yield 1


@resource()
def stream() -> Generator[str, None, None]:
    yield ""


@resource("typing.db", max_holders=2, keep=3, idle_timeout=60)
def db(dsn: str = "main") -> Iterator[list[str]]:
    yield [dsn]


@resource(resource=db, key="path")
def opened(path: str) -> Iterator[bytes]:
    yield path.encode()


def first_of(path: str) -> str:
    return path[0]


@resource("typing.by", resource=db, key=first_of, max_holders=None, idle_timeout=None)
def by_letter(path: str) -> Iterator[None]:
    yield None


@task(resource=db)
def store(x: int) -> str:
    return db.get()[x]


@task("typing.read", resource=opened, key="path", bind=True)
def read(ctx: Context, path: str) -> bytes:
    return opened.get()


@task(resource=counter)
async def counted(x: float) -> float:
    return x * counter.get()


@task
def bare(x: int, y: str = "", *, flag: bool = False) -> float:
    return x / len(y) if flag else 0.0


@task()
def called(x: int) -> str:
    return str(x)


@task("typing.named", max_slaves=2, priority=1, weight=2.0, resource="mesh", key="path")
def named(path: str) -> int:
    return len(path)


def mesh_of(path: str) -> tuple[str, str]:
    return "mesh", path


@task("typing.keyed", resource=mesh_of, key=mesh_of)
def keyed(path: str) -> int:
    return len(path)


@task(bind=True)
def bound(ctx: Context, x: int) -> int:
    return x * ctx.rank


@task("typing.bound", bind=True, max_slaves=None)
def bound_named(ctx: Context, x: int, y: str = "") -> str:
    return y * x


@task
async def later(x: int) -> str:
    return str(x)


@task(bind=True)
async def later_bound(ctx: Context, x: int) -> bytes:
    return bytes(x)


@task
def generic(x: T) -> T:
    return x


@task
def variadic(first: int, *rest: str, **named: float) -> list[str]:
    return list(rest)


@task
def nothing() -> None:
    return


@task
def total(values: list[float]) -> float:
    return sum(values)


@task(resource="mesh", bind=True)
def many_values(ctx: Context, n: int) -> Iterator[int]:
    return iter(range(n))


def plain(x: int) -> str:
    return str(x)


made = task(plain)
made_named = task("typing.made", max_slaves=1)(plain)
