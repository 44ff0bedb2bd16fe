"""What calls returned, kept in a file for the next run."""
