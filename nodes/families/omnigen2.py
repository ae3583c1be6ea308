"""OmniGen2: one stream of text, reference pictures and picture. No hooks around the blocks."""

from .family import BlockCall, Family, Stack, picture_last

FAMILY = Family(
    name="OmniGen2",
    classes=("ldm.omnigen.omnigen2.OmniGen2Transformer2DModel",),
    stacks=(Stack("double_block", "layers", call=BlockCall()),),
    picture_start=picture_last,
)
