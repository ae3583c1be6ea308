"""What a computed output says about the prediction it replaced.

All sums are taken per sample of the batch, so images of one batch never influence each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from .history import History

# Columns of a measurement on the device.
_COLUMNS = 4


def project(history: History, value: torch.Tensor) -> torch.Tensor:
    """Products of a new output with the history it continues.

    With change `e = value - d_0` and slope `g = d_0 - d_1`, returns float32 [batch, 4]:
    `<e, g>`, `<g, g>`, `<e, e>`, `<value, value>`; what needs missing entries is 0.
    Stays on the device.
    """
    flat = _flat(value)
    out = flat.new_zeros((flat.shape[0], _COLUMNS))
    out[:, 3] = _dot(flat, flat)
    if len(history) > 0:
        newest = _flat(history[0].value)
        change = flat - newest
        out[:, 2] = _dot(change, change)
        if len(history) > 1:
            slope = newest - _flat(history[1].value)
            out[:, 0] = _dot(change, slope)
            out[:, 1] = _dot(slope, slope)
    return out


@dataclass(frozen=True)
class Measurement:
    """Host-side reading of `project` for one stream at one computed step.

    Attributes:
        alpha: per sample, the alpha that would have predicted best; None where it is undefined.
        error: worst relative error over the batch of the prediction with the alpha in use.
        finite: whether the output holds no NaN and no infinity.
    """

    alpha: tuple[float | None, ...]
    error: float
    finite: bool


def read(products: torch.Tensor, ratio: float | None, alpha_used: tuple[float, ...]) -> Measurement:
    """Interpret products that are already on the host.

    Args:
        products: [batch, 4] from `project`, on the CPU.
        ratio: extrapolation ratio at the computed step, None without a slope.
        alpha_used: the alpha per sample that a prediction would have used.
    """
    rows = products.tolist()
    finite = all(math.isfinite(row[3]) for row in rows)
    if not finite:
        return Measurement((None,) * len(rows), math.inf, False)
    alphas: list[float | None] = []
    worst = 0.0
    for row, used in zip(rows, alpha_used, strict=True):
        along, slope2, change2, norm2 = row
        defined = ratio is not None and ratio != 0 and slope2 > 0
        alphas.append(along / (slope2 * ratio) if defined and ratio else None)
        missed2 = change2
        if defined and ratio:
            step = used * ratio
            missed2 = change2 - 2 * step * along + step * step * slope2
        worst = max(worst, math.sqrt(max(missed2, 0.0) / norm2) if norm2 > 0 else 0.0)
    return Measurement(tuple(alphas), worst, True)


def _flat(value: torch.Tensor) -> torch.Tensor:
    return value.reshape(value.shape[0], -1).float()


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vecdot(a, b)
