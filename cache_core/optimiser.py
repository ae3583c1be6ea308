"""Choose the steps to compute from calibration data.

Predicted steps leave about `sum dsigma_i (d_i - d_hat_i)` in the final result: what the sampler
integrates, with the sign it has. Its size follows from the Gram matrix of the outputs. So every run of
steps between two computed ones has a cost, and the cheapest chain of computed steps is found by
dynamic programming over the last of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .calibration import Floats, GramTable, affine_weights, noise

# No prediction is good for longer, and the search grows with the cube.
LONGEST = 12


@dataclass(frozen=True)
class Chain:
    """Computed steps and what is expected of them.

    Attributes:
        steps: computed steps, rising.
        error: expected error of the final result, relative to the way from noise to picture.
    """

    steps: tuple[int, ...]
    error: float


def best_chains(
    table: GramTable,
    sigmas: tuple[float, ...],
    forced: Iterable[int],
    longest: int,
    depth: int = 2,
    gains: Floats | None = None,
) -> list[Chain]:
    """For each number of computed steps, those with the smallest expected error of the final result.

    More computed steps never have a larger expected error. The same input gives the same steps.

    Args:
        table: of the guided output.
        sigmas: schedule of the run, the final sigma included.
        forced: steps that are always computed; the first two and the last one are too.
        longest: steps that may be predicted in a row.
        depth: outputs that a prediction is made of, 2 or 3.
        gains: [steps] how much an error of a step's output grows on its way to the result; default 1.

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
    must = np.zeros(steps, bool)
    must[[0, 1, steps - 1, *forced]] = True
    gram = table.on(sigmas[:-1])
    widths = np.diff(np.asarray(sigmas))
    way = np.sqrt(max(float(widths @ gram @ widths), 1e-300))
    weighted = widths if gains is None else widths * gains
    costs = segment_costs(gram, weighted, min(longest, LONGEST, steps), depth)
    return [Chain(found, float(np.sqrt(cost)) / way) for found, cost in _chains(costs, must, depth)]


def best_steps(
    table: GramTable,
    sigmas: tuple[float, ...],
    computed: int,
    forced: Iterable[int],
    longest: int,
    depth: int = 2,
    gains: Floats | None = None,
) -> tuple[int, ...]:
    """The best chain of at most so many computed steps, unless more are forced or the gaps demand more.

    Raises:
        ValueError: as `best_chains`.
    """
    chains = best_chains(table, sigmas, forced, longest, depth, gains)
    within = [chain for chain in chains if len(chain.steps) <= computed]
    return (within[-1] if within else chains[0]).steps


def segment_costs(gram: Floats, widths: Floats, longest: int, depth: int) -> Floats:
    """Squared error that predicting all steps between two computed ones leaves in the result.

    Args:
        gram: [steps, steps] products of the outputs at the steps of the run.
        widths: [steps] weight of each step's output in the result.
        longest: steps that may be predicted in a row.
        depth: outputs that a prediction is made of, 2 or 3.

    Returns:
        [last, g, h, hop]: cost of computing the step `last + hop` next, where the computed one before
        `last` is g back and the one before that h further; h 0 for none. Infinite where there is none.
    """
    steps, reach, floor = len(gram), longest + 2, noise(gram)
    costs = np.full((steps, reach, reach, reach), np.inf)
    for last in range(1, steps):
        low, high = max(last - 2 * (reach - 1), 0), min(last + reach - 1, steps - 1)
        near = gram[low:high, low:high] if high > last + 1 else gram[low : last + 1, low : last + 1]
        ahead = np.arange(last + 1, high)
        for back in range(1, min(reach, last + 1)):
            pasts = range(1, min(reach, last - back + 1)) if depth > 2 else range(0)
            for further in (0, *pasts):
                costs[last, back, further, 1] = 0.0 if last + 1 < steps else np.inf
                if not len(ahead):
                    continue
                past = [last, last - back] + ([last - back - further] if further else [])
                missed = _missed(near, np.array(past) - low, ahead - low, floor)
                left = np.cumsum(missed * widths[ahead, None], 0)
                cost = np.einsum("is,is->i", left @ near, left)
                costs[last, back, further, 2 : 2 + len(ahead)] = np.maximum(cost, 0.0)
    return costs


def _missed(gram: Floats, past: NDArray[np.int_], ahead: NDArray[np.int_], floor: float) -> Floats:
    """What the least-squares prediction of some steps misses, as weights of the outputs [n, steps]."""
    eye = np.eye(len(gram))
    return eye[ahead] - affine_weights(gram, eye[past], eye[ahead], floor) @ eye[past]


def _chains(
    costs: Floats, must: NDArray[np.bool_], depth: int
) -> list[tuple[tuple[int, ...], float]]:
    steps, reach = costs.shape[:2]
    costs = np.where(_passes(must, reach)[:, None, None, :], costs, np.inf)
    # best[c][last, g, h]: smallest cost of a chain of c + 2 computed steps that ends so.
    start = np.full((steps, reach, reach), np.inf)
    start[1, 1, 0] = 0.0
    best, came = [start], []
    found: list[tuple[tuple[int, ...], float]] = []
    while len(best) < steps:
        end = best[-1][steps - 1]
        cheapest = float(end.min())
        if np.isfinite(cheapest) and (not found or cheapest < found[-1][1]):
            found.append((_trace(best, came, depth), cheapest))
        reached = np.full_like(start, np.inf)
        origin = np.zeros(start.shape, int)
        for hop in range(1, reach):
            total = best[-1][: steps - hop] + costs[: steps - hop, :, :, hop]
            if depth > 2:
                reached[hop:, hop], origin[hop:, hop] = total.min(2), total.argmin(2)
            else:
                reached[hop:, hop, 0] = total[:, :, 0].min(1)
                origin[hop:, hop, 0] = total[:, :, 0].argmin(1)
        best.append(reached)
        came.append(origin)
    end = float(best[-1][steps - 1].min())
    if np.isfinite(end) and (not found or end < found[-1][1]):
        found.append((_trace(best, came, depth), end))
    return found


def _passes(must: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """[last, hop]: whether a hop passes over no forced step and stays in the run."""
    steps = len(must)
    allowed = np.zeros((steps, reach), bool)
    for last in range(steps):
        for hop in range(1, min(reach, steps - last)):
            allowed[last, hop] = not must[last + 1 : last + hop].any()
    return allowed


def _trace(best: list[Floats], came: list[NDArray[np.int_]], depth: int) -> tuple[int, ...]:
    last = len(best[0]) - 1
    ends = best[-1][last]
    back, further = (int(i) for i in np.unravel_index(int(ends.argmin()), ends.shape))
    chain = [last]
    for origin in reversed(came):
        kept = int(origin[last, back, further])
        last -= back
        chain.append(last)
        back, further = (further, kept) if depth > 2 else (kept, 0)
    chain.append(last - back)
    return tuple(reversed(chain))
