"""The demo's UNet: a small Stable Diffusion 1 network that predicts noise, on frames made by code."""
