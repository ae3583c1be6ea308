"""What can be learned from plain runs: how the outputs of a model at different sigmas relate.

A Gram matrix of the outputs, `G[i, j] = <d(sigma_i), d(sigma_j)>` summed over samples, is enough to
solve any linear predictor by least squares without keeping a single output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Steps = NDArray[np.int_]
# Added to the squared size of the slopes to keep weights small: a share of it, and the square of 0.1 % of
# the outputs.
RIDGE = 1e-9
NOISE = 1e-6
# So far below zero, as a share of the trace, a matrix of products may be by rounding.
ROUNDING = 1e-12
# Two sigmas are the same if they differ by a smaller share.
SAME = 1e-4


@dataclass(frozen=True)
class GramTable:
    """Products of outputs over a schedule.

    Attributes:
        sigmas: [steps], falling.
        gram: [branches, steps, steps], symmetric; a branch is the index of a conditioning.
        gains: [steps] how much an error that a step leaves in x grows on its way to the result; None if
            that was not measured.
    """

    sigmas: Floats
    gram: Floats
    gains: Floats | None = None

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
        asymmetry = np.abs(self.gram - self.gram.transpose(0, 2, 1)).max()
        if asymmetry > 1e-8 * np.abs(self.gram).max():
            raise ValueError("gram: must be symmetric")
        if not (np.diagonal(self.gram, axis1=1, axis2=2) > 0).all():
            raise ValueError("gram: the outputs of a step are all zero")
        if self.gains is not None:
            if self.gains.shape != (steps,):
                raise ValueError(f"gains: need shape [{steps}], got {self.gains.shape}")
            if not (np.isfinite(self.gains).all() and (self.gains > 0).all()):
                raise ValueError("gains: must be finite and above 0")

    def covers(self, sigmas: Sequence[float]) -> bool:
        """Whether every sigma lies in the calibrated range, give or take one calibrated step."""
        high = self.sigmas[0] + (self.sigmas[0] - self.sigmas[1])
        low = self.sigmas[-1] - (self.sigmas[-2] - self.sigmas[-1])
        return all(low <= sigma <= high for sigma in sigmas)

    def joined(self, sigmas: Sequence[float]) -> list[float]:
        """Its own sigmas and others, falling; of two that are the same but for rounding its own."""
        own = self.sigmas.tolist()
        others = [s for s in sigmas if np.abs(self.sigmas - s).min() > SAME * s]
        return sorted({*own, *others}, reverse=True)

    def weights(self, sigma: float, past: Sequence[float]) -> tuple[float, ...]:
        """Weights of the outputs at earlier sigmas whose sum is nearest to the output at `sigma`, by
        least squares over all branches. They sum to 1.

        Args:
            past: newest first, at least one.
        """
        first, second, share = self._between([sigma, *past])
        near, place = np.unique([first, second], return_inverse=True)
        place = place.reshape(2, -1)
        # Of two calibrated steps each, so a few rows of a long table tell all.
        gram = self.gram[:, near[:, None], near].sum(0)
        units = np.eye(len(near))
        rows = share[:, None] * units[place[0]] + (1 - share)[:, None] * units[place[1]]
        return tuple(affine_weights(gram, rows[1:], rows[:1], self.noise)[0].tolist())

    def on(self, sigmas: Sequence[float]) -> Floats:
        """Products of the outputs at other sigmas [n, n], of all branches together."""
        first, second, share = self._between(sigmas)
        gram = self.gram.sum(0)
        rows = share[:, None] * gram[first] + (1 - share)[:, None] * gram[second]
        return share * rows[:, first] + (1 - share) * rows[:, second]

    def gains_on(self, sigmas: Sequence[float]) -> Floats:
        """Gains at other sigmas [n]; 1 where they were not measured."""
        if self.gains is None:
            return np.ones(len(sigmas))
        first, second, share = self._between(sigmas)
        return share * self.gains[first] + (1 - share) * self.gains[second]

    @cached_property
    def trace(self) -> float:
        """Squared size of all outputs."""
        return float(np.trace(self.gram.sum(0)))

    @property
    def noise(self) -> float:
        """Of `noise`."""
        return NOISE * self.trace / len(self.sigmas)

    def _between(self, sigmas: Sequence[float]) -> tuple[Steps, Steps, Floats]:
        """The two calibrated steps around other sigmas, and the share of the first in a linear
        interpolation, each [n]; constant beyond the ends."""
        rising, at = self.sigmas[::-1], np.asarray(sigmas, np.float64)
        last = len(rising) - 1
        above = np.clip(np.searchsorted(rising, at), 1, last)
        low, high = rising[above - 1], rising[above]
        return last - above, last - above + 1, np.clip((at - low) / (high - low), 0.0, 1.0)


def total(tables: Sequence[GramTable]) -> GramTable:
    """Products of all samples together, of tables over one schedule."""
    return GramTable(tables[0].sigmas, np.sum([table.gram for table in tables], 0))


def noise(gram: Floats) -> float:
    """Squared error with which an output of a run is known once others before it were predicted."""
    return NOISE * float(np.trace(gram)) / len(gram)


def raised(gram: Floats, share: float) -> Floats:
    """Products of the outputs and of noise on each, by a share of the trace."""
    found = gram.copy()
    found[np.diag_indices(len(gram))] += share * np.trace(gram)
    return found


def definite(gram: Floats) -> bool:
    """Whether a symmetric matrix can hold products of outputs: no sum of outputs has a square below zero,
    but for rounding."""
    try:
        np.linalg.cholesky(raised(gram, ROUNDING))
    except np.linalg.LinAlgError:
        return False
    return bool(np.isfinite(gram).all())


def affine_weights(gram: Floats, past: Floats, at: Floats, floor: float) -> Floats:
    """Least-squares weights of known outputs for unknown ones. Each row sums to 1, so that outputs
    that do not change are predicted without error.

    Args:
        gram: [..., n, n] products of outputs.
        past: [k, n] known outputs as weights of those, newest first.
        at: [m, n] unknown ones likewise.
        floor: squared size below which a slope says nothing.

    Returns:
        [..., m, k].
    """
    slopes = past[:1] - past[1:]
    products = slopes @ gram
    sizes = products @ slopes.T
    # Known outputs that lie close to one line leave weights undetermined: keep them small.
    least = np.maximum(RIDGE * np.trace(sizes, axis1=-2, axis2=-1) + floor, 1e-300)
    steady = sizes + np.eye(len(slopes)) * least[..., None, None]
    along = np.linalg.solve(steady, products @ (at - past[:1]).T).swapaxes(-2, -1)
    return np.concatenate([1 + along.sum(-1, keepdims=True), -along], -1)
