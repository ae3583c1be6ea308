"""Whether the coefficients of a model beat learning during the run, tried out after a calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..planning.gram import Floats

# Speed-ups that are tried; files of earlier versions hold the first two. Those speak together up to
# `FAR`, and the last one from there on: what is nearer with few predictions may not be with many.
SPEEDUPS = (2.0, 3.0, 4.0)
FAR = 3.5
_NEAR = 2
# Standard errors by which the mean difference must exceed zero: a few prompts differ by chance.
_SURE = 2.0
# No two results are so alike in any precision.
_LARGEST = 1000.0


@dataclass(frozen=True)
class Trial:
    """How near runs came to the plain ones, on the prompts of the calibration and another seed.

    Attributes:
        psnr: [prompts, 2, 2 or 3 speed-ups] in dB of the latents, of learning and of least squares.

    Raises:
        ValueError: if the numbers cannot be that.
    """

    psnr: Floats

    def __post_init__(self) -> None:
        shape = self.psnr.shape
        allowed = [(2, count) for count in (_NEAR, len(SPEEDUPS))]
        if len(shape) != 3 or shape[0] < 2 or shape[1:] not in allowed:
            raise ValueError(f"trial: need shape [prompts, 2, {len(SPEEDUPS)}], got {list(shape)}")
        if not (np.abs(self.psnr) <= _LARGEST).all():
            raise ValueError(f"trial: must be finite, {_LARGEST:g} dB at most")

    def wins(self, speedup: float | None = None) -> bool:
        """Whether least squares is nearer, on average over speed-ups and surely over prompts.

        Args:
            speedup: that is asked for, None for what is none.
        """
        psnr = self._of(speedup)
        gains = (psnr[:, 1] - psnr[:, 0]).mean(1)
        return bool(gains.mean() > _SURE * gains.std(ddof=1) / np.sqrt(len(gains)))

    def told(self, speedup: float | None = None) -> str:
        """What was found, for people."""
        learning, calibrated = self._of(speedup).mean((0, 2))
        return (
            f"{calibrated:.1f} dB with the coefficients, {learning:.1f} dB learning during the run"
        )

    def _of(self, speedup: float | None) -> Floats:
        """What speaks for a speed-up."""
        far = speedup is not None and speedup >= FAR and self.psnr.shape[2] > _NEAR
        return self.psnr[..., _NEAR:] if far else self.psnr[..., :_NEAR]
