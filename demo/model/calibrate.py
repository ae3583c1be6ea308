"""Calibrate the demo model, as the Calibrate Cache node does.

    python -m demo.model.calibrate

Four training prompts, one seed each, 50 steps euler, cfg 4, shift 3.
"""

from __future__ import annotations

import torch

from ..host.inprocess import import_host, import_pack
from ..host.server import COEFFICIENTS
from ..nodes.vocabulary import Prompt, encode, training_prompts
from .clips import FRAMES
from .evaluate import CFG, load_model

PROMPTS = training_prompts()[::95]
SEED, STEPS = 77, 50


def conditioning(prompt: Prompt | None) -> list[list[object]]:
    return [[encode(prompt), {}]]


def main() -> None:
    import_host()
    import_pack()
    from scaling_cache.cache_core.coefficients import store
    from scaling_cache.nodes.host.calibrate import Plan, calibrate

    file = calibrate(
        load_model(),
        [conditioning(prompt) for prompt in PROMPTS],
        conditioning(None),
        {"samples": torch.zeros(1, 16, (FRAMES + 3) // 4, 16, 16)},
        Plan([SEED], STEPS, CFG, "euler", "simple", refine=True),
    )
    store(COEFFICIENTS, file)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
