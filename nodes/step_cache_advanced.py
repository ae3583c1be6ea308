"""The Step Cache (Advanced) node: every method with every predictor that goes with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from comfy_api.latest import io

from ..cache_core import combinations
from ..cache_core.combinations import (
    BLOCK_METHODS,
    BLOCK_PREDICTORS,
    GRANULARITIES,
    METHOD_NAMES,
    PREDICTORS,
    STEP_PREDICTORS,
    Granularity,
)
from ..cache_core.methods import (
    DBCache,
    DeepCache,
    DeltaCache,
    DiCache,
    FirstBlockCache,
    Method,
    MixCache,
    TaylorSeer,
)
from ..cache_core.settings import Settings
from ..cache_core.step_methods import (
    EOC,
    EasyCache,
    LazyCache,
    SmoothCache,
    StepMethod,
    StepTaylorSeer,
)
from . import common
from .delta_cache import custom_lists
from .families import find_family
from .host.compat import advanced, schema, telling
from .host.presets import AUTO, magcache_presets, resolve, teacache_presets
from .host.stack import StackCache, why_unsupported
from .host.stack import install as install_stack
from .host.stack import remove as remove_stack
from .host.wrappers import StepCache
from .host.wrappers import install as install_step
from .host.wrappers import remove as remove_step


@dataclass(frozen=True)
class Inputs:
    """What the user set, for the methods that use it.

    Attributes:
        speedup: target of Scaling Cache.
        threshold: of the methods that have one, 0 for the recommended one.
        interval: of the methods with a schedule.
        order: of TaylorSeer's differences.
        first_blocks, last_blocks: blocks that always run.
        blocks, single_blocks: lists of Delta Cache.
        warmup: steps at the start that are always computed.
        max_gap: steps skipped in a row at most, 0 for no limit.
        power, center: of DeepCache's schedule.
        start_percent, end_percent: share of the denoising in which steps are skipped.
    """

    speedup: float
    threshold: float
    interval: int
    order: int
    first_blocks: int
    last_blocks: int
    blocks: str
    single_blocks: str
    warmup: int
    max_gap: int
    power: float
    center: int
    start_percent: float
    end_percent: float

    @property
    def window(self) -> dict[str, float]:
        return {"start_percent": self.start_percent, "end_percent": self.end_percent}

    @property
    def longest(self) -> int | None:
        return self.max_gap or None


_COMPARING = ("threshold", "max_gap")
# The inputs that a method uses, of those that not all methods use. The frontend greys out the others.
USES: dict[str, tuple[str, ...]] = {
    Settings.name: ("speedup", "warmup", "max_gap"),
    EasyCache.name: (*_COMPARING, "warmup"),
    LazyCache.name: (*_COMPARING, "warmup"),
    SmoothCache.name: _COMPARING,
    EOC.name: ("interval", "warmup"),
    StepTaylorSeer.name: ("interval", "order", "warmup"),
    "TeaCache": _COMPARING,
    "MagCache": _COMPARING,
    FirstBlockCache.name: _COMPARING,
    DBCache.name: (*_COMPARING, "first_blocks", "last_blocks", "warmup"),
    DiCache.name: (*_COMPARING, "first_blocks"),
    DeltaCache.name: ("interval", "warmup", "blocks", "single_blocks"),
    MixCache.name: (*_COMPARING, "warmup"),
    DeepCache.name: ("interval", "first_blocks", "power", "center"),
}


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
                    uses=USES,
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
            step_method = make_step_method(method, inputs)
            if isinstance(step_method, Settings) and step_method.off:
                return common.off(cls, remove_step(model))
            config = StepCache(step_method, AUTO, node, predictor=STEP_PREDICTORS.get(predictor))
            return io.NodeOutput(install_step(remove_stack(model), config))
        made = make_block_method(method, inputs, model)
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


def make_step_method(name: str, inputs: Inputs) -> StepMethod:
    """A method on whole steps.

    Raises:
        ValueError: naming the field.
    """
    if name == EasyCache.name or name == LazyCache.name:
        kind = EasyCache if name == EasyCache.name else LazyCache
        return kind(
            inputs.threshold or kind.threshold,
            inputs.warmup,
            inputs.longest or kind.max_gap,
            **inputs.window,
        )
    if name == SmoothCache.name:
        return SmoothCache(
            inputs.threshold or SmoothCache.threshold,
            inputs.longest or SmoothCache.max_gap,
            **inputs.window,
        )
    if name == EOC.name:
        return EOC(inputs.interval, inputs.warmup, **inputs.window)
    if name == StepTaylorSeer.name:
        return StepTaylorSeer(inputs.interval, inputs.order, inputs.warmup, **inputs.window)
    if name != Settings.name:
        raise ValueError(f"method: {name} is registered but not made here")
    return Settings(
        speedup=inputs.speedup,
        warmup=inputs.warmup,
        max_gap=inputs.longest or Settings.max_gap,
        start_percent=inputs.start_percent,
        end_percent=inputs.end_percent,
    )


def make_block_method(name: str, inputs: Inputs, model: Any) -> Method | str:
    """A method inside the network, or why this model cannot have it.

    Raises:
        ValueError: naming the field.
    """
    family = find_family(model.model.diffusion_model)
    why = why_unsupported(model, BLOCK_METHODS[name])
    if why or family is None:
        return why
    given = inputs.threshold
    if name == "TeaCache":
        preset = resolve(AUTO, "teacache", teacache_presets(), model)
        if isinstance(preset, str):
            return preset
        threshold = given or preset.method.threshold
        return replace(preset.method, threshold=threshold, max_gap=inputs.longest)
    if name == "MagCache":
        preset = resolve(AUTO, "magcache", magcache_presets(), model)
        if isinstance(preset, str):
            return preset
        longest = inputs.longest or preset.method.longest
        return replace(preset.method, threshold=given or preset.method.threshold, longest=longest)
    if name == FirstBlockCache.name:
        return FirstBlockCache(given or FirstBlockCache.threshold, inputs.longest)
    if name == DBCache.name:
        return DBCache(
            given or DBCache.threshold,
            inputs.first_blocks,
            inputs.last_blocks,
            inputs.warmup,
            inputs.longest,
        )
    if name == DiCache.name:
        threshold, farthest = _DICACHE.get(family.name, (DiCache.threshold, DiCache.farthest))
        return DiCache(
            given or threshold,
            inputs.first_blocks,
            farthest=farthest,
            max_gap=inputs.longest,
        )
    if name == TaylorSeer.name:
        return TaylorSeer(inputs.interval, inputs.order, inputs.warmup)
    if name == DeepCache.name:
        return DeepCache(
            inputs.interval, inputs.first_blocks, power=inputs.power, center=inputs.center
        )
    if name == MixCache.name:
        return MixCache(
            given or MixCache.threshold,
            head=inputs.warmup,
            max_gap=inputs.longest or MixCache.max_gap,
        )
    if name != DeltaCache.name:
        raise ValueError(f"method: {name} is registered but not made here")
    return custom_lists(
        family, inputs.blocks, inputs.single_blocks, max(inputs.warmup, 1), inputs.interval
    )


# Published threshold and largest step along the line, by family.
_DICACHE = {"Flux": (0.4, 1.5), "HunyuanVideo": (0.1, 1.5), "Wan": (0.08, 2.0)}


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
