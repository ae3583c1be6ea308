"""HunyuanVideo 1 and 1.5, HunyuanImage 2.1: Flux blocks, with the picture first in hosts before 0.14."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .family import Family, Stack, flux_modulated


def published(network: Any) -> Mapping[str, str]:
    """Version 1.5 is known by its vision input; there is no polynomial for it."""
    if getattr(network, "vision_in", None) is not None:
        return {"magcache": "hunyuan_video_1.5"}
    return {"teacache": "hunyuan_video", "magcache": "hunyuan_video_720p"}


def text_first(network: Any) -> bool:
    """Blocks that put the picture first are told so when they are made."""
    return not getattr(network.double_blocks[0], "flipped_img_txt", False)


FAMILY = Family(
    name="HunyuanVideo",
    classes=("ldm.hunyuan_video.model.HunyuanVideo",),
    stacks=(Stack("double_block", "double_blocks"), Stack("single_block", "single_blocks")),
    joined="single_block",
    text_first=text_first,
    modulated=flux_modulated,
    published=published,
)
