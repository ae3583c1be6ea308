"""Pictures and clips of several methods side by side, at the same speed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from demo.report import Frames, labelled

from .beds import Bed, Plan
from .plots import name_of
from .results import Row, at_speed
from .standings import standing
from .ways import PLAIN

COLUMNS = 6
_FRAMES = (0, 5, 10, 16)
# Of an animation: tiles in a row, pixels per pixel, and how long a frame stands, in milliseconds.
_ACROSS, _TIMES, _DURATION = 3, 2, 125

# Per method and target, pictures [n, ..., 3] in 0 to 1.
Pictures = Mapping[str, Mapping[float, Tensor]]


def save(
    folder: Path, bed: Bed, plan: Plan, rows: list[Row], pictures: Pictures, speed: float
) -> None:
    """A sheet with a row of pictures per method that reaches the speed, the nearest to the plain run
    first, and what shows the best of each kind: of pictures a sheet, of clips an animation of the first
    prompt."""
    near = sorted(at_speed(rows, speed).values(), key=lambda row: -row["psnr"])
    name = f"{bed.name}_{plan.steps}_{plan.sampler}_cfg{plan.cfg:g}_{speed:g}x"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_sheet(plan, near, pictures, speed)).save(folder / f"sheet_{name}.png")
    best = [row for row in standing(rows, speed).values() if row is not None]
    if _clips(pictures[PLAIN][1.0]).shape[1] > 1:
        frames = animation(plan, best, pictures, speed)
        first, *others = [Image.fromarray(frame) for frame in frames]
        first.save(
            folder / f"clips_{name}.webp",
            save_all=True,
            append_images=others,
            duration=_DURATION,
            loop=0,
            quality=80,
        )
    else:
        kinds = _sheet(plan, sorted(best, key=lambda row: -row["psnr"]), pictures, speed)
        Image.fromarray(kinds).save(folder / f"kinds_{name}.webp", quality=80)


def _sheet(plan: Plan, rows: list[Row], pictures: Pictures, speed: float) -> Frames:
    """Strips under each other: all steps, then those of rows."""
    strips = [labelled(_strip(pictures[PLAIN][1.0]), f"all {plan.steps} steps")]
    for row in rows:
        text = f"{name_of(row['method'])}: {row['computed']:.1f} of {plan.steps} computed"
        strip = _strip(pictures[row["method"]][speed])
        strips.append(labelled(strip, f"{text}, {row['psnr']:.1f} dB"))
    return np.concatenate(strips)


def animation(plan: Plan, rows: list[Row], pictures: Pictures, speed: float) -> list[Frames]:
    """Frames in which the clips of the first prompt play beside each other: all steps, and those of
    rows."""
    shown = [(f"all {plan.steps} steps", pictures[PLAIN][1.0])]
    for row in rows:
        text = f"{name_of(row['method'])}, {row['psnr']:.0f} dB"
        shown.append((text, pictures[row["method"]][speed]))
    clips = [(text, _bytes(_clips(made)[0])) for text, made in shown]
    return [
        _grid([labelled(_larger(clip[moment]), text) for text, clip in clips])
        for moment in range(len(clips[0][1]))
    ]


def _grid(tiles: list[Frames]) -> Frames:
    """Tiles of one size in rows, white where there are none."""
    missing = -len(tiles) % _ACROSS
    tiles = [*tiles, *[np.full_like(tiles[0], 255)] * missing]
    rows = [np.concatenate(tiles[i : i + _ACROSS], 1) for i in range(0, len(tiles), _ACROSS)]
    return np.concatenate(rows)


def _larger(frame: Frames) -> Frames:
    return frame.repeat(_TIMES, 0).repeat(_TIMES, 1)


def _strip(pictures: Tensor) -> Frames:
    """Pictures beside each other; of clips the first one's frames."""
    clips = _clips(pictures)
    single = clips.shape[1] == 1
    shown = clips[:, 0] if single else clips[0, [f for f in _FRAMES if f < clips.shape[1]]]
    return np.concatenate(list(_bytes(shown)), axis=1)


def _clips(pictures: Tensor) -> Tensor:
    """[n, frames, height, width, 3], a picture being a clip of one frame."""
    return pictures.reshape(len(pictures), -1, *pictures.shape[-3:])


def _bytes(pictures: Tensor) -> Frames:
    return (pictures * 255).round().byte().numpy()
