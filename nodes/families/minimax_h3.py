"""MiniMax H3: text, video and sound in one stream without a batch. Its hooks are not used, for they have
none either."""

from .family import BlockCall, Family, Stack

FAMILY = Family(
    name="MiniMax H3",
    classes=("ldm.minimax.model.MiniMaxH3Model",),
    stacks=(Stack("double_block", "blocks", call=BlockCall(batch=None)),),
)
