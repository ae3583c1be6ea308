"""Ideogram 4: one stream, text first. No hooks around the blocks."""

from .family import BlockCall, Family, Stack, picture_last

FAMILY = Family(
    name="Ideogram 4",
    classes=("ldm.ideogram4.model.Ideogram4Transformer2DModel",),
    stacks=(Stack("single_block", "layers", call=BlockCall()),),
    picture_start=picture_last,
)
