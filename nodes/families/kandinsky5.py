"""Kandinsky 5, video and image. Its hooks have names of their own, so they are not used."""

from .family import BlockCall, Family, Stack

FAMILY = Family(
    name="Kandinsky 5",
    classes=("ldm.kandinsky5.model.Kandinsky5",),
    stacks=(Stack("double_block", "visual_transformer_blocks", call=BlockCall()),),
)
