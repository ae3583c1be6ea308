"""Hunyuan-DiT. The host gives the hooks of its blocks no options, so they are not used."""

from .family import BlockCall, Family, Stack

FAMILY = Family(
    name="Hunyuan-DiT",
    classes=("ldm.hydit.models.HunYuanDiT",),
    stacks=(Stack("double_block", "blocks", call=BlockCall()),),
    feeds_later_blocks=True,
)
