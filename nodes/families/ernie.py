"""ERNIE-Image: one stream, picture first. No hooks around the blocks."""

from .family import BlockCall, Family, Stack, references_behind

FAMILY = Family(
    name="ERNIE-Image",
    classes=("ldm.ernie.model.ErnieImageModel",),
    stacks=(Stack("single_block", "layers", call=BlockCall()),),
    picture_start=references_behind,
)
