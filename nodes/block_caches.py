"""The nodes of the published methods that skip blocks inside the network, one method each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfy_api.latest import io

from ..cache_core.methods import DeltaCache, FirstBlockCache, Inputs, MagCache, TeaCache
from ..cache_core.methods.base import Method
from ..cache_core.methods.delta_cache import PUBLISHED
from . import inputs
from .host.block_hooks import why_unsupported
from .host.presets import facts_of, resolve

CUSTOM = "custom"
_DEVICE = inputs.DEVICES[0]


def _schema(
    method: type[Method], description: str, words: list[str], own: list[io.Input]
) -> io.Schema:
    """Of the node of a method."""
    ids = f"Scaling{method.__name__}", f"{method.name} (Scaling Cache)"
    return inputs.cache_node(*ids, f"{method.name}{description}", words, [inputs.model(), *own])


class ScalingTeaCache(io.ComfyNode):
    """MODEL in, MODEL out: skips the blocks while the timestep embedding tells of little change."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        kinds = "Whose polynomial to use. The lists ending in _ret are Wan's retention mode."
        threshold = (
            "Higher skips more. 0 takes the value and the window that are recommended for the "
            "model, about 2x. Means the same as in ComfyUI-TeaCache."
        )
        strict = (
            "The published rule to the letter: the polynomial may turn negative and the number of "
            "skipped steps in a row has no limit."
        )
        gap = "At most so many steps are skipped in a row, 0 for no limit."
        return _schema(
            TeaCache,
            ": skips the blocks of the network while a fitted polynomial of the change of their "
            "input stays below a threshold.",
            ["teacache"],
            [
                inputs.model_type(TeaCache.name, kinds, "rel_l1_thresh"),
                inputs.number("rel_l1_thresh", 0.0, 0.0, 10.0, threshold, step=0.001),
                *inputs.window(),
                inputs.cache_device(),
                inputs.using(
                    inputs.switch("strict", False, strict, folded=True),
                    {"true": [], "false": ["max_gap"]},
                ),
                inputs.number("max_gap", 10, 0, 1000, gap, folded=True),
            ],
        )

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls,
        model: Any,
        model_type: str,
        rel_l1_thresh: float,
        start_percent: float,
        end_percent: float,
        cache_device: str = _DEVICE,
        strict: bool = False,
        max_gap: int = 10,
    ) -> io.NodeOutput:
        preset = resolve(model_type, TeaCache.name, model)
        if isinstance(preset, str):
            return inputs.refused(cls, model, why_unsupported(model, TeaCache) or preset)
        method = preset.method
        if not rel_l1_thresh:
            start_percent = max(start_percent, method.start_percent)
            end_percent = min(end_percent, method.end_percent)
        method = replace(
            method,
            threshold=rel_l1_thresh or method.threshold,
            polynomial=replace(method.polynomial, strict=strict),
            max_gap=None if strict else max_gap or None,
            start_percent=start_percent,
            end_percent=end_percent,
        )
        note = f"Polynomial: {preset.key}, threshold {method.threshold:g}"
        return inputs.cached(cls, model, method, cache_device, note)


