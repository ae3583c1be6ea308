"""The host's own UNet of Stable Diffusion 1 at demo size, on latents of the tiny autoencoder TAESD."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..emoji_model.networks import CHANNELS
from ..host.inprocess import import_host
from ..host.loaders import load_autoencoder
from ..nodes.vocabulary import Prompt, encode

HERE = Path(__file__).parent
UNET_FILE = HERE / "weights" / "scalingcache_demo_unet.safetensors"
VAE_FILE = HERE / "weights" / "scalingcache_demo_taesd.safetensors"
LATENT = (CHANNELS, 16, 16)
COEFFICIENTS = HERE / "coefficients" / "scalingcache_demo_unet.safetensors"
# The words of the demo's language are all in the first places of an embedding.
WIDTH = 64
_CONFIG: dict[str, Any] = {
    "image_size": 32,
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "model_channels": 64,
    "num_res_blocks": [1, 1, 1],
    "channel_mult": [1, 2, 2],
    "transformer_depth": [0, 1, 1],
    "transformer_depth_output": [0, 0, 1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "num_head_channels": 32,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": True,
    "context_dim": WIDTH,
    "legacy": False,
}


def make_base() -> Any:
    """The host's model around the network: noise prediction with the betas of Stable Diffusion."""
    import_host()
    import comfy.latent_formats
    from comfy.supported_models import SD15

    config = SD15(dict(_CONFIG))
    config.latent_format = comfy.latent_formats.SD3()
    config.set_inference_dtype(torch.float32, None)
    base = config.get_model({}, "", device=torch.device("cpu"))
    # The host takes a UNet with more than four channels for one that inpaints.
    base.concat_keys = ()
    return base


def load_model() -> Any:
    """ModelPatcher with the committed weights. The host's loaders know UNets by the width of Stable
    Diffusion's layers, so they do not know this one."""
    import_host()
    import comfy.model_patcher
    import comfy.utils

    base = make_base()
    base.load_model_weights(comfy.utils.load_torch_file(str(UNET_FILE)), "")
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(base.eval(), load_device=cpu, offload_device=cpu)


def load_vae() -> Any:
    return load_autoencoder(VAE_FILE)


def conditioning(prompts: list[Prompt | None]) -> list[list[Any]]:
    """What the demo's prompt node gives, cut to the words, for a batch of prompts."""
    return [[torch.cat([words(p) for p in prompts]), {}]]


def words(prompt: Prompt | None) -> torch.Tensor:
    """Text embedding float32 [1, 4, 64]."""
    return encode(prompt)[..., :WIDTH]


def initialise(net: nn.Module) -> nn.Module:
    """Starting weights: the host's layers come without, as it always loads a file."""
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, a=5**0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.GroupNorm | nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    # Residual branches and the output begin at nothing.
    for name, module in net.named_modules():
        if name.endswith(("out_layers.3", "proj_out", "to_out.0", "ff.net.2")) or name == "out.2":
            nn.init.zeros_(module.weight)
    return net
