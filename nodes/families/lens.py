"""Lens. Text and picture in streams of their own."""

from .family import Family, Stack

FAMILY = Family(
    name="Lens",
    classes=("ldm.lens.model.LensTransformer2DModel",),
    stacks=(Stack("double_block", "transformer_blocks"),),
)
