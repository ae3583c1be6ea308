"""Stable Audio. Its blocks are those of a transformer within the network."""

from .family import Family, Stack

FAMILY = Family(
    name="Stable Audio",
    classes=("ldm.audio.dit.AudioDiffusionTransformer",),
    stacks=(Stack("double_block", "transformer.layers"),),
)
