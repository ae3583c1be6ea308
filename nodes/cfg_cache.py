"""The CFG Cache node."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..cache_core.methods.base import Level
from ..cache_core.methods.cfg import CfgCache
from . import inputs
from .host.cache import Cache, caches_of, install, remove
from .host.progress import ProgressText, node_of

_DEFAULTS = CfgCache()


class ScalingCfgCache(io.ComfyNode):
    """MODEL in, MODEL out: skips the negative conditioning at most steps."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        low = (
            "Factor of the coarse part of the difference between the two, from 10 to 90 percent of the "
            "denoising."
        )
        high = "Factor of its fine part, from 70 percent on."
        return inputs.cache_node(
            "ScalingCfgCache",
            "CFG Cache (Scaling Cache)",
            "CFG Cache (FasterCache): runs the negative conditioning at some steps only and "
            "predicts it from the positive one at the others. Goes with any other cache.",
            ["fastercache", "cfg", "negative"],
            [
                inputs.model(),
                inputs.number(
                    "interval",
                    _DEFAULTS.interval,
                    1,
                    100,
                    "The negative conditioning runs at every so many steps; 1 is off.",
                ),
                *inputs.window(_DEFAULTS.start_percent, _DEFAULTS.end_percent),
                inputs.number("low", _DEFAULTS.low, 0.0, 2.0, low, step=0.01, folded=True),
                inputs.number("high", _DEFAULTS.high, 0.0, 2.0, high, step=0.01, folded=True),
            ],
        )

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls,
        model: Any,
        interval: int,
        start_percent: float,
        end_percent: float,
        low: float = _DEFAULTS.low,
        high: float = _DEFAULTS.high,
    ) -> io.NodeOutput:
        window = {"start_percent": start_percent, "end_percent": end_percent}
        method = CfgCache(interval, low, high, **window)
        if not method.off:
            return io.NodeOutput(install(model, Cache(method, node_of(cls))))
        plain = remove(model, Level.NEGATIVE)
        if caches_of(plain):  # a cache of the steps stays, and is timed itself
            ProgressText(node_of(cls)).off()
            return io.NodeOutput(plain)
        return inputs.off(cls, plain)
