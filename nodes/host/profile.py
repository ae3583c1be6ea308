"""Run a model once with all blocks and measure how steady each one is; draw it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ...cache_core.blocks import Layout
from ...cache_core.profiling import EveryBlock, ProfileRun
from .calibrate import Plan, sample, without_caches
from .stack import StackCache, install, why_unsupported

_CELL, _LEFT, _TOP, _GAP = 14, 64, 40, 10
# From steady to restless, sRGB; dark to bright, so that it reads without colours too.
_COLOURS = np.array([[13, 8, 60], [96, 24, 110], [190, 55, 84], [247, 130, 60], [252, 240, 165]])


@dataclass(frozen=True)
class Profile:
    """Attributes:
    changes: [blocks, steps] of relative changes; NaN where there is none.
    layout: blocks of the network.
    """

    changes: NDArray[np.float64]
    layout: Layout


def measure(
    model: Any, positive: Any, negative: Any, latent: dict[str, Any], plan: Plan
) -> Profile | str:
    """The profile of a model, or why it has none."""
    why = why_unsupported(model, EveryBlock)
    if why:
        return why
    runs: list[Any] = []
    cache = StackCache(EveryBlock(), on_close=runs.append, run=ProfileRun)
    watched = install(without_caches(model), cache)
    for seed in plan.seeds:
        sample(watched, positive, negative, latent, plan, seed)
    found = [p for r in runs if isinstance(r, ProfileRun) and (p := r.profile) is not None]
    if not found:
        return "The blocks of this model did not run as expected: nothing was measured"
    return Profile(np.stack(found).mean(0), runs[0].layout)


def heat_map(profile: Profile, chosen: dict[str, tuple[int, ...]]) -> torch.Tensor:
    """Picture [1, height, width, 3], 0 to 1: blocks from top to bottom, steps from left to right.

    Bright cells change much from the step before; chosen blocks have a mark in front.
    """
    changes, layout = profile.changes, profile.layout
    known = np.isfinite(changes)
    top = np.quantile(changes[known], 0.95) or 1.0
    share = np.where(known, np.minimum(changes / top, 1), 0) * (len(_COLOURS) - 1)
    channels = [np.interp(share, range(len(_COLOURS)), _COLOURS[:, c]) for c in range(3)]
    cells = np.where(known[..., None], np.stack(channels, -1), 60).astype(np.uint8)
    cells = cells.repeat(_CELL, 0).repeat(_CELL, 1)
    height = _TOP + cells.shape[0] + _GAP * len(layout.stacks)
    picture = Image.new("RGB", (_LEFT + cells.shape[1] + _GAP, height), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((_LEFT, 4), f"change of each block from step to step; bright: {top:.2g}", "black")
    draw.text((_LEFT, 20), "steps; * can be skipped", "black")
    y = _TOP
    for kind, count in layout.stacks:
        start = layout.numbers(kind).start
        part = cells[start * _CELL : (start + count) * _CELL]
        picture.paste(Image.fromarray(part), (_LEFT, y))
        for index in range(count):
            mark = "*" if index in chosen.get(kind, ()) else " "
            draw.text((6, y + index * _CELL), f"{kind[:6]} {index:2d}{mark}", "black")
        y += part.shape[0] + _GAP
    return torch.from_numpy(np.asarray(picture).astype(np.float32) / 255)[None]
