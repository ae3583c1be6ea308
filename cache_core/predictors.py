"""Predict an output from the computed ones before it, as a function of sigma.

Outputs bend evenly over the logarithm of signal over noise and not over sigma, so the scaled predictor's
line is drawn over that.

Notation: entries `(sigma_j, d_j)`, newest j = 0. Order 0 repeats `y0 = d_0`; order 1 is the line
`y1 = d_0 + (d_0 - d_1) * (sigma - sigma_0) / (sigma_0 - sigma_1)`; the scaled predictor is
`y0 + alpha * (y1 - y0)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, overload

import numpy as np
import torch

from .calibration import Floats
from .history import Entry, History

Sigma = float | torch.Tensor
# Where a sigma lies on the axis along which outputs change evenly.
Place = Callable[[float], float]
# A sum: tensors of one shape, each with its weight, a number or one per sample [batch].
Terms = Sequence[tuple[torch.Tensor, Sigma]]
# Two outputs that lie close say nothing about what is further off than so many of their distances.
FURTHEST = 10.0


class Weigher(Protocol):
    """Weights of past outputs that are known on the host, such as a calibrated table's."""

    def weights(self, sigma: float, past: Sequence[float]) -> tuple[float, ...]:
        """One weight per output of an earlier noise level, for the output at `sigma`.

        Args:
            past: newest first, at least one.
        """
        ...


def snr_place(sigmas: tuple[float, ...], log_snr: tuple[float, ...]) -> Place:
    """Logarithm of signal over noise at any sigma, linear between those of the schedule."""
    # Nearly all that is asked for: looked up, since it is asked several times per step.
    known = dict(zip(sigmas, log_snr, strict=True))
    rising, values = np.array(sigmas[::-1]), np.array(log_snr[::-1])

    def place(sigma: float) -> float:
        found = known.get(sigma)
        return float(np.interp(sigma, rising, values)) if found is None else found

    return place


def extrapolation_ratio(sigma: Sigma, newest: float, older: float) -> Sigma:
    """Distance to `sigma` from the newest entry, in units of the distance between the two entries.

    A tensor sigma stays on its device, so nothing waits for it.
    """
    return (sigma - newest) / (newest - older)


@overload
def lagrange_weights(places: Sequence[float], at: Sigma) -> list[Sigma]: ...
@overload
def lagrange_weights(places: Sequence[Floats], at: Floats) -> list[Floats]: ...
def lagrange_weights(places: Sequence[Any], at: Any) -> list[Any]:
    """Weights of the polynomial through all places, evaluated at another.

    Exact for polynomials of degree `len(places) - 1`.

    Args:
        places: numbers, or arrays whose shapes go together, for many polynomials at once.
    """
    weights: list[Any] = []
    for i, here in enumerate(places):
        weight = 1.0
        for j, other in enumerate(places):
            if i != j:
                weight = weight * (at - other) / (here - other)
        weights.append(weight)
    return weights


def taylor_weights(steps: Sequence[int], step: int) -> tuple[float, ...]:
    """Weights of the published forecast, one per computed step, newest first.

    `F_0 = f`, `F_{i+1}` is the difference of `F_i` at two neighbouring computed steps over their
    distance, and the forecast is `sum F_i x^i / i!` with x steps ahead of the newest. Exact for lines;
    from order 2 on it differs from the polynomial through the points, as the published code does.

    Args:
        steps: computed steps, falling.
        step: the step to predict.
    """
    count = len(steps)
    level = [[float(i == j) for j in range(count)] for i in range(count)]
    total = [0.0] * count
    ahead = step - steps[0]
    for order in range(count):
        factor = ahead**order / math.factorial(order)
        total = [t + factor * w for t, w in zip(total, level[0], strict=True)]
        level = [
            [
                (a - b) / (steps[i] - steps[i + 1])
                for a, b in zip(level[i], level[i + 1], strict=True)
            ]
            for i in range(len(level) - 1)
        ]
    return tuple(total)


