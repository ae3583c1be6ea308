"""Boogu: streams of their own for text and picture, then one, text first. No hooks around the blocks."""

from .family import BlockCall, Family, Stack, picture_last

FAMILY = Family(
    name="Boogu",
    classes=("ldm.boogu.model.BooguTransformer2DModel",),
    stacks=(
        Stack("double_block", "double_stream_layers", call=BlockCall(txt=1)),
        Stack("single_block", "single_stream_layers", call=BlockCall()),
    ),
    joined="single_block",
    picture_start=picture_last,
)
