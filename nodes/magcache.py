"""The MagCache node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfy_api.latest import io

from ..cache_core.methods.magcache import MagCache
from . import common
from .host.compat import advanced, schema
from .host.presets import AUTO, magcache_presets, resolve
from .host.stack import why_unsupported


class ScalingMagCache(io.ComfyNode):
    """MODEL in, MODEL out: skips the blocks on a schedule from measured residual magnitudes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ScalingMagCache",
            display_name="MagCache (Scaling Cache)",
            category=common.CATEGORY,
            description=(
                "MagCache: skips the blocks of the network on a schedule that follows from how the "
                "size of their change was measured to drift."
            ),
            search_aliases=["magcache", "cache", "speed", "faster"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                common.model_input(),
                io.Combo.Input(
                    "model_type",
                    options=[AUTO, *magcache_presets()],
                    default=AUTO,
                    tooltip="Whose table of ratios to use.",
                ),
                io.Boolean.Input(
                    "published",
                    default=True,
                    tooltip="Take the published threshold, K and retention of the model.",
                ),
                io.Float.Input(
                    "magcache_thresh",
                    default=0.06,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Allowed sum of magnitude errors. Higher skips more.",
                ),
                io.Int.Input(
                    "magcache_K",
                    default=2,
                    min=0,
                    max=100,
                    tooltip="At most so many steps are skipped in a row.",
                ),
                io.Float.Input(
                    "retention_ratio",
                    default=0.2,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Share of the steps at the start that is always computed.",
                ),
                *common.window_inputs(),
                common.device_input(),
                advanced(
                    io.Boolean.Input(
                        "follow_magnitude",
                        default=False,
                        optional=True,
                        tooltip="Scale the repeated change by its measured drift. Not in the paper.",
                    )
                ),
            ],
            outputs=common.model_output(),
        )

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls,
        model: Any,
        model_type: str,
        published: bool,
        magcache_thresh: float,
        magcache_K: int,
        retention_ratio: float,
        start_percent: float,
        end_percent: float,
        cache_device: str = common.DEVICES[0],
        follow_magnitude: bool = False,
    ) -> io.NodeOutput:
        preset = resolve(model_type, "magcache", magcache_presets(), model)
        if isinstance(preset, str):
            return common.refused(cls, model, why_unsupported(model, MagCache) or preset)
        method = replace(preset.method, follow_magnitude=follow_magnitude)
        if not published:
            method = replace(
                method,
                threshold=magcache_thresh,
                longest=magcache_K,
                retention=retention_ratio,
            )
        note = f"Ratios: {preset.key}"
        return common.cached(cls, model, method, start_percent, end_percent, cache_device, note)
