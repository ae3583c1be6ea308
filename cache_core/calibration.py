"""What can be learned from plain runs: how the outputs of a model at different sigmas relate.

A Gram matrix of the outputs, `G[i, j] = <d(sigma_i), d(sigma_j)>` summed over samples, is enough to
solve any linear predictor by least squares without keeping a single output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .alpha import HIGHEST, LOWEST
from .history import Entry
from .predictors import extrapolation_ratio

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GramTable:
    """Products of outputs over a schedule.

    Attributes:
        sigmas: [steps], falling.
        gram: [branches, steps, steps], symmetric; a branch is the index of a conditioning.
    """

    sigmas: Floats
    gram: Floats

    def __post_init__(self) -> None:
        steps = len(self.sigmas)
        if self.sigmas.ndim != 1 or steps < 2:
            raise ValueError(f"sigmas: need one axis of 2 or more, got shape {self.sigmas.shape}")
        if self.gram.ndim != 3 or self.gram.shape[1:] != (steps, steps) or not len(self.gram):
            raise ValueError(
                f"gram: need shape [branches, {steps}, {steps}], got {self.gram.shape}"
            )
        if not (np.isfinite(self.sigmas).all() and np.isfinite(self.gram).all()):
            raise ValueError("gram, sigmas: must be finite")
        if not (np.diff(self.sigmas) < 0).all():
            raise ValueError("sigmas: must fall from step to step")
        if not np.allclose(self.gram, self.gram.transpose(0, 2, 1)):
            raise ValueError("gram: must be symmetric")
        if not (np.diagonal(self.gram, axis1=1, axis2=2) > 0).all():
            raise ValueError("gram: the outputs of a step are all zero")

    def covers(self, sigmas: Sequence[float]) -> bool:
        """Whether every sigma lies in the calibrated range, give or take one calibrated step."""
        high = self.sigmas[0] + (self.sigmas[0] - self.sigmas[1])
        low = self.sigmas[-1] - (self.sigmas[-2] - self.sigmas[-1])
        return all(low <= sigma <= high for sigma in sigmas)

    def alpha(self, branch: int, sigma: float, newest: float, older: float) -> float:
        """Least-squares alpha for a prediction at `sigma` from outputs at two earlier sigmas.

        `<d - y0, y1 - y0> / <y1 - y0, y1 - y0>` over the calibration samples; 1 where the outputs
        did not change at all.
        """
        at, near, far = (self._weights(s) for s in (sigma, newest, older))
        gram = self.gram[min(branch, len(self.gram) - 1)]
        slope = near - far
        ratio = float(extrapolation_ratio(sigma, newest, older))
        below = ratio * float(slope @ gram @ slope)
        return float((at - near) @ gram @ slope) / below if below else 1.0

    def on(self, sigmas: Sequence[float]) -> Floats:
        """Products of the outputs at other sigmas [n, n], of all branches together."""
        weights = np.stack([self._weights(sigma) for sigma in sigmas])
        return weights @ self.gram.sum(0) @ weights.T

    def _weights(self, sigma: float) -> Floats:
        """Weights of linear interpolation between calibrated steps; constant beyond the ends."""
        rising = self.sigmas[::-1]
        right = int(np.clip(np.searchsorted(rising, sigma), 1, len(rising) - 1))
        share = float(
            np.clip((sigma - rising[right - 1]) / (rising[right] - rising[right - 1]), 0.0, 1.0)
        )
        weights = np.zeros(len(rising))
        weights[right - 1], weights[right] = 1 - share, share
        return weights[::-1]


class TableAlpha:
    """Alpha of one branch from a calibrated table."""

    def __init__(self, table: GramTable, branch: int) -> None:
        self._table = table
        self._branch = branch

    def at(self, history: Sequence[Entry], sigma: float, batch: int) -> tuple[float, ...]:
        if len(history) < 2:
            return (1.0,) * batch
        alpha = self._table.alpha(self._branch, sigma, history[0].sigma, history[1].sigma)
        return (min(max(alpha, LOWEST), HIGHEST),) * batch

    def learn(
        self, history: Sequence[Entry], sigma: float, measured: Sequence[float | None]
    ) -> None:
        return
