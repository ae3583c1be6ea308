"""Choose the steps to compute from calibration data.

Predicted steps leave about `sum dsigma_i (d_i - d_hat_i)` in the final result: what the sampler
integrates, with the sign it has. Its size follows from the Gram matrix of the outputs. So every run of
steps between two computed ones has a cost, and the cheapest chain of computed steps is found by
dynamic programming over the last two of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .alpha import HIGHEST, LOWEST
from .calibration import GramTable

Floats = NDArray[np.float64]


def best_steps(
    table: GramTable,
    sigmas: tuple[float, ...],
    computed: int,
    forced: Iterable[int],
    longest: int,
) -> tuple[int, ...]:
    """Computed steps with the smallest expected error of the final result.

    More computed steps never give a larger expected error. The same input gives the same steps.

    Args:
        table: of the guided output.
        sigmas: schedule of the run, the final sigma included.
        computed: at most so many computed steps, unless more are forced or the gaps demand more.
        forced: steps that are always computed; the first two and the last one are too.
        longest: steps that may be predicted in a row.

    Raises:
        ValueError: if there are fewer than three steps or the schedule does not fall throughout.
    """
    steps = len(sigmas) - 1
    if steps < 3:
        raise ValueError(f"sigmas: need 3 steps or more, got {steps}")
    if not all(a > b for a, b in pairwise(sigmas)):
        raise ValueError("sigmas: must fall from step to step")
    must = np.zeros(steps, bool)
    must[[0, 1, steps - 1, *forced]] = True
    costs = segment_costs(table.on(sigmas[:-1]), np.asarray(sigmas), longest)
    return _cheapest_chain(costs, must, computed, longest)


def segment_costs(gram: Floats, sigmas: Floats, longest: int) -> Floats:
    """Squared error that predicting all steps between two computed ones leaves in the result.

    Args:
        gram: [steps, steps] products of the outputs at the steps of the run.
        sigmas: [steps + 1].
        longest: steps that may be predicted in a row.

    Returns:
        [before, last, next]: cost of computing `next` after `last` and the one before it; infinite
        where the order or the gap is wrong.
    """
    steps = len(gram)
    widths = np.diff(sigmas)
    costs = np.full((steps, steps, steps), np.inf)
    for last in range(1, steps):
        costs[:last, last, last + 1 : last + 2] = 0.0
        ahead = np.arange(last + 1, min(last + 1 + longest, steps - 1))
        if not len(ahead):
            continue
        ratio = (sigmas[ahead] - sigmas[last]) / (sigmas[last] - sigmas[:last, None])
        left = np.cumsum(_missed(gram, last, ahead, ratio) * widths[ahead, None], 1)
        cost = np.einsum("bis,bis->bi", left @ gram, left)
        costs[:last, last, ahead + 1] = np.maximum(cost, 0.0)
    return costs


def _missed(gram: Floats, last: int, ahead: NDArray[np.int_], ratio: Floats) -> Floats:
    """What the scaled predictor with its best alpha misses, as weights of the outputs.

    Args:
        gram: [steps, steps].
        last: the last computed step; every step before it is tried as the one before.
        ahead: predicted steps [n].
        ratio: extrapolation ratios [before, n].

    Returns:
        [before, n, steps].
    """
    eye = np.eye(len(gram))
    slopes = eye[last] - eye[:last]
    changes = eye[ahead] - eye[last]
    products = slopes @ gram
    sizes = np.einsum("bs,bs->b", products, slopes)[:, None]
    along = products @ changes.T
    alpha = np.clip(along / np.where(sizes > 0, ratio * sizes, 1.0), LOWEST, HIGHEST)
    alpha = np.where(sizes > 0, alpha, 0.0)
    return changes - (alpha * ratio)[..., None] * slopes[:, None, :]


def _cheapest_chain(
    costs: Floats, must: NDArray[np.bool_], computed: int, longest: int
) -> tuple[int, ...]:
    steps = len(must)
    hops = np.arange(1, longest + 2)
    onwards = _onwards(costs, must, hops)
    # best[c][last, before]: smallest cost of a chain of c + 2 computed steps that ends so.
    start = np.full((steps, steps), np.inf)
    start[1, 0] = 0.0
    best, came = [start], []
    found: tuple[float, int] | None = None
    for count in range(2, steps + 1):
        ends = float(best[-1][steps - 1].min())
        if np.isfinite(ends) and (found is None or ends < found[0]):
            found = (ends, count)
        if found is not None and count >= computed:
            break
        total = best[-1][:, None, :] + onwards
        origin = np.zeros((steps, steps), int)
        reached = np.full((steps, steps), np.inf)
        for place, hop in enumerate(hops):
            lasts = np.arange(max(steps - hop, 0))
            origin[lasts + hop, lasts] = total[lasts, place].argmin(1)
            reached[lasts + hop, lasts] = total[lasts, place].min(1)
        best.append(reached)
        came.append(origin)
    assert found is not None
    return _trace(best, came, found[1])


def _onwards(costs: Floats, must: NDArray[np.bool_], hops: NDArray[np.int_]) -> Floats:
    """Costs as [last, hop, before]; infinite beyond the end and over a forced step."""
    steps = len(must)
    onwards = np.full((steps, len(hops), steps), np.inf)
    for last in range(steps):
        for place, hop in enumerate(hops):
            if last + hop >= steps or must[last + 1 : last + hop].any():
                break
            onwards[last, place] = costs[:, last, last + hop]
    return onwards


def _trace(best: list[Floats], came: list[NDArray[np.int_]], count: int) -> tuple[int, ...]:
    last = len(best[0]) - 1
    before = int(np.argmin(best[count - 2][last]))
    chain = [last, before]
    for origin in reversed(came[: count - 2]):
        last, before = before, int(origin[last, before])
        chain.append(before)
    return tuple(reversed(chain))
