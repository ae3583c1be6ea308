"""Whether the coefficients of a model beat learning during the run, tried out after a calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .calibration import Floats

# Speed-ups that are tried.
SPEEDUPS = (2.0, 3.0)


@dataclass(frozen=True)
class Trial:
    """How near runs came to the plain ones, on the prompts of the calibration and other seeds.

    Attributes:
        psnr: [2, speed-ups] mean over prompts in dB of the latents, of learning and of least squares.

    Raises:
        ValueError: if the numbers cannot be that.
    """

    psnr: Floats

    def __post_init__(self) -> None:
        if self.psnr.shape != (2, len(SPEEDUPS)) or not np.isfinite(self.psnr).all():
            raise ValueError(f"trial: must be 2 x {len(SPEEDUPS)} finite numbers")

    @property
    def wins(self) -> bool:
        """Whether least squares is nearer on average over the speed-ups."""
        learning, calibrated = self.psnr.mean(1)
        return bool(calibrated > learning)

    def __str__(self) -> str:
        learning, calibrated = self.psnr.mean(1)
        return (
            f"{calibrated:.1f} dB with the coefficients, {learning:.1f} dB learning during the run"
        )
