"""The Step Cache (Advanced) node: every method with every predictor that goes with it."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..cache_core import combinations
from ..cache_core.combinations import (
    BLOCK_PREDICTORS,
    GRANULARITIES,
    METHOD_NAMES,
    PREDICTORS,
    STEP_PREDICTORS,
    Granularity,
)
from ..cache_core.settings import Settings
from . import common
from .host.compat import advanced, schema, telling
from .host.presets import AUTO
from .host.stack import StackCache
from .host.stack import install as install_stack
from .host.stack import remove as remove_stack
from .host.wrappers import StepCache
from .host.wrappers import install as install_step
from .host.wrappers import remove as remove_step
from .recipes import RECIPES, Inputs, make_inside, make_on_steps


class ScalingStepCacheAdvanced(io.ComfyNode):
    """MODEL in, MODEL out: one method, taken apart."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ScalingStepCacheAdvanced",
            display_name="Step Cache (Advanced)",
            category=common.CATEGORY,
            description=(
                "Every caching method of the pack, with the predictor and the granularity of your "
                "choice. What does not go together is refused with the reason."
            ),
            search_aliases=[
                "dbcache",
                "dicache",
                "taylorseer",
                "easycache",
                "mixcache",
                "cache",
                "speed",
            ],
            hidden=[io.Hidden.unique_id],
            inputs=[
                common.model_input(),
                telling(
                    io.Combo.Input(
                        "method",
                        options=list(METHOD_NAMES),
                        default=METHOD_NAMES[0],
                        tooltip="What decides which steps are skipped.",
                    ),
                    offers=combinations.offers(),
                    uses={name: recipe.uses for name, recipe in RECIPES.items()},
                ),
                io.Combo.Input(
                    "granularity",
                    options=list(GRANULARITIES),
                    default=AUTO,
                    tooltip="What is left out: the whole step, or blocks inside the network.",
                ),
                io.Combo.Input(
                    "predictor",
                    options=list(PREDICTORS),
                    default=AUTO,
                    tooltip="How what is left out is predicted. Auto is the method's own way.",
                ),
                *_settings(),
                *common.window_inputs(),
                common.device_input(),
            ],
            outputs=common.model_output(),
        )

    @classmethod
    def validate_inputs(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls, method: Any = None, granularity: Any = None, predictor: Any = None
    ) -> bool | str:
        """Check the combination before anything runs. What comes over a link is not known yet."""
        chosen = (method, granularity, predictor)
        if not all(isinstance(value, str) for value in chosen):
            return True
        try:
            combinations.choose(*chosen)
        except ValueError as error:
            return str(error)
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
        order: int = 1,
        first_blocks: int = 1,
        last_blocks: int = 0,
        blocks: str = "",
        single_blocks: str = "",
        power: float = 1.0,
        center: int = 15,
        cache_device: str = common.DEVICES[0],
    ) -> io.NodeOutput:
        level = combinations.choose(method, granularity, predictor)
        to_host = common.on_host(cache_device)
        inputs = Inputs(
            speedup=speedup,
            threshold=threshold,
            interval=interval,
            order=order,
            first_blocks=first_blocks,
            last_blocks=last_blocks,
            blocks=blocks,
            single_blocks=single_blocks,
            warmup=warmup,
            max_gap=max_gap,
            power=power,
            center=center,
            start_percent=start_percent,
            end_percent=end_percent,
        )
        node = common.node_id(cls)
        if level is Granularity.STEP:
            step_method = make_on_steps(method, inputs)
            if isinstance(step_method, Settings) and step_method.off:
                return common.off(cls, remove_step(model))
            config = StepCache(step_method, AUTO, node, predictor=STEP_PREDICTORS.get(predictor))
            return io.NodeOutput(install_step(remove_stack(model), config))
        made = make_inside(method, inputs, model)
        if isinstance(made, str):
            return common.refused(cls, model, made)
        config = StackCache(
            made,
            start_percent,
            end_percent,
            to_host,
            node,
            predictor=BLOCK_PREDICTORS.get(predictor),
        )
        return io.NodeOutput(install_stack(model, config))


def _settings() -> list[io.Input]:
    """The inputs that some methods use."""
    return [
        io.Float.Input(
            "speedup",
            default=2.0,
            min=1.0,
            max=4.0,
            step=0.1,
            tooltip="Scaling Cache: how much faster sampling should be.",
        ),
        io.Float.Input(
            "threshold",
            default=0.0,
            min=0.0,
            max=10.0,
            step=0.01,
            tooltip=(
                "Methods that compare (TeaCache, MagCache, First Block Cache, DBCache, DiCache, "
                "EasyCache, LazyCache, SmoothCache, MixCache): higher skips more. 0 is the recommended "
                "value."
            ),
        ),
        io.Int.Input(
            "interval",
            default=4,
            min=1,
            max=1000,
            tooltip=(
                "TaylorSeer, EOC, Delta Cache, DeepCache: every so many steps are computed. DeepCache: 3 "
                "published."
            ),
        ),
        io.Int.Input(
            "warmup",
            default=3,
            min=0,
            max=1000,
            tooltip=(
                "Steps at the start that are always computed; with Scaling Cache 0 leaves them to "
                "the target. TeaCache, MagCache, First Block Cache, DiCache and DeepCache have rules of "
                "their own."
            ),
        ),
        io.Int.Input(
            "max_gap",
            default=6,
            min=0,
            max=1000,
            tooltip="At most so many steps are skipped in a row; 0 is the method's own limit.",
        ),
        advanced(
            io.Int.Input(
                "order",
                default=1,
                min=1,
                max=3,
                optional=True,
                tooltip="TaylorSeer: highest difference of its forecast.",
            )
        ),
        advanced(
            io.Int.Input(
                "first_blocks",
                default=1,
                min=1,
                max=1000,
                optional=True,
                tooltip=(
                    "DBCache, DiCache, DeepCache: blocks at the start that always run. DBCache: 8 "
                    "published. DeepCache: as many at the end as well."
                ),
            )
        ),
        advanced(
            io.Int.Input(
                "last_blocks",
                default=0,
                min=0,
                max=1000,
                optional=True,
                tooltip="DBCache: blocks at the end that always run.",
            )
        ),
        advanced(
            io.String.Input(
                "blocks",
                default="",
                optional=True,
                tooltip="Delta Cache: blocks to skip, such as 0, 2-7.",
            )
        ),
        advanced(
            io.String.Input(
                "single_blocks",
                default="",
                optional=True,
                tooltip="Delta Cache: single blocks to skip, in models that have them.",
            )
        ),
        advanced(
            io.Float.Input(
                "power",
                default=1.0,
                min=1.0,
                max=3.0,
                step=0.05,
                optional=True,
                tooltip=(
                    "DeepCache: 1 computes every so many steps; above 1 (1.4 published) as many, "
                    "closer together around the center."
                ),
            )
        ),
        advanced(
            io.Int.Input(
                "center",
                default=15,
                min=0,
                max=1000,
                optional=True,
                tooltip=(
                    "DeepCache, power above 1: step around which computed steps are closest. Published: "
                    "15 of 50."
                ),
            )
        ),
    ]
