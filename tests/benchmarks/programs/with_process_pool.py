"""concurrent.futures.ProcessPoolExecutor."""

from concurrent.futures import ProcessPoolExecutor

from common import WORKERS, measure
from executors import AnyExecutor

if __name__ == "__main__":
    with ProcessPoolExecutor(WORKERS) as executor:
        measure(AnyExecutor(executor))
