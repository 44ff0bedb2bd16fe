"""Calls in a child of the slave, which may crash alone."""
