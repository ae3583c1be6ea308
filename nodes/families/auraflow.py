"""AuraFlow."""

from .family import Family, Stack

FAMILY = Family(
    name="AuraFlow",
    classes=("ldm.aura.mmdit.MMDiT",),
    stacks=(Stack("double_block", "double_layers"), Stack("single_block", "single_layers")),
    joined="single_block",
)
