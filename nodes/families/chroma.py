"""Chroma and Chroma Radiance: Flux blocks with ready modulation, and blocks that may be left out."""

from .family import Family, Stack, flux_modulated

FAMILY = Family(
    name="Chroma",
    classes=("ldm.chroma.model.Chroma", "ldm.chroma_radiance.model.ChromaRadiance"),
    stacks=(
        Stack("double_block", "double_blocks", left_out="skip_mmdit"),
        Stack("single_block", "single_blocks", left_out="skip_dit"),
    ),
    joined="single_block",
    modulated=flux_modulated,
    published=lambda network: {"magcache": "chroma"},
)
