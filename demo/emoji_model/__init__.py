"""The demo's emoji model: a TAESD autoencoder and a small SD3 transformer, on pictures of a font."""
