"""HiDream I1 and E1. No hooks around the blocks; each is given text of its own behind the streams."""

from __future__ import annotations

from typing import Any

import torch

from ...cache_core.decide.signals import SignalKind
from .family import BlockCall, Family, Stack


def time_embedding(network: Any, timesteps: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The time's part of what modulates the blocks."""
    return network.t_embedder(timesteps, dtype)


FAMILY = Family(
    name="HiDream",
    classes=("ldm.hidream.model.HiDreamImageTransformer2DModel",),
    stacks=(
        Stack(
            "double_block", "double_stream_blocks", call=BlockCall("image_tokens", "text_tokens")
        ),
        Stack(
            "single_block", "single_stream_blocks", call=BlockCall("image_tokens", "text_tokens")
        ),
    ),
    joined="single_block",
    text_first=lambda network: False,
    # Full, dev and fast look alike: full is assumed.
    published=lambda network: {"teacache": "hidream_i1_full"},
    time={SignalKind.TIME_EMBEDDING: time_embedding},
)
