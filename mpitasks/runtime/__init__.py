"""The loops of master and slave, with clocks, threads and signals."""
