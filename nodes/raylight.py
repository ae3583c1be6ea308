"""The node for the workers of Raylight, which spreads a model over several GPUs."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..cache_core.settings import Mode, Settings, choose
from . import common
from .host.compat import schema
from .host.raylight import put

_DEFAULTS = Settings()


class ScalingCacheRaylight(io.ComfyNode):
    """RAY_ACTORS in, RAY_ACTORS out: all workers skip the same steps."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ScalingCacheRaylight",
            display_name="Scaling Cache (Raylight)",
            category="advanced/model",
            description=(
                "Scaling Cache on models that Raylight spreads over several GPUs: all of them skip the "
                "same steps. Put it between Raylight's loader and its sampler."
            ),
            search_aliases=["raylight", "multi gpu", "cache", "speed"],
            inputs=[
                io.Custom("RAY_ACTORS").Input(
                    "ray_actors", tooltip="The workers, from a loader of Raylight."
                ),
                io.Float.Input(
                    "speedup",
                    default=_DEFAULTS.speedup,
                    min=1.0,
                    max=4.0,
                    step=0.1,
                    tooltip=(
                        "How much faster sampling should be. 1.0 is off and takes the cache off "
                        "workers that have it, 2.0 computes half of the steps."
                    ),
                ),
                io.Combo.Input(
                    "mode",
                    options=[m.value for m in Mode],
                    default=_DEFAULTS.mode.value,
                    tooltip=(
                        "Target speed-up: compute as few steps as 'speedup' asks for; the GPUs need not "
                        "talk about it. Error budget: predict as long as the estimated error stays "
                        "within 'budget'."
                    ),
                ),
                *common.window_inputs(
                    _DEFAULTS.start_percent, _DEFAULTS.end_percent, verb="Predict"
                ),
                io.Float.Input(
                    "budget",
                    default=_DEFAULTS.budget,
                    optional=True,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="Error budget mode only: allowed mean error of the model's outputs.",
                ),
            ],
            outputs=[
                io.Custom("RAY_ACTORS").Output(
                    display_name="ray_actors", tooltip="The workers, faster."
                )
            ],
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
        settings = Settings(
            speedup=speedup,
            mode=choose("mode", Mode, mode),
            budget=budget,
            start_percent=start_percent,
            end_percent=end_percent,
        )
        put(ray_actors, settings)
        return io.NodeOutput(ray_actors)
