"""How a job goes on after ranks have died: guards, and an end without MPI_Finalize."""
