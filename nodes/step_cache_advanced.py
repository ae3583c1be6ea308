"""The Step Cache (Advanced) node: every method with every predictor that goes with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfy_api.latest import io

from ..cache_core.methods import Inputs, Level, ScalingCache, combinations
from ..cache_core.methods.base import Few
from ..cache_core.methods.combinations import (
    GRANULARITIES,
    METHOD_NAMES,
    PREDICTOR_NAMES,
    PREDICTORS,
)
from . import inputs
from .host.block_hooks import why_unsupported
from .host.compat import telling
from .host.presets import facts_of, schedules

_DEFAULTS = Inputs()


class ScalingStepCacheAdvanced(io.ComfyNode):
    """MODEL in, MODEL out: one method, taken apart."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return inputs.cache_node(
            "ScalingStepCacheAdvanced",
            "Step Cache (Advanced)",
            "Every caching method of the pack, with the predictor and the granularity of your "
            "choice. What does not go together is refused with the reason.",
            [name.lower() for name in METHOD_NAMES],
            [
                inputs.model(),
                inputs.using(
                    telling(
                        inputs.choice(
                            "method", METHOD_NAMES, "What decides which steps are skipped."
                        ),
                        offers=combinations.offers(),
                        recommended={
                            "threshold": {
                                name: inputs.recommended(name, value)
                                for name, value in combinations.thresholds().items()
                            }
                        },
                    ),
                    {name: combinations.uses(name) for name in METHOD_NAMES},
                ),
                inputs.choice(
                    "granularity",
                    GRANULARITIES,
                    "What is left out: the whole step, or blocks inside the network.",
                ),
                inputs.choice(
                    "predictor",
                    PREDICTOR_NAMES,
                    "How what is left out is predicted. Auto is the method's own way.",
                ),
                *_settings(),
                *inputs.window(),
                inputs.cache_device(),
            ],
        )

    @classmethod
    def validate_inputs(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls, method: Any = None, granularity: Any = None, predictor: Any = None
    ) -> bool | str:
        """Check the combination before anything runs. What comes over a link is not known yet.

        Raises:
            ValueError: naming the field; the host would say what is returned once for each input.
        """
        chosen = (method, granularity, predictor)
        if all(isinstance(value, str) for value in chosen):
            combinations.choose(*chosen)
        return True

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls,
        model: Any,
        method: str,
        granularity: str,
        predictor: str,
        speedup: float,
        threshold: float,
        interval: int,
        warmup: int,
        max_gap: int,
        start_percent: float,
        end_percent: float,
        cache_device: str = inputs.DEVICES[0],
        **folded: Any,
    ) -> io.NodeOutput:
        kind = combinations.choose(method, granularity, predictor)
        given = Inputs(
            speedup,
            threshold,
            interval,
            warmup,
            max_gap,
            **folded,
            start_percent=start_percent,
            end_percent=end_percent,
        )
        if kind.level is Level.BLOCKS and (why := why_unsupported(model, kind)):
            return inputs.refused(cls, model, why)
        made = kind.from_inputs(given, facts_of(model))
        if isinstance(made, ScalingCache) and granularity == Level.STEP.value:
            made = replace(made, few=Few.STEPS)
        took = None if threshold else getattr(made, "threshold", None)
        notes = [] if took is None else [f"threshold {took:g}, the recommended one"]
        own = PREDICTORS.get(predictor)
        return inputs.cached(cls, model, made, cache_device, *notes, predictor=own)


def _settings() -> list[io.Input]:
    """The inputs that some methods use: the node hides the others."""
    d, most = _DEFAULTS, 1000
    return [
        inputs.speedup(d.speedup),
        inputs.number(
            "threshold",
            d.threshold,
            0.0,
            10.0,
            "Of methods that compare: higher skips more. 0 is the recommended value.",
            step=0.01,
        ),
        inputs.number("interval", d.interval, 1, most, "Every so many steps are computed."),
        inputs.number(
            "warmup",
            d.warmup,
            0,
            most,
            "Steps at the start that are always computed; 0 leaves them to a target.",
        ),
        inputs.number(
            "max_gap",
            d.max_gap,
            0,
            most,
            "At most so many steps are skipped in a row; 0 is the method's own limit.",
        ),
        inputs.number("order", d.order, 1, 3, "Highest difference of a forecast.", folded=True),
        inputs.number(
            "first_blocks",
            d.first_blocks,
            1,
            most,
            "Blocks at the start that always run; in a UNet as many at the end as well.",
            folded=True,
        ),
        inputs.number(
            "last_blocks", d.last_blocks, 0, most, "Blocks at the end that always run.", folded=True
        ),
        *inputs.blocks(folded=True),
        inputs.number(
            "power",
            d.power,
            1.0,
            3.0,
            "1 computes every so many steps; above 1 (1.4 published) as many, closer together around the "
            "center.",
            step=0.05,
            folded=True,
        ),
        inputs.number(
            "center",
            d.center,
            0,
            most,
            "With a power above 1: step around which computed steps are closest. Published: 15 of 50.",
            folded=True,
        ),
        inputs.choice(
            "schedule",
            list(schedules()),
            "Of Published Schedule: the model that steps were searched on, and by which method. Of its "
            "lists the one nearest to 'speedup' is taken.",
            folded=True,
        ),
    ]
