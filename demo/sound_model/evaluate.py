"""Sample the model of video with sound by the host, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .clips import SOUND, VIDEO, Words
from .networks import conditioning

CFG = 4.0


def sample(model: Any, prompts: Sequence[Words], steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Video [n, *VIDEO] and sound [n, *SOUND] by the host's euler sampler."""
    import comfy.sample
    from comfy.nested_tensor import NestedTensor

    generator = torch.Generator().manual_seed(seed)
    noise = [torch.randn(len(prompts), *shape, generator=generator) for shape in (VIDEO, SOUND)]
    with torch.inference_mode():
        found = comfy.sample.sample(
            model,
            NestedTensor(noise),
            steps,
            CFG,
            "euler",
            "simple",
            conditioning(list(prompts)),
            conditioning([None] * len(prompts)),
            NestedTensor([torch.zeros_like(part) for part in noise]),
            disable_pbar=True,
            seed=seed,
        )
    video, sound = found.unbind()
    return video.float(), sound.float()
