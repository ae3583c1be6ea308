"""The CFG Cache node."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..cache_core.cfg_cache import CfgCache
from . import common
from .host.cfg import CfgConfig, install, remove
from .host.compat import advanced, schema

_DEFAULTS = CfgCache()


class ScalingCfgCache(io.ComfyNode):
    """MODEL in, MODEL out: skips the negative conditioning at most steps."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ScalingCfgCache",
            display_name="CFG Cache (Scaling Cache)",
            category=common.CATEGORY,
            description=(
                "CFG Cache (FasterCache): runs the negative conditioning at some steps only and "
                "predicts it from the positive one at the others. Goes with any other cache."
            ),
            search_aliases=["fastercache", "cfg", "negative", "cache", "speed", "faster"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                common.model_input(),
                io.Int.Input(
                    "interval",
                    default=_DEFAULTS.interval,
                    min=1,
                    max=100,
                    tooltip="The negative conditioning runs at every so many steps; 1 is off.",
                ),
                *common.window_inputs(_DEFAULTS.start_percent, _DEFAULTS.end_percent),
                *(
                    advanced(
                        io.Float.Input(
                            name,
                            default=getattr(_DEFAULTS, name),
                            min=0.0,
                            max=2.0,
                            step=0.01,
                            optional=True,
                            tooltip=tooltip,
                        )
                    )
                    for name, tooltip in (
                        (
                            "low",
                            "Factor of the coarse part of the difference between the two, from 10 to "
                            "90 percent of the denoising.",
                        ),
                        ("high", "Factor of its fine part, from 70 percent on."),
                    )
                ),
            ],
            outputs=common.model_output(),
        )

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls,
        model: Any,
        interval: int,
        start_percent: float,
        end_percent: float,
        low: float = _DEFAULTS.low,
        high: float = _DEFAULTS.high,
    ) -> io.NodeOutput:
        cache = CfgCache(interval, low, high, start_percent, end_percent)
        if cache.interval == 1:
            return common.off(cls, remove(model))
        return io.NodeOutput(install(model, CfgConfig(cache, common.node_id(cls))))
