"""`python -m mpitasks bench`: how fast calls are on this machine.

::

    bench -n 4 ──► mpiexec -n 4 python -m mpitasks bench ──┬─ rank 0: measures, prints a table or JSON
                                                           └─ others: slaves

    short_calls, bulk, idle, uneven, sleeping, memory, starting ──► timing, wire, slaves, scale ──► figures ◄── table
              └──────────── command: the sections by name

What can be compared with bare mpi4py is: the same processes take turns at calls and at bare messages, whose other end
runs inside a task. On a shared machine the absolute figures wander, and the ratios stay.
"""

from __future__ import annotations

from .command import main

__all__ = ["main"]
