"""A parameter sweep with numpy arrays: where does the logistic map settle, and when does it stop settling?

mpiexec -n 4 python sweep.py  |  python -m mpitasks -n 4 sweep.py  |  python sweep.py
"""

import numpy as np
from numpy.typing import NDArray

import mpitasks
from mpitasks import task

Points = NDArray[np.float64]


@task
def orbit(growth: float, start: Points, warm_up: int = 2_000, keep: int = 64) -> Points:
    """The last points of x -> growth x (1 - x), one row for each start."""
    x = start
    for _ in range(warm_up):
        x = growth * x * (1 - x)
    rows = np.empty((keep, start.size))
    for row in rows:
        row[:] = x = growth * x * (1 - x)
    return rows.T


@task
def period(points: Points) -> int:
    """After how many steps the points come back; 0 if they don't."""
    steps = range(1, points.shape[1] // 2)
    return next((n for n in steps if np.allclose(points[:, n:], points[:, :-n], atol=1e-6)), 0)


def main() -> None:
    start = np.linspace(0.1, 0.9, 16)
    growths = [2.8, 3.2, 3.5, 3.55, 3.7, 3.835, 3.9]
    orbits = [orbit.delay(growth, start) for growth in growths]  # arrays go and come as they are
    periods = [period.delay(points.arg()) for points in orbits]  # and from one call on to the next

    for growth, points, length in zip(growths, orbits, periods, strict=True):
        low, high = points.result().min(), points.result().max()
        says = f"comes back every {length.result()}" if length.result() else "never comes back"
        print(f"growth {growth:.3f}: between {low:.3f} and {high:.3f}, {says}")


if __name__ == "__main__":
    mpitasks.run(main)
