"""Calibrate the demo's image model, as the Calibrate Cache node does.

    python -m demo.image_model.calibrate

Four training prompts, one seed each, 50 steps euler, cfg 4, shift 3.
"""

from __future__ import annotations

from ..model.calibrate import write
from .evaluate import LATENT, conditioning, load_model
from .networks import COEFFICIENTS

if __name__ == "__main__":
    write(COEFFICIENTS, load_model, conditioning, LATENT)
