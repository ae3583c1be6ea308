"""Calibrate the demo's UNet, as the Calibrate Cache node does.

    python -m demo.unet_model.calibrate

Sixteen training prompts, one seed each, 50 steps euler, cfg 4.
"""

from __future__ import annotations

from ..model.calibrate import write
from .networks import COEFFICIENTS, LATENT, conditioning, load_model

if __name__ == "__main__":
    write(COEFFICIENTS, load_model, conditioning, LATENT)
