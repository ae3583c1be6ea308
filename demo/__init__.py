"""A small trained model, the real host around it, and a run that shows what the cache does."""
