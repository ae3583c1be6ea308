"""Repair, at each computed step, what the predicted steps before it missed.

A prediction reaches past the last computed output, and how far it was off shows at the next one. What
the predicted steps should have been then lies between known outputs, where it is far better known. The
difference, summed as the sampler sums it, is handed to the sampler with the computed output: no further
evaluation is needed. Multistep solvers correct themselves likewise (UniC, Zhao et al., arXiv 2302.04867).

With steps k predicted between the computed ones i and j, widths `w_k = sigma_{k+1} - sigma_k`,
predictions `p_k` and interpolations `q_k` of the derivative d,

    owed = sum_k w_k (q_k - p_k) / (1 - REPLY / sigma_j * sum_k w_k b_k),    d_j <- d_j + owed / w_j

where `b_k` is the weight of `d_j` in `q_k`: `d_j` was evaluated at the x before the repair.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import ClassVar

import torch

from .predictors import (
    Axis,
    Known,
    Quantity,
    Weigher,
    area,
    extrapolation_ratio,
    held_bytes,
    lagrange_weights,
    per_sample,
    remember,
    weighted_sum,
)

# Share of an error of x over sigma by which d is off: 1 if the picture that the model sees stays, 0 if it
# moves along with x.
REPLY = 0.5
# A sample whose output was further than this from the line, relative to its size, went another way than
# anything between known outputs could tell.
TRUSTED = 0.4
# A repair is at most so much of what the conditionings' own outputs missed, times the scale of the
# guidance, which makes more of it: up to 0.3 on the demo models. A larger one came with another scale at
# the steps between, and is no repair.
_BY_SCALE, _USUAL_SCALE, _LEAST_SCALE = 0.65, 4.0, 2.0
_PAST = 2


@dataclass
class Corrector:
    """State of one sampling run with one evaluation per step. Nothing is read from the device.

    `add` and `repair` take the noisy latent x [batch, ...] and the denoised output with guidance, of each
    step once and in order.

    Attributes:
        LATENTS: how many it keeps.
        sigmas: schedule of the run, the final sigma included.
        axis: where a sigma lies along which outputs change evenly.
        table: calibrated outputs, from which the weights follow; None for the parabola over the axis.
        scale: of the guidance; None if it is not known.
        settled: whether the next computed output is one of a line; right behind a break it is not.
        step: the last one that it was told of.
    """

    LATENTS: ClassVar[int] = _PAST + 1

    sigmas: Sequence[float]
    axis: Axis
    table: Weigher | None = None
    scale: float | None = None
    settled: bool = True
    step: int = field(default=-1, init=False)
    _widths: list[float] = field(init=False)
    _past: list[Known] = field(default_factory=list, init=False)
    _predicted: list[int] = field(default_factory=list, init=False)
    _sum: torch.Tensor | None = field(default=None, init=False)
    _width: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._widths = [there - here for here, there in pairwise(self.sigmas)]

    def fresh(self, settled: bool) -> Corrector:
        """One of the same run that knows nothing."""
        return replace(self, settled=settled)

    def add(self, step: int, x: torch.Tensor, denoised: torch.Tensor) -> None:
        """Take in a predicted output."""
        self.step = step
        sigma, width = self.sigmas[step], self._widths[step]
        if self._sum is None:
            self._sum = Quantity.DERIVATIVE.of(x, denoised, sigma).mul_(width)
        else:
            self._sum.add_(x, alpha=width / sigma).sub_(denoised, alpha=width / sigma)
        self._predicted.append(step)
        self._width += width

    def repair(
        self, step: int, x: torch.Tensor, denoised: torch.Tensor, bend: float | None = None
    ) -> torch.Tensor:
        """A computed output as the sampler is to have it, in the dtype of x; the same one if nothing is
        owed.

        Args:
            bend: of the conditionings' own outputs now, see `History`; None if that is not known.
        """
        self.step, sigma = step, self.sigmas[step]
        derivative = Quantity.DERIVATIVE.of(x, denoised, sigma)
        newest = Known(step, sigma, self.axis(sigma), (derivative,))
        owed, width = (
            self._owed(newest, derivative),
            sum([self._widths[k] for k in self._predicted]),
        )
        self._predicted, self._sum = [], None
        if owed is not None:
            safe = self._trust(newest, derivative, owed, None if bend is None else bend * width)
            owed = owed * per_sample(safe, derivative)
            # The model would have answered the repaired x like this.
            newest = replace(newest, values=(derivative + owed * (REPLY / sigma),))
            denoised = torch.sub(denoised, owed, alpha=sigma / self._widths[step]).to(x.dtype)
        self._past = remember(self._past, newest, _PAST) if self.settled else []
        self.settled = True
        return denoised

    def clear(self) -> None:
        """Drop all tensors."""
        self._past, self._predicted, self._sum, self._width = [], [], None, 0.0

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        own = 0 if self._sum is None else self._sum.numel() * self._sum.element_size()
        return own + held_bytes(self._past)

    def _owed(self, newest: Known, derivative: torch.Tensor) -> torch.Tensor | None:
        """What x lacks after the predicted steps, were the computed output right."""
        if self._sum is None or not self._past:
            return None
        knots = [newest, *self._past]
        totals = [0.0] * len(knots)
        for k in self._predicted:
            for i, share in enumerate(self._shares(self.sigmas[k], knots)):
                totals[i] += self._widths[k] * share
        values = [derivative, *[known.value for known in self._past]]
        missing = weighted_sum(values, totals) - self._sum
        return missing / (1 - REPLY / newest.sigma * totals[0])

    def _shares(self, sigma: float, knots: Sequence[Known]) -> Sequence[float]:
        """Of the known outputs in the one at sigma."""
        if self.table is not None:
            return self.table.weights(sigma, [knot.sigma for knot in knots])
        return lagrange_weights([knot.at for knot in knots], self.axis(sigma))

    def _trust(
        self, newest: Known, value: torch.Tensor, owed: torch.Tensor, bend: float | None
    ) -> torch.Tensor:
        """Share of a repair that is safe, per sample [batch].

        Args:
            bend: of the conditionings' own outputs, times the width of the predicted steps.
        """
        ratio = extrapolation_ratio(self._past, newest.at)
        line = [1.0] if ratio is None else [1 + ratio, -ratio]
        off = value - weighted_sum([known.value for known in self._past], line)
        norm = torch.linalg.vector_norm
        size, far, much = [norm(tensor.flatten(1), dim=1) for tensor in (value, off, owed)]
        safe = (TRUSTED * size / far.clamp_min(1e-30)).square().clamp_max(1.0)
        if bend is None or not ratio:
            return safe
        newer, older = self._past
        missed = bend * area(newest.at - newer.at, newer.at - older.at)
        scale = max(_USUAL_SCALE if self.scale is None else self.scale, _LEAST_SCALE)
        most = _BY_SCALE * scale * abs(missed)
        return safe * (most * size / much.clamp_min(1e-30)).pow(4).clamp_max(1.0)


@dataclass
class Correctors:
    """One for each set of conditionings that is asked together: the outputs of others, with guidance, are
    not on one line with theirs."""

    known: dict[Hashable, Corrector] = field(default_factory=dict, init=False)

    def of(self, asked: Hashable, like: Corrector, oldest: int, begins: bool) -> Corrector:
        """The one for a set; a new one if its last step was before the `oldest`.

        Args:
            begins: whether the run begins, so that the first output is one of a line.
        """
        found = self.known.get(asked)
        if found is None or found.step < oldest:
            found = like.fresh(settled=begins)
            self.known = {k: c for k, c in self.known.items() if c.step >= oldest}
            self.known[asked] = found
        return found

    def clear(self) -> None:
        """Drop all tensors."""
        self.known.clear()

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return sum([corrector.nbytes for corrector in self.known.values()])
