"""The host's own networks at demo size, those of the image model, and where their weights lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..image_model.networks import CHANNELS, make_sd3
from ..image_model.networks import make_vae as make_first

WEIGHTS = Path(__file__).parent / "weights"
SD3_FILE = WEIGHTS / "scalingcache_demo_emoji.safetensors"
VAE_FILE = WEIGHTS / "scalingcache_demo_emoji_taesd.safetensors"
COEFFICIENTS = Path(__file__).parent / "coefficients" / "scalingcache_demo_emoji.safetensors"

__all__ = ["CHANNELS", "COEFFICIENTS", "SD3_FILE", "VAE_FILE", "WEIGHTS", "make_sd3", "make_vae"]


@torch.no_grad()
def make_vae() -> Any:
    """TAESD as the image model's, but for its first weights: three channels carry red, green and blue of
    every eighth pixel from end to end, so that no training is spent on finding colours."""
    vae = make_first()
    for name, module in vae.named_modules():
        if isinstance(module, nn.Conv2d):
            module.weight[:3] = 0
            if module.bias is not None:
                module.bias[:3] = 0
            if ".conv." not in name and ".skip" not in name:
                module.weight[range(3), range(3), 1, 1] = 1
    # Pictures are bright; latents are to lie about 0 and as far as 1.
    last, first = vae.taesd_encoder[-1], vae.taesd_decoder[1]
    last.weight[:3] *= 4
    last.bias[:3] = -2.8
    first.weight[:3] /= 4
    first.bias[:3] = 0.7
    return vae
