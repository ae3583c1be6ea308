"""The Branch Cache node."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..cache_core.methods.base import Level
from ..cache_core.methods.branch import BranchCache
from . import inputs
from .host.cache import Cache, caches_of, install, remove
from .host.progress import ProgressText, node_of


class ScalingBranchCache(io.ComfyNode):
    """MODEL in, MODEL out: computes ControlNets at some steps only."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return inputs.cache_node(
            "ScalingBranchCache",
            "Branch Cache (Scaling Cache)",
            "Computes ControlNets at some of the steps that the model runs for and predicts what they "
            "add at the others. Goes with any other cache and any model.",
            ["controlnet", "t2i adapter"],
            [
                inputs.model("The model that is sampled with ControlNets."),
                inputs.number(
                    "interval",
                    BranchCache().interval,
                    1,
                    100,
                    "ControlNets are computed at about every so many steps, closer together where most "
                    "of the noise goes; 1 is off. The first two steps and the last one always compute "
                    "them.",
                ),
                inputs.switch("enabled", True, "Off computes them at every step."),
            ],
        )

    @classmethod
    def execute(  # pyright: ignore[reportIncompatibleMethodOverride] - inputs by name
        cls, model: Any, interval: int, enabled: bool = True
    ) -> io.NodeOutput:
        method = BranchCache(interval)
        if enabled and not method.off:
            return io.NodeOutput(install(model, Cache(method, node_of(cls))))
        plain = remove(model, Level.BRANCHES)
        if caches_of(plain):  # a cache of the steps stays, and is timed itself
            ProgressText(node_of(cls)).off()
            return io.NodeOutput(plain)
        return inputs.off(cls, plain)
