"""The scheduler, pure: no clock, no dice, no log, no I/O, no threads."""
