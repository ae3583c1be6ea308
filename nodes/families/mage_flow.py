"""Mage Flow, built from Qwen-Image blocks."""

from .family import Family, Stack, references_behind

FAMILY = Family(
    name="Mage Flow",
    classes=("ldm.mage_flow.model.MageFlowTransformer2DModel",),
    stacks=(Stack("double_block", "transformer_blocks"),),
    picture_start=references_behind,
)
