"""CogVideoX 1 and 1.5. No hooks around the blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from ...cache_core.decide.signals import SignalKind
from .family import BlockCall, Family, Stack

# What the host takes where a conditioning names no other.
_OFS = 2.0


def time_embedding(network: Any, timesteps: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`emb` of the published code: the timestep, with that of the offset where the network has one."""
    first, second = network.time_embedding_linear_1, network.time_embedding_linear_2
    silu = torch.nn.functional.silu
    found = second(silu(first(_waves(network, timesteps, network.time_proj_dim).to(dtype))))
    if not network.ofs_proj_dim:
        return found
    first, second = network.ofs_embedding_linear_1, network.ofs_embedding_linear_2
    offset = torch.full_like(timesteps, _OFS)
    return found + second(silu(first(_waves(network, offset, network.ofs_proj_dim).to(dtype))))


def _waves(network: Any, values: torch.Tensor, width: int) -> torch.Tensor:
    """Sines and cosines [..., width]."""
    half = width // 2
    powers = torch.arange(half, dtype=torch.float32, device=values.device)
    rates = torch.exp(-math.log(10000) * powers / half)
    angles = values.float()[:, None] * rates
    parts = [angles.sin(), angles.cos()]
    return torch.cat(parts[::-1] if network.time_proj_flip else parts, 1)


def published(network: Any) -> Mapping[str, str]:
    """2B and 5B by their width, 1.5 by its patches in time; image to video of it by its offset."""
    if network.patch_size_t:
        return {"teacache": "cogvideox1.5_5B" + "_i2v" * bool(network.ofs_proj_dim)}
    size = {1920: "2B", 3072: "5B"}.get(network.dim)
    return {"teacache": f"cogvideox_{size}"} if size else {}


FAMILY = Family(
    name="CogVideoX",
    classes=("ldm.cogvideo.model.CogVideoXTransformer3DModel",),
    stacks=(
        Stack("double_block", "blocks", call=BlockCall("hidden_states", "encoder_hidden_states")),
    ),
    published=published,
    time={SignalKind.TIME_EMBEDDING: time_embedding},
)
