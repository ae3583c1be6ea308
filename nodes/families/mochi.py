"""Mochi 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .family import Family, Stack, rms_norm


def modulated(network: Any, args: Mapping[str, Any]) -> torch.Tensor:
    """Input of block 0 after norm and modulation; Mochi has no shift."""
    block = network.blocks[0]
    scale = block.mod_x(torch.nn.functional.silu(args["vec"])).chunk(4, dim=1)[0]
    return rms_norm(args["img"]) * (1 + scale[:, None])


FAMILY = Family(
    name="Mochi",
    classes=("genmo.joint_model.asymm_models_joint.AsymmDiTJoint",),
    stacks=(Stack("double_block", "blocks"),),
    text_first=lambda network: False,
    modulated=modulated,
    published=lambda network: {"teacache": "mochi"},
)
