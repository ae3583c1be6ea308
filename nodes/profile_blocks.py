"""The Profile Blocks node."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..cache_core.calibration.profiling import (
    SKIPPED,
    RankBy,
    blocks_to_skip,
    mean_changes,
    rank_by_name,
    skip_order,
    table,
)
from ..cache_core.methods.base import check_range
from ..cache_core.methods.delta_cache import FIELDS
from ..cache_core.run.report import format_ranges
from . import inputs
from .host.calibrating import Plan, Watch
from .host.compat import schema
from .host.profile import heat_map, measure
from .host.progress import ProgressText, node_of


class ScalingProfileBlocks(io.ComfyNode):
    """Samples plainly and finds the blocks that Delta Cache can skip."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ScalingProfileBlocks",
            display_name="Profile Blocks (Delta Cache)",
            category=inputs.CATEGORY,
            description=(
                "Samples once with all blocks and measures how much the change that each block makes "
                "differs from step to step, and how much it attends to the foreground. Gives lists of "
                "the blocks that Delta Cache can skip, and a heat map."
            ),
            search_aliases=["profilingdit", "delta cache", "blocks", "heat map", "attention"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input("model", tooltip="The model to profile, as you sample with it."),
                *inputs.plain_run(),
                io.Float.Input(
                    "skip",
                    default=SKIPPED,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Share of all blocks to put on the lists. The paper skips 0.7 of Wan 14B.",
                ),
                io.Combo.Input(
                    "rank_by",
                    options=[choice.value for choice in RankBy],
                    default=RankBy.STABILITY.value,
                    optional=True,
                    tooltip=(
                        "Which blocks to skip first: those whose change is steadiest, those that attend "
                        "to the background, or the mean of both ranks."
                    ),
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="heat map",
                    tooltip="Blocks by steps, and attention to the foreground.",
                ),
                io.String.Output(display_name="blocks", tooltip="For Delta Cache."),
                io.String.Output(display_name="single_blocks", tooltip="For Delta Cache."),
                io.String.Output(display_name="summary", tooltip="Both numbers of each block."),
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
        rank_by: str = RankBy.STABILITY.value,
    ) -> io.NodeOutput:
        criterion = rank_by_name(rank_by)
        check_range("skip", skip, 0.0, 1.0)
        words = ProgressText(node_of(cls))
        watch = Watch(1, words.show)
        plan = Plan([seed], steps, cfg, sampler_name, scheduler, watch=watch)
        with watch.to_the_end():
            profile = measure(model, positive, negative, latent_image, plan)
            if isinstance(profile, str):
                raise ValueError(f"model: {profile}")
        layout, preferences = profile.layout, profile.preferences
        if preferences is None:
            criterion = RankBy.STABILITY
        changes = mean_changes(profile.changes)
        order = skip_order(criterion, changes, preferences)
        chosen = blocks_to_skip(order, layout, skip)
        lines = [f"Blocks to skip (*), by {criterion.value}:"]
        if preferences is None:
            lines.insert(0, f"No foreground preference: {profile.why}")
        text = "\n".join([*lines, *table(layout, changes, preferences, chosen)])
        picture = heat_map(profile, chosen)
        words.show(text)
        lists = [format_ranges(chosen.get(kind, ())) for kind in FIELDS]
        shown = {**ui.PreviewImage(picture, cls=cls).as_dict(), **ui.PreviewText(text).as_dict()}
        return io.NodeOutput(picture, *lists, text, ui=shown)
