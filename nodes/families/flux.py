"""Flux 1 (dev, schnell, Kontext, Fill) and Flux 2. Blocks write in place; text comes first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .family import Family, Stack, flux_modulated, references_behind


def published(network: Any) -> Mapping[str, str]:
    """Of Flux 1; nothing is published for Flux 2, which is known by its shared modulation."""
    if getattr(network.params, "global_modulation", False):
        return {}
    return {"teacache": "flux", "magcache": "flux"}


FAMILY = Family(
    name="Flux",
    classes=("ldm.flux.model.Flux",),
    stacks=(Stack("double_block", "double_blocks"), Stack("single_block", "single_blocks")),
    joined="single_block",
    modulated=flux_modulated,
    published=published,
    picture_start=references_behind,
)
