"""dask.distributed, with a cluster of processes on this machine."""

from common import CHUNK, WORKERS, Library, measure

from distributed import Client, LocalCluster


class Dask(Library):
    def __init__(self, client):
        self.client = client

    def submit(self, fn, items):
        return self.client.gather(self.queue(fn, items))

    def map(self, fn, items):
        self.client.gather(self.client.map(fn, items, batch_size=CHUNK, pure=False))

    def queue(self, fn, items):
        return [self.client.submit(fn, item, pure=False) for item in items]


if __name__ == "__main__":
    local = LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None, host="127.0.0.1")
    with local as cluster, Client(cluster) as mine:
        measure(Dask(mine))
