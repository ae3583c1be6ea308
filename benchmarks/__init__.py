"""Measurements; results of a run go to out/, the snapshot that docs quote is in results/."""
