"""SmoothCache (Liu et al., arXiv 2411.10510; code Roblox/SmoothCache) on the model's output.

Published rule: before the run, from calibrated errors `|d_i - d_j| / |d_i|` of repeating the output of
step j at step i, each computed step is followed by as many repeated ones as stay within a threshold,
at most three. The first and the last step are computed. The published code does so per kind of layer
with the L1 norm; here it is the guided output of the model with the L2 norm, which is what a
coefficient file holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..decide.policies import Listed, RunPlan
from ..planning.gram import Floats
from .base import Model, Page, StepMethod, check_range, uncalibrated


@dataclass(frozen=True)
class SmoothCache(StepMethod):
    """The rule as settings.

    Attributes:
        threshold: allowed relative error of a repeated output.
        max_gap: steps repeated in a row at most, the published lookahead.
    """

    name: ClassVar[str] = "SmoothCache"
    uses: ClassVar[tuple[str, ...]] = ("threshold", "max_gap")
    uses_coefficients: ClassVar[bool] = True
    page: ClassVar[Page] = Page(
        leaves_out="whole step",
        needs="coefficient file",
        keeps="1 latent",
        waits="one number per computed step",
        source="arXiv 2411.10510, Roblox/SmoothCache",
    )

    threshold: float = 0.1
    max_gap: int = 3

    def check(self) -> None:
        check_range("threshold", self.threshold, 0.0, 10.0)
        check_range("max_gap", self.max_gap, 1)

    @classmethod
    def example(cls, everything: bool, steps: int, model: Model) -> SmoothCache:
        return cls(0.0 if everything else 10.0, max_gap=1)

    def policy(self, plan: RunPlan) -> Listed:
        if plan.table is None:
            return uncalibrated(plan, self.name)
        forced = plan.always() | {0, plan.steps - 1}
        gram = plan.table.on(plan.sigmas[:-1])
        return Listed(smooth_steps(gram, self.threshold, forced, self.max_gap))


def smooth_steps(
    gram: Floats, threshold: float, forced: frozenset[int], longest: int
) -> tuple[int, ...]:
    """Computed steps.

    Args:
        gram: [steps, steps] products of the outputs.
        threshold: relative error below or at which an output is repeated.
        forced: steps that are always computed, the first among them.
        longest: steps repeated in a row at most.
    """
    sizes = np.diagonal(gram)
    chosen: list[int] = []
    for step in range(len(gram)):
        if step not in forced and step - chosen[-1] <= longest:
            last = chosen[-1]
            missed = sizes[step] - 2 * gram[step, last] + sizes[last]
            if missed <= threshold**2 * sizes[step]:
                continue
        chosen.append(step)
    return tuple(chosen)
