"""Whether the coefficients of a model beat learning during the run, tried out after a calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..planning.gram import Floats

# Speed-ups that are tried.
SPEEDUPS = (2.0, 3.0)
# Standard errors by which the mean difference must exceed zero: a few prompts differ by chance.
_SURE = 2.0
# No two results are so alike in any precision.
_LARGEST = 1000.0


@dataclass(frozen=True)
class Trial:
    """How near runs came to the plain ones, on the prompts of the calibration and another seed.

    Attributes:
        psnr: [prompts, 2, speed-ups] in dB of the latents, of learning and of least squares.

    Raises:
        ValueError: if the numbers cannot be that.
    """

    psnr: Floats

    def __post_init__(self) -> None:
        shape = self.psnr.shape
        if len(shape) != 3 or shape[0] < 2 or shape[1:] != (2, len(SPEEDUPS)):
            raise ValueError(f"trial: need shape [prompts, 2, {len(SPEEDUPS)}], got {list(shape)}")
        if not (np.abs(self.psnr) <= _LARGEST).all():
            raise ValueError(f"trial: must be finite, {_LARGEST:g} dB at most")

    @property
    def wins(self) -> bool:
        """Whether least squares is nearer, on average over speed-ups and surely over prompts."""
        gains = (self.psnr[:, 1] - self.psnr[:, 0]).mean(1)
        return bool(gains.mean() > _SURE * gains.std(ddof=1) / np.sqrt(len(gains)))

    def __str__(self) -> str:
        learning, calibrated = self.psnr.mean((0, 2))
        return (
            f"{calibrated:.1f} dB with the coefficients, {learning:.1f} dB learning during the run"
        )
