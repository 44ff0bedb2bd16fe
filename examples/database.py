"""Files that bear one writer each: a slave connects once, keeps the connection, and closes it when idle or at the end.

mpiexec -n 4 python database.py  |  python -m mpitasks -n 4 database.py  |  python database.py
"""

import math
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mpitasks
from mpitasks import resource, task

SHARDS = ["east", "west"]


@resource(max_holders=1, idle_timeout=10)  # one slave for each path: nobody else has it open
def database(path: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)  # once, before the first call that needs it
    connection.execute("create table if not exists results (number integer primary key, value real)")
    yield connection  # kept between calls
    connection.close()  # when nobody has needed it for 10 seconds, and however the run ends


@task
def compute(number: int) -> float:
    return math.sqrt(number)


@task(resource=database, key="path")
def store(path: str, number: int, value: float) -> None:
    database.get().execute("insert into results values (?, ?)", (number, value))


@task(resource=database, key="path")
def total(path: str) -> tuple[int, float]:
    count, value = database.get().execute("select count(*), sum(value) from results").fetchone()
    return count, value


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, f"{shard}.db")) for shard in SHARDS]
        values = compute.map(range(100))
        stored = [store.delay(paths[number % 2], number, value.arg()) for number, value in enumerate(values)]
        totals = [total.options(after=stored).delay(path) for path in paths]
        for shard, (count, value) in zip(SHARDS, (future.result() for future in totals), strict=True):
            print(f"{shard}: {count} rows, sum {value:.3f}")


if __name__ == "__main__":
    mpitasks.run(main)
