"""mpi-master-slave: a WorkQueue that is asked without a pause, as its fastest users do."""

from common import FUNCTIONS, Library, measure

from mpi4py import MPI
from mpi_master_slave import Master, Slave, WorkQueue

BY_NAME = {fn.__name__: fn for fn in FUNCTIONS}


class Mine(Slave):
    def do_work(self, data):
        number, name, item = data
        return number, BY_NAME[name](item)


class MasterSlave(Library):
    def __init__(self, master):
        self.work = WorkQueue(master)

    def submit(self, fn, items):
        work, values = self.work, {}
        self.queue(fn, items)
        while not work.done():
            work.do_work()
            values.update(work.get_completed_work())
        return [values[number] for number in range(len(values))]

    def look(self):
        self.work.do_work()
        self.work.master.get_ready_slaves()  # as `Master.run` does
        self.work.master.get_completed_slaves()  # as `Master.get_data` does

    def queue(self, fn, items):
        for number, item in enumerate(items):
            self.work.add_work((number, fn.__name__, item))


if __name__ == "__main__":
    if MPI.COMM_WORLD.rank:
        Mine().run()
    else:
        mine = Master(range(1, MPI.COMM_WORLD.size))
        measure(MasterSlave(mine))
        mine.terminate_slaves()
