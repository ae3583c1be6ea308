"""ACE-Step 1 and 1.5. No hooks around the blocks."""

from .family import BlockCall, Family, Stack

FAMILY = Family(
    name="ACE-Step",
    classes=("ldm.ace.model.ACEStepTransformer2DModel",),
    stacks=(Stack("double_block", "transformer_blocks", call=BlockCall("hidden_states")),),
)
V15 = Family(
    name="ACE-Step 1.5",
    classes=("ldm.ace.ace_step15.AceStepConditionGenerationModel",),
    stacks=(Stack("double_block", "decoder.layers", call=BlockCall("hidden_states")),),
)
