"""The First Block Cache node."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..cache_core.methods.first_block_cache import FirstBlockCache
from . import common
from .host.compat import schema


class ScalingFirstBlockCache(io.ComfyNode):
    """MODEL in, MODEL out: runs the first block and skips the others while it changes little."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ScalingFirstBlockCache",
            display_name="First Block Cache (Scaling Cache)",
            category=common.CATEGORY,
            description=(
                "First Block Cache: runs the first block of the network and skips the others while "
                "its change stays near that of the last computed step."
            ),
            search_aliases=["fbcache", "wavespeed", "cache", "speed", "faster"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                common.model_input(),
                io.Float.Input(
                    "residual_diff_threshold",
                    default=0.1,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Allowed relative change. Higher skips more; 0 is off.",
                ),
                *common.window_inputs(),
                common.device_input(),
                common.gap_input(0, "At most so many steps are skipped in a row; 0 is no limit."),
            ],
            outputs=common.model_output(),
        )

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls,
        model: Any,
        residual_diff_threshold: float,
        start_percent: float,
        end_percent: float,
        cache_device: str = common.DEVICES[0],
        max_gap: int = 0,
    ) -> io.NodeOutput:
        method = FirstBlockCache(residual_diff_threshold, max_gap or None)
        return common.cached(cls, model, method, start_percent, end_percent, cache_device)
