"""Calibrate the demo model, as the Calibrate Cache node does.

    python -m demo.model.calibrate

Sixteen training prompts, one seed each, 50 steps euler, cfg 4, shift 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from ..host.inprocess import import_host, import_pack
from ..host.server import COEFFICIENTS
from ..nodes.vocabulary import Prompt, encode, training_prompts
from .clips import FRAMES
from .evaluate import CFG, load_model

PROMPTS = training_prompts()[::23]
SEED, STEPS = 77, 50
# Conditioning for a batch of prompts.
Encoder = Callable[[list[Any]], list[list[Any]]]


def conditioning(prompts: list[Prompt | None]) -> list[list[Any]]:
    return [[torch.cat([encode(prompt) for prompt in prompts]), {}]]


@torch.inference_mode()
def write(
    path: Path,
    load: Callable[[], Any],
    encoded: Encoder,
    latent: tuple[int, ...],
    prompts: Sequence[Any] = PROMPTS,
    cfg: float = CFG,
) -> None:
    """Calibrate a model of the demo, on latents of a shape, and write the file."""
    import_host()
    import_pack()
    from scaling_cache.cache_core.calibration.files import store
    from scaling_cache.cache_core.calibration.folder import record
    from scaling_cache.nodes.host.calibrating import Plan, calibrate

    file = calibrate(
        load(),
        [encoded([prompt]) for prompt in prompts],
        encoded([None]),
        {"samples": torch.zeros(1, *latent)},
        Plan([SEED], STEPS, cfg, "euler", "simple", refine=True),
    )
    store(path, file)
    record(path, path.read_bytes())


if __name__ == "__main__":
    write(COEFFICIENTS, load_model, conditioning, (16, (FRAMES + 3) // 4, 16, 16))
