"""What every cache is made of: the run with its clock, its report, and the agreement of ranks."""
