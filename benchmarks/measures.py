"""How far pictures are from others: PSNR, SSIM and FLIP, none of which needs trained weights."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from torch import Tensor

Scores = NDArray[np.float64]
# FLIP takes a tenth of a second per frame; the frames of a clip are alike.
_FLIP_FRAMES = 4


def psnr(pictures: Tensor, reference: Tensor) -> Scores:
    """Per prompt, in dB; equal pictures count 100."""
    error = (pictures - reference).square().flatten(1).mean(1).double().clamp_min(1e-10)
    return (-10 * torch.log10(error)).numpy()


def ssim(pictures: Tensor, reference: Tensor) -> Scores:
    """Per prompt, 1 where they are equal; mean over the frames of a clip."""

    def of_frame(frame: Any, other: Any) -> float:
        return float(structural_similarity(other, frame, channel_axis=-1, data_range=1.0))

    return _per_prompt(of_frame, pictures, reference)


def flip(pictures: Tensor, reference: Tensor) -> Scores | None:
    """LDR-FLIP (Andersson et al. 2020): how strong a difference looks to one who flips between two
    pictures, 0 to 1, at the published viewing distance. Per prompt, mean over some frames of a clip. None
    where NVIDIA's package is not installed, which has no build for the newest Pythons."""
    if find_spec("flip_evaluator") is None:
        return None
    import flip_evaluator

    def of_frame(frame: Any, other: Any) -> float:
        return float(flip_evaluator.evaluate(other, frame, "LDR", applyMagma=False)[1])

    return _per_prompt(of_frame, pictures, reference, _FLIP_FRAMES)


def _per_prompt(
    measure: Callable[[Any, Any], float],
    pictures: Tensor,
    reference: Tensor,
    most: int | None = None,
) -> Scores:
    """
    Args:
        measure: compares two frames [height, width, 3].
        pictures, reference: [n, ..., height, width, 3] in 0 to 1.
        most: frames of a clip that are compared, spread evenly; None for all.
    """
    scores: list[float] = []
    for clip, other in zip(pictures, reference, strict=True):
        frames = clip.reshape(-1, *clip.shape[-3:]).numpy()
        others = other.reshape(-1, *other.shape[-3:]).numpy()
        count = len(frames) if most is None else min(most, len(frames))
        chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
        scores.append(float(np.mean([measure(frames[i], others[i]) for i in chosen])))
    return np.array(scores)
