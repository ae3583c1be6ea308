"""The Profile Blocks node."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..cache_core.blocks import format_blocks
from ..cache_core.profiling import stable_blocks
from . import block_inputs as common
from .host.calibrate import Plan
from .host.compat import schema
from .host.profile import heat_map, measure


class ScalingProfileBlocks(io.ComfyNode):
    """Samples plainly and finds the blocks that Delta Cache can skip."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ScalingProfileBlocks",
            display_name="Profile Blocks (Delta Cache)",
            category=common.CATEGORY,
            description=(
                "Samples once with all blocks and measures how much the change that each block makes "
                "differs from step to step. Gives lists of the steadiest blocks for Delta Cache, and a "
                "heat map."
            ),
            search_aliases=["profilingdit", "delta cache", "blocks", "heat map"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input("model", tooltip="The model to profile, as you sample with it."),
                *common.run_inputs(),
                io.Float.Input(
                    "skip",
                    default=0.6,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Share of all blocks to put on the lists. The paper skips 0.7 of Wan 14B.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="heat map", tooltip="Blocks by steps."),
                io.String.Output(display_name="blocks", tooltip="For Delta Cache."),
                io.String.Output(display_name="single_blocks", tooltip="For Delta Cache."),
            ],
        )

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls,
        model: Any,
        positive: Any,
        negative: Any,
        latent_image: Any,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        skip: float,
    ) -> io.NodeOutput:
        plan = Plan([seed], steps, cfg, sampler_name, scheduler)
        profile = measure(model, positive, negative, latent_image, plan)
        if isinstance(profile, str):
            raise ValueError(f"model: {profile}")
        chosen = stable_blocks(profile.changes, profile.layout, skip)
        picture = heat_map(profile, chosen)
        lists = [format_blocks(chosen.get(kind, ())) for kind in ("double_block", "single_block")]
        return io.NodeOutput(picture, *lists, ui=ui.PreviewImage(picture, cls=cls))
