"""LTX-Video 0.9. Blocks write in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .family import Family, Stack, modulate, rms_norm


def modulated(network: Any, args: Mapping[str, Any]) -> torch.Tensor:
    """Input of block 0 after norm and modulation."""
    tokens, time = args["img"], args["vec"]
    table = network.transformer_blocks[0].scale_shift_table.to(tokens)
    rows = table + time.reshape(time.shape[0], time.shape[1], table.shape[0], -1)
    return modulate(rms_norm(tokens), rows[:, :, 0], rows[:, :, 1])


FAMILY = Family(
    name="LTX-Video",
    classes=("ldm.lightricks.model.LTXVModel",),
    stacks=(Stack("double_block", "transformer_blocks"),),
    modulated=modulated,
    published=lambda network: {"teacache": "ltxv"},
)
