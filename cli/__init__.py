"""Commands that talk to a running host over its API. Standard library only, so any Python runs them."""
