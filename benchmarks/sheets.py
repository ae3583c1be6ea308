"""Pictures of several methods side by side, at the same speed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from demo.report import Frames, labelled

from .beds import Bed, Plan
from .results import Row, at_speed
from .ways import PLAIN

COLUMNS = 6
_FRAMES = (0, 5, 10, 16)


def save(
    folder: Path,
    bed: Bed,
    plan: Plan,
    rows: list[Row],
    pictures: dict[str, dict[float, Tensor]],
    speed: float,
) -> Path:
    """A row of pictures per method that reaches the speed, the nearest to the plain run first.

    Args:
        pictures: [n, ..., 3] in 0 to 1, by method and target.

    Returns:
        The file.
    """
    near = sorted(at_speed(rows, speed).values(), key=lambda row: -row["psnr"])
    strips = [labelled(_strip(pictures[PLAIN][1.0]), f"all {plan.steps} steps")]
    for row in near:
        text = f"{row['method']}: {row['computed']:.1f} of {plan.steps} computed"
        strip = _strip(pictures[row["method"]][speed])
        strips.append(labelled(strip, f"{text}, {row['psnr']:.1f} dB"))
    name = f"sheet_{bed.name}_{plan.steps}_{plan.sampler}_cfg{plan.cfg:g}_{speed:g}x.png"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(strips)).save(folder / name)
    return folder / name


def _strip(pictures: Tensor) -> Frames:
    """Pictures beside each other; of clips the first one's frames."""
    clips = pictures.reshape(len(pictures), -1, *pictures.shape[-3:])
    single = clips.shape[1] == 1
    shown = clips[:, 0] if single else clips[0, [f for f in _FRAMES if f < clips.shape[1]]]
    return np.concatenate([np.asarray((p * 255).round().byte()) for p in shown], axis=1)
