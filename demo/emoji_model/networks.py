"""The host's own image networks at demo size: made, initialised, and where their weights lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..host.inprocess import import_host
from ..nodes.emoji import EMBEDDING_WIDTH, POOLED_WIDTH

WEIGHTS = Path(__file__).parent / "weights"
SD3_FILE = WEIGHTS / "scalingcache_demo_emoji.safetensors"
VAE_FILE = WEIGHTS / "scalingcache_demo_emoji_taesd.safetensors"
COEFFICIENTS = Path(__file__).parent / "coefficients" / "scalingcache_demo_emoji.safetensors"

CHANNELS = 16
DEPTH = 4  # blocks, and heads of 64


def make_taesd() -> Any:
    """The tiny autoencoder TAESD with the 16 latent channels of SD3, 8x8 compression."""
    import_host()
    from comfy.taesd.taesd import TAESD

    vae = TAESD(latent_channels=CHANNELS)
    # The host's layers come without initial weights, as it always loads a file.
    for name, module in vae.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if name.endswith("conv.4"):
                module.weight.data.mul_(0.3)
    vae.taesd_encoder[-1].weight.data.mul_(0.5)
    vae.taesd_decoder[-1].weight.data.mul_(0.1)
    nn.init.constant_(vae.taesd_decoder[-1].bias, 0.5)
    vae.vae_scale.requires_grad_(False)
    vae.vae_shift.requires_grad_(False)
    return vae


@torch.no_grad()
def make_vae() -> Any:
    """The same, but for its first weights: three channels carry red, green and blue of
    every eighth pixel from end to end, so that no training is spent on finding colours."""
    vae = make_taesd()
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


def settings() -> dict[str, Any]:
    """What the transformer and its ControlNet are made with."""
    import comfy.ops

    texts = {"in_features": EMBEDDING_WIDTH, "out_features": 64 * DEPTH}
    return {
        "input_size": None,
        "in_channels": CHANNELS,
        "depth": DEPTH,
        "adm_in_channels": POOLED_WIDTH,
        "context_embedder_config": {"target": "torch.nn.Linear", "params": texts},
        "qk_norm": "rms",
        "operations": comfy.ops.disable_weight_init,
        "dtype": torch.float32,
    }


def make_sd3() -> Any:
    """Stable Diffusion 3 transformer: 4 joint blocks, 256 wide, four heads."""
    import_host()
    from comfy.ldm.modules.diffusionmodules.mmdit import OpenAISignatureMMDITWrapper

    net = OpenAISignatureMMDITWrapper(**settings())
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight.flatten(1))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if "adaLN_modulation" in name:
                nn.init.zeros_(module.weight)
    for name, value in net.named_parameters():
        if name.endswith(("ln_q.weight", "ln_k.weight")):
            nn.init.ones_(value)
        elif name.startswith(("t_embedder", "y_embedder", "context_embedder")) and value.ndim == 2:
            nn.init.normal_(value, std=0.02)
    nn.init.zeros_(net.final_layer.linear.weight)
    return net
