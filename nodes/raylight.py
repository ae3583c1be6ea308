"""The node for the workers of Raylight, which spreads a model over several GPUs."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..cache_core.methods.base import one_of
from ..cache_core.methods.scaling import MODES, ScalingCache
from . import inputs
from .host.compat import schema
from .host.ray_workers import put

_DEFAULTS = ScalingCache()


class ScalingCacheRaylight(io.ComfyNode):
    """RAY_ACTORS in, RAY_ACTORS out: all workers skip the same steps."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        workers = io.Custom("RAY_ACTORS")
        mode = (
            "Target speed-up: compute as few steps as 'speedup' asks for; the GPUs need not talk "
            "about it. Error budget: predict as long as the estimated error stays within 'budget'."
        )
        return schema(
            node_id="ScalingCacheRaylight",
            display_name="Scaling Cache (Raylight)",
            category=inputs.CATEGORY,
            description=(
                "Scaling Cache on models that Raylight spreads over several GPUs: all of them skip the "
                "same steps. Put it between Raylight's loader and its sampler. At 1.0 it takes the cache "
                "off workers that have it."
            ),
            search_aliases=inputs.aliases("raylight", "multi gpu"),
            inputs=[
                workers.Input("ray_actors", tooltip="The workers, from a loader of Raylight."),
                inputs.speedup(_DEFAULTS.speedup),
                inputs.mode(mode),
                *inputs.window(verb="Predict"),
                inputs.budget(_DEFAULTS.budget),
            ],
            outputs=[workers.Output(display_name="ray_actors", tooltip="The workers, faster.")],
        )

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls,
        ray_actors: Any,
        speedup: float,
        mode: str,
        start_percent: float,
        end_percent: float,
        budget: float = _DEFAULTS.budget,
    ) -> io.NodeOutput:
        window: dict[str, Any] = {"start_percent": start_percent, "end_percent": end_percent}
        put(ray_actors, ScalingCache(speedup, MODES[one_of("mode", MODES, mode)], budget, **window))
        return io.NodeOutput(ray_actors)
