"""Cosmos 1.0 and Cosmos Predict2: tokens of a video in their place. No hooks around the blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .family import BlockCall, Family, Stack


def modulated(network: Any, args: Mapping[str, Any]) -> torch.Tensor:
    """Input of the first part of block 0 after norm and modulation."""
    part = network.blocks["block0"].blocks[0]
    rows = part.adaLN_modulation(args["args"][1])
    if part.use_adaln_lora:
        rows = rows + args["kwargs"]["adaln_lora_B_3D"]
    shift, scale, _ = (row[:, None, None, None] for row in rows.chunk(3, dim=1))
    return part.norm_state(args["img"]) * (1 + scale) + shift


COSMOS = Family(
    name="Cosmos 1",
    classes=("ldm.cosmos.model.GeneralDIT",),
    stacks=(Stack("double_block", "blocks", call=BlockCall(batch=3)),),
    # Positions are added in place before each block.
    adds_after_blocks=True,
    modulated=modulated,
    # 7B; nothing is published for 14B.
    published=lambda net: {"teacache": "cosmos1_7B"} if net.model_channels == 4096 else {},
)
PREDICT2 = Family(
    name="Cosmos Predict2",
    classes=("ldm.cosmos.predict2.MiniTrainDIT", "ldm.anima.model.Anima"),
    stacks=(Stack("double_block", "blocks", call=BlockCall()),),
)
