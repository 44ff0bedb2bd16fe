"""An async main: await a call, gather many, take them as they end, and do something else meanwhile.

mpiexec -n 4 python async_main.py  |  python -m mpitasks -n 4 async_main.py  |  python async_main.py
"""

import asyncio

import mpitasks
from mpitasks import task


@task
def square(number: int) -> int:
    return number * number


@task
async def slow_square(number: int) -> int:  # a task may be async too
    await asyncio.sleep(0.001 * (number % 3))
    return number * number


async def count_down() -> str:
    for _ in range(3):
        await asyncio.sleep(0.001)
    return "lift-off"


async def main() -> None:
    print("one:", await square.delay(12))

    print("many:", await mpitasks.gather(square.map(range(8)), square.delay(100)))

    total = 0
    async for future in mpitasks.as_completed(slow_square.map(range(8))):
        total += future.result()
    print("as they ended, in all:", total)

    nine, words = await asyncio.gather(slow_square.delay(9), count_down())  # beside any other coroutine
    print("meanwhile:", nine, words)


if __name__ == "__main__":
    mpitasks.run(main)
