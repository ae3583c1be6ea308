"""What of ours takes the place of a node that is missing: caches of other packs for the same models.

The host offers it in its dialog of missing nodes, and takes it itself in a prompt that comes over its
API. It never touches a node that is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from comfy_api import latest
from comfy_api.latest import io

from .block_caches import ScalingFirstBlockCache, ScalingMagCache, ScalingTeaCache
from .host.progress import log, log_fault


@dataclass(frozen=True)
class Replacement:
    """A node of another pack and ours for it.

    The host copies values and cannot change them, so a choice whose words differ stays at our default.

    Attributes:
        old: id of the node.
        pack: whose it is.
        widgets: its fields in their order: a workflow keeps their values without names.
        new: our node.
        carried: its field by our input; besides the model.
        fixed: value by our input, where the default would mean something else.
    """

    old: str
    pack: str
    widgets: tuple[str, ...]
    new: type[io.ComfyNode]
    carried: Mapping[str, str]
    fixed: Mapping[str, Any] = field(default_factory=dict)


_WINDOW = {"start_percent": "start_percent", "end_percent": "end_percent"}
_THRESHOLD = {"rel_l1_thresh": "rel_l1_thresh"}

REPLACEMENTS = (
    Replacement(
        "TeaCache",
        "ComfyUI-TeaCache",
        ("model_type", "rel_l1_thresh", "start_percent", "end_percent", "cache_device"),
        ScalingTeaCache,
        {**_THRESHOLD, **_WINDOW},
    ),
    *(
        # Its names before March 2025.
        Replacement(
            old,
            "ComfyUI-TeaCache",
            ("model_type", "rel_l1_thresh"),
            ScalingTeaCache,
            _THRESHOLD,
        )
        for old in ("TeaCacheForImgGen", "TeaCacheForVidGen")
    ),
    Replacement(
        "WanVideoTeaCacheKJ",
        "ComfyUI-KJNodes",
        ("rel_l1_thresh", "start_percent", "end_percent", "cache_device", "coefficients"),
        ScalingTeaCache,
        {**_THRESHOLD, **_WINDOW},
    ),
    Replacement(
        "MagCache",
        "ComfyUI-MagCache",
        (
            "model_type",
            "magcache_thresh",
            "retention_ratio",
            "magcache_K",
            "start_step",
            "end_step",
        ),
        ScalingMagCache,
        {name: name for name in ("magcache_thresh", "retention_ratio", "magcache_K")},
        {"published": False},
    ),
    Replacement(
        "ApplyFBCacheOnModel",
        "Comfy-WaveSpeed",
        (
            "object_to_patch",
            "residual_diff_threshold",
            "start",
            "end",
            "max_consecutive_cache_hits",
        ),
        ScalingFirstBlockCache,
        {
            "residual_diff_threshold": "residual_diff_threshold",
            "start_percent": "start",
            "end_percent": "end",
        },
    ),
)


def mapping(replacement: Replacement) -> list[dict[str, Any]]:
    """How the host fills our node. A prompt has no defaults: each input that must be there gets one."""
    from_old = {"model": "model", **replacement.carried}
    set_to = {
        one.id: getattr(one, "default", None)
        for one in replacement.new.define_schema().inputs
        if one.id not in from_old and not one.optional
    }
    set_to.update(replacement.fixed)
    return [
        *({"new_id": new, "old_id": old} for new, old in from_old.items()),
        *({"new_id": new, "set_value": value} for new, value in set_to.items()),
    ]


async def offer() -> None:
    """Tell the host, if it replaces nodes. The pack works without."""
    make = getattr(io, "NodeReplace", None)
    if make is None:
        return
    try:
        api: Any = latest.ComfyAPI()
        for one in REPLACEMENTS:
            made = make(
                new_node_id=one.new.define_schema().node_id,
                old_node_id=one.old,
                old_widget_ids=list(one.widgets),
                input_mapping=mapping(one),
                output_mapping=[{"new_idx": 0, "old_idx": 0}],
            )
            await api.node_replacement.register(made)
    except Exception as error:
        log_fault("missing nodes of other packs are not replaced", error)
        return
    packs = ", ".join(dict.fromkeys(one.pack for one in REPLACEMENTS))
    log.info("[Scaling Cache] offered in place of missing nodes of %s", packs)
