"""What tests, the compatibility matrix and the soak runs share: tiny models and ways to watch them."""
