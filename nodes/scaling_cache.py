"""The Scaling Cache node."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..cache_core.numbers import parse_numbers
from ..cache_core.settings import Mode, PredictorKind, Settings, choose
from . import common
from .host.coefficients import AUTO, choices
from .host.compat import advanced, schema
from .host.wrappers import StepCache, install, remove

_DEFAULTS = Settings()


class ScalingCache(io.ComfyNode):
    """MODEL in, MODEL out: the sampler computes some steps and the cache predicts the others."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ScalingCache",
            display_name="Scaling Cache",
            category="advanced/model",
            description=(
                "Makes sampling faster: computes some of the steps and predicts the others. "
                "Put it between the model loader and the sampler."
            ),
            search_aliases=["cache", "speed", "teacache", "easycache", "step cache", "faster"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input("model", tooltip="The model to make faster. Works with any model."),
                io.Float.Input(
                    "speedup",
                    default=_DEFAULTS.speedup,
                    min=1.0,
                    max=4.0,
                    step=0.1,
                    tooltip=(
                        "How much faster sampling should be. 1.0 is off, 2.0 computes half of the "
                        "steps. Higher is faster and further from the full result."
                    ),
                ),
                io.Combo.Input(
                    "mode",
                    options=[m.value for m in Mode],
                    default=_DEFAULTS.mode.value,
                    tooltip=(
                        "Target speed-up: compute as few steps as 'speedup' asks for. Near-lossless, "
                        "balanced and fast draft: 1.5x, 2x and 3x, whatever 'speedup' says. "
                        "Error budget: predict as long as the estimated error stays within 'budget'."
                    ),
                ),
                *common.window_inputs(
                    _DEFAULTS.start_percent, _DEFAULTS.end_percent, verb="Predict"
                ),
                advanced(
                    io.Combo.Input(
                        "predictor",
                        options=[p.value for p in PredictorKind if not p.is_taylor],
                        default=_DEFAULTS.predictor.value,
                        optional=True,
                        tooltip=(
                            "How a skipped output is made. Scaling follows the line through the last two "
                            "outputs as far as it proved right; least squares weighs the last three as "
                            "calibrated and needs coefficients; auto takes least squares where a "
                            "calibration of this model found it nearer, else scaling; order 0 repeats "
                            "the last output; order 1 and 2 extrapolate."
                        ),
                    )
                ),
                advanced(
                    io.Float.Input(
                        "budget",
                        default=_DEFAULTS.budget,
                        optional=True,
                        min=0.0,
                        max=1.0,
                        step=0.001,
                        tooltip=(
                            "Error budget mode only: allowed mean error of the model's outputs, as a "
                            "share of their size. 0.02 is hard to see; 0 is off."
                        ),
                    )
                ),
                advanced(
                    io.Int.Input(
                        "warmup",
                        default=_DEFAULTS.warmup,
                        optional=True,
                        min=0,
                        max=1000,
                        tooltip=(
                            "Steps at the start that are always computed. 0 leaves them to the target, "
                            "which places every step; an error budget then computes 3."
                        ),
                    )
                ),
                advanced(
                    io.Int.Input(
                        "max_gap",
                        default=_DEFAULTS.max_gap,
                        optional=True,
                        min=1,
                        max=1000,
                        tooltip="At most so many steps are predicted in a row.",
                    )
                ),
                advanced(
                    io.Combo.Input(
                        "coefficients",
                        options=choices(),
                        default=AUTO,
                        optional=True,
                        tooltip=(
                            "Coefficients for the predictors auto and least squares. Auto takes a file "
                            "that was made for this model; none reads no file; or choose a file."
                        ),
                    )
                ),
                advanced(
                    io.String.Input(
                        "computed_steps",
                        default="",
                        optional=True,
                        tooltip=(
                            "Steps to compute, such as 0-2, 5, 8, in place of a target. The node names "
                            "those of a run after it: copy and edit them. Empty for none."
                        ),
                    )
                ),
                advanced(
                    io.Boolean.Input(
                        "corrector",
                        default=_DEFAULTS.corrector,
                        optional=True,
                        tooltip=(
                            "At each computed step, make good what the skipped ones before it missed. "
                            "Closer to the full result at no cost; works with samplers that add no noise."
                        ),
                    )
                ),
            ],
            outputs=common.model_output(),
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
            for field, kind, value in (
                ("mode", Mode, mode),
                ("predictor", PredictorKind, predictor),
            ):
                if isinstance(value, str):
                    choose(field, kind, value)
            if isinstance(computed_steps, str):
                listed_steps(computed_steps)
        except ValueError as error:
            return str(error)
        if isinstance(coefficients, str) and coefficients not in choices():
            return f"coefficients: must be one of {', '.join(choices())}, got {coefficients!r}"
        return True

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls,
        model: Any,
        speedup: float,
        mode: str,
        start_percent: float,
        end_percent: float,
        predictor: str = _DEFAULTS.predictor.value,
        budget: float = _DEFAULTS.budget,
        warmup: int = _DEFAULTS.warmup,
        max_gap: int = _DEFAULTS.max_gap,
        coefficients: str = AUTO,
        computed_steps: str = "",
        corrector: bool = _DEFAULTS.corrector,
    ) -> io.NodeOutput:
        settings = Settings(
            speedup=speedup,
            mode=choose("mode", Mode, mode),
            budget=budget,
            start_percent=start_percent,
            end_percent=end_percent,
            predictor=choose("predictor", PredictorKind, predictor),
            warmup=warmup,
            max_gap=max_gap,
            corrector=corrector,
            listed=listed_steps(computed_steps),
        )
        if settings.off:
            return common.off(cls, remove(model))
        config = StepCache(settings, coefficients, common.node_id(cls))
        return io.NodeOutput(install(model, config))


def listed_steps(text: str) -> tuple[int, ...]:
    """Steps from a list such as `0-2, 5, 8`.

    Raises:
        ValueError: naming the field, if it is not a list of rising numbers.
    """
    steps = parse_numbers("computed_steps", text)
    if list(steps) != sorted(set(steps)):
        raise ValueError("computed_steps: must rise and not repeat a step")
    return steps
