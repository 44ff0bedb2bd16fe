"""Ray, on this machine; chunks by its own multiprocessing.Pool."""

import logging
import os

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
from common import CHUNK, FUNCTIONS, WORKERS, Library, measure
from ray.util.multiprocessing import Pool


class Ray(Library):
    def __init__(self):
        self.remote = {fn: ray.remote(fn) for fn in FUNCTIONS}
        self.pool = None

    def submit(self, fn, items):
        return ray.get(self.queue(fn, items))

    def map(self, fn, items):
        with Pool(WORKERS) as pool:
            pool.map(fn, items, chunksize=CHUNK)

    def queue(self, fn, items):
        remote = self.remote[fn].remote
        return [remote(item) for item in items]


if __name__ == "__main__":
    ray.init(
        num_cpus=WORKERS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
    )
    measure(Ray())
    ray.shutdown()
