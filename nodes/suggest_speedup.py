"""The Suggest Speed-up node."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import comfy.samplers
from comfy_api.latest import io, ui

from ..cache_core.methods.base import FASTEST, FEWEST_STEPS
from ..cache_core.methods.scaling import ScalingCache
from ..cache_core.planning.optimiser import best_chains
from ..cache_core.planning.suggestion import suggest
from . import inputs
from .host.coefficients import AUTO, NONE, choices, find_coefficients
from .host.compat import schema
from .host.progress import ProgressText, node_of
from .host.sampling import over_run, sampler_traits, schedule_of

_DEFAULTS = ScalingCache()
# Of a picture of 1024 pixels: what is sampled is not known here, and its size matters little.
_LATENT = (1, 16, 128, 128)


class ScalingSuggestSpeedup(io.ComfyNode):
    """Reads from calibration data how fast a model can be sampled before one sees it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ScalingSuggestSpeedup",
            display_name="Suggest Speed-up",
            category=inputs.CATEGORY,
            description=(
                "Says from the coefficients of this model which speed-up of Scaling Cache is safe and "
                "which one is visible. Calibrate the model first."
            ),
            search_aliases=["cache", "speedup", "calibration", "coefficients"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input("model", tooltip="The model, with the shift that you sample with."),
                io.Int.Input(
                    "steps",
                    default=28,
                    min=FEWEST_STEPS,
                    max=1000,
                    tooltip="Steps that you sample with.",
                ),
                io.Float.Input(
                    "cfg", default=4.0, min=0.0, max=100.0, step=0.1, tooltip="Guidance scale."
                ),
                io.Combo.Input(
                    "sampler_name",
                    options=comfy.samplers.SAMPLER_NAMES,
                    tooltip="Sampler that you sample with.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.SCHEDULER_NAMES,
                    tooltip="Scheduler that you sample with.",
                ),
                io.Combo.Input(
                    "coefficients",
                    options=[choice for choice in choices() if choice != NONE],
                    default=AUTO,
                    tooltip="Auto takes a file that was made for this model; or choose a file.",
                ),
            ],
            outputs=[
                io.Float.Output(
                    display_name="speedup",
                    tooltip="The safe one, for Scaling Cache; 1 if there is none.",
                ),
                io.String.Output(display_name="text", tooltip="The safe and the visible speed-up."),
            ],
        )

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls,
        model: Any,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        coefficients: str = AUTO,
    ) -> io.NodeOutput:
        schedule = schedule_of(model, sampler_name, scheduler, steps)
        traits = sampler_traits(comfy.samplers.sampler_object(sampler_name), schedule)
        if traits.stochastic:
            noise = "may add noise" if traits.unknown else "adds noise"
            why = f"{sampler_name} {noise} between steps, which coefficients do not know"
            return _say(cls, 1.0, f"No suggestion: {why}")
        found = find_coefficients(coefficients, model, schedule, cfg)
        if found.guided is None:
            why = found.note or "there are no coefficients of this model"
            return _say(cls, 1.0, f"No suggestion: {why}\nCalibrate Cache makes coefficients")
        if found.unlike:
            return _say(cls, 1.0, f"No suggestion: {found.note}: {found.unlike}")
        try:
            table = over_run(found.guided, model, schedule, _LATENT)
            chains = best_chains(table, schedule, (), _DEFAULTS.max_gap, traits.sums)
        except ValueError as error:
            return _say(cls, 1.0, f"No suggestion: {error}")
        suggestion = suggest(chains, len(schedule) - 1)
        # The widget that it goes to moves in tenths; rounded up it would not be safe.
        safe = min(math.floor(suggestion.safe * 10 + 1e-6) / 10, FASTEST)
        return _say(cls, safe, f"{replace(suggestion, safe=safe)}\n{found.note}")


def _say(cls: Any, speedup: float, text: str) -> io.NodeOutput:
    ProgressText(node_of(cls)).show(text)
    return io.NodeOutput(speedup, text, ui=ui.PreviewText(text))
