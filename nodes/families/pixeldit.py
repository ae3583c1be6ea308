"""PixelDiT, and PiD, which is built from it: pictures in pixels. No hooks around the blocks."""

from .family import BlockCall, Family, Stack

FAMILY = Family(
    name="PixelDiT",
    classes=("ldm.pixeldit.model.PixDiT_T2I", "ldm.pixeldit.pid.PidNet"),
    stacks=(Stack("double_block", "patch_blocks", call=BlockCall(txt=1)),),
    # PiD lets the picture that it enlarges in before each block.
    adds_after_blocks=True,
)
