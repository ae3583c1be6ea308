"""Flux 1 (dev, schnell, Kontext, Fill), Flux 2, LongCat-Image. Blocks write in place; text is first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .family import Family, Stack, flux_modulated, references_behind


def published(network: Any) -> Mapping[str, str]:
    """Of Flux 1, which alone takes a vector of the whole text."""
    return {"teacache": "flux", "magcache": "flux"} if network.params.vec_in_dim else {}


FAMILY = Family(
    name="Flux",
    classes=("ldm.flux.model.Flux",),
    stacks=(Stack("double_block", "double_blocks"), Stack("single_block", "single_blocks")),
    joined="single_block",
    modulated=flux_modulated,
    published=published,
    picture_start=references_behind,
)
