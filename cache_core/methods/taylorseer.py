"""TaylorSeer: from reusing to forecasting (Liu et al., arXiv 2503.06923; code Shenyi-Z/TaylorSeer).

Published rule: the first steps are computed, then every N-th; between them features are forecast from
their differences at computed steps. The published code does so for every attention and MLP; here it is
the change of the whole stack, one tensor per order and branch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..blocks import Layout, Span
from ..branch_policies import ListPolicy, RunFrame
from ..checks import check_range
from ..schedules import every
from ..stack_predictors import StackPredictor, Taylor
from .base import Method, middle_blocks


@dataclass(frozen=True)
class TaylorSeer(Method):
    """Attributes:
    interval: fresh_threshold of the published code: 6 FLUX, 5 HunyuanVideo and Wan, 4 HiDream.
    order: max_order: 1, HiDream 2.
    head: first_enhance, steps at the start that are always computed: 3 FLUX, 1 elsewhere.
    """

    name: ClassVar[str] = "TaylorSeer"
    source: ClassVar[str] = "arXiv 2503.06923, Shenyi-Z/TaylorSeer"

    interval: int = 5
    order: int = 1
    head: int = 3

    def __post_init__(self) -> None:
        check_range("interval", self.interval, 1, 1000)
        check_range("order", self.order, 1, 3)
        check_range("warmup", self.head, 1, 1000)

    @property
    def predictor(self) -> StackPredictor:
        return Taylor(self.order)

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        return middle_blocks(layout)

    def policy(self, span: Span, layout: Layout, frame: RunFrame) -> ListPolicy:
        computed = every(self.interval, self.head, frame.steps)
        return ListPolicy(frozenset(computed) | frame.always())
