"""PixArt Alpha and Sigma. No hooks around the blocks."""

from .family import BlockCall, Family, Stack

FAMILY = Family(
    name="PixArt",
    classes=("ldm.pixart.pixartms.PixArtMS",),
    stacks=(Stack("double_block", "blocks", call=BlockCall()),),
)
