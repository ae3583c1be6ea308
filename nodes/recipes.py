"""How each method is made from the inputs of Step Cache (Advanced): an entry per method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..cache_core.combinations import BLOCK_METHODS
from ..cache_core.methods import (
    DBCache,
    DeepCache,
    DeltaCache,
    DiCache,
    FirstBlockCache,
    MagCache,
    Method,
    MixCache,
    TaylorSeer,
    TeaCache,
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
from .delta_cache import custom_lists
from .families import Family, find_family
from .host.presets import AUTO, magcache_presets, resolve, teacache_presets
from .host.stack import why_unsupported


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


OnSteps = Callable[[Inputs], StepMethod]
Inside = Callable[[Inputs, Any, Family], Method | str]


@dataclass(frozen=True)
class Recipe:
    """How a method is made. What the inputs cannot be raises ValueError, naming the field.

    Attributes:
        uses: the inputs that it looks at, of those that not all methods use. The frontend greys out the
            others.
        on_steps: the method on whole steps.
        inside: the method inside a model's network of a family, or why this model cannot have it.
    """

    uses: tuple[str, ...]
    on_steps: OnSteps | None = None
    inside: Inside | None = None


def _scaling(inputs: Inputs) -> StepMethod:
    return Settings(
        speedup=inputs.speedup,
        warmup=inputs.warmup,
        max_gap=inputs.longest or Settings.max_gap,
        start_percent=inputs.start_percent,
        end_percent=inputs.end_percent,
    )


def _comparing(kind: type[EasyCache] | type[LazyCache]) -> OnSteps:
    def make(inputs: Inputs) -> StepMethod:
        threshold, longest = inputs.threshold or kind.threshold, inputs.longest or kind.max_gap
        return kind(threshold, inputs.warmup, longest, **inputs.window)

    return make


def _smoothcache(inputs: Inputs) -> StepMethod:
    threshold = inputs.threshold or SmoothCache.threshold
    return SmoothCache(threshold, inputs.longest or SmoothCache.max_gap, **inputs.window)


def _eoc(inputs: Inputs) -> StepMethod:
    return EOC(inputs.interval, inputs.warmup, **inputs.window)


def _taylorseer_on_steps(inputs: Inputs) -> StepMethod:
    return StepTaylorSeer(inputs.interval, inputs.order, inputs.warmup, **inputs.window)


def _taylorseer(inputs: Inputs, _model: Any, _family: Family) -> Method:
    return TaylorSeer(inputs.interval, inputs.order, inputs.warmup)


def _teacache(inputs: Inputs, model: Any, _family: Family) -> Method | str:
    preset = resolve(AUTO, "teacache", teacache_presets(), model)
    if isinstance(preset, str):
        return preset
    threshold = inputs.threshold or preset.method.threshold
    return replace(preset.method, threshold=threshold, max_gap=inputs.longest)


def _magcache(inputs: Inputs, model: Any, _family: Family) -> Method | str:
    preset = resolve(AUTO, "magcache", magcache_presets(), model)
    if isinstance(preset, str):
        return preset
    threshold = inputs.threshold or preset.method.threshold
    return replace(
        preset.method, threshold=threshold, longest=inputs.longest or preset.method.longest
    )


def _first_block_cache(inputs: Inputs, _model: Any, _family: Family) -> Method:
    return FirstBlockCache(inputs.threshold or FirstBlockCache.threshold, inputs.longest)


def _dbcache(inputs: Inputs, _model: Any, _family: Family) -> Method:
    return DBCache(
        inputs.threshold or DBCache.threshold,
        inputs.first_blocks,
        inputs.last_blocks,
        inputs.warmup,
        inputs.longest,
    )


# Published threshold and largest step along the line, by family.
_DICACHE = {"Flux": (0.4, 1.5), "HunyuanVideo": (0.1, 1.5), "Wan": (0.08, 2.0)}


def _dicache(inputs: Inputs, _model: Any, family: Family) -> Method:
    threshold, farthest = _DICACHE.get(family.name, (DiCache.threshold, DiCache.farthest))
    return DiCache(
        inputs.threshold or threshold,
        inputs.first_blocks,
        farthest=farthest,
        max_gap=inputs.longest,
    )


def _delta_cache(inputs: Inputs, _model: Any, family: Family) -> Method:
    start = max(inputs.warmup, 1)
    return custom_lists(family, inputs.blocks, inputs.single_blocks, start, inputs.interval)


def _mixcache(inputs: Inputs, _model: Any, _family: Family) -> Method:
    return MixCache(
        inputs.threshold or MixCache.threshold,
        head=inputs.warmup,
        max_gap=inputs.longest or MixCache.max_gap,
    )


def _deepcache(inputs: Inputs, _model: Any, _family: Family) -> Method:
    return DeepCache(inputs.interval, inputs.first_blocks, power=inputs.power, center=inputs.center)


_THRESHOLD = ("threshold", "max_gap")
RECIPES: dict[str, Recipe] = {
    Settings.name: Recipe(("speedup", "warmup", "max_gap"), on_steps=_scaling),
    EasyCache.name: Recipe((*_THRESHOLD, "warmup"), on_steps=_comparing(EasyCache)),
    LazyCache.name: Recipe((*_THRESHOLD, "warmup"), on_steps=_comparing(LazyCache)),
    SmoothCache.name: Recipe(_THRESHOLD, on_steps=_smoothcache),
    EOC.name: Recipe(("interval", "warmup"), on_steps=_eoc),
    TaylorSeer.name: Recipe(
        ("interval", "order", "warmup"), on_steps=_taylorseer_on_steps, inside=_taylorseer
    ),
    TeaCache.name: Recipe(_THRESHOLD, inside=_teacache),
    MagCache.name: Recipe(_THRESHOLD, inside=_magcache),
    FirstBlockCache.name: Recipe(_THRESHOLD, inside=_first_block_cache),
    DBCache.name: Recipe((*_THRESHOLD, "first_blocks", "last_blocks", "warmup"), inside=_dbcache),
    DiCache.name: Recipe((*_THRESHOLD, "first_blocks"), inside=_dicache),
    DeltaCache.name: Recipe(("interval", "warmup", "blocks", "single_blocks"), inside=_delta_cache),
    MixCache.name: Recipe((*_THRESHOLD, "warmup"), inside=_mixcache),
    DeepCache.name: Recipe(("interval", "first_blocks", "power", "center"), inside=_deepcache),
}


def make_on_steps(name: str, inputs: Inputs) -> StepMethod:
    """A method on whole steps.

    Raises:
        ValueError: naming the field.
    """
    make = _recipe(name).on_steps
    if make is None:
        raise ValueError(f"method: {name} has no recipe on whole steps")
    return make(inputs)


def make_inside(name: str, inputs: Inputs, model: Any) -> Method | str:
    """A method inside the network, or why this model cannot have it.

    Raises:
        ValueError: naming the field.
    """
    make = _recipe(name).inside
    if make is None:
        raise ValueError(f"method: {name} has no recipe inside the network")
    family = find_family(model.model.diffusion_model)
    why = why_unsupported(model, BLOCK_METHODS[name])
    return why if why or family is None else make(inputs, model, family)


def _recipe(name: str) -> Recipe:
    return RECIPES.get(name, Recipe(()))
