"""The demo model: clips made by code, a narrow Wan VAE and a small Wan diffusion transformer."""
