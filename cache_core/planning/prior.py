"""What is expected of the outputs of any model, and the steps to compute that follow from it.

Its outputs are taken for a random function of the logarithm of signal over noise that is smooth once and
forgets its slope over about one unit of it. Lines and parabolas through computed outputs then miss by a
known size on average, and `optimiser` finds the steps at which that costs the result least. On training
prompts of two small models this, but for the errors at the end, ranked 348 random choices, each against
those of its length, nearly as the pictures did (correlation 0.83 to 0.99).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise

import numpy as np

from ..predict.predictors import Axis, lagrange_weights
from .gram import RIDGE, ROUNDING, Floats, GramTable, affine_weights
from .optimiser import Chains, Steps, search, segment_costs

# What a model gives for noise alone strays from what comes next by this much more, as a share of the
# squared size of the outputs' changes.
_ALONE = 0.003
# Errors count for more than they grow, at these rates per unit of the logarithm of signal over noise, the
# further from where both are level: early ones, which may turn the picture into another, and late ones,
# for one unit only, since outputs bend more there. Guidance makes more of both, some samplers of early
# ones.
UNGUIDED, GUIDED, CARRIED = (0.0, 0.1), (0.15, 0.6), (0.25, 0.1)
# Lines miss by more at both ends than such functions tell: by these rates per unit before -1, for three
# units, and from 0 on. So they do on training prompts of the three demo models, within a factor of two.
_BENT_EARLY, _BENT_LATE, _REACH = 0.7, 0.4, 3.0
# Of what is expected of any model in a calibrated table: a few prompts do not tell all. The two are
# compared by lines over so many steps.
_SHARE = 0.4
_APART = 2
_TOLD = 1e-14


def line_chains(
    sigmas: Sequence[float],
    log_snr: Sequence[float],
    forced: Iterable[int],
    longest: int,
    corrected: bool,
    rates: tuple[float, float],
    breaks: Collection[int] = (),
) -> Chains:
    """For each number of computed steps, those between which lines are expected to cost least.

    Args:
        sigmas: schedule of the run, the final sigma included.
        log_snr: logarithm of signal over noise at each of them, rising, as far as a model can tell it.
        forced: steps that are always computed; the first and the last one are too.
        longest: steps that may be predicted in a row.
        corrected: whether each computed step repairs the predicted ones before it.
        rates: at which early and late errors count for more: `UNGUIDED`, `GUIDED` or `CARRIED`.
        breaks: computed steps across which nothing is repaired.

    Returns:
        Fewest computed steps first; the scale of their errors means nothing.
    """
    early, late = rates
    places = np.asarray(log_snr[:-1])
    counts = np.where(places > 0, late * np.minimum(places, 1.0), -early * places)
    weights = np.array(influence(sigmas, log_snr)) * np.exp(counts)

    def weigh(_: Floats, near: Steps, known: int) -> Floats:
        return polynomial_weights(places[near[:, :known]], places[near[:, known:]])

    # A known output and one that it helps to predict lie at most two gaps apart.
    near = products(places, 2 * (longest + 1))
    costs = segment_costs(near, weights, longest, corrected, weigh, breaks)
    return search(costs, forced)


def filled(table: GramTable, sigmas: Sequence[float], places: Sequence[float]) -> GramTable:
    """A calibrated table over more sigmas than it was made at.

    The outputs at the others are taken for the sum of its own that is expected to be nearest, and what
    that is expected to miss: little between close ones, much beyond the ends (kriging; Rasmussen and
    Williams, Gaussian Processes for Machine Learning, eq. 2.42).

    Args:
        sigmas: falling, all of the table among them.
        places: logarithm of signal over noise at each of them, rising.
    """
    every, at = np.array(sigmas), np.array(places)
    own = np.isin(every, table.sigmas)
    if own.all():
        return table
    expected, units = products(at), np.eye(len(at))
    weights = affine_weights(expected, units[own], units[~own], RIDGE)
    missed = units[~own] - weights @ units[own]
    told = np.zeros((len(at), own.sum()))
    told[own], told[~own] = np.eye(own.sum()), weights
    gram = told @ table.gram @ told.T
    left = missed @ expected @ missed.T
    for branch, measured in zip(gram, table.gram, strict=True):
        branch[np.ix_(~own, ~own)] += _scale(measured, at[own]) * left
    gram = (gram + gram.swapaxes(1, 2)) / 2
    # Squares of sums that cancel may fall below zero by rounding.
    sizes = np.einsum("bii->bi", gram)
    sizes[:] = np.maximum(sizes, ROUNDING * sizes.max(1, keepdims=True))
    gains = None if table.gains is None else table.gains_on(sigmas)
    return GramTable(every, gram, gains)


def steadied(table: GramTable, axis: Axis) -> GramTable:
    """A calibrated table, drawn toward what is expected of any model.

    Args:
        axis: logarithm of signal over noise at a sigma, as far as a model can tell it.
    """
    places = np.array([axis(float(sigma)) for sigma in table.sigmas])
    measured = table.gram.sum(0)
    scale = _scale(measured, places)
    if scale == 0.0:
        return table
    gram = (1 - _SHARE) * measured + _SHARE * scale * products(places)
    return GramTable(table.sigmas, gram[None], table.gains)


def _scale(measured: Floats, places: Floats) -> float:
    """Squared size of what measured outputs do against what is expected; 0 where that cannot be told.

    By what lines miss, and not by how far outputs go: of a model whose outputs bend less than expected
    nothing measured would be left. The median, since the first steps stand out.
    """
    near, shares = _misses(places)
    squares = _squares(near, shares, products(places))
    # Places that are the same but for rounding say nothing.
    told = squares > _TOLD
    if not told.any():
        return 0.0
    return max(float(np.median(_squares(near, shares, measured)[told] / squares[told])), 0.0)


def _misses(places: Floats) -> tuple[Steps, Floats]:
    """Steps [n, 3] and weights [n, 3] of the outputs that make up how far one is from the line through
    those `_APART` steps before and after it: of each that has such a line. Outside the run places do not
    rise."""
    steps = np.arange(_APART, len(places) - _APART)
    before, after = steps - _APART, steps + _APART
    rising = (places[before] < places[steps]) & (places[steps] < places[after])
    steps, before, after = steps[rising], before[rising], after[rising]
    share = (places[steps] - places[before]) / (places[after] - places[before])
    return np.stack([steps, before, after], 1), np.stack(
        [np.ones(len(steps)), share - 1, -share], 1
    )


def _squares(near: Steps, shares: Floats, gram: Floats) -> Floats:
    """Squared size of what weights make of some outputs."""
    return np.einsum("na,nab,nb->n", shares, gram[near[:, :, None], near[:, None, :]], shares)


def influence(sigmas: Sequence[float], log_snr: Sequence[float]) -> list[float]:
    """How far an error of the derivative at each step moves the final result, up to a factor.

    The step multiplies it with its width. On the way to the result it grows as the share of the signal
    does, as the latent is that share of the picture plus noise; where a model cannot tell the signal from
    noise, it corrects the error. That is about what calibration measured on the demo models.

    Args:
        sigmas: schedule of the run, the final sigma included.
        log_snr: logarithm of signal over noise at each of them, as far as a model can tell it.
    """
    grown = (
        1 / (sigma * math.exp(place))
        for sigma, place in zip(sigmas[:-1], log_snr[:-1], strict=True)
    )
    return [abs(here - then) * g for (here, then), g in zip(pairwise(sigmas), grown, strict=True)]


def products(places: Floats, within: int | None = None) -> Floats:
    """Expected products of the outputs at some places: a Matern 3/2 kernel of length 1 (Rasmussen and
    Williams, Gaussian Processes for Machine Learning, eq. 4.17).

    Args:
        within: leave those of steps that are further apart at 0.
    """
    count = len(places)
    found = np.zeros((count, count))
    for offset in range(count if within is None else min(within + 1, count)):
        later, earlier = np.arange(offset, count), np.arange(count - offset)
        found[later, earlier] = found[earlier, later] = _alike(places[later] - places[earlier])
    found[0, 0] += _ALONE
    return found


def _alike(apart: Floats) -> Floats:
    far = math.sqrt(3) * np.abs(apart)
    return (1 + far) * np.exp(-far)


def line_misses(places: Floats, steps: Steps, last: Steps, older: Steps) -> Floats:
    """How far lines are expected to miss outputs, as a share of their size and up to a factor that is the
    model's own.

    Args:
        places: logarithm of signal over noise at each step of the run, rising.
        steps: [n] whose outputs are predicted.
        last, older: [n] the two outputs that each line goes through; `older` is -1 where there is none,
            and the last one stands for what follows.
    """
    at = places[np.stack([steps, last, older])]
    behind = np.where(older < 0, np.inf, at[1] - at[2])
    bent = (at[0] - at[1]) / np.maximum(behind, _TOLD)
    shares = np.stack([np.ones(len(steps)), -1 - bent, bent])
    gram = _alike(at[:, None] - at)
    gram[[1, 2], [1, 2]] += _ALONE * (np.stack([last, older]) == 0)
    ends = _BENT_EARLY * (-1 - at[0]).clip(0, _REACH) + _BENT_LATE * at[0].clip(0)
    return np.exp(ends) * np.sqrt(np.einsum("an,abn,bn->n", shares, gram, shares).clip(0.0))


def polynomial_weights(known: Floats, at: Floats) -> Floats:
    """Weights of the polynomial through known places [n, k] at others [n, m].

    Returns:
        [n, m, k].
    """
    weights = lagrange_weights(list(known.T[..., None]), at)
    return np.stack([np.broadcast_to(weight, at.shape) for weight in weights], axis=-1)
