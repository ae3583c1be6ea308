"""Wan 2.1 and 2.2: text to video, image to video, VACE, Camera, HuMo, Animate, SCAIL, Dancer, S2V."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ...cache_core.decide.signals import SignalKind
from .family import BlockCall, Family, Stack


def time_embedding(network: Any, timesteps: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`e` of the published code: sinusoidal embedding of the timestep through `time_embedding`."""
    half = network.freq_dim // 2
    rates = torch.pow(
        10000, -torch.arange(half, dtype=torch.float64, device=timesteps.device) / half
    )
    angles = timesteps.double()[:, None] * rates
    return network.time_embedding(torch.cat([angles.cos(), angles.sin()], 1).to(dtype))


def time_projection(network: Any, timesteps: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`e0` of the published code: what modulates the blocks."""
    return network.time_projection(time_embedding(network, timesteps, dtype))


def published(network: Any) -> Mapping[str, str]:
    """By width and kind. The two image-to-video models of 14B look alike: 480p is assumed."""
    size = {1536: "1.3B", 5120: "14B"}.get(network.dim)
    if network.dim == 3072:
        return {"magcache": "wan2.2_ti2v_5B_t2v"}
    if size is None:
        return {}
    if network.model_type == "i2v" and size == "14B":
        return dict.fromkeys(("teacache", "magcache"), "wan2.1_i2v_480p_14B")
    plain = f"wan2.1_t2v_{size}"
    vace = type(network).__name__ == "VaceWanModel" and size == "1.3B"
    return {"teacache": plain, "magcache": "wan2.1_vace_1.3B" if vace else plain}


FAMILY = Family(
    name="Wan",
    classes=(
        "ldm.wan.model.WanModel",
        "ldm.wan.model.VaceWanModel",
        "ldm.wan.model.CameraWanModel",
        "ldm.wan.model.HumoWanModel",
        "ldm.wan.model.SCAILWanModel",
        "ldm.wan.model.SCAIL2WanModel",
        "ldm.wan.model_animate.AnimateWanModel",
        "ldm.wan.model_wandancer.WanDancerModel",
        "ldm.wan.ar_model.CausalWanModel",
    ),
    stacks=(Stack("double_block", "blocks"),),
    adds_after_blocks=True,
    published=published,
    time={
        SignalKind.TIME_EMBEDDING: time_embedding,
        SignalKind.TIME_PROJECTION: time_projection,
    },
)

# The host gives the hooks of these blocks no options, so they could not find the state of their run.
S2V = Family(
    name="Wan S2V",
    classes=("ldm.wan.model.WanModel_S2V",),
    stacks=(Stack("double_block", "blocks", call=BlockCall()),),
    adds_after_blocks=True,
    time=FAMILY.time,
)
