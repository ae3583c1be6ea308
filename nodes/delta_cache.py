"""The Delta Cache node."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..cache_core.blocks import Layout
from ..cache_core.methods.delta_cache import HUNYUAN_VIDEO, WAN_14B, DeltaCache, StackPlan
from ..cache_core.numbers import parse_numbers
from . import common
from .families import find_family
from .families.base import Family
from .host.compat import schema
from .host.stack import why_unsupported

CUSTOM = "custom"
# Fields for the lists of blocks, by kind of block.
FIELDS = {"double_block": "blocks", "single_block": "single_blocks"}
_PUBLISHED = {
    "wan2.1_t2v_14B": (WAN_14B, Layout((("double_block", 40),))),
    "hunyuan_video": (HUNYUAN_VIDEO, Layout((("double_block", 20), ("single_block", 40)))),
}


class ScalingDeltaCache(io.ComfyNode):
    """MODEL in, MODEL out: skips listed blocks on most steps and adds what they last changed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ScalingDeltaCache",
            display_name="Delta Cache (Scaling Cache)",
            category=common.CATEGORY,
            description=(
                "Delta Cache (ProfilingDiT): on most steps a list of blocks is skipped and what each "
                "run of them changed on the last computed step is added; the other blocks run."
            ),
            search_aliases=["profilingdit", "deltacache", "block cache", "cache", "speed"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                common.model_input(),
                io.Combo.Input(
                    "settings",
                    options=[*_PUBLISHED, CUSTOM],
                    default=CUSTOM,
                    tooltip="Published lists for a model, or the lists below.",
                ),
                io.String.Input(
                    "blocks",
                    default="",
                    tooltip="Blocks to skip, such as 0, 2-7. The double blocks of a two-stack model.",
                ),
                io.String.Input(
                    "single_blocks",
                    default="",
                    tooltip="Single blocks to skip, in models that have them.",
                ),
                io.Int.Input(
                    "start_step",
                    default=6,
                    min=1,
                    max=1000,
                    tooltip="All steps before this one are computed.",
                ),
                io.Int.Input(
                    "interval",
                    default=6,
                    min=1,
                    max=1000,
                    tooltip="From the start step on, every so many steps are computed.",
                ),
                *common.window_inputs(),
                common.device_input(),
            ],
            outputs=common.model_output(),
        )

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls,
        model: Any,
        settings: str,
        blocks: str,
        single_blocks: str,
        start_step: int,
        interval: int,
        start_percent: float,
        end_percent: float,
        cache_device: str = common.DEVICES[0],
    ) -> io.NodeOutput:
        network = model.model.diffusion_model
        family = find_family(network)
        why = why_unsupported(model, DeltaCache)
        if why or family is None:
            return common.refused(cls, model, why)
        layout = family.layout(network)
        if settings == CUSTOM:
            method = custom_lists(family, blocks, single_blocks, start_step, interval)
        elif settings not in _PUBLISHED:
            allowed = ", ".join([*_PUBLISHED, CUSTOM])
            raise ValueError(f"settings: must be one of {allowed}, got {settings!r}")
        else:
            method, fits = _PUBLISHED[settings]
            if layout != fits:
                return common.refused(
                    cls, model, f"{settings} does not fit the blocks of this model"
                )
        return common.cached(cls, model, method, start_percent, end_percent, cache_device)


def custom_lists(
    family: Family, blocks: str, single_blocks: str, start: int, interval: int
) -> DeltaCache:
    """Lists as the user wrote them, on one schedule.

    Raises:
        ValueError: naming the field.
    """
    plans = tuple(
        StackPlan(field, kind, parse_numbers(field, text), start, interval)
        for (kind, field), text in zip(FIELDS.items(), (blocks, single_blocks), strict=True)
        if text.strip()
    )
    if not plans:
        raise ValueError(f"blocks: name at least one block of this {family.name} model to skip")
    return DeltaCache(plans)
