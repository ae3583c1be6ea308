"""UNets: SD 1.5, SD 2, SDXL and what is built like them, SVD among them."""

from .family import Family, Stack

FAMILY = Family(
    name="UNet",
    classes=("ldm.modules.diffusionmodules.openaimodel.UNetModel",),
    stacks=(
        Stack("input_block", "input_blocks"),
        Stack("middle_block", "middle_block", single=True),
        Stack("output_block", "output_blocks"),
    ),
    unet=True,
)
