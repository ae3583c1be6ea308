"""The Scaling Cache node."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..cache_core.methods.base import one_of, parse_ranges
from ..cache_core.methods.scaling_cache import MODES, PREDICTORS
from ..cache_core.methods.scaling_cache import ScalingCache as Method
from . import inputs
from .host.cache import Cache, install
from .host.coefficients import AUTO, choices
from .host.compat import schema
from .host.progress import node_of

_DEFAULTS = Method()
_MODE = (
    "Target speed-up: compute as few steps as 'speedup' asks for. Near-lossless, balanced and "
    "fast draft: 1.5x, 2x and 3x, whatever 'speedup' says. Error budget: predict as long as the "
    "estimated error stays within 'budget'."
)
_PREDICTOR = (
    "How a skipped output is made. Scaling follows the line through the last two outputs as far as it "
    "proved right; least squares weighs the last three as calibrated and needs coefficients; auto takes "
    "least squares where a calibration of this model found it nearer, else scaling; order 0 repeats the "
    "last output; order 1 and 2 extrapolate."
)
_WARMUP = (
    "Steps at the start that are always computed. 0 leaves them to the target, which places every "
    "step; an error budget then computes 3."
)
_COEFFICIENTS = (
    "Coefficients for the predictors auto and least squares. Auto takes a file that was made for "
    "this model; none uses none; or choose a file."
)
_STEPS = (
    "Steps to compute, such as 0-2, 5, 8, in place of a target. The node names those of a run after it: "
    "copy and edit them. Empty for none."
)
_CORRECTOR = (
    "At each computed step, make good what the skipped ones before it missed. Closer to the full "
    "result at no cost; works with samplers that add no noise."
)


class ScalingCache(io.ComfyNode):
    """MODEL in, MODEL out: the sampler computes some steps and the cache predicts the others."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        gap = "At most so many steps are predicted in a row."
        return schema(
            node_id="ScalingCache",
            display_name="Scaling Cache",
            category=inputs.CATEGORY,
            description=(
                "Makes sampling faster: computes some of the steps and predicts the others. "
                "Put it between the model loader and the sampler."
            ),
            search_aliases=inputs.aliases("teacache", "easycache", "step cache"),
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input("model", tooltip="The model to make faster. Works with any model."),
                inputs.speedup(_DEFAULTS.speedup),
                inputs.choice("mode", list(MODES), _MODE),
                *inputs.window(verb="Predict"),
                inputs.choice("predictor", list(PREDICTORS), _PREDICTOR, folded=True),
                inputs.budget(_DEFAULTS.budget),
                inputs.number("warmup", _DEFAULTS.warmup, 0, 1000, _WARMUP, folded=True),
                inputs.number("max_gap", _DEFAULTS.max_gap, 1, 1000, gap, folded=True),
                inputs.choice("coefficients", choices(), _COEFFICIENTS, folded=True),
                inputs.text("computed_steps", _STEPS, folded=True),
                inputs.switch("corrector", _DEFAULTS.corrects, _CORRECTOR, folded=True),
            ],
            outputs=inputs.model_output(),
        )

    @classmethod
    def validate_inputs(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls,
        mode: Any = None,
        predictor: Any = None,
        coefficients: Any = None,
        computed_steps: Any = None,
    ) -> bool | str:
        """Check the choices before anything runs: not every host checks them itself.

        A value that comes over a link is not known yet; `execute` checks it.
        """
        try:
            for field, allowed, value in (
                ("mode", MODES, mode),
                ("predictor", PREDICTORS, predictor),
                ("coefficients", choices(), coefficients),
            ):
                if isinstance(value, str):
                    one_of(field, allowed, value)
            if isinstance(computed_steps, str):
                Method(listed=parse_ranges("computed_steps", computed_steps))
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls,
        model: Any,
        speedup: float,
        mode: str,
        start_percent: float,
        end_percent: float,
        predictor: str = "auto",
        budget: float = _DEFAULTS.budget,
        warmup: int = _DEFAULTS.warmup,
        max_gap: int = _DEFAULTS.max_gap,
        coefficients: str = AUTO,
        computed_steps: str = "",
        corrector: bool = _DEFAULTS.corrects,
    ) -> io.NodeOutput:
        method = Method(
            speedup,
            MODES[one_of("mode", MODES, mode)],
            budget,
            PREDICTORS[one_of("predictor", PREDICTORS, predictor)],
            warmup,
            max_gap,
            corrector,
            parse_ranges("computed_steps", computed_steps),
            start_percent=start_percent,
            end_percent=end_percent,
        )
        if method.off:
            return inputs.off(cls, model)
        return io.NodeOutput(install(model, Cache(method, node_of(cls), coefficients)))
