"""Krea 2: one stream, text first. No hooks around the blocks."""

from .family import BlockCall, Family, Stack

FAMILY = Family(
    name="Krea 2",
    classes=("ldm.krea2.model.SingleStreamDiT",),
    stacks=(Stack("single_block", "blocks", call=BlockCall()),),
)
