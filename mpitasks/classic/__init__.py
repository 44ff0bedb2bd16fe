"""The API of mpi-master-slave, on the farm of mpitasks.

::

    from mpitasks.classic import Master, Slave, WorkQueue, MultiWorkQueue

    rank 0:  queue = WorkQueue(Master(slaves=range(1, size)))      other ranks:  MySlave().run()
             queue.add_work(data)                                                   │
             while not queue.done():                                                │
                 queue.do_work()               ──── master.run(slave, data) ────►   do_work(data)
                 queue.get_completed_work()    ◄─── master.get_data(slave) ─────    what it returned

Programs written for mpi-master-slave 0.2 run with these names. They may use COMM_WORLD as they like, and have ranks that
are no slaves: nothing here starts a collective, and the messages here have tags of their own.
"""

from .. import guard
from ..errors import SlaveNotReady
from .master import Master
from .queues import MultiWorkQueue, WorkQueue
from .slave import Slave

__all__ = ["Master", "MultiWorkQueue", "Slave", "SlaveNotReady", "WorkQueue"]

# At import, and on every rank: one that is no slave ends without a word to anybody.
guard.may_leave_without_run()
