"""Hunyuan3D 2.0 and 2.1. The picture that guides takes the place of the text."""

from .family import BlockCall, Family, Stack, flux_modulated

V2 = Family(
    name="Hunyuan3D 2.0",
    classes=("ldm.hunyuan3d.model.Hunyuan3Dv2",),
    stacks=(Stack("double_block", "double_blocks"), Stack("single_block", "single_blocks")),
    joined="single_block",
    modulated=flux_modulated,
)
# The host gives the hooks of these blocks no options, so they could not find the state of their run.
V21 = Family(
    name="Hunyuan3D 2.1",
    classes=("ldm.hunyuan3dv2_1.hunyuandit.HunYuanDiTPlain",),
    stacks=(Stack("block", "blocks", call=BlockCall()),),
    feeds_later_blocks=True,
)