def weighted(entries: Sequence[Entry], weights: Sequence[Sigma]) -> Terms:
    """The sum of entries, one weight each.

    Raises:
        ValueError: if there are none.
    """
    if not entries:
        raise ValueError("entries: need at least one")
    return [(entry.value, weight) for entry, weight in zip(entries, weights, strict=True)]


def combine(terms: Terms) -> torch.Tensor:
    """A sum as a new tensor, in float32 or wider."""
    (first, weight), *rest = terms
    total = first.to(wide_dtype(first)) * broadcast(weight, first)
    for value, weight in rest:
        share = broadcast(weight, value)
        if isinstance(share, torch.Tensor):
            total.addcmul_(value, share)
        else:
            total.add_(value, alpha=share)
    return total


def subtract_scaled(start: torch.Tensor, scale: torch.Tensor, terms: Terms) -> torch.Tensor:
    """`start - scale * combine(terms)`, in one pass per term: on a skipped step this is nearly all.

    Args:
        scale: of a shape that goes with the start's, in float32 or wider.
    """
    total = start
    for i, (value, weight) in enumerate(terms):
        share = broadcast(weight, value)
        each, factor = (scale * share, 1.0) if isinstance(share, torch.Tensor) else (scale, share)
        # The start is not this function's to write to.
        add = total.addcmul_ if i else total.addcmul
        total = add(value, each, value=-factor)
    return total


def extrapolate(history: History, sigma: Sigma, order: int) -> Terms:
    """Polynomial extrapolation of the given order, or of the highest one the history allows.

    Raises:
        ValueError: if the history is empty.
    """
    entries = list(history)[: order + 1]
    return weighted(entries, lagrange_weights([e.sigma for e in entries], sigma))


def scaled(history: History, place: Place, sigma: float, alpha: Sigma) -> Terms:
    """`y0 + alpha * (y1 - y0)`; order 0 while the history has one entry.

    Args:
        place: where a sigma lies on the axis along which the line is drawn.
        sigma: noise level to predict at.
        alpha: 0 repeats the last output, 1 is the line; a float or a tensor of shape [batch].

    Raises:
        ValueError: if the history is empty.
    """
    if len(history) < 2:
        return extrapolate(history, sigma, 0)
    ratio = alpha * ratio_at(history, place, sigma)
    return weighted(list(history)[:2], [1 + ratio, -ratio])


def ratio_at(history: History, place: Place, sigma: float) -> float:
    """Extrapolation ratio at a sigma from the last two entries, within what a line is good for."""
    newest, older = place(history[0].sigma), place(history[1].sigma)
    ratio = float(extrapolation_ratio(place(sigma), newest, older))
    return min(max(ratio, -FURTHEST), FURTHEST)


def forecast(history: History, step: int, order: int) -> Terms:
    """TaylorSeer's forecast of the given order, in units of steps; lower while the history is short.

    Of the evaluations of one step, the newest counts.

    Raises:
        ValueError: if the history is empty.
    """
    entries: list[Entry] = []
    for entry in history:
        if not entries or entry.step < entries[-1].step:
            entries.append(entry)
    entries = entries[: order + 1]
    return weighted(entries, taylor_weights([e.step for e in entries], step))


@overload
def broadcast(weight: torch.Tensor, value: torch.Tensor) -> torch.Tensor: ...
@overload
def broadcast(weight: Sigma, value: torch.Tensor) -> Sigma: ...
def broadcast(weight: Sigma, value: torch.Tensor) -> Sigma:
    """Shape a [batch] weight so that it multiplies `value` [batch, ...]."""
    if isinstance(weight, torch.Tensor) and weight.ndim == 1:
        weight = weight.to(device=value.device, dtype=wide_dtype(value))
        return weight.reshape(-1, *[1] * (value.ndim - 1))
    return weight


def wide_dtype(value: torch.Tensor) -> torch.dtype:
    """The dtype in which values like this one are cached and summed."""
    return torch.promote_types(value.dtype, torch.float32)
