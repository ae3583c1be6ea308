"""Predict an output from the computed ones before it, as a weighted sum.

Outputs bend evenly over the logarithm of signal over noise and not over sigma, so the scaled
predictor's line is drawn over that axis.

Notation: past outputs `(sigma_j, d_j)`, newest j = 0. Order 0 repeats `y0 = d_0`; order 1 is the
line `y1 = d_0 + (d_0 - d_1) * (sigma - sigma_0) / (sigma_0 - sigma_1)`; the scaled predictor is
`y0 + alpha * (y1 - y0)`. Weights are numbers or tensors of a shape that goes with the output's;
none is ever read from the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Protocol

import numpy as np
import torch

Weight = float | torch.Tensor
# Where a sigma lies along which outputs change evenly.
Axis = Callable[[float], float]
# Two outputs that lie close say nothing about what is further off than so many of their distances.
FURTHEST = 10.0
# Alpha of the first predictions: over the logarithm of signal over noise outputs bend back, and
# what is right lies between 0.6 and 0.95 on the demo model.
FIRST_ALPHA = 0.85
# Beyond these a measured alpha says that the line is a poor model, not that it should be stretched.
LOWEST, HIGHEST = 0.0, 1.5
# Outputs go on as before while they bend at most so many times as much as at the last computed steps, or
# are not further from the line than this share of their size. On the demo models it is at most 2.5 times
# where nothing changes, and 3 to 10 times where the prompt does.
JUMP, NEAR = 3.0, 0.15
# Why a step is computed that was to be predicted.
UNKNOWN, TURNED = "no history for a conditioning", "outputs do not go on as before"
# Share of the old alpha that a measurement leaves.
_DAMPING = 0.7
# Columns of a measurement on the device.
_COLUMNS = 4


@dataclass(frozen=True)
class Known:
    """What was kept of one computed step.

    Attributes:
        step: index of the sampler's step.
        sigma: noise level of the evaluation.
        at: place of that sigma on the axis along which outputs change evenly.
        values: the outputs, one per stream, None for one that is not kept; owned by whoever keeps
            them, never written to.
        probe: change that the first blocks made then, where the predictor aligns.
    """

    step: int
    sigma: float = math.nan
    at: float = math.nan
    values: tuple[torch.Tensor | None, ...] = ()
    probe: torch.Tensor | None = None

    @property
    def value(self) -> torch.Tensor:
        """The output where there is one stream."""
        (value,) = self.values
        assert value is not None
        return value


@dataclass(frozen=True)
class Now:
    """Where an output is predicted.

    Attributes:
        step, sigma, at, probe: as in `Known`.
        level: sigma as the model gets it, on the device, of a shape that goes with the output's.
        alpha: how far along the line; a number, or one per sample in such a shape.
    """

    step: int
    sigma: float = math.nan
    at: float = math.nan
    level: Weight = math.nan
    alpha: Weight = FIRST_ALPHA
    probe: torch.Tensor | None = None


class Weigher(Protocol):
    """Weights of past outputs from a calibration."""

    def weights(self, sigma: float, past: Sequence[float]) -> tuple[float, ...]:
        """One weight per earlier noise level, newest first, for the output at `sigma`."""
        ...


@dataclass(frozen=True)
class Predictor:
    """How an output follows from past ones. Instances are immutable.

    Attributes:
        name: for people.
        depth: computed steps that are kept.
        least: computed steps that it starts with; those that find their weights during the run hold
            the first output until there are more.
        aligned: whether it compares the change of the first blocks with the kept ones.
        calibrated: whether it asks for a coefficient file.
        outside: whether it works on outputs of the whole network.
        inside: whether it works on changes of blocks, which know steps but no noise level.
    """

    name: ClassVar[str] = ""
    aligned: ClassVar[bool] = False
    calibrated: ClassVar[bool] = False
    outside: ClassVar[bool] = True
    inside: ClassVar[bool] = False

    @property
    def depth(self) -> int:
        return 1

    @property
    def least(self) -> int:
        return 1

    def bind(self, table: Weigher | None) -> Predictor:
        """What a run predicts with, given a calibration of its model or none."""
        return self

    def weights(self, past: Sequence[Known], now: Now) -> Sequence[Weight]:
        """One weight per entry of `past`, newest first, or for its first few."""
        raise NotImplementedError


@dataclass(frozen=True)
class Repeat(Predictor):
    """The newest output again."""

    name: ClassVar[str] = "reuse"
    inside: ClassVar[bool] = True

    def weights(self, past: Sequence[Known], now: Now) -> Sequence[Weight]:
        return (1.0,)


@dataclass(frozen=True)
class _Ordered(Predictor):
    """One that starts with as many outputs as it needs.

    Attributes:
        order: highest difference of past outputs, 1 or more; lower while there are fewer.
    """

    kind: ClassVar[str]

    order: int

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return f"{self.kind} {self.order}"

    @property
    def depth(self) -> int:
        return self.order + 1

    @property
    def least(self) -> int:
        return self.order + 1


@dataclass(frozen=True)
class Polynomial(_Ordered):
    """The polynomial over sigma through the last outputs."""

    kind: ClassVar[str] = "order"

    def weights(self, past: Sequence[Known], now: Now) -> Sequence[Weight]:
        return lagrange_weights([known.sigma for known in past[: self.depth]], now.level)


@dataclass(frozen=True)
class Scaled(Predictor):
    """`y0 + alpha * (y1 - y0)` with the alpha that earlier computed steps found right."""

    name: ClassVar[str] = "scaling"

    @property
    def depth(self) -> int:
        return 2

    def weights(self, past: Sequence[Known], now: Now) -> Sequence[Weight]:
        ratio = extrapolation_ratio(past, now.at)
        if ratio is None:
            return (1.0,)
        along = now.alpha * ratio
        return (1 + along, -along)


@dataclass(frozen=True)
class Taylor(_Ordered):
    """Forecast of TaylorSeer (Liu et al., arXiv 2503.06923; code Shenyi-Z/TaylorSeer), in units of
    steps; of order 1 to 3."""

    kind: ClassVar[str] = "Taylor"
    inside: ClassVar[bool] = True

    def weights(self, past: Sequence[Known], now: Now) -> Sequence[Weight]:
        # Of the evaluations of one step, the newest counts.
        kept: list[int] = []
        for i, known in enumerate(past):
            if not kept or known.step < past[kept[-1]].step:
                kept.append(i)
        kept = kept[: self.depth]
        found = dict(zip(kept, taylor_weights([past[i].step for i in kept], now.step), strict=True))
        return [found.get(i, 0.0) for i in range(kept[-1] + 1)]


@dataclass(frozen=True)
class LeastSquares(Predictor):
    """The last three outputs as a calibration weighs them; scaling without one."""

    name: ClassVar[str] = "least squares"
    calibrated: ClassVar[bool] = True

    table: Weigher | None = None

    @property
    def depth(self) -> int:
        return 3

    def bind(self, table: Weigher | None) -> Predictor:
        return SCALING if table is None else LeastSquares(table)

    def weights(self, past: Sequence[Known], now: Now) -> Sequence[Weight]:
        assert self.table is not None
        return self.table.weights(now.sigma, [known.sigma for known in past])


@dataclass(frozen=True)
class Auto(LeastSquares):
    """Least squares where a calibration was nearer, else scaling."""

    name: ClassVar[str] = "auto"


@dataclass(frozen=True)
class Align(Predictor):
    """Trajectory alignment of DiCache (arXiv 2508.17356): as far along the line through the last
    two changes as the first blocks have gone along theirs.

    With probe p and change r: `r_2 + g (r_1 - r_2)`, `g = mean|p - p_2| / mean|p_1 - p_2|`,
    clamped.

    Attributes:
        low, high: limits of g.
    """

    name: ClassVar[str] = "alignment"
    outside: ClassVar[bool] = False
    aligned: ClassVar[bool] = True
    inside: ClassVar[bool] = True

    low: float = 1.0
    high: float = 1.5

    @property
    def depth(self) -> int:
        return 2

    def weights(self, past: Sequence[Known], now: Now) -> Sequence[Weight]:
        if len(past) < 2 or now.probe is None:
            return (1.0,)
        newest, older = past[0].probe, past[1].probe
        assert newest is not None
        assert older is not None
        apart = (newest.float() - older.float()).abs().mean()
        gone = (now.probe.float() - older.float()).abs().mean()
        along = torch.where(apart > 0, gone / apart, torch.ones_like(apart))
        along = along.clamp(self.low, self.high)
        return (along, 1 - along)


AUTO, SCALING, LEAST_SQUARES = Auto(), Scaled(), LeastSquares()
REPEAT, ORDER_1, ORDER_2 = Repeat(), Polynomial(1), Polynomial(2)
TAYLOR_1, TAYLOR_2, TAYLOR_3 = Taylor(1), Taylor(2), Taylor(3)


class Quantity(Enum):
    """What changes slowly from step to step, and is kept in place of the denoised output.

    DERIVATIVE is `(x - denoised) / sigma`, the ODE derivative dx/dsigma of k-diffusion, the same
    for flow, eps and v models. Where a sampler adds fresh noise to x it is useless, since it would
    call that noise picture; DENOISED does not depend on it. OUTPUT_CHANGE and DENOISED_CHANGE are
    the derivative and the denoised output less x, as EasyCache and LazyCache keep them.
    """

    DERIVATIVE = "derivative"
    DENOISED = "denoised"
    OUTPUT_CHANGE = "output less input"
    DENOISED_CHANGE = "denoised less input"

    @classmethod
    def for_sampler(cls, stochastic: bool) -> Quantity:
        """What changes slowly with a sampler, which may add fresh noise between steps."""
        return cls.DENOISED if stochastic else cls.DERIVATIVE

    @property
    def less_input(self) -> bool:
        """Whether x is taken away from what the model gave."""
        return self in (Quantity.OUTPUT_CHANGE, Quantity.DENOISED_CHANGE)

    def of(self, x: torch.Tensor, denoised: torch.Tensor, sigma: Weight) -> torch.Tensor:
        """The quantity as a tensor of its own, in float32 or wider.

        Args:
            x: noisy latent [batch, ...].
            denoised: model output of the same shape.
            sigma: noise level, a number, [batch], or in a shape that goes with x.
        """
        wide = torch.promote_types(x.dtype, torch.float32)
        if self is Quantity.DENOISED:
            return denoised.to(wide, copy=True)
        if self is Quantity.DENOISED_CHANGE:
            return denoised.to(wide) - x
        if isinstance(sigma, torch.Tensor) and sigma.ndim == 1:
            sigma = per_sample(sigma, x)
        derivative = (x.to(wide) - denoised) / sigma
        return derivative - x if self is Quantity.OUTPUT_CHANGE else derivative

    def denoised(
        self,
        x: torch.Tensor,
        values: Sequence[torch.Tensor],
        weights: Sequence[Weight],
        sigma: torch.Tensor,
    ) -> torch.Tensor:
        """The denoised output that a sum of known quantities stands for, new, in the dtype of x.

        Args:
            values: known ones; those without a weight count for nothing.
            sigma: noise level, [batch] or in a shape that goes with x.
        """
        if self is Quantity.DENOISED:
            return weighted_sum(values, weights).to(x.dtype)
        if self is Quantity.DENOISED_CHANGE:
            return (x + weighted_sum(values, weights)).to(x.dtype)
        if self is Quantity.OUTPUT_CHANGE:
            values, weights = [*values[: len(weights)], x], [*weights, 1.0]
        if sigma.ndim == 1:
            sigma = per_sample(sigma, x)
        # x - sigma * sum, in one pass per term: on a skipped step this is nearly all.
        total = x
        for value, weight in zip(values, weights, strict=False):
            scale, factor = (sigma * weight, 1.0) if torch.is_tensor(weight) else (sigma, weight)
            # The first term makes a new tensor: x is not this function's to write to.
            add = total.addcmul if total is x else total.addcmul_
            total = add(value, scale, value=-factor)
        return total.to(x.dtype)


def weighted_sum(values: Sequence[torch.Tensor], weights: Sequence[Weight]) -> torch.Tensor:
    """A sum as a new tensor, in float32 or wider; values without a weight count for nothing."""
    first = values[0]
    total = first.to(torch.promote_types(first.dtype, torch.float32)) * weights[0]
    for value, weight in zip(values[1:], weights[1:], strict=False):
        if isinstance(weight, torch.Tensor):
            total.addcmul_(value, weight)
        else:
            total.add_(value, alpha=weight)
    return total


def per_sample(weight: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """A [batch] weight in a shape and dtype in which it multiplies `value` [batch, ...]."""
    wide = torch.promote_types(value.dtype, torch.float32)
    return weight.to(device=value.device, dtype=wide).reshape(-1, *[1] * (value.ndim - 1))


def snr_axis(sigmas: tuple[float, ...], log_snr: tuple[float, ...] | None) -> Axis:
    """Logarithm of signal over noise at any sigma, linear between those of the schedule; sigma
    itself where it is not known."""
    if log_snr is None:
        return float
    # Nearly all that is asked for is on the schedule.
    known = dict(zip(sigmas, log_snr, strict=True))
    rising, values = np.array(sigmas[::-1]), np.array(log_snr[::-1])

    def axis(sigma: float) -> float:
        found = known.get(sigma)
        return float(np.interp(sigma, rising, values)) if found is None else found

    return axis


def extrapolation_ratio(past: Sequence[Known], at: float) -> float | None:
    """Distance to `at` from the newest entry in units of that between the last two, within what a
    line is good for; None where no line goes through them: beyond its ends the axis puts all sigmas
    in one place.
    """
    if len(past) < 2 or past[0].at == past[1].at:
        return None
    ratio = (at - past[0].at) / (past[0].at - past[1].at)
    return min(max(ratio, -FURTHEST), FURTHEST)


def area(ahead: Any, behind: Any) -> Any:
    """A line through two points misses a curve by half its curvature times this.

    Args:
        ahead: distance from the newer point to where the line is read.
        behind: distance between the two points.
    """
    return abs(ahead) * (abs(ahead) + abs(behind))


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
    distance, and the forecast is `sum F_i x^i / i!` with x steps ahead of the newest. Exact for
    lines; from order 2 on it differs from the polynomial through the points, as the published code
    does.

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


def remember(past: Sequence[Known], newest: Known, depth: int) -> list[Known]:
    """Past outputs with a new one, newest first. An older one at the same sigma is replaced: two
    outputs at one sigma have no slope between them."""
    return [newest, *[known for known in past if known.sigma != newest.sigma]][:depth]


def held_bytes(entries: Sequence[Known]) -> int:
    """Bytes of the outputs that are kept."""
    return sum([v.nbytes for entry in entries for v in entry.values if v is not None])


# What each computed output says of its prediction. All sums are taken per sample of the batch, so
# images of one batch never influence each other.


@dataclass
class History:
    """What is kept of one conditioning in one place (window, call of a guidance node).

    Attributes:
        depth: computed outputs that are kept.
        batch: samples of each.
        kind: shape, dtype and device of the latents that they belong to.
        step: of the newest output, or at which it began.
        settled: whether outputs go on as a line tells. Right behind a break they do not.
        missed: how far the newest output was from the line, relative to its size; None without one.
        bend: the same over `area`.
        past: the outputs, newest first.
        alphas: per sample, how far along the line was right so far.
        alpha: the same for tensors: one number, or one per sample in a shape that goes with the
            outputs.
    """

    depth: int
    batch: int
    kind: Any = None
    step: int = 0
    settled: bool = True
    missed: float | None = field(default=None, init=False)
    bend: float = field(default=0.0, init=False)
    past: list[Known] = field(default_factory=list)
    alphas: list[float] = field(init=False)
    alpha: Weight = FIRST_ALPHA

    def __post_init__(self) -> None:
        self.alphas = [FIRST_ALPHA] * self.batch

    def learn(self, newest: Known, numbers: Sequence[float]) -> float | None:
        """Take in a computed output; alpha moves part of the way to what would have been right.

        Args:
            numbers: of `project`, one row after the other, read from the device.

        Returns:
            Relative error that its prediction would have had, infinite if the output is not finite;
            None without a line to predict from.
        """
        ratio = extrapolation_ratio(self.past, newest.at)
        rows = [numbers[i : i + _COLUMNS] for i in range(0, len(numbers), _COLUMNS)]
        reading = read(rows, ratio, self.alphas)
        if not reading.finite:
            return math.inf
        known = len(self.past) > 1
        self.alphas = [
            a if m is None else _DAMPING * a + (1 - _DAMPING) * min(max(m, LOWEST), HIGHEST)
            for a, m in zip(self.alphas, reading.alpha, strict=True)
        ]
        self.missed = reading.error if known else None
        if known and ratio:
            newer, older = self.past[:2]
            self.bend = reading.error / area(newest.at - newer.at, newer.at - older.at)
        self.past, self.step = remember(self.past, newest, self.depth), newest.step
        return self.missed

    def judge(self, limit: float, near: float) -> bool:
        """Whether the newest output goes on as before; if not, nothing is carried across.

        Args:
            limit: bend up to which it does.
            near: what may be missed at any bend.
        """
        if self.missed is None:
            return self.settled
        goes_on = self.missed <= near or self.bend <= limit
        if self.settled and not goes_on:
            self.past = self.past[:1]
        self.settled = goes_on
        return goes_on


@dataclass
class Histories:
    """Of all conditionings of a run, by what tells each from the others and the number of the evaluation
    within its step.

    Attributes:
        depth: computed outputs that each keeps.
        judges: whether outputs bend evenly enough over the axis to tell when they do not go on.
        wary: whether nothing is predicted any more once they did not twice, as where no repair follows.
        known: each of them.
        bent: how the newest outputs bent, None if they are on no line.
    """

    depth: int
    judges: bool
    wary: bool = field(default=False, kw_only=True)
    known: dict[Hashable, History] = field(default_factory=dict, init=False)
    bent: float | None = field(default=None, init=False)
    # How outputs bent at the last computed step at which they went on as before.
    _bend: float = field(default=math.inf, init=False)
    # Of the last two computed evaluations.
    _places: list[float] = field(default_factory=list, init=False)
    # How often outputs did not go on where they were to be predicted.
    _turns: int = field(default=0, init=False)

    def why_not(
        self,
        keys: Sequence[Hashable],
        number: int,
        active: Sequence[bool],
        x: torch.Tensor,
        oldest: int,
    ) -> str:
        """Why conditionings cannot all be predicted; empty if they can.

        Args:
            number: of the evaluation within its step. Each has a history of its own.
            active: which of them take part.
            x: noisy latent [batch, ...].
            oldest: step that the newest output of each has to be of, or of a later one.
        """
        kind = _kind(x)
        for key, on in zip(keys, active, strict=True):
            history = self.known.get((key, number)) if on else None
            if on and (history is None or history.kind != kind or history.step < oldest):
                return UNKNOWN
            if history is not None and (not history.settled or (self.wary and self._turns > 1)):
                self._turns += 1
                return TURNED
        return ""

    def admit(self, key: Hashable, x: torch.Tensor, oldest: int, begins: bool) -> None:
        """Make room for a conditioning; a new one where the latent has become another, and where it comes
        back after so long that no line leads there.

        Args:
            x, oldest: as in `why_not`.
            begins: whether the run begins, so that the first output is one of a line.
        """
        history, kind = self.known.get(key), _kind(x)
        if history is None or history.kind != kind or history.step < oldest:
            history = History(self.depth, len(x), kind, oldest, begins or self.depth < 2)
            self.known = {k: h for k, h in self.known.items() if h.step >= oldest}
            self.known[key] = history

    def measure(
        self, keys: Sequence[Hashable], values: Sequence[torch.Tensor]
    ) -> list[torch.Tensor]:
        """Numbers on the device about computed outputs, as many for each conditioning."""
        pairs = zip(keys, values, strict=True)
        return [project(self.known[key].past, value).flatten() for key, value in pairs]

    def learn(
        self, keys: Sequence[Hashable], newest: Sequence[Known], numbers: Sequence[float]
    ) -> float | None:
        """Take in computed outputs, and find out whether they go on as before. Where they do not, nothing
        is carried across, and all is computed until they do again.

        Args:
            keys: of the conditionings that the outputs belong to.
            newest: the outputs.
            numbers: of `measure`, one after the other, read from the device.

        Returns:
            The largest relative error that their predictions would have had, see `History.learn`.
        """
        missed, bend, settled = None, 0.0, True
        limit, size = JUMP * self._bend if self.judges else math.inf, len(numbers) // len(keys)
        histories: list[History] = []
        for i, (key, known) in enumerate(zip(keys, newest, strict=True)):
            history = self.known[key]
            histories.append(history)
            error = history.learn(known, numbers[i * size : (i + 1) * size])
            if error == math.inf:
                return error
            settled &= history.judge(limit, NEAR)
            bend = max(bend, history.bend)
            if error is not None:
                missed = max(missed or 0.0, error)
        self.bent = None if missed is None else bend
        if missed is not None and settled:
            # A curve that turns the other way is straight for a moment.
            self._bend = bend if self._bend == math.inf else max(bend, self._bend / 2)
        place_alphas(histories, newest[0].value)
        at = newest[0].at
        if self._places[:1] != [at]:
            self._places = [at, *self._places][:2]
        return missed

    def reach(self, at: float) -> float | None:
        """`area` from the last two computed places to another; None before there are two."""
        if len(self._places) < 2:
            return None
        newest, older = self._places
        return area(at - newest, newest - older)

    def clear(self) -> None:
        """Drop all tensors, and what they told."""
        self.known.clear()
        self._places = []

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return held_bytes([one for history in self.known.values() for one in history.past])


def _kind(x: torch.Tensor) -> tuple[torch.Size, torch.dtype, torch.device]:
    """What a latent must have in common with those that a history is of."""
    return x.shape, x.dtype, x.device


def place_alphas(histories: Sequence[History], like: torch.Tensor) -> None:
    """Give each history its alpha for tensors: at most one copy to the device for all of them, none
    where the samples of each agree. So predictions copy nothing.

    Args:
        like: an output [batch, ...].
    """
    mixed = [h for h in histories if len(set(h.alphas)) > 1]
    for history in histories:
        history.alpha = history.alphas[0]
    if mixed:
        rows = torch.tensor([h.alphas for h in mixed]).to(like.device, non_blocking=True)
        rows = rows.reshape(*rows.shape, *[1] * (like.ndim - 1))
        for history, row in zip(mixed, rows, strict=True):
            history.alpha = row


def project(past: Sequence[Known], value: torch.Tensor) -> torch.Tensor:
    """Products of a new output with those that it continues.

    With change `e = value - d_0` and slope `g = d_0 - d_1`, returns float32 [batch, 4]:
    `<e, g>`, `<g, g>`, `<e, e>`, `<value, value>`; what needs missing entries is 0.
    Stays on the device.
    """
    dot = torch.linalg.vecdot
    flat = value.flatten(1).float()
    known = [entry.value.flatten(1).float() for entry in past[:2]]
    out = flat.new_zeros((flat.shape[0], _COLUMNS))
    out[:, 3] = dot(flat, flat)
    if not known:
        return out
    change = flat - known[0]
    out[:, 2] = dot(change, change)
    if len(known) > 1:
        slope = known[0] - known[1]
        out[:, 0] = dot(change, slope)
        out[:, 1] = dot(slope, slope)
    return out


@dataclass(frozen=True)
class Measurement:
    """Host-side reading of `project` for one conditioning at one computed step.

    Attributes:
        alpha: per sample, the alpha that would have predicted best; None where it is undefined.
        error: worst relative error over the batch of the prediction with the alpha in use.
        finite: whether the output holds no NaN and no infinity.
    """

    alpha: tuple[float | None, ...]
    error: float
    finite: bool = True


def read(
    rows: Sequence[Sequence[float]], ratio: float | None, used: Sequence[float]
) -> Measurement:
    """Interpret products that are already on the host.

    With `r` the ratio, the prediction missed `e - alpha r g`, so the alpha that is right is
    `<e, g> / (r <g, g>)`.

    Args:
        rows: [batch][4] from `project`.
        ratio: extrapolation ratio at the computed step, None without a slope.
        used: the alpha per sample that a prediction would have used.
    """
    alphas: list[float | None] = []
    worst = 0.0
    for (along, slope2, change2, norm2), alpha in zip(rows, used, strict=True):
        if not math.isfinite(norm2):
            return Measurement((), math.inf, False)
        missed2 = change2
        if ratio and slope2 > 0:
            alphas.append(along / (slope2 * ratio))
            step = alpha * ratio
            missed2 = change2 - 2 * step * along + step * step * slope2
        else:
            alphas.append(None)
        worst = max(worst, math.sqrt(max(missed2, 0.0) / norm2) if norm2 > 0 else 0.0)
    return Measurement(tuple(alphas), worst)
