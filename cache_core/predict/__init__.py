"""From past outputs to the next one, and the repair of what predictions missed."""
