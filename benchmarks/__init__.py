"""Measurements; results of a run go to out/."""
