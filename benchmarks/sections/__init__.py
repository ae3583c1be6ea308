"""The sections of docs/results.md, written from rows of result files."""
