"""JoyImage. Pictures that it edits stand behind the picture."""

from .family import Family, Stack, references_behind

FAMILY = Family(
    name="JoyImage",
    classes=("ldm.joyimage.model.JoyImageTransformer3DModel",),
    stacks=(Stack("double_block", "double_blocks"),),
    text_first=lambda network: False,
    picture_start=references_behind,
)
