"""The TeaCache node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfy_api.latest import io

from ..cache_core.methods.teacache import TeaCache
from . import common
from .host.compat import advanced, schema
from .host.presets import AUTO, resolve, teacache_presets
from .host.stack import why_unsupported


class ScalingTeaCache(io.ComfyNode):
    """MODEL in, MODEL out: skips the blocks while the timestep embedding tells of little change."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ScalingTeaCache",
            display_name="TeaCache (Scaling Cache)",
            category=common.CATEGORY,
            description=(
                "TeaCache: skips the blocks of the network while a fitted polynomial of the change of "
                "their input stays below a threshold."
            ),
            search_aliases=["teacache", "cache", "speed", "faster"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                common.model_input(),
                io.Combo.Input(
                    "model_type",
                    options=[AUTO, *teacache_presets()],
                    default=AUTO,
                    tooltip="Whose polynomial to use. The lists ending in _ret are Wan's retention mode.",
                ),
                io.Float.Input(
                    "rel_l1_thresh",
                    default=0.0,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip=(
                        "Higher skips more. 0 takes the value and the window that are recommended for "
                        "the model, about 2x. Means the same as in ComfyUI-TeaCache."
                    ),
                ),
                *common.window_inputs(),
                common.device_input(),
                advanced(
                    io.Boolean.Input(
                        "strict",
                        default=False,
                        optional=True,
                        tooltip=(
                            "The published rule to the letter: the polynomial may turn negative and "
                            "the number of skipped steps in a row has no limit."
                        ),
                    )
                ),
                common.gap_input(
                    10,
                    "At most so many steps are skipped in a row, 0 for no limit; strict ignores it.",
                ),
            ],
            outputs=common.model_output(),
        )

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls,
        model: Any,
        model_type: str,
        rel_l1_thresh: float,
        start_percent: float,
        end_percent: float,
        cache_device: str = common.DEVICES[0],
        strict: bool = False,
        max_gap: int = 10,
    ) -> io.NodeOutput:
        preset = resolve(model_type, "teacache", teacache_presets(), model)
        if isinstance(preset, str):
            return common.refused(cls, model, why_unsupported(model, TeaCache) or preset)
        method = replace(
            preset.method,
            threshold=rel_l1_thresh or preset.method.threshold,
            polynomial=replace(preset.method.polynomial, strict=strict),
            max_gap=None if strict else max_gap or None,
        )
        note = f"Polynomial: {preset.key}"
        if not rel_l1_thresh:
            start_percent = max(start_percent, preset.start_percent)
            end_percent = min(end_percent, preset.end_percent)
        return common.cached(cls, model, method, start_percent, end_percent, cache_device, note)
