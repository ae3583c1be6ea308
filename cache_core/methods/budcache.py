"""BudCache (arXiv 2606.13496; code Westlake-AGI-Lab/BudCache) on the model's output.

Published rule: before the run, exactly so many computed steps as a budget allows are searched for,
first by simulated annealing, then by climbing, so that repeating the last output at all others
changes the final latent least. The first steps and the last one are computed. The published search
samples one prompt again for each schedule that it tries; here what a schedule does to the final
latent is worked out from the products of outputs in a coefficient file.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..decide.policies import Listed, RunPlan
from ..decide.schedules import even_steps
from ..planning.gram import Floats, Steps
from ..planning.optimiser import target_steps
from .base import Aimed, Model, Page, check_range, uncalibrated

# As published: moves that are tried, their temperatures as a share of what a run goes, best moves that
# are made then, and steps that one goes.
_TRIES, _HOT, _COLD = 200, 0.05, 1e-5
_CLIMBS, _FAR = 20, 3


@dataclass(frozen=True)
class BudCache(Aimed):
    """The rule as settings.

    Attributes:
        warmup: steps at the start that are always computed.
    """

    name: ClassVar[str] = "BudCache"
    uses: ClassVar[tuple[str, ...]] = ("speedup", "warmup")
    uses_coefficients: ClassVar[bool] = True
    page: ClassVar[Page] = Page(
        leaves_out="whole step",
        needs="coefficient file",
        keeps="1 latent",
        waits="one number per computed step",
        source="arXiv 2606.13496, Westlake-AGI-Lab/BudCache",
    )

    warmup: int = 3

    def check(self) -> None:
        super().check()
        check_range("warmup", self.warmup, 0)

    @classmethod
    def example(cls, everything: bool, steps: int, model: Model) -> BudCache:
        return cls(2.0, warmup=steps if everything else 1)

    def policy(self, plan: RunPlan) -> Listed:
        if plan.table is None:
            return uncalibrated(plan, self.name, searched=True)
        sigmas = plan.sigmas[:-1]
        widths = np.diff(plan.sigmas) * plan.table.gains_on(sigmas)
        budget = target_steps(plan.steps, self.speedup)
        forced = plan.always(max(self.warmup, 1), last=True)
        start = even_steps(plan.steps, budget, max(self.warmup, budget // 4, 1), plan.window)
        return Listed(searched(plan.table.on(sigmas), widths, start, forced))


def searched(
    gram: Floats, widths: Floats, start: tuple[int, ...], forced: frozenset[int]
) -> tuple[int, ...]:
    """As many computed steps as at the start, such that repeating the last output between them costs the
    result least.

    Args:
        gram: [steps, steps] products of the outputs.
        widths: [steps] weight of each output in the result.
        start: computed steps that the search starts from, the first and the last step among them.
        forced: steps that are not moved.
    """
    chance = random.Random(0)
    whole = max(float(widths @ gram @ widths), 1e-300)
    chosen = np.array(start)
    best, least, now = chosen, 0.0, 0.0
    for i in range(_TRIES):
        places, to, change = _moves(gram, widths, chosen, forced)
        if not len(to):
            break
        one = chance.randrange(len(to))
        heat = _HOT * (_COLD / _HOT) ** (i / _TRIES) * whole
        if change[one] < 0 or chance.random() < math.exp(-change[one] / heat):
            chosen = _moved(chosen, places[one], to[one])
            now += float(change[one])
            if now < least:
                best, least = chosen, now
    for _ in range(_CLIMBS):
        places, to, change = _moves(gram, widths, best, forced)
        if not len(to) or change.min() >= 0:
            break
        one = change.argmin()
        best = _moved(best, places[one], to[one])
    return tuple(best.tolist())


def _moved(chosen: Steps, place: int, to: int) -> Steps:
    return np.concatenate([chosen[:place], [to], chosen[place + 1 :]])


def _moves(
    gram: Floats, widths: Floats, chosen: Steps, forced: frozenset[int]
) -> tuple[Steps, Steps, Floats]:
    """Every move of one computed step by a few, up to its neighbours.

    Returns:
        Its place among the computed steps, where it goes, and by how much the squared error of the result
        grows, each [moves].
    """
    sums = np.concatenate([[0.0], np.cumsum(widths)])
    ends = np.append(chosen[1:], len(gram))
    missed = widths.copy()
    missed[chosen] -= sums[ends] - sums[chosen]
    inner = [i for i in range(1, len(chosen) - 1) if int(chosen[i]) not in forced]
    places = np.repeat(np.array(inner, int), 2 * _FAR)
    hops = np.tile([hop for hop in range(-_FAR, _FAR + 1) if hop], len(inner))
    before, here, after = (chosen[places + i] for i in (-1, 0, 1))
    to = here + hops
    fits = (before < to) & (to < after)
    places, before, here, to, after = (x[fits] for x in (places, before, here, to, after))
    # Only what is weighed on the step before, on the one that goes and on the one that comes changes.
    near = np.stack([before, here, to], 1)
    shift = np.stack([sums[here] - sums[to], sums[after] - sums[here], sums[to] - sums[after]], 1)
    along = (gram @ missed)[near]
    own = gram[near[:, :, None], near[:, None, :]]
    change = 2 * (shift * along).sum(1) + np.einsum("ma,mab,mb->m", shift, own, shift)
    return places, to, change
