"""Choose the steps to compute from calibration data.

Predicted steps leave `sum dsigma_i (d_i - d_hat_i)` in the final result: what the sampler integrates,
with the sign it has. Its size follows from the Gram matrix of the outputs. Where the next computed step
repairs them (see `corrector`), d_hat is what is known then, with that step's output. So every run of
steps between two computed ones has a cost, and the cheapest chain of computed steps is found by dynamic
programming over the last two of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .gram import ROUNDING, Floats, GramTable, Steps, affine_weights, noise

# Weights [n, missing, known] of known outputs for others, from the products [n, all, all] of all of them,
# their steps [n, all], known ones first, and how many are known.
Weigh = Callable[[Floats, Steps, int], Floats]

# No prediction is good for longer, and the search grows with the cube.
LONGEST = 12
# Targets from which on the few computed steps are spaced by what they cost, and not by a limit that is
# meant for more of them.
FAR = 4.0


def in_a_row(target: float | None, limit: int) -> int:
    """How many steps may be predicted in a row.

    Args:
        target: speed-up to aim at, None for none.
        limit: as the user sets it, for targets up to 4x.
    """
    return max(limit, LONGEST) if target is not None and target > FAR else limit


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
    breaks: Collection[int] = (),
) -> Chains:
    """For each number of computed steps, those with the smallest expected error of the final result.

    More computed steps never have a larger expected error. The same input gives the same steps.

    Args:
        table: of the guided output.
        sigmas: schedule of the run, the final sigma included.
        forced: steps that are always computed; the first and the last one are too.
        longest: steps that may be predicted in a row.
        corrected: whether each computed step repairs the predicted ones before it.
        breaks: computed steps across which nothing is repaired.

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
    # Outputs that cancel each other between calibrated steps leave little but rounding.
    floor = max(noise(gram), 10 * ROUNDING * table.trace)
    costs = segment_costs(gram, weighted, longest, corrected, squares(floor), breaks)
    return search(costs, forced, float(way))


def search(costs: Floats, forced: Iterable[int], way: float = 1.0) -> Chains:
    """For each number of computed steps, those that cost least.

    Args:
        costs: of `segment_costs`.
        forced: steps that are always computed; the first and the last one are too.
        way: in whose units the error, the root of the cost, is given.
    """
    must = np.zeros(len(costs), int)
    must[[0, len(costs) - 1, *forced]] = 1
    # A hop may not pass over a forced step: as many of them come before its end as up to its start.
    before = np.concatenate([[0], np.cumsum(must)])
    last, hop = np.arange(len(costs))[:, None], np.arange(costs.shape[2])
    passes = before[np.minimum(last + hop, len(costs))] > before[last + 1]
    return Chains(np.where((passes & (hop > 0))[:, None], np.inf, costs), way)


class Chains(Sequence[Chain]):
    """Chains by number of computed steps, fewest first; one that is no better than a shorter one is left
    out. Each is found when it is asked for, since a run asks for one."""

    def __init__(self, costs: Floats, way: float) -> None:
        # [back, hop, last], so that sums and the smallest over back are taken in long rows.
        self._costs = np.ascontiguousarray(costs.transpose(1, 2, 0))
        self._way = way
        # [c][back, last]: smallest cost of a chain of c + 1 computed steps that ends so.
        self._best = [self._layer()[1]]
        self._best[0][0, 0] = 0.0
        self._paths = np.empty_like(self._costs)
        # Places in it, with the cost, of those that are better than all shorter ones.
        self._ends: list[tuple[int, float]] = []
        self._found: dict[int, Chain] = {}

    def __len__(self) -> int:
        self._grow(self._costs.shape[-1])
        return len(self._ends)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        while index >= len(self._ends) and self._grow(len(self._best) + 1):
            pass
        if not 0 <= index < len(self._ends):
            raise IndexError(index)
        if index not in self._found:
            count, cost = self._ends[index]
            self._found[index] = Chain(self._trace(count), float(np.sqrt(cost)) / self._way)
        return self._found[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Chains) and list(self) == list(other)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def within(self, computed: int) -> Chain:
        """The best of at most so many computed steps, or the shortest if all are longer."""
        self._grow(computed)
        while not self._ends and self._grow(len(self._best) + 1):
            pass
        fitting = [i for i, (count, _) in enumerate(self._ends) if count < computed]
        return self[fitting[-1] if fitting else 0]

    def _grow(self, computed: int) -> bool:
        """Look at chains of up to so many steps; whether any were left to look at."""
        reach, _, steps = self._costs.shape
        left = len(self._best) < steps
        while len(self._best) < min(computed, steps):
            count = len(self._best)
            # Chains of so many steps end between these.
            low, high = count - 1, min((count - 1) * (reach - 1) + 1, steps)
            paths = self._paths[..., low:high]
            np.add(self._best[-1][:, None, low:high], self._costs[..., low:high], out=paths)
            ahead, reached = self._layer()
            np.minimum.reduce(paths, axis=0, out=ahead[:, low:high])
            self._best.append(reached)
            cost = float(reached[:, -1].min())
            if np.isfinite(cost) and (not self._ends or cost < self._ends[-1][1]):
                self._ends.append((count, cost))
        return left

    def _layer(self) -> tuple[Floats, Floats]:
        """Numbers by [hop, last], and the same by where a hop ends: [hop, last + hop]."""
        reach, _, steps = self._costs.shape
        numbers = np.full((reach, reach + steps), np.inf)
        row, one = numbers.strides
        ahead = numbers[:, reach:]
        return ahead, as_strided(ahead, (reach, steps), (row - one, one))

    def _trace(self, count: int) -> tuple[int, ...]:
        """Back from the last step, each time over the cheapest step before the last two."""
        last = self._costs.shape[-1] - 1
        back = int(self._best[count][:, last].argmin())
        chain = [last]
        for best in reversed(self._best[:count]):
            hop, last = back, last - back
            back = int((best[:, last] + self._costs[:, hop, last]).argmin())
            chain.append(last)
        return tuple(reversed(chain))


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


def cheapest(chains: Chains, computed: int) -> Chain:
    """The best of at most so many computed steps, or the shortest if all are longer."""
    return chains.within(computed)


def within_error(chains: Sequence[Chain], error: float) -> Chain:
    """The shortest whose expected error is within a limit, or the longest if none is."""
    found = next((chain for chain in chains if chain.error <= error), None)
    return chains[-1] if found is None else found


def segment_costs(
    gram: Floats,
    widths: Floats,
    longest: int,
    corrected: bool,
    weigh: Weigh,
    breaks: Collection[int] = (),
) -> Floats:
    """Squared error that predicting all steps between two computed ones leaves in the result.

    Args:
        gram: [steps, steps] products of the outputs at the steps of the run.
        widths: [steps] weight of each step's output in the result.
        longest: steps that may be predicted in a row.
        corrected: whether the next computed output is used too.
        weigh: how known outputs make the others.
        breaks: steps whose outputs say nothing of those before, nor how those behind go on.

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
        if hop == 1:
            costs[last, back, hop] = 0.0
            continue
        repaired = ~np.isin(last + hop, list(breaks)) & corrected
        begun = np.isin(last - 1, list(breaks))
        for ends, starts in product((True, False), repeat=2):
            rows = last[(repaired == ends) & (begun == starts)]
            given = [*([hop] if ends else []), *(known[:1] if starts else known)]
            near = rows[:, None] + np.array([*given, *range(1, hop)])
            costs[rows, back, hop] = _costs(gram, widths, near, len(given), weigh)
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
