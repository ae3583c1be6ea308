"""LTX-2: video, and sound in the place of the text. A block takes and returns both as a pair."""

from .family import BlockCall, Family, Stack

FAMILY = Family(
    name="LTX-2",
    classes=("ldm.lightricks.av_model.LTXAVModel",),
    stacks=(Stack("double_block", "transformer_blocks", call=BlockCall(pair=True)),),
    reads_both=True,
)
