"""Choose the steps to compute from calibration data.

Predicted steps leave `sum dsigma_i (d_i - d_hat_i)` in the final result: what the sampler integrates,
with the sign it has. Its size follows from the Gram matrix of the outputs. Where the next computed step
repairs them (see `corrector`), d_hat is what is known then, with that step's output. So every run of
steps between two computed ones has a cost, and the cheapest chain of computed steps is found by dynamic
programming over the last two of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from .gram import Floats, GramTable, affine_weights, noise

Steps = NDArray[np.int_]
# Weights [n, missing, known] of known outputs for others, from the products [n, all, all] of all of them,
# their steps [n, all], known ones first, and how many are known.
Weigh = Callable[[Floats, Steps, int], Floats]

# No prediction is good for longer, and the search grows with the cube.
LONGEST = 12


@dataclass(frozen=True)
class Chain:
    """Computed steps and what is expected of them.

    Attributes:
        steps: computed steps, rising.
        error: expected error of the final result, relative to the way to it from noise of sigma 1. Noise
            is about as large as the picture there, whatever sigma a model starts at.
    """

    steps: tuple[int, ...]
    error: float


def best_chains(
    table: GramTable,
    sigmas: tuple[float, ...],
    forced: Iterable[int],
    longest: int,
    corrected: bool = True,
) -> list[Chain]:
    """For each number of computed steps, those with the smallest expected error of the final result.

    More computed steps never have a larger expected error. The same input gives the same steps.

    Args:
        table: of the guided output.
        sigmas: schedule of the run, the final sigma included.
        forced: steps that are always computed; the first and the last one are too.
        longest: steps that may be predicted in a row.
        corrected: whether each computed step repairs the predicted ones before it.

    Returns:
        Fewest computed steps first. A number of steps that is no better than a smaller one is left out.

    Raises:
        ValueError: if there are fewer than three steps or the schedule does not fall throughout.
    """
    steps = len(sigmas) - 1
    if steps < 3:
        raise ValueError(f"sigmas: need 3 steps or more, got {steps}")
    if not all(a > b for a, b in pairwise(sigmas)):
        raise ValueError("sigmas: must fall from step to step")
    gram = table.on(sigmas[:-1])
    widths = np.diff(np.asarray(sigmas))
    way = np.sqrt(max(float(widths @ gram @ widths), 1e-300)) / sigmas[0]
    weighted = widths * table.gains_on(sigmas[:-1])
    costs = segment_costs(gram, weighted, longest, corrected, squares(noise(gram)))
    return [Chain(c.steps, c.error / way) for c in search(costs, forced)]


def search(costs: Floats, forced: Iterable[int]) -> list[Chain]:
    """For each number of computed steps, those that cost least.

    Args:
        costs: of `segment_costs`.
        forced: steps that are always computed; the first and the last one are too.

    Returns:
        Fewest computed steps first, the error being the root of the cost. A number of steps that is no
        better than a smaller one is left out.
    """
    must = np.zeros(len(costs), bool)
    must[[0, len(costs) - 1, *forced]] = True
    return [Chain(found, float(np.sqrt(cost))) for found, cost in _chains(costs, must)]


def squares(floor: float) -> Weigh:
    """Known outputs make the others by least squares; below this squared size a slope says nothing."""

    def weigh(gram: Floats, near: Steps, known: int) -> Floats:
        rows = np.eye(near.shape[1])
        return affine_weights(gram, rows[:known], rows[known:], floor)

    return weigh


def target_steps(steps: int, speedup: float) -> int:
    """Number of computed steps whose ratio to all steps is nearest to the target speed-up.

    Raises:
        ValueError: if a value is out of range.
    """
    if steps < 1:
        raise ValueError(f"steps: must be 1 or more, got {steps}")
    if not speedup >= 1:
        raise ValueError(f"speedup: must be 1.0 or more, got {speedup}")
    exact = steps / speedup
    fewer, more = max(1, math.floor(exact)), math.ceil(exact)
    # Compare ratios, not counts: 4 of 10 is further from 2.2x than 5 of 10.
    return fewer if abs(math.log(fewer / exact)) < abs(math.log(more / exact)) else more


def cheapest(chains: Sequence[Chain], computed: int) -> Chain:
    """The best of at most so many computed steps, or the shortest if all are longer."""
    within = [chain for chain in chains if len(chain.steps) <= computed]
    return within[-1] if within else chains[0]


def within_error(chains: Sequence[Chain], error: float) -> Chain:
    """The shortest whose expected error is within a limit, or the longest if none is."""
    return next((chain for chain in chains if chain.error <= error), chains[-1])


def segment_costs(
    gram: Floats, widths: Floats, longest: int, corrected: bool, weigh: Weigh
) -> Floats:
    """Squared error that predicting all steps between two computed ones leaves in the result.

    Args:
        gram: [steps, steps] products of the outputs at the steps of the run.
        widths: [steps] weight of each step's output in the result.
        longest: steps that may be predicted in a row.
        corrected: whether the next computed output is used too.
        weigh: how known outputs make the others.

    Returns:
        [last, back, hop]: cost of computing the step `last + hop` next, where the computed one before
        `last` is `last - back`; the first step has none before it, and its back is 0. Infinite where
        there is no such step.
    """
    steps = len(gram)
    reach = min(longest, LONGEST, steps) + 2
    costs = np.full((steps, reach, reach), np.inf)
    for back, hop in product(range(reach), range(1, min(reach, steps))):
        last = np.arange(back, steps - hop) if back else np.arange(1)
        known = [0, -back] if back else [0]
        if corrected:
            known = [hop, *known]
        near = last[:, None] + np.array([*known, *range(1, hop)])
        if hop > 1:
            costs[last, back, hop] = _costs(gram, widths, near, len(known), weigh)
        else:
            costs[last, back, hop] = 0.0
    return costs


def _costs(gram: Floats, widths: Floats, near: Steps, known: int, weigh: Weigh) -> Floats:
    """Squared error that some steps leave in the result if known outputs stand for them.

    Args:
        near: [n, known + missing] steps, known ones first.
    """
    if not len(near):
        return np.zeros(0)
    products = gram[near[:, :, None], near[:, None, :]]
    missing = widths[near[:, known:]]
    shares = np.einsum("nm,nmk->nk", missing, weigh(products, near, known))
    left = np.concatenate([-shares, missing], 1)
    return np.einsum("na,nab,nb->n", left, products, left).clip(0.0)


def _chains(costs: Floats, must: NDArray[np.bool_]) -> list[tuple[tuple[int, ...], float]]:
    steps, reach = costs.shape[:2]
    costs = np.where(_passes(must, reach)[:, None, :], costs, np.inf)
    # best[c][last, back]: smallest cost of a chain of c + 1 computed steps that ends so.
    start = np.full((steps, reach), np.inf)
    start[0, 0] = 0.0
    best, came = [start], []
    found: list[tuple[tuple[int, ...], float]] = []
    while len(best) < steps:
        _keep(found, best, came)
        reached = np.full_like(start, np.inf)
        origin = np.zeros(start.shape, int)
        for hop in range(1, min(reach, steps)):
            total = best[-1][: steps - hop] + costs[: steps - hop, :, hop]
            reached[hop:, hop], origin[hop:, hop] = total.min(1), total.argmin(1)
        best.append(reached)
        came.append(origin)
    _keep(found, best, came)
    return found


def _keep(
    found: list[tuple[tuple[int, ...], float]], best: list[Floats], came: list[NDArray[np.int_]]
) -> None:
    """Note the newest chain if it is better than all shorter ones."""
    cost = float(best[-1][-1].min())
    if np.isfinite(cost) and (not found or cost < found[-1][1]):
        found.append((_trace(best, came), cost))


def _passes(must: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """[last, hop]: whether a hop passes over no forced step and stays in the run."""
    steps = len(must)
    allowed = np.zeros((steps, reach), bool)
    for last in range(steps):
        for hop in range(1, min(reach, steps - last)):
            allowed[last, hop] = not must[last + 1 : last + hop].any()
    return allowed


def _trace(best: list[Floats], came: list[NDArray[np.int_]]) -> tuple[int, ...]:
    last = len(best[0]) - 1
    back = int(best[-1][last].argmin())
    chain = [last]
    for origin in reversed(came):
        before = int(origin[last, back])
        last, back = last - back, before
        chain.append(last)
    return tuple(reversed(chain))
