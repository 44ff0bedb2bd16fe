"""The two loops, of the master and of a slave: clocks, threads and signals live here."""
