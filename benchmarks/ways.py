"""The rows of the fidelity benchmark: every way to sample faster, and the settings to choose from.

Methods of the pack and of the host are made by their nodes, as a workflow does it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from torch import Tensor

from .beds import Bed, Plan

PLAIN, OTHER_SEED = "plain", "another_seed"
# Steps and weights from the very runs that are compared: what better calibration could reach at most.
ORACLE = "scaling_cache_oracle"
MULTISTEP = ("dpmpp_2m", "uni_pc", "deis", "res_multistep", "ipndm")


class Group(str, Enum):
    """Whose way it is."""

    PLAIN = "plain"
    OURS = "this pack's own"
    BASELINE = "baseline"
    ORACLE = "oracle"
    PUBLISHED = "published, in this pack"
    HOST = "the host's"
    FEWER = "fewer steps"
    SEED = "another seed"


@dataclass(frozen=True)
class Way:
    """A way to sample, with a setting that makes it faster.

    Attributes:
        method: name in result files.
        group: whose it is.
        field: what the setting is called, empty where it needs no word.
        settings: to search, from the one that computes the most to the one that computes the least.
        candidates: in place of `settings`: those that compute as many steps as a target asks for. The
            best of them on training prompts is taken.
        make: the model with a setting, as a clone.
        replan: the plan with a setting.
        free: blocks at the start that always run and do not count as computed: a probe is a large part
            of a small network only. The measured time holds it.
    """

    method: str
    group: Group
    field: str = ""
    settings: Sequence[Any] = ()
    candidates: Callable[[Plan, float], Sequence[Any]] | None = None
    make: Callable[[Any, Any], Any] = lambda model, _: model
    replan: Callable[[Plan, Any], Plan] = lambda plan, _: plan
    free: int = 0

    def text(self, setting: Any) -> str:
        """A setting for people."""
        if not self.field:
            return ""
        shown = f"{setting:.3g}" if isinstance(setting, float) else str(setting)
        return f"{self.field} {shown}"


def all_ways(model: Any, bed: Bed) -> list[Way]:
    """Every way that fits a model."""
    return [*_own(bed), *_published(model), *_host(), *_fewer()]


def _grid(low: float, high: float, count: int = 72) -> tuple[float, ...]:
    """Thresholds, evenly spaced as ratios, a tenth apart or less."""
    return tuple(float(f"{value:.3g}") for value in np.geomspace(low, high, count))


_SHARES = _grid(0.002, 1.0)
_SUMS = _grid(0.002, 4.0, 88)
_INTERVALS = tuple(range(2, 11))


def _own(bed: Bed) -> list[Way]:
    from scaling_cache.cache_core.methods import ScalingCache
    from scaling_cache.cache_core.methods.base import Few
    from scaling_cache.cache_core.methods.scaling import Mode
    from scaling_cache.cache_core.planning.optimiser import target_steps
    from scaling_cache.nodes.host.cache import Cache, install
    from scaling_cache.nodes.host.coefficients import NONE

    def with_settings(choice: str = NONE, field: str = "speedup", **fixed: Any) -> Any:
        def make(model: Any, setting: Any) -> Any:
            settings = ScalingCache(few=Few.STEPS, **fixed, **{field: setting})
            return install(model, Cache(settings, coefficients=choice))

        return make

    def evenly(plan: Plan, target: float) -> list[ScalingCache]:
        return [even_line(plan.steps, target_steps(plan.steps, target))]

    def as_set(model: Any, settings: ScalingCache) -> Any:
        return install(model, Cache(settings, coefficients=NONE))

    own, file = Group.OURS, bed.coefficients.name
    return [
        Way("scaling_cache_online", own, candidates=_speedup, make=with_settings()),
        Way("scaling_cache", own, candidates=_speedup, make=with_settings(file)),
        Way(
            "scaling_cache_budget",
            own,
            "budget",
            _SHARES,
            make=with_settings(field="budget", mode=Mode.BUDGET),
        ),
        Way(
            "even_order1",
            Group.BASELINE,
            candidates=evenly,
            make=as_set,
        ),
    ]


def even_line(steps: int, computed: int) -> Any:
    """Settings of a line between evenly spaced steps, after a warm-up."""
    from scaling_cache.cache_core.decide.schedules import even_steps
    from scaling_cache.cache_core.methods import ScalingCache
    from scaling_cache.cache_core.methods.scaling import WARMUP
    from scaling_cache.cache_core.predict import predictors

    listed = even_steps(steps, computed, WARMUP)
    return ScalingCache(listed=listed, predictor=predictors.ORDER_1, corrects=False)


def oracle(table: Any) -> Way:
    """The pack with products of the very runs that are compared: no file, which other ways might find."""
    from scaling_cache.cache_core.methods import ScalingCache
    from scaling_cache.cache_core.methods.base import Few
    from scaling_cache.cache_core.predict import predictors
    from scaling_cache.nodes.host.cache import Cache, install
    from scaling_cache.nodes.host.coefficients import NONE

    def make(model: Any, speedup: float) -> Any:
        settings = ScalingCache(speedup, predictor=predictors.LEAST_SQUARES, few=Few.STEPS)
        return install(model, Cache(settings, coefficients=NONE, table=table))

    return Way(ORACLE, Group.ORACLE, candidates=_speedup, make=make)


def _speedup(plan: Plan, target: float) -> list[float]:
    return [target]


# Settings to search of the methods whose threshold is a share; of the others it is a sum.
_BY_SHARE = ("First Block Cache", "DBCache", "SmoothCache")
# The highest difference of a forecast, one row each.
_ORDERS = (1, 2, 3)


def _published(model: Any) -> list[Way]:
    """Every method of others that fits the model, on every level. What was published for other models is
    none."""
    from scaling_cache.cache_core.methods import METHODS, Level, PublishedSchedule, ScalingCache
    from scaling_cache.nodes.host.block_hooks import why_unsupported

    fixed = _fixed(model)
    return [
        way
        for kind in METHODS
        if kind.name != ScalingCache.name
        and kind is not PublishedSchedule
        and not (kind.level is Level.BLOCKS and why_unsupported(model, kind))
        for way in _rows_of(kind, fixed.get(kind.name, {}))
    ]


def _rows_of(kind: Any, fixed: dict[str, Any]) -> list[Way]:
    """The rows of a method, one for each order of those that have one.

    Args:
        fixed: inputs that are not searched.
    """
    from scaling_cache.cache_core.methods import Level

    name, inside = kind.name, kind.level is Level.BLOCKS
    field = "threshold" if "threshold" in kind.uses else "interval"
    sums = _SHARES if name in _BY_SHARE else _SUMS
    settings = sums if field == "threshold" else _INTERVALS
    if kind.level is Level.NEGATIVE:
        return [Way(name, Group.PUBLISHED, field, settings, make=_guidance)]
    fixed = {"granularity": kind.level.value, **fixed}
    if "speedup" in kind.uses:
        make = _advanced(name, "speedup", fixed)
        return [Way(name, Group.PUBLISHED, candidates=_speedup, make=make)]
    rows = {name: fixed}
    if "order" in kind.uses:
        rows = {f"{name} {i}{', blocks' * inside}": {**fixed, "order": i} for i in _ORDERS}
    free = fixed.get("first_blocks", 1) if inside and kind.probes else 0
    return [
        Way(row, Group.PUBLISHED, field, settings, make=_advanced(name, field, more), free=free)
        for row, more in rows.items()
    ]


def _fixed(model: Any) -> dict[str, dict[str, Any]]:
    """Inputs by method that are not searched: as published, in shares of the depth of large models."""
    from scaling_cache.nodes.families import find_family

    network = model.model.diffusion_model
    family = find_family(network)
    depth = 0 if family is None else family.layout(network).total
    first = max(depth // 8, 1)
    return {
        "DBCache": {"first_blocks": max(depth // 4, 1)},
        "Delta Cache": {"blocks": f"{first}-{first + 3 * depth // 4 - 1}", "warmup": 6},
        "EasyCache": {"warmup": 5},
        "LazyCache": {"warmup": 5},
        "EOC": {"warmup": 1},
    }


def _guidance(model: Any, interval: int) -> Any:
    """CFG Cache, from the share of the denoising at which FasterCache begins."""
    from scaling_cache.nodes.cfg_cache import ScalingCfgCache

    return ScalingCfgCache.execute(model, interval, 0.36, 1.0).args[0]


def _advanced(method: str, field: str, fixed: dict[str, Any]) -> Callable[[Any, Any], Any]:
    """Step Cache (Advanced) with a method, published settings where a method has them."""
    from scaling_cache.nodes.step_cache_advanced import ScalingStepCacheAdvanced

    inputs: dict[str, Any] = {
        "method": method,
        "granularity": "auto",
        "predictor": "auto",
        "speedup": 2.0,
        "threshold": 0.0,
        "interval": 4,
        "warmup": 3,
        "max_gap": 0,
        "start_percent": 0.0,
        "end_percent": 1.0,
        **fixed,
    }

    def make(model: Any, setting: Any) -> Any:
        return ScalingStepCacheAdvanced.execute(model, **{**inputs, field: setting}).args[0]

    return make


def _host() -> list[Way]:
    from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode

    def way(method: str, node: Any) -> Way:
        def make(model: Any, threshold: float) -> Any:
            return node.execute(_on_copies(model), threshold, 0.15, 0.95, False).args[0]

        return Way(method, Group.HOST, "reuse_threshold", _SUMS, make=make)

    return [way("host_easycache", EasyCacheNode), way("host_lazycache", LazyCacheNode)]


def _on_copies(model: Any) -> Any:
    """A clone whose network gets a copy of its input. The host's EasyCache adds in place into it: in half
    precision that is a copy anyway, in float32 it is the latent, and the picture is lost."""
    from comfy.patcher_extension import WrappersMP

    def copy(executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return executor(x.clone(), *args, **kwargs)

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "copy", copy)
    return clone


def _fewer() -> list[Way]:
    from scaling_cache.cache_core.planning.optimiser import target_steps

    def same(plan: Plan, target: float) -> list[Plan]:
        return [replace(plan, steps=target_steps(plan.steps, target))]

    def multistep(plan: Plan, target: float) -> list[Plan]:
        return [replace(fewer, sampler=name) for fewer in same(plan, target) for name in MULTISTEP]

    def chosen(_: Plan, setting: Plan) -> Plan:
        return setting

    return [
        Way("fewer_steps", Group.FEWER, candidates=same, replan=chosen),
        Way("fewer_steps_multistep", Group.FEWER, "", candidates=multistep, replan=chosen),
    ]
