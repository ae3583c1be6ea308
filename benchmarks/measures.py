"""How far pictures are from others: PSNR, SSIM and FLIP, which need no trained weights, and ST-LPIPS and
ColorVideoVDP, whose weights come in their packages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from torch import Tensor

from demo.host.launch import make_torchvision_importable

Scores = NDArray[np.float64]
# FLIP takes a tenth of a second per frame; the frames of a clip are alike.
_FLIP_FRAMES = 4
# What the two packages import beside what they use here: to print networks, to halt, to read files.
_ASIDE = ("torchsummary", "IPython", "ffmpeg")
# As the demo's clips are played.
_FRAMES_PER_SECOND = 12


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


def st_lpips(pictures: Tensor, reference: Tensor) -> Scores | None:
    """Shift-tolerant LPIPS (Ghildyal and Liu 2022) of AlexNet, 0 where pictures are equal. Per prompt,
    mean over some frames of a clip. None where the package is not installed."""
    if find_spec("stlpips_pytorch") is None:
        return None

    def of_frame(frame: Any, other: Any) -> float:
        both = [torch.from_numpy(one).permute(2, 0, 1)[None] * 2 - 1 for one in (other, frame)]
        with torch.inference_mode():
            return float(_stlpips()(*both))

    return _per_prompt(of_frame, pictures, reference, _FLIP_FRAMES)


def jod(pictures: Tensor, reference: Tensor) -> Scores | None:
    """ColorVideoVDP (Mantiuk et al. 2024) in JOD: 10 where no difference is seen, 1 less where 3 of 4
    viewers tell one, on a Full HD screen. Per prompt, of a clip as it is played. None where the package
    is not installed."""
    if find_spec("pycvvdp") is None:
        return None
    found: list[float] = []
    for one, other in zip(pictures, reference, strict=True):
        clips = [x.reshape(-1, *x.shape[-3:]).float().numpy() for x in (one, other)]
        with torch.inference_mode():
            score, _ = _cvvdp().predict(
                *clips, dim_order="FHWC", frames_per_second=_FRAMES_PER_SECOND * (len(clips[0]) > 1)
            )
        found.append(float(score))
    return np.array(found)


@cache
def _stlpips() -> Any:
    with _aside():
        from stlpips_pytorch.stlpips import LPIPS
    return LPIPS(net="alex", variant="shift_tolerant", verbose=False)


@cache
def _cvvdp() -> Any:
    with _aside():
        import pycvvdp
    return pycvvdp.cvvdp(display_name="standard_fhd", device=torch.device("cpu"), quiet=True)


class _Nothing(ModuleType):
    def __getattr__(self, name: str) -> None:
        return None


@contextmanager
def _aside() -> Iterator[None]:
    """Import without packages that nothing here uses."""
    make_torchvision_importable()
    missing = [name for name in _ASIDE if find_spec(name) is None]
    sys.modules.update({name: _Nothing(name) for name in missing})
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


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
