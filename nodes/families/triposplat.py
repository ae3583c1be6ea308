"""TripoSplat: object, guiding picture and camera in one stream. No hooks around the blocks."""

from .family import BlockCall, Family, Stack

FAMILY = Family(
    name="TripoSplat",
    classes=("ldm.triposplat.model.LatentSeqMMFlowModel",),
    stacks=(Stack("double_block", "blocks", call=BlockCall()),),
)
