"""Stable Diffusion 3 and 3.5."""

from .family import Family, Stack

FAMILY = Family(
    name="SD3",
    classes=("modules.diffusionmodules.mmdit.OpenAISignatureMMDITWrapper",),
    stacks=(Stack("double_block", "joint_blocks"),),
)
