"""TaylorSeer on the model's output (arXiv 2503.06923): one tensor per order and conditioning in place of
one per order, module and conditioning.

Rule: the first steps are computed, then every N-th; between them the output is forecast from its
differences at computed steps, in units of steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..checks import check_window
from ..policies import ScheduledPolicy
from ..quantity import Quantity
from ..schedules import every
from ..settings import PredictorKind
from ..signals import Reference, SignalKind
from ..traits import SamplerTraits, StepFrame

_PREDICTORS = (PredictorKind.TAYLOR_1, PredictorKind.TAYLOR_2, PredictorKind.TAYLOR_3)


@dataclass(frozen=True)
class StepTaylorSeer:
    """Attributes:
    interval: every so many steps are computed, 1 or more.
    order: highest difference, 1 to 3.
    head: steps at the start that are always computed, 1 or more.
    """

    name: ClassVar[str] = "TaylorSeer"
    source: ClassVar[str] = "arXiv 2503.06923, ComfyUI-TaylorSeer's lite nodes"

    signal: ClassVar[SignalKind] = SignalKind.NONE
    reference: ClassVar[Reference] = Reference.NONE
    uses_coefficients: ClassVar[bool] = False

    interval: int = 5
    order: int = 1
    head: int = 3
    start_percent: float = 0.0
    end_percent: float = 1.0

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise ValueError(f"interval: must be 1 or more, got {self.interval}")
        if not 1 <= self.order <= 3:
            raise ValueError(f"order: must be 1, 2 or 3, got {self.order}")
        if self.head < 1:
            raise ValueError(f"warmup: must be 1 or more, got {self.head}")
        check_window(self.start_percent, self.end_percent)

    @property
    def predictor(self) -> PredictorKind:
        return _PREDICTORS[self.order - 1]

    def quantity(self, traits: SamplerTraits) -> Quantity:
        return Quantity.for_sampler(traits.stochastic)

    def policy(self, frame: StepFrame) -> ScheduledPolicy:
        computed = {*every(self.interval, self.head, frame.steps), *frame.outside()}
        return ScheduledPolicy(tuple(sorted(computed)))
