"""The Scaling Cache node."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..cache_core.methods.base import FEW, Few, one_of, parse_ranges
from ..cache_core.methods.combinations import SCALING_CACHE_PREDICTORS as PREDICTORS
from ..cache_core.methods.scaling import MODES
from ..cache_core.methods.scaling import ScalingCache as Method
from . import inputs
from .host.cache import Cache, install
from .host.coefficients import AUTO, choices
from .host.progress import node_of

_DEFAULTS = Method()


class ScalingCache(io.ComfyNode):
    """MODEL in, MODEL out: the sampler computes some steps and the cache predicts the others."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return inputs.cache_node(
            "ScalingCache",
            "Scaling Cache",
            "Makes sampling faster: computes some of the steps and predicts the others. "
            "Put it between the model loader and the sampler.",
            ["teacache", "easycache", "step cache"],
            [
                inputs.model("The model to make faster. Works with any model."),
                inputs.speedup(_DEFAULTS.speedup),
                inputs.mode(),
                *inputs.window(verb="Predict"),
                inputs.predictor(list(PREDICTORS)),
                inputs.budget(_DEFAULTS.budget),
                *inputs.placed_steps(_DEFAULTS.warmup, _DEFAULTS.max_gap),
                inputs.coefficients(choices()),
                inputs.computed_steps(),
                inputs.corrector(_DEFAULTS.corrects),
                inputs.few_steps(),
            ],
        )

    @classmethod
    def validate_inputs(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls, computed_steps: Any = None
    ) -> bool | str:
        """Check the list before anything runs, what comes over a link in `execute`. Newer hosts check the
        choices, with others `execute` does: what is wrong is said for each input that is named here."""
        try:
            Method(listed=parse_ranges("computed_steps", computed_steps or ""))
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
        few_steps: str = Few.AUTO.value,
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
            FEW[one_of("few_steps", FEW, few_steps)],
            start_percent=start_percent,
            end_percent=end_percent,
        )
        if method.off:
            return inputs.off(cls, model)
        return io.NodeOutput(install(model, Cache(method, node_of(cls), coefficients)))
