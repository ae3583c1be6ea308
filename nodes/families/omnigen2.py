"""OmniGen2: one stream of text, reference pictures and picture. No hooks around the blocks."""

from __future__ import annotations

from typing import Any

from .family import BlockCall, Family, Stack


def picture_start(network: Any, stream: int, count: int) -> int | None:
    """Last in the stream."""
    return stream - count if stream >= count else None


FAMILY = Family(
    name="OmniGen2",
    classes=("ldm.omnigen.omnigen2.OmniGen2Transformer2DModel",),
    stacks=(Stack("double_block", "layers", call=BlockCall()),),
    picture_start=picture_start,
)
