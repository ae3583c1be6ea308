"""Run a model once with all blocks, measure how steady each one is and what it attends to; draw it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ...cache_core.calibration.attention import AttentionStatistics
from ...cache_core.calibration.block_tables import WatchRun, WatchStack
from ...cache_core.decide.layout import Layout
from ...cache_core.methods import DeltaCache
from ..report.canvas import length, spoken, translation, write
from ..report.gallery import ramp
from ..report.words import catalogue
from .attention_probe import watch
from .block_hooks import why_refused
from .cache import Cache, install, remove
from .calibrating import Plan, check, sample
from .language import language

_CELL, _LEFT, _GAP, _TEXT = 28, 128, 20, 20
# Of all steps in the picture; those of a long run are narrower.
_WIDEST = 2800
# From steady to restless, sRGB; dark to bright, so that it reads without colours too.
_COLOURS = np.array([[13, 8, 60], [96, 24, 110], [190, 55, 84], [247, 130, 60], [252, 240, 165]])


@dataclass(frozen=True)
class Profile:
    """Attributes:
    changes: [blocks, steps] of relative changes; NaN where there is none.
    layout: blocks of the network.
    preferences: [blocks] of foreground preferences, 0 to 1; None where there are none.
    why: why there are none.
    """

    changes: NDArray[np.float64]
    layout: Layout
    preferences: NDArray[np.float64] | None = None
    why: str = ""


def measure(
    model: Any, positive: Any, negative: Any, latent: dict[str, Any], plan: Plan
) -> Profile | str:
    """The profile of a model, or why it has none.

    Raises:
        ValueError: naming the field, if the model or the sampler is unfit.
    """
    check(model, plan)
    method = WatchStack()
    if why := why_refused(model, method):
        # The user asks on behalf of the method that skips what is found.
        return why.replace(method.name, DeltaCache.name)
    runs: list[Any] = []
    profiled = install(remove(model), Cache(method, on_close=runs.append))
    measured: list[AttentionStatistics] = []
    for seed in plan.seeds:
        measured.append(AttentionStatistics())
        sample(watch(profiled, measured[-1]), positive, negative, latent, plan, seed)
    found = [p for r in runs if isinstance(r, WatchRun) and (p := r.block_changes) is not None]
    if not found:
        return "The blocks of this model did not run as expected: nothing was measured"
    layout = runs[0].layout
    preferences = None
    try:
        preferences = np.mean([s.preferences(layout.total) for s in measured], 0)
    except ValueError as error:
        why = str(error)
    every = np.concatenate(found)
    every[..., 0] = np.nan  # nothing comes before the first step
    known = np.isfinite(every)
    with np.errstate(invalid="ignore"):
        # A prompt with a start and an end is not asked at all steps.
        changes = np.where(known, every, 0).sum(0) / known.sum(0)
    return Profile(changes, layout, preferences, why)


def heat_map(profile: Profile, chosen: dict[str, tuple[int, ...]]) -> torch.Tensor:
    """Picture [1, height, width, 3], 0 to 1: blocks from top to bottom, steps from left to right.

    Bright cells change much from the step before; chosen blocks have a mark in front. The single column
    on the right is bright where a block prefers the foreground, between the lowest and the highest.
    """
    layout, preferences = profile.layout, profile.preferences
    top = np.quantile(profile.changes[np.isfinite(profile.changes)], 0.95) or 1.0
    headings = [
        f"change of each block from step to step; bright: {top:.2g}",
        "steps from left to right; blocks with * can be skipped",
    ]
    steps = profile.changes.shape[1]
    maps = [_cells(profile.changes / top, max(min(_CELL, _WIDEST // steps), 1))]
    if preferences is not None:
        low, high = preferences.min(), preferences.max()
        headings.append(
            f"column on the right: preference for the foreground, {low:.2f} to {high:.2f}"
        )
        maps.append(_cells((preferences[:, None] - low) / ((high - low) or 1.0)))
    translation.set(catalogue(language()).of)
    headings = [spoken(line) for line in headings]
    longest = max(length(line, _TEXT) for line in headings)
    width = max(sum(cells.shape[1] for cells in maps) + _GAP * len(maps), int(longest) + _GAP)
    above = _CELL * len(headings) + _GAP
    height = above + _CELL * layout.total + _GAP * len(layout.stacks)
    picture = Image.new("RGB", (_LEFT + width, height), "white")
    draw = ImageDraw.Draw(picture)
    for line, text in enumerate(headings):
        write(draw, at=(_LEFT, _GAP / 2 + _CELL * line), text=text, size=_TEXT)
    y = above
    for kind, count in layout.stacks:
        start = layout.numbers(kind).start
        x = _LEFT
        for cells in maps:
            part = cells[start * _CELL : (start + count) * _CELL]
            picture.paste(Image.fromarray(part), (x, y))
            x += cells.shape[1] + _GAP
        for index in range(count):
            mark = "*" if index in chosen.get(kind, ()) else " "
            at = (_GAP / 2, y + index * _CELL)
            write(draw, at=at, text=f"{kind[:6]} {index}{mark}", size=_TEXT)
        y += count * _CELL + _GAP
    return torch.from_numpy(np.asarray(picture).astype(np.float32) / 255)[None]


def _cells(values: NDArray[np.floating], width: int = _CELL) -> NDArray[np.uint8]:
    """Pixels [rows, columns, 3] of values [blocks, steps], dark at 0, bright from 1 on, grey for NaN."""
    known = np.isfinite(values)
    colours = ramp(np.where(known, np.minimum(values, 1), 0), _COLOURS)
    cells = np.where(known[..., None], colours, 60).astype(np.uint8)
    return cells.repeat(_CELL, 0).repeat(width, 1)
