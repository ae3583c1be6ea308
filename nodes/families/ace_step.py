"""ACE-Step. No hooks around the blocks."""

from .family import BlockCall, Family, Stack

FAMILY = Family(
    name="ACE-Step",
    classes=("ldm.ace.model.ACEStepTransformer2DModel",),
    stacks=(Stack("double_block", "transformer_blocks", call=BlockCall("hidden_states")),),
)
