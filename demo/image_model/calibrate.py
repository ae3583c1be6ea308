"""Calibrate the demo's image model, as the Calibrate Cache node does.

    python -m demo.image_model.calibrate

Four training prompts, one seed each, 50 steps euler, cfg 4, shift 3.
"""

from __future__ import annotations

import torch

from ..host.inprocess import import_host, import_pack
from ..model.calibrate import PROMPTS, SEED, STEPS
from ..model.evaluate import CFG
from .evaluate import LATENT, conditioning, load_model
from .networks import COEFFICIENTS


def main() -> None:
    import_host()
    import_pack()
    from scaling_cache.cache_core.coefficients import store
    from scaling_cache.nodes.host.calibrate import Plan, calibrate

    file = calibrate(
        load_model(),
        [conditioning([prompt]) for prompt in PROMPTS],
        conditioning([None]),
        {"samples": torch.zeros(1, *LATENT)},
        Plan([SEED], STEPS, CFG, "euler", "simple", refine=True),
    )
    store(COEFFICIENTS, file)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
