"""Calibrate the demo's emoji model, as the Calibrate Cache node does.

    python -m demo.emoji_model.calibrate

Sixteen training prompts, one seed each, 50 steps euler, with the guidance and shift of `evaluate`.
"""

from __future__ import annotations

from ..model.calibrate import write
from ..nodes.emoji import training_prompts
from .evaluate import CFG, LATENT, conditioning, load_model
from .networks import COEFFICIENTS

if __name__ == "__main__":
    write(COEFFICIENTS, load_model, conditioning, LATENT, training_prompts()[::91], CFG)
