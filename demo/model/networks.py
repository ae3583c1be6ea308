"""The host's own networks at demo size: made, initialised, and turned into files for its loaders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..host.inprocess import import_host

WEIGHTS = Path(__file__).parent / "weights"
WAN_FILE = WEIGHTS / "scalingcache_demo_wan.safetensors"
VAE_FILE = WEIGHTS / "scalingcache_demo_vae.safetensors"

CHANNELS = 16
VAE_WIDTH = 16
WIDTH, LAYERS = 256, 8
StateDict = dict[str, Tensor]


def make_vae() -> Any:
    """Wan 2.1 VAE, 16 latent channels, 8x8x4 compression, an eighth of the published width."""
    import_host()
    from comfy.ldm.wan.vae import WanVAE

    vae = WanVAE(
        dim=VAE_WIDTH,
        z_dim=CHANNELS,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=2,
        attn_scales=[],
        temperal_downsample=[False, True, True],
        dropout=0.0,
    )
    # The host's layers come without initial weights, as it always loads a file.
    for name, module in vae.named_modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            nn.init.zeros_(module.bias)
            if name.endswith("residual.6"):
                module.weight.data.mul_(0.3)
            if name.endswith("proj"):
                module.weight.data.mul_(0.1)
    return vae


def make_wan() -> Any:
    """Wan 2.1 text-to-video transformer: 8 blocks, 256 wide, two heads."""
    import_host()
    import comfy.ops
    from comfy.ldm.wan.model import WanModel

    net = WanModel(
        model_type="t2v",
        dim=WIDTH,
        num_heads=WIDTH // 128,
        ffn_dim=4 * WIDTH,
        num_layers=LAYERS,
        in_dim=CHANNELS,
        out_dim=CHANNELS,
        operations=comfy.ops.disable_weight_init,
        dtype=torch.float32,
    )
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv3d):
            nn.init.xavier_uniform_(module.weight.flatten(1))
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm) and module.elementwise_affine:
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    for name, value in net.named_parameters():
        if name.endswith(("norm_q.weight", "norm_k.weight")):
            nn.init.ones_(value)
        elif name.endswith("modulation"):
            nn.init.normal_(value, std=WIDTH**-0.5)
        elif name.startswith(("text_embedding", "time_embedding")) and value.ndim == 2:
            nn.init.normal_(value, std=0.02)
    nn.init.zeros_(net.head.head.weight)
    return net


def fold_statistics(weights: StateDict, mean: Tensor, std: Tensor) -> StateDict:
    """A VAE whose latents have the statistics that the host's Wan latent format takes away again.

    Both ends of the latent are 1x1x1 convolutions, so the change of scale is exact.

    Args:
        weights: of the trained VAE.
        mean: per channel, of its own latents.
        std: likewise.
    """
    import_host()
    from comfy.latent_formats import Wan21

    wanted = Wan21()
    wanted_mean, wanted_std = wanted.latents_mean.flatten(), wanted.latents_std.flatten()
    gain = wanted_std / std
    folded = {name: value.clone() for name, value in weights.items()}
    scale = gain.reshape(-1, 1, 1, 1, 1)
    folded["conv1.weight"][:CHANNELS] *= scale
    folded["conv1.bias"][:CHANNELS] = (folded["conv1.bias"][:CHANNELS] - mean) * gain + wanted_mean
    inner = weights["conv2.weight"].flatten(1)
    folded["conv2.weight"] = (inner / gain).reshape(weights["conv2.weight"].shape)
    folded["conv2.bias"] = weights["conv2.bias"] + inner @ (mean - wanted_mean / gain)
    return folded


def export(weights: StateDict, path: Path) -> None:
    """Write weights in float16 under the names that the host's loaders know."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.half().contiguous() for name, value in weights.items()}, str(path))
