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

from ..calibration import Floats
from ..checks import check_range, check_window
from ..policies import ScheduledPolicy
from ..quantity import Quantity
from ..settings import PredictorKind
from ..signals import Reference, SignalKind
from ..traits import SamplerTraits, StepFrame


@dataclass(frozen=True)
class SmoothCache:
    """Attributes:
    threshold: allowed relative error of a repeated output.
    max_gap: steps repeated in a row at most, the published lookahead.
    """

    name: ClassVar[str] = "SmoothCache"
    source: ClassVar[str] = "arXiv 2411.10510, Roblox/SmoothCache"
    signal: ClassVar[SignalKind] = SignalKind.NONE
    reference: ClassVar[Reference] = Reference.NONE
    uses_coefficients: ClassVar[bool] = True

    threshold: float = 0.1
    max_gap: int = 3
    start_percent: float = 0.0
    end_percent: float = 1.0

    def __post_init__(self) -> None:
        check_range("threshold", self.threshold, 0.0, 10.0)
        if self.max_gap < 1:
            raise ValueError(f"max_gap: must be 1 or more, got {self.max_gap}")
        check_window(self.start_percent, self.end_percent)

    @property
    def predictor(self) -> PredictorKind:
        return PredictorKind.ORDER_0

    def quantity(self, traits: SamplerTraits) -> Quantity:
        return Quantity.for_sampler(traits.stochastic)

    def policy(self, frame: StepFrame) -> ScheduledPolicy:
        if frame.guided is None:
            frame.report.note(
                "SmoothCache needs coefficients of this model: make them with Calibrate Cache"
            )
            return ScheduledPolicy(tuple(range(frame.steps)))
        forced = frame.outside() | {0, frame.steps - 1}
        gram = frame.guided.on(frame.sigmas[:-1])
        return ScheduledPolicy(smooth_steps(gram, self.threshold, forced, self.max_gap))


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
