"""How a job goes on after ranks have died."""
