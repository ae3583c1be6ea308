"""The nodes of the pack. The only part that imports the host."""

from __future__ import annotations

from pathlib import Path

import folder_paths
from comfy_api.latest import ComfyExtension, io
from typing_extensions import override

from .block_caches import (
    ScalingDeltaCache,
    ScalingFirstBlockCache,
    ScalingMagCache,
    ScalingTeaCache,
)
from .branch_cache import ScalingBranchCache
from .cache_report import ScalingCacheReport
from .calibrate_cache import ScalingCalibrateCache
from .cfg_cache import ScalingCfgCache
from .host.coefficients import register_folder
from .host.routes import register_routes
from .profile_blocks import ScalingProfileBlocks
from .raylight import ScalingCacheRaylight
from .replacements import offer
from .scaling_cache import ScalingCache
from .step_cache_advanced import ScalingStepCacheAdvanced
from .suggest_speedup import ScalingSuggestSpeedup

NODES: list[type[io.ComfyNode]] = [
    ScalingCache,
    ScalingTeaCache,
    ScalingMagCache,
    ScalingFirstBlockCache,
    ScalingDeltaCache,
    ScalingCfgCache,
    ScalingBranchCache,
    ScalingStepCacheAdvanced,
    ScalingCalibrateCache,
    ScalingProfileBlocks,
    ScalingSuggestSpeedup,
    ScalingCacheRaylight,
    ScalingCacheReport,
]


def offered() -> list[type[io.ComfyNode]]:
    """The nodes, that for Raylight only beside Raylight. It may load after this pack."""
    packs = (p for f in folder_paths.get_folder_paths("custom_nodes") for p in Path(f).glob("*"))
    beside = any("raylight" in pack.name.lower() for pack in packs)
    return [node for node in NODES if beside or node is not ScalingCacheRaylight]


class ScalingCacheExtension(ComfyExtension):
    """What the host asks for the nodes."""

    @override
    async def on_load(self) -> None:
        await offer()

    @override
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        register_folder()
        register_routes()
        return offered()
