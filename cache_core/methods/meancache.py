"""MeanCache (arXiv 2601.19961; code UnicomAI/MeanCache) on the model's output.

Published rule: a skipped step takes the last velocity, corrected by what the mean velocity of some
steps before tells of how it changes: with `z` the latent, `r` so many steps back and `s` the next
step,

    v + (sigma_s - sigma_t) * (mean - v_r) / (sigma_t - sigma_r)
    mean = (z_t - z_r) / (sigma_t - sigma_r)

Over how many steps is chosen per gap: the number by which the mean velocity over the gap is missed
least in calibration runs, 1 for no correction. The steps to compute are the path through them whose
misses to the fourth power sum up to the least ("peak suppression"), the first five and the last one
among them.

The published costs are L1 norms over all steps of calibration runs; here they are L2 norms from the
products of outputs in a coefficient file, which tell latents as well: between two steps they go by
outputs times widths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..decide.policies import Listed, Policy, RunPlan
from ..planning.gram import Floats
from ..planning.optimiser import search, target_steps
from ..predict.predictors import Known, Now, Predictor
from .base import Aimed, Model, Page, check_range, uncalibrated

# As published: steps that a mean goes over, gaps, and the power that suppresses peaks.
SPANS, _GAP, _POWER = range(1, 7), 15, 4


@dataclass(frozen=True)
class MeanCache(Aimed):
    """The rule as settings.

    Attributes:
        warmup: steps at the start that are always computed.
    """

    name: ClassVar[str] = "MeanCache"
    uses: ClassVar[tuple[str, ...]] = ("speedup", "warmup")
    uses_coefficients: ClassVar[bool] = True
    page: ClassVar[Page] = Page(
        leaves_out="whole step",
        predictor="reuse; the mean of some steps where calibration says that it pays",
        needs="coefficient file",
        keeps="7 latents",
        waits="one number per computed step",
        source="arXiv 2601.19961, UnicomAI/MeanCache",
    )

    warmup: int = 5

    def check(self) -> None:
        super().check()
        check_range("warmup", self.warmup, 0)

    @classmethod
    def example(cls, everything: bool, steps: int, model: Model) -> MeanCache:
        return cls(2.0, warmup=steps if everything else 2)

    def decided(self, plan: RunPlan, predictor: Predictor | None) -> tuple[Policy, Predictor]:
        if plan.table is None:
            policy, spans = uncalibrated(plan, self.name, searched=True), (1,) * plan.steps
        else:
            chosen, spans = self._planned(plan)
            policy = Listed(chosen)
        return policy, predictor or MeanVelocity(plan.sigmas, spans)

    def policy(self, plan: RunPlan) -> Policy:
        return self.decided(plan, None)[0]

    def own_predictor(self, plan: RunPlan) -> Predictor:
        return self.decided(plan, None)[1]

    def _planned(self, plan: RunPlan) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Computed steps, and for each step over how many before it the mean goes."""
        assert plan.table is not None
        costs = edge_costs(plan.table.on(plan.sigmas[:-1]), np.diff(plan.sigmas))
        paths = np.repeat(costs.min(0)[:, None] ** _POWER, costs.shape[2], axis=1)
        forced = plan.always(max(self.warmup, 1), last=True)
        chosen = search(paths, forced).within(target_steps(plan.steps, self.speedup)).steps
        ends = (*chosen[1:], plan.steps)
        spans = [
            SPANS[int(costs[:, last, min(end - last, _GAP)].argmin())]
            for last, end in zip(chosen, ends, strict=True)
            for _ in range(last, end)
        ]
        return chosen, tuple(spans)


def edge_costs(gram: Floats, widths: Floats) -> Floats:
    """How far the mean velocity of a gap is missed by what stands for it, for each span.

    Args:
        gram: [steps, steps] products of the outputs.
        widths: [steps] from each noise level to the next.

    Returns:
        [spans, last, hop]: of going from a computed step to the one `hop` further; infinite where a span
        goes back beyond the first step, or there is no such step.
    """
    steps = len(gram)
    costs = np.full((len(SPANS), steps, min(_GAP, steps) + 1), np.inf)
    costs[:, :, 1] = 0.0
    for i, span in enumerate(SPANS):
        back = span if span > 1 else 0
        for hop in range(2, costs.shape[2]):
            last = np.arange(back, steps - hop)
            if not len(last):
                break
            near = last[:, None] + np.arange(-back, hop)
            wide = widths[near]
            ahead = wide[:, back:].sum(1, keepdims=True)
            missed = np.zeros(near.shape)
            missed[:, back:] = wide[:, back:] / ahead
            missed[:, back] -= 1.0
            if back:
                missed[:, :back] -= ahead * slope(wide[:, :back])
            own = gram[near[:, :, None], near[:, None, :]]
            squares = np.einsum("na,nab,nb->n", missed, own, missed)
            costs[i, last, hop] = np.sqrt(squares.clip(0.0))
    return costs


def slope(widths: Floats) -> Floats:
    """Weights of the outputs of some steps in a row for how fast they change: their mean less the first,
    over the way.

    Args:
        widths: [..., steps] of the steps.
    """
    way = widths.sum(-1, keepdims=True)
    first = np.zeros(widths.shape)
    first[..., 0] = 1.0
    return (widths / way - first) / way


@dataclass(frozen=True)
class MeanVelocity(Predictor):
    """The last output, corrected by the mean of some before it.

    Attributes:
        sigmas: schedule, the final sigma included.
        spans: over how many steps the mean goes, for each step.
    """

    sigmas: tuple[float, ...]
    spans: tuple[int, ...]

    @property
    def depth(self) -> int:
        return SPANS[-1] + 1

    def weights(self, past: Sequence[Known], now: Now) -> Sequence[float]:
        # Of the evaluations of one step, the newest counts.
        known = {at.step: i for i, at in reversed([*enumerate(past)])}
        widths = np.diff(self.sigmas)
        units = np.eye(len(past))
        first = min(known)
        rows: list[Floats] = []
        for step in range(first, now.step + 1):
            if step in known:
                rows.append(units[known[step]])
                continue
            row, span = rows[-1], min(self.spans[step], step - first)
            if span > 1:
                fast = slope(widths[step - span : step]) @ np.stack(rows[-span:])
                row = row + widths[step] * fast
            rows.append(row)
        return rows[-1].tolist()