class ScalingMagCache(io.ComfyNode):
    """MODEL in, MODEL out: skips the blocks on a schedule from measured residual magnitudes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        published = "Take the published threshold, K and retention of the model."
        own = ["magcache_thresh", "magcache_K", "retention_ratio"]
        threshold = "Allowed sum of magnitude errors. Higher skips more."
        gap = "At most so many steps are skipped in a row."
        retention = "Share of the steps at the start that is always computed."
        follow = "Scale the repeated change by its measured drift. Not in the paper."
        return _schema(
            MagCache,
            ": skips the blocks of the network on a schedule that follows from how the size of "
            "their change was measured to drift.",
            ["magcache"],
            [
                inputs.model_type(
                    MagCache.name,
                    "Whose table of ratios to use.",
                    "published",
                    "threshold {}",
                ),
                inputs.using(
                    inputs.switch("published", True, published), {"true": [], "false": own}
                ),
                inputs.number("magcache_thresh", 0.06, 0.0, 1.0, threshold, step=0.01),
                inputs.number("magcache_K", 2, 0, 100, gap),
                inputs.number("retention_ratio", 0.2, 0.0, 1.0, retention, step=0.01),
                *inputs.window(),
                inputs.cache_device(),
                inputs.switch("follow_magnitude", False, follow, folded=True),
            ],
        )

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls,
        model: Any,
        model_type: str,
        published: bool,
        magcache_thresh: float,
        magcache_K: int,
        retention_ratio: float,
        start_percent: float,
        end_percent: float,
        cache_device: str = _DEVICE,
        follow_magnitude: bool = False,
    ) -> io.NodeOutput:
        preset = resolve(model_type, MagCache.name, model)
        if isinstance(preset, str):
            return inputs.refused(cls, model, why_unsupported(model, MagCache) or preset)
        own = {"threshold": magcache_thresh, "max_gap": magcache_K, "retention": retention_ratio}
        method = replace(
            preset.method,
            follow_magnitude=follow_magnitude,
            start_percent=start_percent,
            end_percent=end_percent,
            **({} if published else own),
        )
        note = f"Ratios: {preset.key}, threshold {method.threshold:g}, K {method.max_gap}"
        return inputs.cached(cls, model, method, cache_device, note)


class ScalingFirstBlockCache(io.ComfyNode):
    """MODEL in, MODEL out: runs the first block and skips the others while it changes little."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        threshold = "Allowed relative change. Higher skips more; 0 is off."
        gap = "At most so many steps are skipped in a row; 0 is no limit."
        return _schema(
            FirstBlockCache,
            ": runs the first block of the network and skips the others while its change stays "
            "near that of the last computed step.",
            ["fbcache", "wavespeed"],
            [
                inputs.number("residual_diff_threshold", 0.1, 0.0, 1.0, threshold, step=0.001),
                *inputs.window(),
                inputs.cache_device(),
                inputs.number("max_gap", 0, 0, 1000, gap, folded=True),
            ],
        )

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls,
        model: Any,
        residual_diff_threshold: float,
        start_percent: float,
        end_percent: float,
        cache_device: str = _DEVICE,
        max_gap: int = 0,
    ) -> io.NodeOutput:
        window = {"start_percent": start_percent, "end_percent": end_percent}
        method = FirstBlockCache(residual_diff_threshold, max_gap or None, **window)
        return inputs.cached(cls, model, method, cache_device)


class ScalingDeltaCache(io.ComfyNode):
    """MODEL in, MODEL out: skips listed blocks on most steps and adds what they last changed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        own = ["blocks", "single_blocks", "start_step", "interval"]
        return _schema(
            DeltaCache,
            " (ProfilingDiT): on most steps a list of blocks is skipped and what each row of them "
            "changed on the last computed step is added; the other blocks run.",
            ["profilingdit", "deltacache", "block cache"],
            [
                inputs.using(
                    inputs.choice(
                        "settings",
                        [*PUBLISHED, CUSTOM],
                        "Published lists for a model, or the lists below.",
                        default=CUSTOM,
                    ),
                    {CUSTOM: own, **{name: [] for name in PUBLISHED}},
                ),
                *inputs.blocks(),
                inputs.number("start_step", 6, 1, 1000, "All steps before this one are computed."),
                inputs.number(
                    "interval",
                    6,
                    1,
                    1000,
                    "From the start step on, every so many steps are computed.",
                ),
                *inputs.window(),
                inputs.cache_device(),
            ],
        )

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls,
        model: Any,
        settings: str,
        blocks: str,
        single_blocks: str,
        start_step: int,
        interval: int,
        start_percent: float,
        end_percent: float,
        cache_device: str = _DEVICE,
    ) -> io.NodeOutput:
        if why := why_unsupported(model, DeltaCache):
            return inputs.refused(cls, model, why)
        facts = facts_of(model)
        given = Inputs(
            blocks=blocks,
            single_blocks=single_blocks,
            warmup=start_step,
            interval=interval,
            start_percent=start_percent,
            end_percent=end_percent,
        )
        if settings == CUSTOM:
            method = DeltaCache.from_inputs(given, facts)
        elif settings not in PUBLISHED:
            allowed = ", ".join([*PUBLISHED, CUSTOM])
            raise ValueError(f"settings: must be one of {allowed}, got {settings!r}")
        else:
            published, fits = PUBLISHED[settings]
            method = replace(published, **given.window)
            if facts.layout != fits:
                method = f"{settings} does not fit the blocks of this model"
        return inputs.cached(cls, model, method, cache_device)
