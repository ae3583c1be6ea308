"""Lumina Image 2.0 and Z-Image, also in pixels: one stream, text first. No hooks around the blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...cache_core.decide.signals import SignalKind
from .family import BlockCall, Family, Stack, modulate


def modulated(network: Any, args: Mapping[str, Any]) -> torch.Tensor:
    """Input of block 0 after norm and modulation; there is no shift. With pictures to look at, half of
    the rows are for them, at noise level zero, and the places of the others come with the call."""
    block, time = network.layers[0], args["args"][3]
    scale = block.adaLN_modulation(time).chunk(4, dim=1)[0]
    tokens, places = args["img"], args["kwargs"].get("timestep_zero_index")
    rows = torch.stack(scale.chunk(2 if places else 1), 1)
    parts = places and [*_between(places, tokens.shape[1]), *((a, b, 1) for a, b in places)]
    return modulate(block.attention_norm1(tokens), torch.zeros_like(rows), rows, parts)


def _between(places: Sequence[tuple[int, int]], count: int) -> list[tuple[int, int, int]]:
    """The tokens that lie outside of some places, as parts with the first row."""
    ends = [0, *(end for _, end in sorted(places))]
    return [
        (a, b, 0)
        for a, b in zip(ends, [*(first for first, _ in sorted(places)), count], strict=True)
    ]


def time_embedding(network: Any, timesteps: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What modulates the blocks. Older hosts do not scale the time."""
    scale = getattr(network, "time_scale", 1.0)
    return network.t_embedder((1.0 - timesteps) * scale, dtype=dtype)


def published(network: Any) -> Mapping[str, str]:
    """Of Lumina Image 2.0, known by its width; nothing is published for Z-Image."""
    return {"teacache": "lumina_2"} if network.layers[0].dim == 2304 else {}


def picture_start(network: Any, stream: int, count: int) -> int | None:
    """Behind the text. Z-Image fills both up to a multiple."""
    filled = count + -count % (network.pad_tokens_multiple or 1)
    return stream - filled if stream >= filled else None


FAMILY = Family(
    name="Lumina 2",
    classes=("ldm.lumina.model.NextDiT", "ldm.lumina.model.NextDiTPixelSpace"),
    stacks=(Stack("double_block", "layers", call=BlockCall()),),
    modulated=modulated,
    published=published,
    time={SignalKind.TIME_EMBEDDING: time_embedding},
    picture_start=picture_start,
)
