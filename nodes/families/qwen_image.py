"""Qwen-Image and Qwen-Image-Edit."""

from .family import Family, Stack, references_behind

FAMILY = Family(
    name="Qwen-Image",
    classes=("ldm.qwen_image.model.QwenImageTransformer2DModel",),
    stacks=(Stack("double_block", "transformer_blocks"),),
    published=lambda network: {"magcache": "qwen_image"},
    picture_start=references_behind,
)
