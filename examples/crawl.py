"""A work list that grows from results: crawl a tree of folders that nobody has counted before.

mpiexec -n 4 python crawl.py  |  python -m mpitasks -n 4 crawl.py  |  python crawl.py
"""

import tempfile
from concurrent.futures import FIRST_COMPLETED
from pathlib import Path
from typing import NamedTuple

import mpitasks
from mpitasks import task


class Listing(NamedTuple):
    """Folders and files in a folder."""

    folders: list[Path]
    sizes: dict[str, int]


@task
def look(folder: Path) -> Listing:
    """What lies in one folder."""
    inside = sorted(folder.iterdir())
    return Listing([one for one in inside if one.is_dir()], {one.name: one.stat().st_size for one in inside if one.is_file()})


def crawl(root: Path) -> tuple[int, dict[str, int]]:
    """Look at every folder below; each answer may bring more to look at."""
    count, sizes = 0, dict[str, int]()
    waiting = {look.delay(root)}
    while waiting:
        ended, waiting = mpitasks.wait(waiting, return_when=FIRST_COMPLETED)
        for listing in (future.result() for future in ended):
            count += 1
            sizes |= listing.sizes
            waiting |= {look.delay(folder) for folder in listing.folders}
    return count, sizes


def plant(folder: Path, name: str, depth: int) -> None:
    """Make a tree to crawl."""
    (folder / f"leaf{name}.txt").write_text("x" * len(name) ** 3)
    for branch in range(depth):
        (folder / str(branch)).mkdir()
        plant(folder / str(branch), f"{name}{branch}", depth - 1)


def main() -> None:
    with tempfile.TemporaryDirectory() as root:  # on several hosts, take a folder that all of them see
        plant(Path(root), "", depth=4)
        count, sizes = crawl(Path(root))
    largest = max(sizes, key=lambda name: (sizes[name], name))
    print(f"{count} folders, {len(sizes)} files, {sum(sizes.values())} bytes; largest: {largest}")


if __name__ == "__main__":
    mpitasks.run(main)
