"""The scheduler: no clock, dice, log, I/O or threads in it."""
