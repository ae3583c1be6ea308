"""The demo's image model: a TAESD autoencoder and a small SD3 transformer, on frames made by code."""
